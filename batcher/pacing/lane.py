"""What must the next request of one lane wait for?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from math import inf

from batcher.pacing.minute import MinuteQuota
from batcher.pacing.park import parked_until_us
from batcher.pacing.permit import (
    A_DAY,
    CONCURRENCY,
    INPUT_TOKENS_A_MINUTE,
    PARKED,
    REQUESTS_A_MINUTE,
    DayQuotaReached,
    Permit,
    Quotas,
)
from batcher.pacing.quota import DayCount, Entry, TokenScale
from batcher.pacing.slots import Slots


class Lane:
    """One (origin, project, model): a queue whose head takes day, requests, tokens and last the slot.

    Args:
        name: as in permits and messages.
        quotas: of this lane alone.
        slots: shared by all lanes.
        now: monotonic seconds of the loop.
        wall_us: microseconds since the epoch.
        used_today: requests sent today by earlier sessions.
    """

    __slots__ = (
        "_alarm",
        "_head",
        "_now",
        "_parked_us",
        "_pauses",
        "_requests",
        "_scale",
        "_slots",
        "_tokens",
        "_turn",
        "_unlimited",
        "_wall_us",
        "day",
        "name",
        "waits_for",
    )

    def __init__(  # noqa: PLR0913  everything that is not the lane's own is given to it
        self,
        name: str,
        quotas: Quotas,
        *,
        slots: Slots,
        now: Callable[[], float],
        wall_us: Callable[[], int],
        used_today: int = 0,
    ) -> None:
        requests, tokens, day = quotas.requests_per_minute, quotas.input_tokens_per_minute, quotas.requests_per_day
        self.name = name
        self.waits_for = ""
        self.day = None if day is None else DayCount(day, used=used_today, wall_us=wall_us())
        self._requests = None if requests is None else MinuteQuota(REQUESTS_A_MINUTE, requests)
        self._tokens = None if tokens is None else MinuteQuota(INPUT_TOKENS_A_MINUTE, tokens)
        self._scale = TokenScale()
        self._slots = slots
        self._turn = Slots(1)
        self._now = now
        self._wall_us = wall_us
        self._pauses: dict[str, float] = {}
        self._parked_us = 0  # by the wall clock; there is a pause without an end until somebody sees that it is over
        self._head = (0, 0.0)  # what the one at the head asks for: tokens, and their variance
        self._alarm: asyncio.Future[None] | None = None
        # Many endpoints have no quota: their permits are all alike, and building one would cost more than the rest.
        self._unlimited = Permit(lane=name) if requests is None and tokens is None and day is None else None

    def admit_now(self, estimate: int) -> Permit | None:
        """A permit if nothing at all would make it wait, else None and nothing taken."""
        slots = self._slots
        if slots.free <= 0 or self._turn.free <= 0:
            return None
        if self._unlimited is not None and not self._pauses:
            slots.take_now()
            return self._unlimited
        permit = self._permit_now(estimate)
        if permit is not None:
            slots.take_now()
        return permit

    def probe_now(self, estimate: int) -> Permit | None:
        """A permit on the slot that is lent while the origin is out, past those who are in line; None without one.

        They are in line because they have failed: a row that has not is the better probe.
        """
        if not self._slots.loans:
            return None
        permit = self._permit_now(estimate)
        if permit is None:
            return None
        self._slots.take_loan()
        return permit._replace(is_probe=True)

    def _permit_now(self, estimate: int) -> Permit | None:
        """What the quotas allow without a wait, paid and recorded; the slot is the caller's."""
        now_s = self._now()
        if (self._pauses and self._paused(now_s)) or (self.day is not None and self.day.left(self._wall_us()) <= 0):
            return None
        amount, doubt = self._need(estimate)
        requests, tokens = self._requests, self._tokens
        price_of_request = 0.0 if requests is None else requests.price_now(now_s, 1)
        price_of_tokens = 0.0 if tokens is None else tokens.price_now(now_s, amount, doubt)
        if price_of_request + price_of_tokens == inf:
            return None
        if requests is not None:
            requests.pay_now(1, price_of_request)
        if tokens is not None:
            tokens.pay_now(amount, price_of_tokens)
        return self._permit(now_s, estimate, amount, doubt)

    async def admit(self, estimate: int, *, retry: bool) -> Permit:
        """A permit once it may go, in the order of asking; a retry before every new row that is not at the head yet.

        Where only the slot is waited for, its own line is the lane's: with somebody at the head for a turn of the loop,
        all who came home in that turn would be told to wait.
        """
        permit = self.admit_now(estimate)
        if permit is not None:
            return permit
        since_s = self._now()
        if self._unlimited is not None and not self._pauses and self._turn.free > 0:
            lent = await self._slots.take(ahead=retry)
            if not self._pauses:
                return self._unlimited._replace(waited_s=self._now() - since_s, is_probe=lent)
            self._slots.give_back(lent=lent)
        await self._turn.take(ahead=retry)
        try:
            amount, doubt, lent = await self._pass_all(estimate)
            permit = self._permit(self._now(), estimate, amount, doubt, since_s)
            return permit._replace(is_probe=True) if lent else permit
        finally:
            self.waits_for = ""
            self._turn.give()

    def settle(self, permit: Permit, input_tokens: int) -> None:
        """Put the tokens that the reply tells in the place of the estimate."""
        if permit.of_tokens is not None and self._tokens is not None:
            self._scale.learn(permit.estimate, input_tokens)
            self._correct(self._tokens, permit.of_tokens, input_tokens)

    def unsent(self, permit: Permit) -> None:
        """Give back everything but the slot."""
        if permit.of_requests is not None and self._requests is not None:
            self._correct(self._requests, permit.of_requests, 0)
        if permit.of_tokens is not None and self._tokens is not None:
            self._correct(self._tokens, permit.of_tokens, 0)
        if permit.of_day is not None and self.day is not None:
            self.day.give_back(permit.of_day)

    def pause(self, quota: str, wait_s: float) -> None:
        """Let nothing go until `wait_s` from now; a shorter pause never shortens a longer one."""
        until_s = self._now() + wait_s
        self._pauses[quota] = max(until_s, self._pauses.get(quota, until_s))
        self._stir()

    def park(self, wait_s: float | None) -> None:
        """Let nothing go for a day's rest; who waits gets `DayQuotaReached`. `wait_s`: see `parked_until_us`."""
        wall_us = self._wall_us()
        if wait_s is not None or self._parked_us <= wall_us:  # else it is one of those that were on their way
            self.park_until(parked_until_us(wait_s, wall_us, before_us=self._parked_us))

    def park_until(self, until_us: int) -> None:
        """Let nothing go until then, microseconds since the epoch."""
        self._parked_us = max(self._parked_us, until_us)
        self._pauses[PARKED] = inf
        self._stir()

    def opens_us(self) -> int:
        """When it may send again as far as its day is concerned, microseconds since the epoch; 0: now."""
        wall_us = self._wall_us()
        if self._parked_us > wall_us:
            return self._parked_us
        self._pauses.pop(PARKED, None)
        if self.day is not None and self.day.left(wall_us) <= 0:
            return self.day.resets_at_us
        now_s = self._now()
        told = [until_s for quota, until_s in self._pauses.items() if quota.endswith(A_DAY) and until_s > now_s]
        return wall_us + round((max(told) - now_s) * 1e6) if told else 0

    def _need(self, estimate: int) -> tuple[int, float]:
        if self._tokens is None:
            return 0, 0.0
        amount = self._scale.amount(estimate)
        return amount, self._scale.doubt(amount)

    def _paused(self, now_s: float) -> bool:
        self._pauses = {quota: until_s for quota, until_s in self._pauses.items() if until_s > now_s}
        return bool(self._pauses)

    async def _pass_all(self, estimate: int) -> tuple[int, float, bool]:
        """Wait for everything, at the head of the lane; ends holding a slot, the pace paid for the need it returns.

        The last of the three says whether the slot is lent.
        """
        self._check_day()
        self._head = amount, doubt = self._need(estimate)
        with ExitStack() as undo:
            for quota, part in ((self._requests, 1), (self._tokens, amount)):
                if quota is not None:
                    self.waits_for = quota.name
                    await quota.pay(part)
                    undo.callback(quota.account.correct, -part)
            while True:
                await self._wait_while_held()
                lent = False
                if not self._slots.take_now():
                    self.waits_for = CONCURRENCY
                    lent = await self._slots.take()
                # The slot may have taken long, and a pause or a reply bigger than its estimate may have come meanwhile.
                now_s = self._now()
                if self._held_until(now_s, amount, doubt)[0] <= now_s:
                    undo.pop_all()
                    return amount, doubt, lent
                self._slots.give_back(lent=lent)  # no slot is held while time is waited for

    async def _wait_while_held(self) -> None:
        """Wait until no pause and no window holds the head back."""
        while True:
            self._check_day()
            now_s = self._now()
            until_s, self.waits_for = self._held_until(now_s, *self._head)
            if until_s <= now_s:
                return
            await self._doze(until_s - now_s)

    def _held_until(self, now_s: float, amount: int, doubt: float) -> tuple[float, str]:
        """Until when the head is held back, in seconds, and by which quota; `now_s` when by none."""
        holds = [(until_s, quota) for quota, until_s in self._pauses.items()]
        if self._requests is not None:
            holds.append((self._requests.window.earliest(now_s, 1), REQUESTS_A_MINUTE))
        if self._tokens is not None:
            holds.append((self._tokens.window.earliest(now_s, amount, doubt), INPUT_TOKENS_A_MINUTE))
        return max(holds, default=(now_s, ""))

    def _check_day(self) -> None:
        if opens_us := self.opens_us():  # the server counts what we do not, or more of it than we do
            raise DayQuotaReached(self.name, opens_us)

    async def _doze(self, wait_s: float) -> None:
        """Sleep, unless stirred before."""
        loop = asyncio.get_running_loop()
        self._alarm = alarm = loop.create_future()
        timer = loop.call_later(wait_s, self._stir)
        try:
            await alarm
        finally:
            timer.cancel()
            self._alarm = None

    def _stir(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def _correct(self, quota: MinuteQuota, entry: Entry, amount: int) -> None:
        """An entry holds `amount`, not what was thought; the head need not wait for the rest."""
        now_s = self._now()
        quota.account.correct(amount - entry.amount)
        quota.window.amend(now_s, entry, amount)
        if self._alarm is not None and self._held_until(now_s, *self._head)[0] <= now_s:
            self._stir()

    def _permit(self, now_s: float, estimate: int, amount: int, doubt: float, since_s: float | None = None) -> Permit:
        """Record what goes now; stamped after every wait, since the server counts from the arrival on."""
        return Permit(
            self.name,
            estimate,
            amount,
            0.0 if since_s is None else now_s - since_s,
            None if self._requests is None else self._requests.window.add(now_s, 1),
            None if self._tokens is None else self._tokens.window.add(now_s, amount, doubt),
            None if self.day is None else self.day.take(),
        )
