"""What the state folder knows, and what a plan makes of it."""

from __future__ import annotations

import pytest

from batcher.engine.hostlimits import Known, forget, known
from batcher.errors import StorageError
from batcher.job.spec import Limits
from batcher.pacing.learntlimits import Learnt, LearntLimits
from batcher.pacing.links import STATE
from batcher.pacing.statefolder import StateFolder

LANE = "https://e.example gemini"


def learnt(quota: str, value: float, owner: str = LANE) -> Learnt:
    return Learnt(owner=owner, quota=quota, value=value, at_us=1_767_225_600_000_000, run="out/a")


def test_what_was_learnt_and_sent_is_known_until_it_is_forgotten_or_over(tmp_path):
    folder = StateFolder(tmp_path / "s")
    LearntLimits(folder).put(learnt("requests/min", 60, f"{LANE} key-1"))
    folder.write(STATE, {"days": {LANE: {"day": 9, "runs": {"a": 3, "b": 4}}, "old": {"day": 1, "runs": {"a": 3}}}})

    found = known(tmp_path / "s", now_us=5)
    assert [(day.owner, day.requests) for day in found.today] == [(LANE, 7)]
    assert found.of(LANE) == found
    assert found.of("https://e.example") == Known()
    assert list(found.notes(Limits(requests_per_day=10))) == [
        "requests/min: 60, as a 429 told out/a on 2026-01-01; batcher limits --forget drops it",
        "today: 7 of 10 requests sent by the runs of this machine",
    ]
    assert forget(tmp_path / "s", None) == 1
    assert known(tmp_path / "s", now_us=9) == Known()


def test_without_a_folder_nothing_is_known(tmp_path):
    assert known(None, now_us=0) == known(tmp_path / "none", now_us=0) == Known()
    assert forget(None, None) == forget(tmp_path / "none", None) == 0


def test_a_folder_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "limits.json").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        known(tmp_path, now_us=0)
    with pytest.raises(StorageError, match="Is a directory"):
        forget(tmp_path, None)


@pytest.mark.parametrize(
    ("stated", "told", "wanted"),
    [
        ({}, [("requests/min", 60)], {"requests_per_minute": 60}),
        ({"requests_per_minute": 50}, [("requests/min", 60)], {"requests_per_minute": 50}),
        ({"requests_per_minute": 70}, [("requests/min", 60), ("requests/min", 65)], {"requests_per_minute": 60}),
        ({}, [("requests/day", 1500.0), ("spend", 3)], {"requests_per_day": 1500}),
        ({}, [("input tokens/min", 1000)], {"input_tokens_per_minute": 1000}),
    ],
)
def test_the_smaller_of_what_was_stated_and_told_holds(stated, told, wanted):
    limits = Known(learnt=tuple(learnt(*each) for each in told)).narrow(Limits(**stated))
    assert limits == Limits(**wanted)
