import json

import pytest

from batcher.cli.app import call
from batcher.engine.hostlimits import Known, Today
from batcher.pacing.learntlimits import Learnt
from tests.cli.engines import FakeEngine

LANE = "https://generativelanguage.googleapis.com gemini-2.5-flash"
ONE, OTHER = f"{LANE} key-0123456789ab", "https://gateway.example p gemini-2.5-pro"
TOLD = Known(
    learnt=(
        Learnt(owner=ONE, quota="requests/min", value=1000.0, at_us=1_767_225_600_000_000, run="out/a"),
        Learnt(owner=OTHER, quota="input tokens/min", value=250_000.0, at_us=1_767_312_000_000_000, run="out/b"),
    ),
    today=(Today(owner=ONE, requests=412, resets_at_us=1_767_254_400_000_000),),
)


def test_limits_are_listed_by_whose_they_are(capsys):
    assert call(["limits"], obj=FakeEngine(told=TOLD)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 limits learnt",
        "",
        f"  {ONE}",
        "    requests/min             1,000  a 429 told out/a on 2026-01-01",
        "    sent today                 412  until 2026-01-01 08:00 UTC",
        "",
        f"  {OTHER}",
        "    input tokens/min       250,000  a 429 told out/b on 2026-01-02",
        "",
        "  next  batcher limits --forget",
    ]


@pytest.mark.parametrize("owner", [ONE, LANE])
def test_one_owner_is_named_with_its_key_or_without(owner, capsys):
    assert call(["limits", owner, "--json"], obj=FakeEngine(told=TOLD)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["owner"] for each in found["learnt"] + found["today"]] == [ONE, ONE]


def test_nothing_known_is_said(capsys):
    assert call(["limits"], obj=FakeEngine()) == 0
    assert capsys.readouterr().out == "no limits learnt\n"


@pytest.mark.parametrize("owner", [None, ONE])
def test_limits_are_forgotten(owner, capsys):
    engine = FakeEngine()
    assert call(["limits", "--forget", *([owner] if owner else [])], obj=engine) == 0
    assert engine.called == {"owner": owner}
    assert capsys.readouterr().out == "2 limits forgotten\n"
