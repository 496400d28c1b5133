from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.retries import AN_ANSWER, FULL, RetryBudget
from tests.fakes import FakeClock, jitter, run_virtual


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0.0, 0.001, 0.3, 5.0])), max_size=800))
def test_never_more_than_was_earned_and_never_a_long_wait(steps):
    budget, now_s, answers, paid = RetryBudget(0.0), 0.0, 0, 0
    for more, wait_s in steps:
        now_s, answers = now_s + wait_s, answers + more
        short_s = budget.take(now_s, answers)
        assert 0 <= short_s <= 1
        paid += not short_s
        assert paid <= FULL + AN_ANSWER * answers + now_s + 1e-6
        if short_s:
            assert budget.take(now_s + short_s, answers) == 0
            now_s, paid = now_s + short_s, paid + 1


def test_five_hundred_at_once_then_one_a_second():
    budget = RetryBudget(0.0)
    assert [budget.take(0.0, 0) for _ in range(500)] == [0.0] * 500
    assert budget.take(0.0, 0) == pytest.approx(1.0)
    assert budget.take(0.0, 5) == pytest.approx(0.5)  # five answers are worth half of one
    assert budget.take(0.0, 10) == 0.0


@pytest.mark.parametrize("share", [0.04, 0.08])
def test_a_steady_share_of_failures_is_never_throttled(share):
    """The bench's faults: 3 % 503 and 1 % dropped, drawn at random; a 429 costs nothing. Time stands still."""
    draw, budget, answers = jitter(3), RetryBudget(0.0), 0
    lowest = FULL
    for _ in range(300_000):
        if draw() < share:
            assert budget.take(0.0, answers) == 0.0
            lowest = min(lowest, budget.left)
        else:
            answers += 1
    assert lowest > FULL - 50


def test_a_share_that_is_too_high_is_throttled():
    draw, budget, answers, short = jitter(3), RetryBudget(0.0), 0, 0
    for _ in range(100_000):
        if draw() < 0.2:
            short += bool(budget.take(0.0, answers))
        else:
            answers += 1
    assert short > 1_000


def test_whoever_cannot_pay_waits_at_the_gate_in_the_order_of_asking():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate, order = Gate(Quotas(), slots=4, now=loop.time, wall_us=FakeClock(follow=loop.time)), []

        async def retry(name: int) -> None:
            waited_s = await gate.afford_retry()
            order.append((name, round(waited_s), round(loop.time())))

        for _ in range(500):
            assert await gate.afford_retry() == 0.0
        assert gate.limited_by == ""
        waiting = [asyncio.create_task(retry(name)) for name in range(4)]
        await asyncio.sleep(0.5)
        assert gate.limited_by == "retry budget"
        waiting[1].cancel()
        await asyncio.sleep(2)
        gate.breaker.answers += 100  # ten retries are paid for: nobody waits for their seconds any more
        await asyncio.gather(*waiting, return_exceptions=True)
        assert order == [(0, 1, 1), (2, 2, 2), (3, 3, 3)]
        assert gate.limited_by == ""

    run_virtual(main())
