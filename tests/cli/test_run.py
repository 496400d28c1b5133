import json
from decimal import Decimal
from pathlib import Path

import pytest

from batcher.cli.app import call
from batcher.errors import Exit
from batcher.job.load import load_job
from batcher.records import Status
from batcher.reports.terminal import summary_json, summary_lines
from tests.cli.engines import FakeEngine
from tests.reports.builders import a_summary

CANARY = "AIzaCanary-0123456789a91f"
RUN = ["run", "-i", "rows.jsonl", "-m", "gemini-x", "-o", "out/first"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_API_KEY", CANARY)
    for name in ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def engine():
    return FakeEngine()


def test_every_flag_reaches_the_job(engine, here, monkeypatch):
    monkeypatch.setenv("VISIONCODER_API_KEY", CANARY)
    flags = """
        -i more.jsonl --provider visioncoder --base-url https://example.com/v1beta --dialect google
        --auth x-goog-api-key --concurrency 3 --rpm 60 --tpm 1e6 --rpd 1000 --template Hi --system Kind --samples 2
        --temperature 0.5 --max-output-tokens 9 --label team=a=b --label day=mon --strict --max-failed 1%
        --set retry.attempts=7 --shape alpaca --format csv --max-cost-usd 0.05 --max-tokens 9000 --deadline 3h
    """

    assert call([*RUN, *flags.split()], obj=engine) == 0

    job = engine.called["job"]
    assert (job.name, job.model, job.samples) == ("first", "gemini-x", 2)
    assert job.input.files == (str(here / "rows.jsonl"), str(here / "more.jsonl"))
    assert job.input.strict
    assert (job.input.shape, job.input.format) == ("alpaca", "csv")
    assert job.endpoint.provider == "visioncoder"
    assert (job.endpoint.base_url, job.endpoint.dialect, job.endpoint.auth) == (
        "https://example.com",
        "google",
        "x-goog-api-key",
    )
    limits = job.limits
    assert (limits.concurrency, limits.requests_per_minute, limits.input_tokens_per_minute) == (3, 60, 1e6)
    assert limits.requests_per_day == 1000
    assert (job.budget.max_cost_usd, job.budget.max_tokens, job.budget.deadline) == (Decimal("0.05"), 9000, "3h")
    assert (job.prompt.template, job.prompt.system) == ("Hi", "Kind")
    assert (job.generation.temperature, job.generation.max_output_tokens) == (0.5, 9)
    assert job.labels == {"team": "a=b", "day": "mon"}
    assert (job.run.max_failed, job.retry.attempts) == ("1%", 7)
    assert engine.called["out"] == Path("out/first")
    assert engine.called["limit"] is None
    assert engine.called["key"].reveal() == CANARY


def test_a_flag_that_is_not_typed_leaves_the_job_as_it_is(engine, here):
    (here / "job.toml").write_text(
        'model = "m"\n[input]\nfiles = ["a"]\nstrict = true\n[run]\nmax_failed = 3\n[labels]\nteam = "x"\n'
    )

    assert call(["run", "job.toml"], obj=engine) == 0

    assert engine.called["job"] == load_job(Path("job.toml"), flags={}, sets=(), environ={}).job
    assert engine.called["out"] == Path("out") / here.name


def test_a_count_of_failures_and_a_limit(engine):
    assert call([*RUN, "--max-failed", "12", "--limit", "5"], obj=engine) == 0
    assert engine.called["job"].run.max_failed == 12
    assert engine.called["limit"] == 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--provider", "goggle"],
            "flag --provider: [endpoint] provider: found \"goggle\", wanted 'google' or 'visioncoder'",
        ),
        (["--concurrency", "0"], "flag --concurrency: [limits] concurrency: found 0, wanted at least 1"),
        (["--label", "team"], "invalid value for '--label': found 'team', wanted NAME=VALUE"),
        (
            ["--max-failed", "x"],
            'flag --max-failed: [run] max_failed: found "x", wanted a count or a share such as "1%"',
        ),
        (["--limit", "0"], "invalid value for '--limit': 0 is not in the range x>=1."),
    ],
)
def test_a_wrong_flag_is_refused_by_its_name(engine, flags, said, capsys):
    assert call([*RUN, *flags], obj=engine) == Exit.USAGE
    assert capsys.readouterr().err.splitlines()[0] == f"error: {said}"
    assert engine.called == {}


def test_progress_goes_to_stderr_and_the_summary_to_stdout(engine, capsys):
    assert call(RUN, obj=engine) == 0

    said = capsys.readouterr()
    assert said.out.splitlines() == summary_lines(engine.summary)
    assert said.err.splitlines() == ["input: JSONL, 164 rows", "asking 100", " 50 %  50 of 100 · 13.2 rows/s", ""]


def test_json_is_one_document_and_nothing_else(engine, capsys):
    assert call([*RUN, "--json"], obj=engine) == 0

    said = capsys.readouterr()
    assert json.loads(said.out) == summary_json(engine.summary)
    assert said.err == ""


def test_quiet_says_nothing(engine, capsys):
    assert call([*RUN, "-q"], obj=engine) == 0
    assert capsys.readouterr() == ("", "")


def test_verbose_says_where_settings_come_from_and_never_the_key(engine, capsys):
    assert call([*RUN, "-v", "--label", "team=x"], obj=engine) == 0

    said = capsys.readouterr()
    assert 'model = "gemini-x"  (flag --model)' in said.err.splitlines()
    assert 'endpoint.base_url = "https://generativelanguage.googleapis.com"  (provider google)' in said.err.splitlines()
    assert 'labels.team = "x"  (flag --label)' in said.err.splitlines()
    assert CANARY not in said.out + said.err


def test_a_run_that_stopped_goes_on_by_the_command_that_was_typed(capsys):
    engine = FakeEngine(summary=a_summary(next_command="", exit_code=Exit.INTERRUPT))

    assert call([*RUN, "--template", "Hi {{ name }}"], obj=engine) == Exit.INTERRUPT
    assert capsys.readouterr().out.splitlines()[-1] == (
        "  next      batcher run -i rows.jsonl -m gemini-x -o out/first --template 'Hi {{ name }}'"
    )


@pytest.mark.parametrize("exit_code", [Exit.DONE, Exit.ROWS_FAILED, Exit.STOPPED, Exit.INTERRUPT])
def test_the_exit_code_is_the_summarys(exit_code):
    assert call(RUN, obj=FakeEngine(summary=a_summary(exit_code=exit_code))) == exit_code


def test_without_a_key_nothing_begins(engine, monkeypatch, capsys):
    monkeypatch.setenv("GEMINI_API_KEY", "")

    assert call(RUN, obj=engine) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: no key: GOOGLE_API_KEY and GEMINI_API_KEY are not set",
        "  export GEMINI_API_KEY=…, or set key_file in [endpoint]",
    ]
    assert engine.called == {}


def test_two_different_keys_are_noted(engine, monkeypatch, capsys):
    monkeypatch.setenv("GOOGLE_API_KEY", "another")

    assert call(RUN, obj=engine) == 0
    assert "note: GOOGLE_API_KEY and GEMINI_API_KEY differ; GOOGLE_API_KEY is used" in capsys.readouterr().err


def a_known_job():
    return load_job(None, flags={"model": "m", "input.files": ("a",)}, sets=(), environ={}).job


def test_retry_asks_what_failed(here):
    engine = FakeEngine(known_job=a_known_job())
    (here / "out").mkdir()

    assert call(["retry", "out"], obj=engine) == 0
    assert engine.called["statuses"] == {Status.FAILED}
    assert engine.called["job"] == engine.known_job
    assert engine.called["out"] == Path("out")


def test_retry_may_change_a_setting(here):
    engine = FakeEngine(known_job=a_known_job())
    (here / "out").mkdir()
    flags = ["--status", "truncated", "--status", "invalid", "--set", "generation.max_output_tokens=8192"]

    assert call(["retry", "out", *flags], obj=engine) == 0
    assert engine.called["statuses"] == {Status.TRUNCATED, Status.INVALID}
    assert engine.called["job"].generation.max_output_tokens == 8192


def test_retry_never_asks_for_what_is_good(here, capsys):
    (here / "out").mkdir()

    assert call(["retry", "out", "--status", "ok"], obj=FakeEngine()) == Exit.USAGE
    assert "'ok' is not one of 'blocked'" in capsys.readouterr().err


def test_retry_wants_a_run_directory(capsys):
    assert call(["retry", "nowhere"], obj=FakeEngine()) == Exit.USAGE
    assert "'nowhere' does not exist" in capsys.readouterr().err


def test_a_refusal_names_the_key_by_where_it_came_from_and_its_end(capsys):
    said = "note: asked with the key from GEMINI_API_KEY (…a91f)"

    assert call(RUN, obj=FakeEngine(summary=a_summary(exit_code=Exit.REFUSED))) == Exit.REFUSED
    assert said in capsys.readouterr().out.splitlines()
    assert call(RUN, obj=FakeEngine(summary=a_summary(exit_code=Exit.ROWS_FAILED))) == Exit.ROWS_FAILED
    assert said not in capsys.readouterr().out.splitlines()
