"""D39 and D40: the key is nowhere but in the requests, and data is sent as it is and never run."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.errors import Exit
from tests.whole.catalogue.started import EXIT_BUG, Started, holding
from tests.whole.processes import Forked
from tests.whole.runs import MODEL, a_job, column, run, run_argv, sums, write_lines

CANARY = "canary/9d2e61+not-for-anybody~77aa"  # no shape that a pattern would know
ROWS = 300  # two blocks: one is sealed, of the other there is a journal


# --- D39


def everything_in(folder):
    """Every file as it lies on disk; what is compressed or in columns, as it reads, too."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        yield str(path), content.decode("latin-1")
        if path.suffix == ".parquet":
            yield f"{path} (rows)", str(pq.read_table(path).to_pylist())
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as file:
                yield f"{path} (rows)", str(pa.ipc.open_file(file).read_all().to_pylist())


def assert_nowhere(folder, *said):
    spellings = {CANARY, CANARY.replace("/", "\\/"), CANARY.replace("/", "%2F").replace("+", "%2B"), CANARY[:20]}
    places = {"what was said": "\n".join(said)} | dict(everything_in(folder))
    assert [place for place, text in places.items() if any(each in text for each in spellings)] == []


def process_lists():
    """The arguments of every process that can be looked at."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "cmdline").read_text("latin-1")
        except OSError:
            continue


def with_canary(*argv, **more):
    environ = os.environ | {"GEMINI_API_KEY": CANARY, "GOOGLE_API_KEY": ""} | more
    with Forked(argv, environ) as process:
        return process.ends(within_s=60)


def test_the_canary_would_be_found(tmp_path):
    """What looks for the key finds it, in a compressed column and in what was said."""
    (tmp_path / "out").mkdir()
    table = pa.table({"text": ["x" * 1000 + CANARY]})
    pq.write_table(table, tmp_path / "out" / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(AssertionError):
        assert_nowhere(tmp_path / "out")
    with pytest.raises(AssertionError):
        assert_nowhere(tmp_path / "nothing", f"error: {CANARY}")


def test_d39_the_key_is_in_no_file_and_no_line(tmp_path):
    """A canary key has no hit in the run's folder, its state, debug output or reports; nor has it after a kill."""
    out = tmp_path / "out"
    rows = write_lines(tmp_path / "rows.jsonl", sums(ROWS))
    with Emulator(Settings(seed=7, keys=(CANARY,))).in_thread() as emulator:
        argv = run_argv(rows, out, emulator.url, "-v", "--debug", "--set", "output.raw=true")
        killed = with_canary(*argv, BATCHER_FAILPOINT="sealed")
        assert killed.returncode < 0
        assert (out / ".state/journal.db-wal").exists()
        assert_nowhere(tmp_path, killed.stdout, killed.stderr)

        done = with_canary(*argv)
        reports = [with_canary(verb, out, *more) for verb, *more in REPORTS]

    assert done.returncode == Exit.DONE, done.stderr
    assert [report.returncode for report in reports] == [0] * len(reports)
    assert_nowhere(tmp_path, done.stdout, done.stderr, *(each.stdout + each.stderr for each in reports))


REPORTS = [("status",), ("status", "--json"), ("show",), ("show", "--json")]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are read from /proc")
def test_d39_no_list_of_processes_shows_the_key_while_it_runs(tmp_path):
    """While requests are out, no process on the machine has the key among its arguments, and status.json has none."""
    out = tmp_path / "out"
    rows = write_lines(tmp_path / "rows.jsonl", sums(20))
    with holding() as (emulator, _):
        argv = run_argv(rows, out, emulator.url, "-v", "--debug")
        with Started(argv, GEMINI_API_KEY=CANARY, anew=True) as started:
            started.until(lambda: emulator.totals().requests == 8)
            assert [arguments for arguments in process_lists() if f"\0{out}\0" in arguments]
            assert [arguments for arguments in process_lists() if CANARY in arguments] == []
            assert_nowhere(tmp_path)
            started.kill()
            ended = started.ends()
    assert_nowhere(tmp_path, ended.stdout, ended.stderr)


CRASH = """
import os
import batcher.engine.crossing as crossing
from batcher.__main__ import main
from batcher.asking.transport import Door

class Broken(Door):
    async def post(self, request):
        key = self._secret.decode()
        raise RuntimeError(f"the door fell off{os.environ.get('LOUD') and ' with ' + key or ''}")

opened = crossing.open_door
def broken(*given):
    door = opened(*given)
    door.__class__ = Broken
    return door
crossing.open_door = broken
main()
"""


@pytest.mark.parametrize(
    ("more", "loud"),
    [
        pytest.param((), "1", id="plain-in the message"),
        pytest.param(("--debug", "-v"), "", id="debug-in a local"),
        pytest.param((), "", id="plain-in a local", marks=pytest.mark.slow),  # each half of it is above
        pytest.param(("--debug", "-v"), "1", id="debug-in the message", marks=pytest.mark.slow),
    ],
)
def test_d39_a_forced_crash_does_not_print_the_key(tmp_path, more, loud):
    """A crash with the key in a local variable, or in the error's own text, prints no key, with and without --debug."""
    rows = write_lines(tmp_path / "rows.jsonl", sums(20))
    argv = run_argv(rows, tmp_path / "out", "http://127.0.0.1:9", *more)
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH, *argv],
        env=os.environ | {"GEMINI_API_KEY": CANARY, "GOOGLE_API_KEY": "", "LOUD": loud},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert crashed.returncode == EXIT_BUG, crashed.stderr
    assert "the door fell off" in crashed.stderr
    assert_nowhere(tmp_path, crashed.stdout, crashed.stderr)


# --- D40

TRICKY = [
    "{{ other }}",
    "{{other}} and {{ id }}",
    "{0.__class__} {other} {}",
    "{% for n in range(10**9) %}x{% endfor %}",
    "{# gone #}{{ ''.__class__.__mro__ }}",
    "${x} $x $(id) `id` %s %(other)s",
    "<%= other %> #{other} [[other]]",
    "{{ self }} {{ range(99999999) | list }}",
]


@pytest.mark.parametrize("template", ["{{ text }}", None], ids=["through a template", "as the prompt itself"])
def test_d40_what_looks_like_a_template_in_data_is_sent_as_it_is(emulator, sent, tmp_path, template):
    """Data that holds {{other}}, {0.__class__}, {% for %} or ${x} arrives literally and is never rendered."""
    name = "prompt" if template is None else "text"
    rows = [{"id": f"q{n}", name: text, "other": "SECRET OF ANOTHER COLUMN"} for n, text in enumerate(TRICKY)]
    more = {} if template is None else {"prompt__template": template}

    run(
        a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), limits__concurrency=1, **more), tmp_path / "out"
    )

    assert sent() == TRICKY
    assert column(tmp_path / "out", "prompt") == TRICKY
    assert column(tmp_path / "out", "status") == ["ok"] * len(TRICKY)


def test_d40_system_instructions_and_nested_values_are_data_too(emulator, tmp_path):
    """A value inside a list or an object, or one that a system template shows, is rendered once and never again."""
    rows = [{"items": ["{{ other }}", {"deep": "{% raw %}"}], "who": "{{ other }}", "other": "SECRET"}]
    job = a_job(
        emulator.url,
        write_lines(tmp_path / "rows.jsonl", rows),
        prompt__template="{{ items[0] }} {{ items[1].deep }}",
        prompt__system="For {{ who }}",
    )

    run(job, tmp_path / "out")

    (received,) = emulator.journal
    body = orjson.dumps(received.body).decode()
    assert received.prompt_text == "{{ other }} {% raw %}"
    assert "For {{ other }}" in body
    assert "SECRET" not in body
    assert received.model == MODEL
