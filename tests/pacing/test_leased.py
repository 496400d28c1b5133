"""What a lane holds of a shared quota, and what it tells of it."""

from __future__ import annotations

from math import inf

import pytest

from batcher.pacing.daypool import DayGrant
from batcher.pacing.leased import LeasedDay, LeasedWindow
from batcher.pacing.quota import MINUTE_S, SKEW_S

HOLD_S = MINUTE_S + SKEW_S


class Stirred:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def stirred() -> Stirred:
    return Stirred()


@pytest.fixture
def window(stirred) -> LeasedWindow:
    return LeasedWindow(600, pool="p", report=1, stir=stirred, lacks=lambda: None)


def test_what_is_not_in_hand_does_not_fit_and_is_asked_for(window, stirred):
    assert not window.fits(0.0, 3)
    want = window.want(0.0, 0.1)
    assert (want.hand, want.used, want.least) == (0, 0, 3)
    assert want.want >= 3

    window.given(2, now_s=0.1, until_s=1.0)
    assert not window.fits(0.1, 3)
    assert stirred.times == 0
    window.given(1, now_s=0.2, until_s=1.1)
    assert stirred.times == 1
    assert window.fits(0.2, 3)
    assert window.earliest(0.2, 3) == 0.2


def test_units_of_a_client_that_was_frozen_are_void(window):
    window.fits(0.0, 5)
    window.want(0.0, 0.1)
    window.given(5, now_s=0.1, until_s=1.0)
    assert window.fits(0.99, 5)

    assert not window.fits(1.0, 5)  # thawed later than the lease was good for
    assert window.want(1.0, 0.1).hand == 0
    window.given(5, now_s=4.0, until_s=2.0)  # and its answer came too late
    assert not window.fits(4.0, 1)


def test_too_little_is_given_back_and_what_is_enough_is_kept_until_it_goes(window):
    window.fits(0.0, 5)
    window.want(0.0, 0.1)
    window.given(3, now_s=0.1, until_s=1.0)
    assert window.want(0.2, 0.1).hand == 0
    window.given(5, now_s=0.3, until_s=1.2)
    assert window.want(0.4, 0.1).hand == 5  # it pays its pace meanwhile
    window.given(0, now_s=0.4, until_s=1.4)
    window.add(0.5, 5)
    assert window.want(0.6, 0.1).used == 5


def test_what_replies_correct_is_told_of_the_report_that_it_was_in(window):
    window.hand, window.until_s = 100, inf
    first = window.add(0.0, 10)
    window.amend(0.1, first, 8)
    assert window.want(0.2, 0.1).used == 8
    second = window.add(0.3, 10)
    window.want(0.4, 0.1)
    window.amend(0.5, first, 9)
    window.amend(0.5, second, 4)
    assert window.want(0.6, 0.1).corrections == {1: 1, 2: -6}
    window.amend(HOLD_S + 0.1, first, 1000)  # nobody counts it any more
    assert window.want(HOLD_S + 0.2, 0.1).corrections == {}


def test_of_a_new_broker_nothing_is_in_hand_and_only_what_it_cannot_know_is_told(window):
    window.hand, window.until_s = 100, inf
    told, untold = window.add(0.0, 10), None
    window.want(0.1, 0.1)
    untold = window.add(0.2, 10)
    window.amend(0.2, told, 12)
    window.begin(7)
    window.amend(0.3, untold, 7)
    window.amend(0.3, told, 13)

    want = window.want(0.4, 0.1)
    assert (want.hand, want.used) == (0, 0)
    assert sum(more for more in want.corrections.values() if more > 0) == 3
    assert not window.fits(0.4, 1)


def test_what_estimates_may_be_off_by_is_in_hand_as_well(window):
    window.hand, window.until_s = 16, inf
    assert window.fits(0.0, 10, 4.0)  # 10 and three times the root of 4
    assert not window.fits(0.0, 11, 4.0)


def test_what_is_bigger_than_the_quota_goes_alone(window):
    window.hand, window.until_s = 700, inf
    assert window.fits(0.0, 700)
    window.add(0.0, 700)
    window.hand = 700
    assert not window.fits(0.1, 700)
    assert window.earliest(0.1, 700) == HOLD_S


def test_without_a_broker_it_is_an_ordinary_window(window):
    window.share_no_more()
    assert window.fits(0.0, 600)
    window.add(0.0, 600)
    assert not window.fits(1.0, 1)
    assert window.earliest(1.0, 1) == HOLD_S


DAY_US = 86_400_000_000


@pytest.fixture
def day(stirred) -> LeasedDay:
    return LeasedDay(100, used=40, wall_us=0, pool="p", run="r", stir=stirred, lacks=lambda: None)


def test_a_day_waits_for_leave_and_is_over_when_nobody_has_any(day, stirred):
    assert day.left(0) == 0
    assert not day.is_over(0)  # more may be on its way
    want = day.want(0.0)
    assert (want.sent, want.hand, want.want) == (40, 0, 1)
    day.given(DayGrant(pool="p", day=want.day, more=1, left=3))
    assert (day.left(0), stirred.times) == (1, 1)
    day.take()
    assert not day.is_over(0)
    assert day.want(0.1).sent == 41
    day.given(DayGrant(pool="p", day=want.day, more=0, left=0))
    assert day.is_over(0)
    assert stirred.times == 2


def test_a_new_day_has_leave_of_its_own(day):
    day.left(0)
    old = day.want(0.0).day
    day.given(DayGrant(pool="p", day=old, more=0, left=0))
    assert day.is_over(0)
    assert not day.is_over(2 * DAY_US)
    assert day.used == 0
    day.given(DayGrant(pool="p", day=old, more=5, left=5))  # an answer about yesterday
    assert day.left(2 * DAY_US) == 0


def test_a_day_that_is_not_shared_counts_this_run(day):
    day.share_no_more()
    assert day.left(0) == 60
    for _ in range(60):
        day.take()
    assert day.is_over(0)
