from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.quota import (
    DOUBT_SIGMAS,
    MINUTE_S,
    SKEW_S,
    Account,
    DayCount,
    TokenScale,
    Window,
    burst,
    pacific_midnight_after,
)

HOLD_S = MINUTE_S + SKEW_S


# --- burst


@pytest.mark.parametrize(("per_second", "at_once"), [(0.25, 1.0), (1.0, 1.0), (50.0, 50.0)])
def test_a_burst_is_one_second_of_the_rate_and_at_least_one(per_second, at_once):
    assert burst(per_second) == at_once


# --- the window


def test_an_entry_holds_its_room_for_a_minute_and_the_skew():
    window = Window(10)
    window.add(100.0, 4)

    assert window.room(100.0 + MINUTE_S) == 6
    assert window.room(100.0 + HOLD_S) == 10


def test_earliest_is_when_enough_has_left():
    window = Window(10)
    for at_s, amount in ((0.0, 3), (1.0, 3), (2.0, 4)):
        window.add(at_s, amount)

    assert window.earliest(5.0, 3) == HOLD_S
    assert window.earliest(5.0, 4) == 1.0 + HOLD_S
    assert window.earliest(5.0, 10) == 2.0 + HOLD_S
    assert window.earliest(1.0 + HOLD_S, 4) == 1.0 + HOLD_S


def test_what_is_bigger_than_the_quota_goes_alone():
    window = Window(10)
    assert window.fits(0.0, 25)
    window.add(0.0, 2)

    assert not window.fits(1.0, 25)
    assert window.earliest(1.0, 25) == HOLD_S
    window.add(HOLD_S, 25)
    assert not window.fits(HOLD_S + 1, 1)
    assert window.fits(2 * HOLD_S, 1)


def test_a_smaller_reply_makes_room_and_a_bigger_one_takes_it():
    window = Window(10)
    entry = window.add(0.0, 5)
    window.amend(1.0, entry, 2)
    assert window.room(1.0) == 8
    window.amend(2.0, entry, 12)
    assert window.room(2.0) == -2
    assert window.earliest(2.0, 1) == HOLD_S


def test_a_reply_after_its_entry_left_changes_nothing():
    window = Window(10)
    entry = window.add(0.0, 5)

    window.amend(HOLD_S, entry, 9)

    assert window.room(HOLD_S) == 10


def test_unanswered_requests_keep_room_for_what_nobody_knows():
    window = Window(1000)
    entries = [window.add(0.0, 100, doubt=25.0) for _ in range(4)]

    assert window.room(0.0) == 600 - DOUBT_SIGMAS * 10
    for entry in entries:
        window.amend(1.0, entry, 100)
    assert window.room(1.0) == 600


@given(
    limit=st.integers(5, 50),
    steps=st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 40), st.one_of(st.none(), st.integers(0, 40))),
        max_size=40,
    ),
)
def test_the_window_is_the_sum_over_its_entries(limit, steps):
    """Against a plain list of everything that ever went; and nothing but the lone goes beyond the limit."""
    window, now_s, everything = Window(limit), 0.0, []
    for gap_s, amount, actual in steps:
        now_s += gap_s
        held = sum(entry.amount for entry in everything if entry.leaves_s > now_s)
        assert window.room(now_s) == limit - held
        at_s = window.earliest(now_s, amount)
        assert window.fits(now_s, amount) == (at_s == now_s)
        now_s = at_s
        assert window.fits(now_s, amount)
        everything.append(window.add(now_s, amount))
        held = sum(entry.amount for entry in everything if entry.leaves_s > now_s)
        assert held <= limit or held == amount
        if actual is not None and actual <= amount:
            window.amend(now_s, everything[len(everything) // 2], actual)
            assert window.held == sum(entry.amount for entry in everything if entry.leaves_s > now_s)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 9), st.floats(0, 1e6)), min_size=1, max_size=50))
def test_doubt_never_outlives_its_requests(entries):
    window, now_s = Window(1e9), 0.0
    for gap_s, amount, doubt in entries:
        now_s += gap_s
        entry = window.add(now_s, amount, doubt)
        if amount % 2:
            window.amend(now_s, entry, amount)

    assert window.room(now_s + HOLD_S) == pytest.approx(1e9, abs=1)


# --- the account


def test_the_first_request_pays_for_a_whole_burst():
    account = Account(10.0, most_owed=600)

    assert account.due(1) == 10.0
    assert account.charge(1) == 0.0
    account.pay(10.0)
    assert account.due(1) == 1.0


def test_the_rest_of_a_big_request_is_paid_before_the_next():
    account = Account(10.0, most_owed=600)
    account.charge(1)
    account.pay(10.0)

    assert account.due(35) == 10.0
    assert account.charge(35) == 25.0
    account.pay(10.0)

    assert account.due(1) == 26.0


def test_corrections_shorten_or_lengthen_the_next_wait_within_bounds():
    account = Account(10.0, most_owed=600)
    account.charge(10)
    account.pay(10.0)

    account.correct(5)
    assert account.due(1) == 6.0
    account.correct(-1000)
    assert account.due(1) == -9.0  # a second of the rate in hand, not a minute
    account.correct(10**12)
    assert account.due(1) == 591.0  # a minute, not for ever


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(-5, 5)), min_size=1, max_size=40))
def test_in_the_long_run_all_that_went_is_paid(requests):
    """Sum of payments = sum of amounts + corrections, but for what is still owed and the burst of the first."""
    account = Account(20.0, most_owed=1200)
    paid = total = 0.0
    for amount, error in requests:
        due = account.due(amount)
        account.charge(amount)
        if due > 0:
            account.pay(due)
            paid += due
        account.correct(error)
        total += amount + error
    first = max(account.burst - requests[0][0], 0)
    assert paid + account.owed == pytest.approx(total + first, abs=1e-6)


# --- tokens for an estimated token


def test_a_constant_ratio_is_learnt_from_one_reply():
    scale = TokenScale()
    assert scale.amount(100) == 100
    scale.learn(100, 160)
    assert scale.amount(50) == 80
    assert scale.amount(0) == 1


def test_exact_replies_leave_no_doubt():
    scale = TokenScale()
    assert scale.doubt(100) == 25.0**2
    for _ in range(2000):
        scale.learn(100, 130)
    assert scale.doubt(100) < 1.0


@pytest.mark.parametrize(("estimate", "actual"), [(0, 5), (5, 0), (-1, 5)])
def test_nothing_is_learnt_from_nothing(estimate, actual):
    scale = TokenScale()
    scale.learn(estimate, actual)
    assert (scale.ratio, scale.variance) == (1.0, TokenScale.UNTAUGHT**2)


def test_one_absurd_reply_is_not_believed():
    scale = TokenScale()
    scale.learn(100, 10**15)
    assert scale.ratio == TokenScale.MOST
    for _ in range(1000):
        scale.learn(100, 100)
    assert scale.ratio == pytest.approx(1.0, abs=0.2)


@given(seed=st.integers(0, 1000), ratio=st.floats(0.3, 4), noise=st.floats(0, 0.4))
def test_the_sum_of_many_estimates_comes_out_right(seed, ratio, noise):
    chance, scale = random.Random(seed), TokenScale()
    asked = actual = 0
    for n in range(1500):
        estimate = chance.randint(50, 2000)
        tokens = round(estimate * ratio * chance.uniform(1 - noise, 1 + noise))
        if n >= 500:
            asked += scale.amount(estimate)
            actual += tokens
        scale.learn(estimate, tokens)
    assert asked == pytest.approx(actual, rel=0.03)
    assert scale.variance**0.5 == pytest.approx(noise / 3**0.5, rel=0.4, abs=0.03)


# --- the day


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("now", "resets"),
    [
        ("2026-01-15T07:59:59", "2026-01-15T08:00:00"),
        ("2026-01-15T08:00:00", "2026-01-16T08:00:00"),
        ("2026-07-15T12:00:00", "2026-07-16T07:00:00"),
        ("2026-03-08T08:00:00", "2026-03-09T07:00:00"),  # the day of 23 hours
        ("2026-11-01T07:00:00", "2026-11-02T08:00:00"),  # the day of 25
        ("2026-12-31T20:00:00", "2027-01-01T08:00:00"),
    ],
)
def test_the_day_ends_at_midnight_in_los_angeles(now, resets):
    assert pacific_midnight_after(us(now)) == us(resets)


@given(st.integers(us("2020-01-01T00:00:00"), us("2035-01-01T00:00:00")))
def test_the_reset_lies_ahead_by_a_day_at_most(wall_us):
    assert 0 < pacific_midnight_after(wall_us) - wall_us <= 25 * 3600 * 1_000_000


def test_a_day_holds_its_limit_and_the_next_begins_anew():
    day = DayCount(3, used=1, wall_us=us("2026-01-15T12:00:00"))
    day.take()
    assert day.left(us("2026-01-16T07:59:59")) == 1
    day.take()
    assert day.left(us("2026-01-16T07:59:59")) == 0
    assert day.left(us("2026-01-16T08:00:00")) == 3
    assert day.resets_at_us == us("2026-01-17T08:00:00")


def test_what_was_not_sent_goes_back_to_its_own_day():
    day = DayCount(3, used=0, wall_us=us("2026-01-15T12:00:00"))
    yesterday = day.take()
    day.give_back(day.take())
    assert day.left(us("2026-01-15T13:00:00")) == 2

    assert day.left(us("2026-01-16T13:00:00")) == 3
    day.give_back(yesterday)
    assert day.left(us("2026-01-16T13:00:00")) == 3
