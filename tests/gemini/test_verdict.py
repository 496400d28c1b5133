"""What every verdict on every body that was seen has in common."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from batcher.gemini.refusal import OK, Verdict, judge, status_of
from batcher.records import Answer, Billed, Kind, Status
from tests.gemini.bodies import replied

SEEN = sorted(path.stem for path in (Path(__file__).parent / "data").glob("*.json"))
VERDICTS = {name: judge(*replied(name)) for name in SEEN}

each_seen = pytest.mark.parametrize("name", SEEN)


def test_a_verdict_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        OK.reason = "other"  # type: ignore[misc]  # that it is refused is the point


def test_a_verdict_is_made_by_name_only() -> None:
    with pytest.raises(TypeError):
        Verdict(Kind.OK, "ok", Billed.YES)  # type: ignore[misc]  # that it is refused is the point


@each_seen
def test_only_an_answer_or_a_block_is_billed_for_sure(name: str) -> None:
    verdict = VERDICTS[name]

    assert (verdict.billed is Billed.YES) is (verdict.kind in (Kind.OK, Kind.BLOCKED))


@each_seen
def test_a_throttled_or_parked_request_costs_no_attempt(name: str) -> None:
    verdict = VERDICTS[name]

    assert verdict.counted is (verdict.kind not in (Kind.THROTTLED, Kind.PARKED, Kind.FATAL))


@each_seen
def test_only_what_waits_for_a_quota_names_one(name: str) -> None:
    verdict = VERDICTS[name]

    assert verdict.quota is None or verdict.kind in (Kind.THROTTLED, Kind.PARKED)
    assert verdict.quota is None or verdict.quota.partition("/")[2] in ("min", "day")


@each_seen
def test_what_is_not_an_answer_says_why(name: str) -> None:
    verdict = VERDICTS[name]

    assert bool(verdict.message) is (verdict.kind not in (Kind.OK, Kind.BLOCKED))
    assert verdict.reason


@each_seen
def test_the_row_ends_by_its_kind(name: str) -> None:
    _, answer = replied(name)
    status = status_of(VERDICTS[name], answer if isinstance(answer, Answer) else None)

    if VERDICTS[name].kind is Kind.OK:
        assert status in (Status.OK, Status.TRUNCATED, Status.INVALID)
    else:
        assert status is (Status.BLOCKED if VERDICTS[name].kind is Kind.BLOCKED else Status.FAILED)


@each_seen
def test_judging_twice_is_judging_once(name: str) -> None:
    assert judge(*replied(name)) == VERDICTS[name]
