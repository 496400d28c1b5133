"""The arithmetic of one pool, without any client."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.daypool import DayPool, DayWant
from batcher.pacing.lease import Ask, Broker, term_of
from batcher.pacing.pool import Pool, Want, shares
from batcher.pacing.quota import MINUTE_S, SKEW_S

TERM = term_of(2)
HOLD_S = MINUTE_S + SKEW_S


def wanting(amount: int, *, used: int = 0, hand: int = 0, limit: float = 600, least: int = 1, **more: object) -> Want:
    return Want(pool="p", limit=limit, used=used, hand=hand, want=amount, least=least, corrections=more)  # type: ignore[arg-type]


demands = st.dictionaries(st.integers(0, 9), st.one_of(st.just(inf), st.floats(0, 100)), min_size=1)


@given(total=st.floats(0.1, 1000), demands=demands)
def test_shares_add_up_and_nobody_gains_by_asking_for_more(total, demands):
    parts = shares(total, demands)

    assert sum(parts.values()) == pytest.approx(total)
    for client, demand in demands.items():
        # Max-min: who has less than it demands has at least as much as anybody else has beyond its own demand.
        if parts[client] < demand:
            assert all(parts[client] >= parts[other] - 1e-6 for other in demands)


def test_the_first_unit_of_a_quota_nobody_used_goes_at_once_and_the_rest_at_the_pace():
    pool = Pool(0.0, bucket=1.0)
    assert pool.lease(0.0, 1, wanting(100), 1, TERM) == 1
    got = [1]
    for n in range(1, 31):
        got.append(pool.lease(n / 10, 1, wanting(100, used=got[-1]), 1 + n, TERM))
    assert sum(got) == pytest.approx(600 / HOLD_S * 3 + 1, abs=1)
    assert max(got) <= 2


def test_what_comes_back_unused_is_there_again():
    pool = Pool(0.0, bucket=1.0)
    assert pool.lease(0.0, 1, wanting(1), 1, TERM) == 1
    assert pool.lease(0.1, 1, wanting(1), 2, TERM) == 1
    assert pool.handed_out == 1


def test_without_knowledge_the_bucket_is_empty():
    assert Pool(0.0).lease(0.0, 1, wanting(100), 1, TERM) == 0


def test_what_is_handed_out_counts_until_it_is_told_or_expires():
    pool = Pool(0.0, bucket=1.0)
    pool.lease(0.0, 1, wanting(10), 1, TERM)
    assert (pool.handed_out, pool.window.held) == (1, 0)
    pool.lease(0.5, 1, wanting(0, used=1, least=0), 2, TERM)
    assert (pool.handed_out, pool.window.held) == (0, 1)


@pytest.mark.parametrize("used", [0, 1])
def test_what_nobody_came_back_for_counts_as_used_until_its_holder_says(used):
    pool = Pool(0.0, bucket=1.0)
    assert pool.lease(0.0, 1, wanting(10), 1, TERM) == 1
    pool.lease(2.0, 2, wanting(0, least=0), 1, TERM)  # somebody else: the first one's lease has expired
    assert (pool.handed_out, pool.window.held) == (0, 1)
    pool.lease(5.0, 1, wanting(0, used=used, least=0), 2, TERM)
    assert pool.window.held == used


def test_of_a_client_that_is_gone_what_it_held_counts_as_used():
    pool = Pool(0.0, bucket=1.0)
    pool.lease(0.0, 1, wanting(10), 1, TERM)
    pool.leave(1.0, 1)
    assert (pool.handed_out, pool.window.held) == (0, 1)
    pool.leave(1.0, 1)
    assert pool.window.held == 1


def test_a_correction_goes_to_its_report_and_an_unknown_one_only_adds():
    pool = Pool(0.0, bucket=1.0)
    pool.lease(0.0, 1, wanting(0, used=10, least=0), 1, TERM)
    pool.lease(0.1, 1, Want(pool="p", limit=600, corrections={1: -4, 99: -7}), 2, TERM)
    assert pool.window.held == 6
    pool.lease(0.2, 1, Want(pool="p", limit=600, corrections={99: 5}), 3, TERM)
    assert pool.window.held == 11


def test_each_keeps_its_own_limit_and_together_they_keep_the_largest():
    pool = Pool(0.0, bucket=1.0)
    pool.lease(0.0, 1, wanting(1, limit=300), 1, TERM)
    pool.lease(0.0, 2, wanting(1, limit=600), 1, TERM)
    assert pool.window.limit == 600
    pool.leave(0.1, 2)
    assert pool.window.limit == 300


def test_a_successor_takes_for_used_what_may_have_been():
    pool = Pool(0.0, bucket=1.0)
    pool.lease(0.0, 1, wanting(10), 1, TERM)
    said = pool.snapshot(0.0)

    closed = Pool.restored(100.0, said, since_s=0.5, gap_s=0.0, hold_s=1.0)
    assert closed.window.room(100.0) == 600 - 1
    killed = Pool.restored(100.0, said, since_s=0.5, gap_s=0.5, hold_s=1.0)
    assert killed.window.room(100.0) < 600 - 1 - 600 / HOLD_S * 0.5
    assert killed.window.room(100.0 + HOLD_S + 0.9) < 600
    assert killed.window.room(100.0 + HOLD_S + 1.1) == 600
    later = Pool.restored(100.0, said, since_s=70.0, gap_s=1.0, hold_s=1.0)
    assert later.window.room(100.0) == 600


def a_day(run: str, *, sent: int = 0, hand: int = 0, want: int = 0, day: int = 1, limit: int = 10) -> DayWant:
    return DayWant(pool="p", limit=limit, run=run, day=day, sent=sent, hand=hand, want=want)


def test_a_day_counts_each_run_once():
    pool = DayPool(1, {"old": 4})
    assert pool.lease(1, a_day("a", sent=2, want=3)).more == 3
    assert pool.runs == {"old": 4, "a": 5}
    grant = pool.lease(2, a_day("b", want=5))
    assert (grant.more, grant.left) == (1, 3)  # the last one; the other still holds three
    pool.leave(1)
    assert pool.lease(2, a_day("b", sent=1, want=5)).left == 0
    assert pool.lease(3, a_day("a", sent=2, want=5)).more == 2  # it is back, and knows what it sent
    assert sum(pool.runs.values()) == 9


def test_a_new_day_begins_with_nothing_and_the_old_one_gives_nothing():
    pool = DayPool(1, {"a": 10})
    assert pool.lease(1, a_day("a", sent=10, want=1)).left == 0
    assert pool.lease(1, a_day("a", day=2, want=1)).more == 1
    assert pool.lease(2, a_day("b", day=1, want=1)).more == 0
    assert pool.runs == {"a": 1}


def test_a_broker_hands_its_days_to_the_next():
    broker = Broker(now_s=0.0)
    broker.lease(1, Ask(report=1, days=(a_day("a", sent=3, want=2, day=100),)), now_s=0.0)
    said = broker.snapshot(now_s=0.0, wall_us=50)
    again = Broker(said, now_s=0.0, since_s=0.0)
    answer = again.lease(1, Ask(report=1, days=(a_day("b", want=9, day=100),)), now_s=0.0)
    assert answer.days[0].more == 5
    assert Broker.snapshot(again, now_s=0.0, wall_us=100)["days"] == {}


@pytest.mark.parametrize(("closed", "since_s", "feared"), [(True, 0.0, 1), (False, 0.5, 6), (False, 0.0, 11)])
def test_what_a_killed_broker_may_have_given_counts_even_when_the_clock_was_set_back(closed, since_s, feared):
    broker = Broker(now_s=0.0)
    broker.lease(1, Ask(report=1, minutes=(wanting(10),)), now_s=0.0)
    said = broker.snapshot(now_s=0.0, wall_us=0, closed=closed)

    again = Broker(said, now_s=9.0, since_s=since_s)
    answer = again.lease(1, Ask(report=1, minutes=(wanting(600, least=0),)), now_s=9.0)

    assert answer.more == {"p": 0}  # nothing is in its bucket yet
    used = again.snapshot(now_s=9.0, wall_us=0)["pools"]["p"]["used"]
    assert sum(amount for _, amount in used) == feared


def test_a_snapshot_is_owed_before_a_successor_would_fear_too_little():
    broker = Broker(now_s=0.0)

    def owes(now_s: float, want: Want, report: int) -> bool:
        broker.lease(1, Ask(report=report, minutes=(want,)), now_s=now_s)
        found = broker.is_owed(now_s)
        broker.snapshot(now_s=now_s, wall_us=0)
        return found

    assert owes(0.0, wanting(1), 1)  # nobody knows of the quota yet
    assert not owes(0.5, wanting(1, used=1), 2)
    assert owes(0.7, wanting(1, limit=700, used=1), 3)  # nor that it is larger
    assert not owes(1.5, wanting(1, limit=700, used=1), 4)
    assert owes(2.5, wanting(1, limit=700, used=1), 5)  # the last one is a second old
    # What is more than the bucket holds is paid for later.
    assert any(owes(2.5 + n / 10, wanting(40, limit=700, least=40), 6 + n) for n in range(1, 9))
