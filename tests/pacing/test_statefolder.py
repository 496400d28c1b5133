"""What one user's runs have to know of each other, on disk."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from batcher.pacing.daypool import DayGrant, DayWant
from batcher.pacing.learntlimits import Learnt, LearntLimits
from batcher.pacing.lease import Answer, Ask, term_of
from batcher.pacing.pool import Want
from batcher.pacing.statefolder import StateFolder, state_folder
from batcher.pacing.wire import answer_of, ask_of

KEY = "canary-key-123456"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, Path("/s/batcher")),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, Path("/h/.local/state/batcher")),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, Path("/h/.local/state/batcher")),
        ({}, None),
    ],
)
def test_the_folder_is_where_the_standard_says(environ, wanted):
    assert state_folder(environ) == wanted


def test_the_folder_and_its_files_are_the_owners_alone(tmp_path):
    folder = StateFolder(tmp_path / "a" / "b")
    folder.make()
    folder.path.chmod(0o755)
    folder.make()
    folder.write("x.json", {"a": 1})
    with folder.locked("x") as mine:
        assert mine
    folder.mark(KEY)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


def test_a_file_that_is_not_ours_reads_as_empty(tmp_path):
    folder = StateFolder(tmp_path)
    (tmp_path / "x.json").write_bytes(b"{")
    (tmp_path / "y.json").write_bytes(b"[]")
    assert folder.read("x.json") == folder.read("y.json") == folder.read("z.json") == {}


def test_a_lock_is_held_by_one(tmp_path):
    folder = StateFolder(tmp_path)
    with folder.locked("x") as mine, folder.locked("x", wait=False) as theirs:
        assert (mine, theirs) == (True, False)
    with folder.locked("x", wait=False) as mine:
        assert mine


def test_a_mark_names_a_key_and_tells_nothing_of_it(tmp_path):
    here, elsewhere = StateFolder(tmp_path / "a"), StateFolder(tmp_path / "b")
    here.make()
    elsewhere.make()
    assert here.mark(KEY) == here.mark(KEY) != here.mark(f"{KEY}7")
    assert here.mark(KEY) != elsewhere.mark(KEY)  # so that nobody can look it up
    assert len(here.mark(KEY)) == len("key-") + 12
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def learnt(owner: str = "o m", quota: str = "requests/min", value: float = 60) -> Learnt:
    return Learnt(owner=owner, quota=quota, value=value, at_us=7, run="out/a")


def test_limits_are_learnt_told_and_forgotten(tmp_path):
    limits = LearntLimits(StateFolder(tmp_path / "s"))
    assert limits.all() == ()
    assert limits.forget() == 0
    assert not (tmp_path / "s").exists()
    for each in (learnt(), learnt(quota="requests/day"), learnt("o m key-1"), learnt("o n"), learnt(value=50)):
        limits.put(each)
    assert [each.value for each in limits.get("o m")] == [60, 50, 60]
    assert limits.get("o m key-1") == (learnt("o m key-1"),)
    assert limits.forget("o n") == 1
    assert limits.forget() == 3
    assert limits.all() == ()


def test_limits_of_another_version_are_left_alone(tmp_path):
    folder = StateFolder(tmp_path)
    folder.write("limits.json", {"limits": [{"owner": "x"}]})
    assert LearntLimits(folder).all() == ()


def test_words_come_over_a_line_as_they_were():
    ask = Ask(
        report=3,
        minutes=(Want(pool="p", limit=1.5, used=2, corrections={1: -3}, hand=4, want=5, least=6),),
        days=(DayWant(pool="p", limit=9, run="r", day=8, sent=7, hand=6, want=5),),
    )
    answer = Answer(report=3, next_s=0.1, hold_s=1.0, more={"p": 2}, days=(DayGrant(pool="p", day=8, more=1, left=0),))
    assert ask_of(orjson.loads(orjson.dumps(ask, option=orjson.OPT_NON_STR_KEYS))) == ask
    assert answer_of(orjson.loads(orjson.dumps(answer))) == answer


@pytest.mark.parametrize("said", [None, [], {}, {"report": 1}, {"report": 1, "minutes": [{}], "days": []}, "x"])
def test_other_words_are_no_words(said):
    with pytest.raises(ValueError, match="no ask"):
        ask_of(said)
    with pytest.raises(ValueError, match="no answer"):
        answer_of(said)


@pytest.mark.parametrize(("clients", "period_s"), [(1, 0.1), (20, 0.1), (200, 1.0), (10_000, 10.0)])
def test_a_broker_has_no_more_than_200_calls_a_second(clients, period_s):
    term = term_of(clients)
    assert term.period_s == pytest.approx(period_s)
    assert term.hold_s >= 4 * term.period_s
