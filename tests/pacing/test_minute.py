from __future__ import annotations

import asyncio
from itertools import pairwise
from math import inf

import pytest

from batcher.pacing.minute import STEP_S, MinuteQuota
from batcher.pacing.quota import MINUTE_S, SKEW_S
from tests.fakes import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_goes_at_once_and_the_rest_at_the_pace():
    async def main() -> list[float]:
        quota, went_s = MinuteQuota("requests/min", 60), []
        for _ in range(5):
            await quota.pay(1)
            went_s.append(now())
        return went_s

    gap_s = (MINUTE_S + SKEW_S) / 60
    assert run_virtual(main()) == pytest.approx([n * gap_s for n in range(5)], abs=1e-4)


def test_a_fast_pace_is_bought_in_steps():
    async def main() -> list[float]:
        quota, went_s = MinuteQuota("requests/min", 60 * 1000), []
        for _ in range(200):
            await quota.pay(1)
            went_s.append(now())
        return went_s

    went_s = run_virtual(main())
    steps_s = [later - sooner for sooner, later in pairwise(went_s) if later - sooner > 1e-4]
    assert steps_s == pytest.approx([STEP_S] * len(steps_s), abs=1e-4)
    assert went_s[-1] == pytest.approx(0.2, abs=2 * STEP_S)


def test_paying_now_and_paying_by_waiting_come_to_the_same_pace():
    async def main() -> float:
        quota = MinuteQuota("input tokens/min", 6000)
        for n in range(40):
            price = quota.price_now(now(), 37)
            if n % 3 and price < inf:
                quota.pay_now(37, price)
            else:
                await quota.pay(37)
        return now()

    per_second = 6000 / (MINUTE_S + SKEW_S)
    # All but the last are paid in full; the first pays for a burst of a second at once.
    assert run_virtual(main()) == pytest.approx(39 * 37 / per_second, abs=0.05)


def test_price_now_says_whether_anything_would_wait():
    async def main() -> None:
        quota = MinuteQuota("requests/min", 60)
        price = quota.price_now(now(), 1)
        assert 0 < price < inf
        quota.pay_now(1, price)
        assert quota.price_now(now(), 1) == inf  # the pace
        await asyncio.sleep(1.1)
        assert quota.price_now(now(), 1) < inf
        quota.window.add(now(), 60)
        assert quota.price_now(now(), 1) == inf  # the window

    run_virtual(main())


def test_what_is_in_hand_costs_nothing():
    async def main() -> None:
        quota = MinuteQuota("input tokens/min", 6000)
        quota.pay_now(50, quota.price_now(now(), 50))
        quota.account.correct(-50)
        assert quota.price_now(now(), 50) == 0.0
        quota.pay_now(50, 0.0)
        assert quota.price_now(now(), 50) == inf

    run_virtual(main())


def test_a_cancelled_payment_gives_back_what_it_paid():
    async def main() -> tuple[float, float]:
        quota = MinuteQuota("input tokens/min", 600)
        await quota.pay(500)  # goes at once, and is paid before the next: about 49 s
        waiting = asyncio.create_task(quota.pay(5))
        await asyncio.sleep(20.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await quota.pay(5)
        return now(), quota.account.owed

    ended_s, owed = run_virtual(main())
    assert ended_s == pytest.approx((500 - 600 / 60.3 + 5) / (600 / 60.3), abs=0.1)
    assert owed == pytest.approx(0.0, abs=0.2)
