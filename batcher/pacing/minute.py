"""Would one minute quota of a lane let a request go now, and what has to be paid for it?"""

from __future__ import annotations

import asyncio
from math import inf

from aiolimiter import AsyncLimiter

from batcher.pacing.quota import MINUTE_S, SKEW_S, Account, Window

STEP_S = 0.01
"""Pace is bought at least this much at a time: above a hundred permits a second, most find it paid for already.

A permit that waits costs a timer and two turns of the loop (60 µs and more), one that asks the limiter 2 µs, one that
need not ask next to nothing.
"""


class MinuteQuota:
    """One quota of one lane: its pace on an `AsyncLimiter`, and beside it the window that can veto.

    The pace spreads the quota over as long as the window holds an entry, so that in the steady state the window stands
    just below full. The limiter holds one second of the rate: one that holds the whole minute lets twice the quota
    through in the first minute.

    Args:
        name: as in `limited_by`.
        per_minute: requests or tokens.
    """

    __slots__ = ("_limiter", "_step", "account", "name", "window")

    def __init__(self, name: str, per_minute: float) -> None:
        per_second = per_minute / (MINUTE_S + SKEW_S)
        self.name = name
        self.window = Window(per_minute)
        self.account = Account(per_second, most_owed=per_minute)
        self._step = per_second * STEP_S
        self._limiter = AsyncLimiter(self.account.burst, self.account.burst / per_second)

    def change(self, per_minute: float) -> None:
        """Go on under another limit. The record of the last minute stays, which is what the law is kept by.

        Whoever waits for the pace pays the instalment that it waits for at the old one, which is a second of it or one
        unit, and the rest at the new one.
        """
        per_second = per_minute / (MINUTE_S + SKEW_S)
        self.window.limit = per_minute
        self.account.change(per_second, most_owed=per_minute)
        self._step = per_second * STEP_S
        self._limiter = AsyncLimiter(self.account.burst, self.account.burst / per_second)

    def price_now(self, now_s: float, amount: int, doubt: float = 0.0) -> float:
        """What has to be bought from the pace for `amount` now, or 0; infinite when anything would make it wait."""
        due = self.account.due(amount)
        price = max(due, self._step) if due > 0 else 0.0
        passes = self.window.fits(now_s, amount, doubt) and (price == 0 or self._limiter.has_capacity(price))
        return price if passes else inf

    def pay_now(self, amount: int, price: float) -> None:
        """Pay what `price_now` said, in the same turn of the loop."""
        self.account.charge(amount)
        if price > 0:
            self.account.pay(price)
            _acquire_now(self._limiter, price)

    async def pay(self, amount: int) -> None:
        """Pay for `amount`, in instalments that the limiter can hold; only the head of the lane may.

        A cancelled wait takes nothing.
        """
        later = self.account.charge(amount)
        try:
            # Replies correct the account meanwhile, so what is due is asked again each time.
            while (due := self.account.owed - later) > 0:
                limiter = self._limiter  # and the limit may change meanwhile
                part = min(max(due, self._step), self.account.burst)
                await limiter.acquire(part)
                self.account.pay(part)
        except asyncio.CancelledError:
            self.account.correct(-amount)
            raise


def _acquire_now(limiter: AsyncLimiter, amount: float) -> None:
    """Take capacity that is there.

    `acquire` has no synchronous twin, but with capacity there it waits for nothing, so that its first step is its last.
    """
    step = limiter.acquire(amount)
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("aiolimiter waits although it has the capacity")
