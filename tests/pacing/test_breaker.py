from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.breaker import (
    FEW_IN_A_ROW,
    FEW_OVER_S,
    HALF,
    IN_A_ROW,
    MOST_WAIT_S,
    OF_LAST,
    WITHIN_S,
    Breaker,
    restart_size,
)
from tests.examples import a_few
from tests.fakes import jitter, steady


def fed(breaker: Breaker, replies: str, *, every_s: float = 0.0, from_s: float = 0.0) -> str:
    """What is left of the replies ("." answered, "x" failed) once it opens."""
    for number, reply in enumerate(replies):
        if reply == ".":
            breaker.answers += 1
        elif breaker.failed(from_s + number * every_s):
            return replies[number + 1 :]
    return ""


def opened(replies: str, *, every_s: float = 0.0) -> bool:
    breaker = Breaker(steady(0.5))
    fed(breaker, replies, every_s=every_s)
    return not breaker.is_closed


@pytest.mark.parametrize(
    ("replies", "every_s", "opens"),
    [
        ("x" * 19, 0, False),
        ("x" * 20, 0, True),
        ("x" * 19 + "." + "x" * 19, 0, False),
        ("." * 1000 + "x" * 20, 0, True),
        (".x" * 50, 0, True),  # 50 of the last 99
        (".x" * 49, 0, False),
        ("..x" * 200, 0, False),  # a third
        (".x" * 50, 0.3, True),
        (".x" * 200, 0.4, False),  # half of them, but over 40 s
        ("x" * 6, 1.5, False),
        ("x" * 6, 1.6, True),  # few, but for 8 s nothing else
        ("xxx.xxx.xxxxx", 10, False),
    ],
)
def test_when_it_opens(replies, every_s, opens):
    assert opened(replies, every_s=every_s) is opens


@a_few
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.5, 2.0]), st.booleans()), max_size=300)
    | st.lists(st.tuples(st.just(0.05), st.sampled_from([True, False, False])), min_size=100, max_size=300),
    st.sampled_from([6, IN_A_ROW]),
)
def test_it_opens_by_the_rule_read_over_all_replies(steps, in_a_row):
    """The same rule the slow way: look at the whole past after each failure."""
    breaker, past, now_s = Breaker(steady(0.5), in_a_row=in_a_row), [], 0.0
    for wait_s, answered in steps:
        now_s += wait_s
        past.append((now_s, answered))
        if answered:
            breaker.answers += 1
            continue
        began = [
            row[0][0]
            for many, over_s in ((in_a_row, 0.0), (FEW_IN_A_ROW, FEW_OVER_S))
            if len(row := past[-many:]) == many and not any(ok for _, ok in row) and row[0][0] <= now_s - over_s
        ]
        failed = [at_s for at_s, ok in past[-OF_LAST:] if not ok]
        many = len(failed) >= HALF and failed[-HALF] >= now_s - WITHIN_S
        assert breaker.failed(now_s) is bool(began or many)
        if began or many:
            assert breaker.since_s == (began[0] if began else failed[-HALF])
            break


def test_answers_to_what_was_sent_before_the_first_failure_do_not_keep_it_closed():
    """Ten are out when it goes down; their answers come between the failures of all that is sent from then on."""
    breaker = Breaker(steady(0.5))
    for number in range(IN_A_ROW - 1):
        assert not breaker.failed(0.1 * number, in_flight=1 + max(0, 10 - number))
        breaker.answers += number < 10
    assert breaker.failed(2.0)
    assert breaker.since_s == 0.0


def test_an_answer_to_what_was_sent_after_it_begins_a_new_row_of_failures():
    breaker = Breaker(steady(0.5))
    for _ in range(2):
        assert not fed(breaker, "x" * (IN_A_ROW - 1) + ".")
    assert breaker.is_closed


def test_it_is_doubted_after_a_few_failures_in_a_row_and_until_something_newer_is_answered():
    breaker = Breaker(steady(0.5))
    fed(breaker, "..xx")
    assert not breaker.is_doubted
    breaker.failed(0.0, in_flight=3)
    assert breaker.is_doubted
    breaker.answers += 2  # were out already
    assert breaker.is_doubted
    breaker.answers += 1
    assert not breaker.is_doubted
    fed(breaker, "x" * IN_A_ROW)
    breaker.answers += 100
    assert breaker.is_doubted  # it is open


def test_random_failures_do_not_open_it():
    """At 10 %: below 1.1e-20 a request, so once in 10^12 runs of 100 million rows. The bench fails 4 %."""

    def chance(share: float) -> float:
        row = share**IN_A_ROW
        half = sum(comb(OF_LAST, n) * share**n * (1 - share) ** (OF_LAST - n) for n in range(HALF, OF_LAST + 1))
        return row + half  # at most: the union over both rules

    assert chance(0.10) < 1.1e-20
    assert chance(0.04) < 1.3e-28
    assert chance(0.55) > 0.1  # the law can fail: more than half is an outage

    draw = jitter(5)
    breaker = Breaker(steady(0.5))
    assert not fed(breaker, "".join("x" if draw() < 0.10 else "." for _ in range(100_000)), every_s=0.5)
    assert breaker.is_closed
    assert breaker.failures > 9_000


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 40))
def test_each_probe_that_fails_doubles_the_wait(chance, failed):
    breaker, now_s = Breaker(steady(chance)), 1000.0
    fed(breaker, "x" * 20, from_s=now_s)
    for _ in range(failed):
        breaker.probe()
        assert breaker.next_probe_s is None
        breaker.probe_failed(now_s)
    assert breaker.next_probe_s is not None
    wait_s = breaker.next_probe_s - now_s
    assert min(2.5 * 2.0**failed, 40) - 1e-9 <= wait_s <= min(7.5 * 2.0**failed, MOST_WAIT_S)


def test_a_hint_is_a_floor():
    breaker = Breaker(steady(0.5))
    fed(breaker, "x" * 19)
    breaker.failed(0.0, hint_s=30.0)
    assert breaker.next_probe_s == 30.0
    breaker.probe()
    breaker.probe_failed(40.0, hint_s=1.0)
    assert breaker.next_probe_s == 50.0


def test_it_begins_anew_once_a_probe_is_answered():
    breaker = Breaker(steady(0.5))
    fed(breaker, "x" * 20, every_s=0.1)
    assert (breaker.is_closed, breaker.since_s) == (False, 0.0)
    breaker.probe_failed(30.0)
    breaker.close()
    assert (breaker.is_closed, breaker.since_s, breaker.next_probe_s) == (True, None, None)
    assert not fed(breaker, "x" * 19, from_s=40.0)
    assert breaker.is_closed
    assert breaker.failed(41.0)
    assert (breaker.since_s, breaker.next_probe_s) == (40.0, 46.0)


def test_few_slots_are_open_right_after_an_outage():
    assert [restart_size(slots) for slots in (1, 3, 16, 40, 64, 1024)] == [1, 3, 4, 4, 6, 102]


def test_a_tenth_of_what_comes_at_once_may_be_turned_away():
    """Nothing is sent between the replies to what went out together: that says nothing."""
    breaker = Breaker(steady(0.5))
    for came in range(25):
        breaker.answers += 9
        assert not breaker.failed(0.1, in_flight=256 - 10 * came)
    assert breaker.is_closed
