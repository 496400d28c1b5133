from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.quotas import WINDOW_S, Day, Lane, Lanes, Quota, Window, next_midnight_s
from batcher.emulator.refusals import Limit
from tests.emulator.builders import at

GAPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 40)), min_size=1, max_size=60)


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@given(GAPS, st.integers(1, 100))
def test_no_stretch_of_a_minute_ever_sees_more_than_the_quota(arrivals: list[tuple[float, int]], allowed: int) -> None:
    window, now_s, accepted = Window(allowed), 0.0, []
    for gap_s, amount in arrivals:
        now_s += gap_s
        if window.wait_s(amount, at_s=now_s) == 0:
            window.take(amount, at_s=now_s)
            accepted.append((now_s, amount))
    for start_s, _ in accepted:
        assert (
            sum(amount for at_s, amount in accepted if start_s <= at_s and at_s + 0.0 < start_s + WINDOW_S) <= allowed
        )


@given(GAPS, st.integers(1, 100))
def test_whoever_waits_as_long_as_told_fits(arrivals: list[tuple[float, int]], allowed: int) -> None:
    window, now_s = Window(allowed), 0.0
    for gap_s, amount in arrivals:
        now_s += gap_s
        wait_s = window.wait_s(amount, at_s=now_s)
        if amount <= allowed:
            now_s += wait_s + 1e-6
            assert window.wait_s(amount, at_s=now_s) == 0
            window.take(amount, at_s=now_s)


@given(GAPS, st.integers(1, 100))
def test_a_moment_earlier_it_would_not_have_fitted(arrivals: list[tuple[float, int]], allowed: int) -> None:
    window, now_s = Window(allowed), 0.0
    for gap_s, amount in arrivals:
        now_s += gap_s
        wait_s = window.wait_s(amount, at_s=now_s)
        if wait_s > 0.01 and amount <= allowed:
            assert window.wait_s(amount, at_s=now_s + wait_s - 0.01) > 0
            return
        if wait_s == 0:
            window.take(amount, at_s=now_s)


def test_what_was_taken_comes_back_exactly_a_minute_later() -> None:
    window = Window(1)
    window.take(1, at_s=10.0)
    assert window.wait_s(1, at_s=69.5) == pytest.approx(0.5)
    assert window.wait_s(1, at_s=70.0) == 0


def test_more_than_the_whole_quota_never_fits() -> None:
    assert Window(10).wait_s(11, at_s=0.0) == WINDOW_S


def test_a_window_remembers_no_more_than_a_minute() -> None:
    window = Window(10)
    for second in range(1000):
        if window.wait_s(1, at_s=float(second)) == 0:
            window.take(1, at_s=float(second))
    assert len(window._taken) <= 10


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        ("2025-07-01T12:00:00", "2025-07-02T07:00:00"),  # summer: UTC-7
        ("2025-07-01T06:59:59", "2025-07-01T07:00:00"),
        ("2025-07-01T07:00:00", "2025-07-02T07:00:00"),
        ("2025-12-01T12:00:00", "2025-12-02T08:00:00"),  # winter: UTC-8
        ("2025-03-09T09:00:00", "2025-03-10T07:00:00"),  # the day of 23 hours
        ("2025-11-02T08:00:00", "2025-11-03T08:00:00"),  # the day of 25 hours
    ],
)
def test_a_day_ends_at_midnight_in_los_angeles(now: str, midnight: str) -> None:
    assert next_midnight_s(epoch(now)) == epoch(midnight)


@given(st.floats(0, 4e9))
def test_the_next_midnight_is_at_most_a_long_day_away(now_s: float) -> None:
    assert 0 < next_midnight_s(now_s) - now_s <= 25 * 3600


def test_a_day_gives_its_requests_once() -> None:
    day, noon = Day(2), epoch("2025-07-01T12:00:00")
    for _ in range(2):
        assert day.wait_s(epoch_s=noon) == 0
        day.take()
    assert day.wait_s(epoch_s=noon) == 19 * 3600
    assert day.wait_s(epoch_s=epoch("2025-07-02T07:00:00")) == 0


def test_a_refused_request_counts_for_nothing() -> None:
    lane = Lane(Quota(requests_per_minute=2, input_tokens_per_minute=100))
    assert lane.admit(100, at()) == ()
    for _ in range(50):
        assert [each.limit for each in lane.admit(1, at(1.0))] == [Limit.INPUT_TOKENS_PER_MINUTE]
    assert lane.admit(100, at(60.0)) == ()


def test_every_broken_quota_is_named() -> None:
    lane = Lane(Quota(requests_per_minute=1, input_tokens_per_minute=10, requests_per_day=1))
    assert lane.admit(10, at()) == ()
    found = lane.admit(1, at(15.0))
    assert {each.limit: each.allowed for each in found} == {
        Limit.REQUESTS_PER_MINUTE: 1,
        Limit.INPUT_TOKENS_PER_MINUTE: 10,
        Limit.REQUESTS_PER_DAY: 1,
    }
    assert found[0].wait_s == pytest.approx(45.0)


def test_each_project_and_model_has_its_own_count() -> None:
    lanes = Lanes([Quota(requests_per_minute=1)])
    pairs = [("a", "m"), ("b", "m"), ("a", "n")]
    for project, model in pairs:
        assert lanes.admit(project, model, tokens=1, now=at()) == ()
    for project, model in pairs:
        assert lanes.admit(project, model, tokens=1, now=at())


def test_the_first_quota_that_covers_a_pair_is_its_quota() -> None:
    lanes = Lanes([Quota(project="rich", requests_per_minute=2), Quota(model="m", requests_per_minute=1)])
    assert [bool(lanes.admit("rich", "m", tokens=1, now=at())) for _ in range(3)] == [False, False, True]
    assert [bool(lanes.admit("poor", "m", tokens=1, now=at())) for _ in range(2)] == [False, True]
    assert not any(lanes.admit("poor", "other", tokens=1, now=at()) for _ in range(100))


def test_without_quotas_everything_is_let_in() -> None:
    lanes = Lanes([])
    assert not any(lanes.admit("p", "m", tokens=10**9, now=at()) for _ in range(100))


def test_a_quota_of_zero_lets_nothing_in() -> None:
    assert Lane(Quota(requests_per_minute=0)).admit(1, at())[0].wait_s == WINDOW_S
    assert Lane(Quota(requests_per_day=0)).admit(1, at())[0].limit is Limit.REQUESTS_PER_DAY
