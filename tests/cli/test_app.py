import json
import subprocess
import sys

import click
import pytest

from batcher.cli.app import VERBS, app, call
from batcher.cli.discretion import EXIT_BUG
from batcher.errors import (
    EndpointRefused,
    Exit,
    Interrupted,
    JobError,
    PlanChanged,
    RunLocked,
    RunStopped,
    StorageError,
)
from tests.cli.engines import FakeEngine


def batcher(*argv, **given):
    return subprocess.run(
        [sys.executable, "-m", "batcher", *argv], capture_output=True, text=True, check=False, **given
    )


def test_help_is_fast_because_it_loads_nothing_heavy():
    code = (
        "import sys, resource\n"
        "sys.argv = ['batcher', '--help']\n"
        "from batcher.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pyarrow', 'aiohttp', 'pydantic', 'rich', 'jinja2', 'asyncio'} & set(sys.modules)\n"
        "print(heavy or 'light', file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "light"
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_loads_and_explains_itself(verb, capsys):
    assert call([verb, "--help"]) == 0

    shown = capsys.readouterr().out
    assert f"batcher {verb}" in shown
    assert "\\b" not in shown
    command = app.get_command(click.Context(app), verb)
    assert command is not None
    assert f"{command.short_help or command.get_short_help_str(99)}.".replace("..", ".") == VERBS[verb][1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rnu", "error: no such verb 'rnu'. Did you mean 'run'?"),
        ("emulator", "error: no such verb 'emulator'. Did you mean 'emulate'?"),
        ("xyzzy", f"error: no such verb 'xyzzy'. Verbs: {', '.join(VERBS)}."),
    ],
)
def test_a_misspelt_verb(typed, said, capsys):
    assert call([typed]) == Exit.USAGE
    assert capsys.readouterr().err == f"{said}\n  batcher --help\n"


def test_a_misspelt_flag(capsys):
    assert call(["run", "--concurency", "3"]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: no such option '--concurency'")


def test_nothing_typed_is_answered_with_help(capsys):
    assert call([]) == Exit.USAGE
    assert "Usage: batcher" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["--version"], ["schema"], ["status", "nowhere"]])
def test_no_crash_leaves_its_memory_in_a_file(verb):
    """The key would be in it."""
    code = (
        "import resource, sys\n"
        f"sys.argv = ['batcher', *{verb!r}]\n"
        "_, most = resource.getrlimit(resource.RLIMIT_CORE)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "from batcher.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('core', resource.getrlimit(resource.RLIMIT_CORE)[0], file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.splitlines()[-1] == "core 0"


def test_version(capsys):
    assert call(["--version"]) == 0
    assert capsys.readouterr().out.startswith("batcher 0.")


ERRORS = [
    (JobError("jobs/a.toml:1: x\njobs/a.toml:2: y", hint="do z"), 2),
    (RunStopped("the budget is spent"), 4),
    (EndpointRefused("key from GEMINI_API_KEY (…a91f) was refused"), 5),
    (StorageError("disk full"), 6),
    (RunLocked("out/x is in use", pid=1, since="2026-11-22T00:00:00Z"), 7),
    (Interrupted("all answers are on disk", signal_number=2), 130),
]


def run_with(error, *argv):
    return call(["run", "-i", "a", "-m", "m", *argv], obj=FakeEngine(error=error))


@pytest.fixture(autouse=True)
def a_key(monkeypatch, tmp_path):
    monkeypatch.setenv("GEMINI_API_KEY", "test-key-0123456789")
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("error", "exit_code"), ERRORS)
def test_an_error_is_one_line_each_and_its_exit_code(error, exit_code, capsys):
    assert run_with(error) == exit_code

    said = capsys.readouterr()
    assert said.out == ""
    lines = [f"error: {line}" for line in error.message.splitlines()] + [
        f"  {line}" for line in error.hint.splitlines()
    ]
    assert said.err.splitlines() == lines


@pytest.mark.parametrize(("error", "exit_code"), ERRORS)
def test_as_json_an_error_is_one_document(error, exit_code, capsys):
    assert run_with(error, "--json") == exit_code

    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint},
        "exit_code": exit_code,
    }
    assert said.err == ""


def test_a_changed_plan_shows_what_differs(capsys):
    error = PlanChanged("out/x was made for another job", differences=("model: a → b",), hint="batcher run -o out/y")

    assert run_with(error) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: out/x was made for another job",
        "  model: a → b",
        "  batcher run -o out/y",
    ]
    run_with(error, "--json")
    assert json.loads(capsys.readouterr().out)["error"]["differences"] == ["model: a → b"]


def test_a_traceback_is_for_those_who_ask(capsys):
    run_with(JobError("no"), "--debug")
    assert "Traceback" in capsys.readouterr().err

    run_with(JobError("no"))
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_one_line_and_an_exit_code_of_its_own(tmp_path):
    code = (
        "import sys\n"
        "from batcher.cli import app\n"
        "app.VERBS = {'run': ('batcher.cli.app:nothing', '')}\n"
        "sys.argv = ['batcher', 'run'] + sys.argv[1:]\n"
        "app.main()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    debug = subprocess.run([sys.executable, "-c", code, "--debug"], capture_output=True, text=True, check=False)

    assert done.returncode == debug.returncode == EXIT_BUG
    assert done.stderr.startswith("error: a bug in batcher: AttributeError: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in debug.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m batcher schema | head -n 1", shell=True, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_missing_job_in_a_real_process(tmp_path):
    done = batcher("run", "jobs/helo/job.toml", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: No such job: jobs/helo/job.toml")
