"""`recover` on the command line: asks before it gives up what was paid for, unless `--yes`."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from batcher.cli.app import call
from batcher.engine.recovered import AskedAgain
from batcher.errors import Exit
from batcher.reports.recover import question
from tests.cli.engines import FakeEngine
from tests.reports.test_recover import NOTHING

LOST = AskedAgain(run_dir="out", tasks=480, parts=1, cost_usd=Decimal("1.5"))


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()


def test_it_says_what_was_lost(capsys):
    assert call(["recover", "out"], obj=FakeEngine(recovered=NOTHING)) == Exit.DONE
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "nothing is lost"
    assert said.err == "reading 1 of 1 blocks\n"


def test_without_a_terminal_and_without_yes_nothing_is_given_up(capsys):
    engine = FakeEngine(lost=[LOST], recovered=NOTHING)
    assert call(["recover", "out"], obj=engine) == Exit.USAGE
    assert engine.called["confirmed"] == [False]
    assert capsys.readouterr().err.splitlines() == [
        question(LOST),
        "error: not confirmed",
        "  add --yes",
    ]


def test_yes_answers_the_question(capsys):
    engine = FakeEngine(lost=[LOST], recovered=replace(NOTHING, again=LOST, left=480))
    assert call(["recover", "out", "--yes"], obj=engine) == Exit.DONE
    assert engine.called["confirmed"] == [True]
    assert capsys.readouterr().out.splitlines()[0] == "recovered: 480 of 1,000 rows are still to be asked"


def test_as_json(capsys):
    assert call(["recover", "out", "--json"], obj=FakeEngine(recovered=NOTHING)) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["verdict"] == "nothing is lost"


def test_a_folder_that_is_not_there(capsys):
    assert call(["recover", "nowhere"], obj=FakeEngine()) == Exit.USAGE
    assert "'nowhere' does not exist" in capsys.readouterr().err
