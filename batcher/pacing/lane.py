"""What must the next request of one lane wait for?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from math import inf

from batcher.pacing.history import History
from batcher.pacing.leased import LOOK_AGAIN_S
from batcher.pacing.lessee import Lessee
from batcher.pacing.minute import MinuteQuota
from batcher.pacing.pace import Pace, Refusals
from batcher.pacing.park import parked_until_us
from batcher.pacing.permit import (
    A_DAY,
    CONCURRENCY,
    INPUT_TOKENS_A_MINUTE,
    PACE,
    PARKED,
    REQUESTS_A_DAY,
    REQUESTS_A_MINUTE,
    DayQuotaReached,
    Permit,
    Quotas,
)
from batcher.pacing.quota import MINUTE_S, DayCount, Entry, Learnt, TokenScale
from batcher.pacing.slots import Slots

_REPEATED_WITHIN_S = 120.0


class Lane:
    """One (origin, project, model): a queue whose head takes day, requests, tokens and last the slot.

    Args:
        name: as in permits and messages.
        quotas: of this lane alone.
        slots: shared by all lanes.
        now: monotonic seconds of the loop.
        wall_us: microseconds since the epoch.
        used_today: requests sent today by earlier sessions.
        answers: good replies of the origin so far.
        history: told of what was lowered and raised again.
        learnt: what their replies taught of its tokens.
        told: given name, quota and size where a 429 says how large a quota is.
    """

    __slots__ = (
        "_alarm",
        "_answers",
        "_born_s",
        "_head",
        "_history",
        "_named_s",
        "_now",
        "_paces",
        "_parked_us",
        "_pauses",
        "_refusals",
        "_requests",
        "_scale",
        "_set",
        "_slots",
        "_tokens",
        "_told",
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
        history: History,
        answers: Callable[[], int],
        used_today: int = 0,
        learnt: Learnt | None = None,
        told: Callable[[str, str, int], object] = lambda *_: None,
    ) -> None:
        requests, tokens, day = quotas.requests_per_minute, quotas.input_tokens_per_minute, quotas.requests_per_day
        self.name = name
        self._set = quotas
        self._born_s = now()
        self.waits_for = ""
        self.day = None if day is None else DayCount(day, used=used_today, wall_us=wall_us())
        self._requests = None if requests is None else MinuteQuota(REQUESTS_A_MINUTE, requests)
        self._tokens = None if tokens is None else MinuteQuota(INPUT_TOKENS_A_MINUTE, tokens)
        self._scale = TokenScale(learnt)
        self._slots = slots
        self._turn = Slots(1)
        self._now = now
        self._wall_us = wall_us
        self._answers = answers
        self._told = told
        self._history = history
        self._pauses: dict[str, float] = {}
        self._paces: dict[str, Pace] = {}
        self._refusals = Refusals(now(), answers())
        self._named_s: dict[str, float] = {}  # when each minute quota was refused last that we thought had room
        self._parked_us = 0  # by the wall clock; there is a pause without an end until somebody sees that it is over
        self._head = (0, 0.0)  # what the one at the head asks for: tokens, and their variance
        self._alarm: asyncio.Future[None] | None = None
        # Many endpoints have no quota: their permits are all alike, and building one would cost more than the rest.
        self._unlimited = self._same_permit()

    @property
    def pace_per_s(self) -> float | None:
        """Requests a second that may go after 429s; None without such a limit."""
        return min((pace.per_second for pace in self._paces.values() if not pace.by_tokens), default=None)

    @property
    def learnt(self) -> Learnt | None:
        """What replies have taught of its tokens; None when nothing, or nobody needs to know."""
        return self._scale.learnt if self._tokens is not None and self._scale.learnt.replies else None

    def share(self, lessee: Lessee) -> None:
        """Take from quotas that are shared with other runs, before anything goes."""
        for quota in (self._requests, self._tokens):
            if quota is not None:
                quota.window = lessee.window(self.name, quota.name, quota.window.limit, self._stir)
        if self.day is not None:
            self.day = lessee.day(self.name, self.day, self._wall_us(), self._stir)

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

    def _permit_now(self, estimate: int, since_s: float | None = None) -> Permit | None:
        """What the quotas allow without a wait, paid and recorded; the slot is the caller's."""
        now_s = self._now()
        if (self._pauses and self._paused(now_s)) or (self.day is not None and self.day.left(self._wall_us()) <= 0):
            return None
        amount, doubt = self._need(estimate)
        if any(pace.earliest(now_s) > now_s for pace in self._paces.values()):
            return None
        requests, tokens = self._requests, self._tokens
        price_of_request = 0.0 if requests is None else requests.price_now(now_s, 1)
        price_of_tokens = 0.0 if tokens is None else tokens.price_now(now_s, amount, doubt)
        if price_of_request + price_of_tokens == inf:
            return None
        if requests is not None:
            requests.pay_now(1, price_of_request)
        if tokens is not None:
            tokens.pay_now(amount, price_of_tokens)
        return self._permit(now_s, estimate, amount, doubt, since_s)

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
            if self._unlimited is not None and not self._pauses:  # nothing has come to limit it meanwhile
                return self._unlimited._replace(waited_s=self._now() - since_s, is_probe=lent)
            self._slots.give_back(lent=lent)
        await self._turn.take(ahead=retry)
        try:
            permit = self._at_head_now(estimate, since_s)
            if permit is not None:
                return permit
            amount, doubt, lent = await self._pass_all(estimate)
            permit = self._permit(self._now(), estimate, amount, doubt, since_s)
            return permit._replace(is_probe=True) if lent else permit
        finally:
            self.waits_for = ""
            self._turn.give()

    def _at_head_now(self, estimate: int, since_s: float) -> Permit | None:
        """For the one whose turn it is: pace is paid in steps, so most find all of it there and need not wait."""
        if self._slots.free <= 0:
            return None
        permit = self._permit_now(estimate, since_s)
        if permit is not None:
            self._slots.take_now()
        return permit

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

    def _same_permit(self) -> Permit | None:
        limits = (self._requests, self._tokens, self.day)
        return Permit(lane=self.name) if not self._paces and all(limit is None for limit in limits) else None

    def refused(self, quota: str, value: int | None, wait_s: float, reason: str) -> None:
        """A 429 named a quota: it is paused, and it is as large as the server says, if no smaller one was set.

        Where one that should have had room is named again, somebody else eats of it, or it is smaller than we believe:
        then its pace is cut.
        """
        now_s = self._now()
        was_held = self._pauses.get(quota, now_s) > now_s
        self.pause(quota, wait_s)
        if quota not in (REQUESTS_A_MINUTE, INPUT_TOKENS_A_MINUTE):
            return
        is_news = value is not None and self._learn(quota, value, wait_s)
        last_s = self._named_s.get(quota)
        if was_held or is_news:
            return
        self._named_s[quota] = now_s
        if last_s is not None and now_s - last_s <= _REPEATED_WITHIN_S:
            self._slow_down(quota, now_s, reason)

    def _learn(self, quota: str, value: int, wait_s: float) -> bool:
        """Take over what the server says of the size of a minute quota; whether it was news."""
        is_tokens = quota == INPUT_TOKENS_A_MINUTE
        mine = self._tokens if is_tokens else self._requests
        most = self._set.input_tokens_per_minute if is_tokens else self._set.requests_per_minute
        limit = float(value) if most is None else min(value, most)
        if limit <= 0 or (mine is not None and mine.window.limit == limit):
            return False
        if mine is None:
            mine = MinuteQuota(quota, limit)
            mine.window.assume_full(self._now(), wait_s)
            if is_tokens:
                self._tokens = mine
            else:
                self._requests = mine
            self._unlimited = None
        else:
            mine.change(limit)
        self._history.cut(quota, self.name, limit, "the server says so")
        self._told(self.name, quota, value)
        self._stir()
        return True

    def _slow_down(self, quota: str, now_s: float, reason: str) -> None:
        answers = self._answers()
        mine = self._tokens if quota == INPUT_TOKENS_A_MINUTE else self._requests
        if mine is None:
            sent_per_s, ceiling = self._refusals.per_second(now_s, answers), inf
        else:
            ceiling = mine.window.limit / MINUTE_S
            sent_per_s = mine.window.held / min(MINUTE_S, max(1.0, now_s - self._born_s))
        pace = self._paces.get(quota)
        if pace is None:
            by_tokens = mine is not None and mine is self._tokens
            pace = self._paces[quota] = Pace(quota, now_s, sent_per_s, ceiling=ceiling, by_tokens=by_tokens)
            self._unlimited = None
        if pace.refused_by_name(now_s, sent_per_s, answers):
            self._history.cut(PACE, self.name, pace.per_second, f"{reason}: {quota}")

    def strain(self, reason: str) -> None:
        """A 429 that names no quota: beyond a share of the replies, they cut the pace."""
        now_s, answers = self._now(), self._answers()
        refusals = self._refusals
        refusals.add(now_s, answers)
        pace = self._paces.get(PACE)
        if pace is None:
            if not refusals.are_many(now_s, answers):
                return
            pace = self._paces[PACE] = Pace(PACE, now_s, refusals.per_second(now_s, answers))
            self._unlimited = None
        if pace.refused(now_s, refusals, answers):
            refusals.forget(now_s, answers)
            self._history.cut(PACE, self.name, pace.per_second, reason)

    def _take_pace(self, now_s: float, tokens: int) -> None:
        answers = self._answers()
        for name, pace in list(self._paces.items()):
            pace.take(now_s, tokens if pace.by_tokens else 1, answers)
            if pace.is_over(now_s):
                del self._paces[name]
                self._unlimited = self._same_permit()
                self._history.add(name, self.name, None, "nothing was refused for a while")

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
        if self.day is not None and self.day.is_over(wall_us):
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
        counts_tokens = self._tokens is not None
        with ExitStack() as undo:
            for quota, part in ((self._requests, 1), (self._tokens, amount)):
                if quota is not None:
                    self.waits_for = quota.name
                    await quota.pay(part)
                    undo.callback(quota.account.correct, -part)
            while True:
                if self._tokens is not None and not counts_tokens:  # learnt while this one was at the head
                    self._head = amount, doubt = self._need(estimate)
                    counts_tokens = True
                await self._wait_while_held()
                lent = False
                if not self._slots.take_now():
                    self.waits_for = CONCURRENCY
                    lent = await self._slots.take()
                # The slot may have taken long, and a pause or a reply bigger than its estimate may have come meanwhile.
                now_s = self._now()
                is_whole = counts_tokens or self._tokens is None
                if is_whole and self._held_until(now_s, amount, doubt)[0] <= now_s:
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
        holds += [(pace.earliest(now_s), pace.name) for pace in self._paces.values()]
        if self.day is not None and self.day.left(self._wall_us()) <= 0:  # of a shared one, more is on its way
            holds.append((now_s + LOOK_AGAIN_S, REQUESTS_A_DAY))
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
        if self._paces:
            self._take_pace(now_s, amount)
        return Permit(
            self.name,
            estimate,
            amount,
            0.0 if since_s is None else now_s - since_s,
            None if self._requests is None else self._requests.window.add(now_s, 1),
            None if self._tokens is None else self._tokens.window.add(now_s, amount, doubt),
            None if self.day is None else self.day.take(),
        )
