import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from batcher.cli.app import call
from batcher.engine.outlook import Resume
from batcher.errors import Exit, PlanChanged
from batcher.reports.forecast import forecast_json, forecast_lines
from tests.cli.engines import FakeEngine
from tests.reports.builders import a_forecast

PLAN = ["plan", "-i", "rows.jsonl", "-m", "gemini-x", "-o", "out/first"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_it_needs_no_key_and_takes_the_flags_of_run():
    engine = FakeEngine()

    assert call([*PLAN, "--rpm", "60", "--limit", "5", "--label", "team=x"], obj=engine) == 0

    loaded = engine.called["loaded"]
    assert (loaded.job.model, loaded.job.limits.requests_per_minute, loaded.job.labels) == (
        "gemini-x",
        60,
        {"team": "x"},
    )
    assert loaded.sources["limits.requests_per_minute"] == "flag --rpm"
    assert (engine.called["of"], engine.called["limit of"]) == (Path("out/first"), 5)


def test_the_screen_is_of_the_forecast(capsys):
    engine = FakeEngine()
    next_command = "batcher run -i rows.jsonl -m gemini-x -o out/first"

    assert call(PLAN, obj=engine) == 0
    assert capsys.readouterr().out.splitlines() == forecast_lines(engine.ahead, next_command=next_command)
    assert call([*PLAN, "-v"], obj=engine) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == forecast_lines(engine.ahead, next_command=next_command, all_settings=True)


def test_json_is_one_document(capsys):
    engine = FakeEngine()

    assert call([*PLAN, "--json"], obj=engine) == 0

    said = capsys.readouterr()
    command = "batcher run -i rows.jsonl -m gemini-x -o out/first"
    assert json.loads(said.out) == json.loads(json.dumps(forecast_json(engine.ahead, next_command=command)))
    assert said.err == ""


def test_before_anything_was_seen_a_preview_comes_first(capsys):
    unseen = replace(a_forecast().assumed, output_from="a guess: 5 to 800 tokens an answer; nothing seen yet")
    engine = FakeEngine(ahead=a_forecast(assumed=unseen))

    assert call(PLAN, obj=engine) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("-o out/first --limit 5 --show")
    assert call([*PLAN, "--limit", "3"], obj=engine) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("-o out/first --limit 3")
    assert call([*PLAN, "--limit=3"], obj=engine) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("-o out/first --limit=3")


def test_rows_that_cannot_be_asked_are_mended_first(capsys):
    ahead = a_forecast(first=None, left=0, looked_at=2, problems=(2, ("rows.jsonl:1: not JSON",)))

    assert call(PLAN, obj=FakeEngine(ahead=ahead)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "sft: no row can be asked (2 looked at)"
    assert said[-1] == "  next  batcher plan -i rows.jsonl -m gemini-x -o out/first"


def test_what_is_done_is_shown_next(capsys):
    done = Resume(state="done", done=5_000, left=0, cost_usd=Decimal(1), pid=None)

    assert call(PLAN, obj=FakeEngine(ahead=a_forecast(left=0, resume=done))) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  next  batcher show out/sft"


def test_what_is_refused_is_said_as_by_run(capsys):
    engine = FakeEngine(error=PlanChanged("out/first: another job", differences=("a: 1 → 2",), hint="name another"))

    assert call(PLAN, obj=engine) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == ["error: out/first: another job", "  a: 1 → 2", "  name another"]
    assert call([*PLAN, "--show"], obj=engine) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: no such option '--show'")


def test_quiet_says_nothing(capsys):
    assert call([*PLAN, "-q"], obj=FakeEngine()) == 0
    assert capsys.readouterr() == ("", "")
