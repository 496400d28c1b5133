"""When may the next request go?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

from batcher.pacing.history import History
from batcher.pacing.lane import Lane
from batcher.pacing.lessee import Lessee
from batcher.pacing.outage import Origin, Outage, OutageTooLong, Patience
from batcher.pacing.park import FOR_GOOD_US
from batcher.pacing.permit import CONCURRENCY, OPEN_TASKS, OUTAGE, RETRY_BUDGET, DayQuotaReached, Permit, Quotas
from batcher.pacing.quota import Learnt
from batcher.pacing.retries import RetryBudget
from batcher.pacing.slots import Slots
from batcher.pacing.width import FIRST, Width

__all__ = ["DayQuotaReached", "Gate", "Permit", "Quotas"]

OPEN_TASKS_A_SLOT = 4
"""Tasks that wait for a retry hold no slot; this bounds how many there are of them."""


class Gate:
    """The one door that every request passes.

    A task takes open-task credit, then for each attempt a permit, which holds a slot:
    `open` … (`admit` … `settle` or `unsent` … `free`)* … `close`. A wait that is cancelled leaves nothing taken.
    Lanes come into being when they are first named; each has the quotas of its own, all share the slots. A run has one
    origin, and all lanes are of it: while it is out, no lane sends anything but a probe.

    Args:
        quotas: of each lane.
        slots: requests in flight at most, over all lanes. Without a minute quota, which spreads the first requests by
            itself, they are opened by and by.
        now: the loop's monotonic seconds.
        wall_us: microseconds since the epoch, for the day quota only.
        used_today: lane -> requests sent since the last Pacific midnight by earlier sessions.
        learnt: lane -> what their replies taught of its tokens.
        patience: how an outage is sat out.
        chance: uniform in [0, 1); without it, probes go in the middle of the time that they may go in.
        lessee: holds what this run may use of quotas that it shares with others; None when it shares none.
        credit: for open tasks, where several gates share one; made for these slots unless given.
        history: of what was lowered and raised again, where several gates share one.

    Attributes:
        breaker: whoever judges replies counts the good ones there, and reports the others to `origin`.
        origin: whom all lanes ask.
        on_limit: given lane, quota and size where a 429 says how large a minute quota is.
        history: of what was lowered and raised again.
    """

    def __init__(  # noqa: PLR0913  the world, each part handed in
        self,
        quotas: Quotas,
        *,
        slots: int,
        now: Callable[[], float],
        wall_us: Callable[[], int],
        used_today: Mapping[str, int] = MappingProxyType({}),
        learnt: Mapping[str, Learnt] = MappingProxyType({}),
        patience: Patience = Patience(),  # noqa: B008  frozen
        chance: Callable[[], float] = lambda: 0.5,
        lessee: Lessee | None = None,
        credit: Slots | None = None,
        history: History | None = None,
    ) -> None:
        self._quotas = quotas
        width = Width(slots, first=slots if quotas.of_a_minute else FIRST)
        self._slots = Slots(width.size)
        self._open = credit or Slots(OPEN_TASKS_A_SLOT * slots)
        self._now = now
        self._wall_us = wall_us
        self._used_today = used_today
        self._learnt = learnt
        self._lanes: dict[str, Lane] = {}
        self.history = history or History(wall_us)
        self.origin = Origin(
            self._slots,
            self._open,
            width=width,
            history=self.history,
            now=now,
            wall_us=wall_us,
            chance=chance,
            patience=patience,
        )
        self._lessee = lessee
        self.breaker = self.origin.breaker
        self.on_limit: Callable[[str, str, int], object] = lambda *_: None
        self._retries = RetryBudget(now())
        self._affording = Slots(1)

    @property
    def in_flight(self) -> int:
        """Slots taken: requests out, and answers that are not safe on disk yet."""
        return self._slots.size - self._slots.free

    @property
    def open_tasks(self) -> int:
        """Tasks that took credit: in flight, or waiting for a permit or a retry."""
        return self._open.size - self._open.free

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken, and none is lent."""
        return self._slots.free <= 0 and not self._slots.loans

    @property
    def limited_by(self) -> str:
        """What the head of a lane waits for now, empty when nothing waits.

        `outage`, `concurrency`, `requests/min`, `input tokens/min`, another quota that a pause named, `retry budget`,
        or `open tasks`.
        """
        if not self.breaker.is_closed:
            return OUTAGE
        for lane in self._lanes.values():
            if lane.waits_for:
                return lane.waits_for
        if self._slots.waiting:
            return CONCURRENCY
        if self._affording.free <= 0:
            return RETRY_BUDGET
        return OPEN_TASKS if self._open.waiting else ""

    @property
    def outage(self) -> Outage | None:
        """The outage that goes on; None while the origin is asked as usual."""
        return self.origin.outage

    @property
    def narrowed(self) -> int | None:
        """How many may be in flight after failures or an outage; None while all slots are open, or open up at first."""
        return self.origin.narrowed

    @property
    def pace_per_s(self) -> float | None:
        """Requests a second that the slowest lane may send after 429s; None while none was slowed down for them."""
        paces = [pace for lane in self._lanes.values() if (pace := lane.pace_per_s) is not None]
        return min(paces, default=None)

    @property
    def used_today(self) -> dict[str, int]:
        """Lane -> requests sent this Pacific day, for lanes with a day quota; what a later session passes in again."""
        return {name: lane.day.used for name, lane in self._lanes.items() if lane.day is not None}

    @property
    def learnt(self) -> dict[str, Learnt]:
        """Lane -> what replies taught of its tokens, where it has a token quota; a later session passes it in again."""
        return {name: learnt for name, lane in self._lanes.items() if (learnt := lane.learnt) is not None}

    def on_free(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever a slot came back that nobody waits for; it may be taken again a moment later."""
        self._slots.on_free = tell

    def on_outage_too_long(self, tell: Callable[[OutageTooLong], None]) -> None:
        """Have `tell` called with the reason to stop when an outage lasts longer than `Patience.max_outage_s`."""
        self.origin.on_too_long = tell

    def open_now(self) -> bool:
        """Take open-task credit if that needs no wait."""
        return self._open.take_now()

    async def open(self) -> None:
        """Wait for open-task credit."""
        await self._open.take()

    def close(self) -> None:
        """The task has its outcome: give its credit back."""
        self._open.give()

    def stand_aside(self) -> None:
        """An open task waits for what other tasks give back: one more may be open until `come_back`."""
        self._open.resize(self._open.size + 1)

    def come_back(self) -> None:
        """The open task waits no longer."""
        self._open.resize(self._open.size - 1)

    def admit_now(self, lane: str, tokens: int) -> Permit | None:
        """A permit if nothing would make it wait, else None and nothing taken.

        Args:
            lane: "(origin, project, model)" as one string.
            tokens: estimated input tokens; what they really come to is learnt from `settle`.
        """
        return (self._lanes.get(lane) or self._lane(lane)).admit_now(tokens)

    def probe_now(self, lane: str, tokens: int) -> Permit | None:
        """A permit for the one request that may go while the origin is out, if it is due and nobody has it yet.

        For rows that have not failed: those that have may be why it seems to be out, and come next.
        """
        return (self._lanes.get(lane) or self._lane(lane)).probe_now(tokens)

    async def admit(self, lane: str, tokens: int, *, retry: bool = False) -> Permit:
        """Wait for a permit; first come first served in each lane, save that retries go before new rows.

        A prompt bigger than the minute's quota goes alone, once the window is empty.

        Raises:
            DayQuotaReached: the lane's day quota is used up, by our count or as a 429 told.
        """
        # What fails while the origin seems to be out may be why it does: then a new row in line is the better probe.
        ahead = retry and not self.breaker.is_doubted
        return await (self._lanes.get(lane) or self._lane(lane)).admit(tokens, retry=ahead)

    async def afford_retry(self) -> float:
        """Wait until the retry budget allows one more, first come first served; the seconds that took."""
        since_s, budget, breaker = self._now(), self._retries, self.breaker
        if self._affording.free > 0 and not budget.take(since_s, breaker.answers):
            return 0.0
        await self._affording.take()
        try:
            while wait_s := budget.take(self._now(), breaker.answers):  # noqa: ASYNC110  answers have no event
                await asyncio.sleep(wait_s)  # a second at most; what they earn meanwhile pays for those behind
        finally:
            self._affording.give()
        return self._now() - since_s

    def settle(self, permit: Permit, input_tokens: int | None) -> None:
        """A reply came: put its input tokens in the place of the estimate, once.

        None keeps the estimate; 0 says that the server counted no tokens (a refusal) and teaches nothing. The request
        stays counted.
        """
        if permit.of_tokens is not None and input_tokens is not None:
            self._lanes[permit.lane].settle(permit, input_tokens)

    def unsent(self, permit: Permit) -> None:
        """The request never reached the server: every quota gets its part back, once. Not the slot: that is `free`."""
        self._lanes[permit.lane].unsent(permit)

    def free(self, permit: Permit) -> None:  # noqa: ARG002  leased slots will have to know whose they are
        """Give the permit's slot back, once its answer is safe on disk."""
        self._slots.give()

    def pause(self, lane: str, quota: str | None, wait_s: float) -> None:
        """A 429 that names a quota pauses that quota of that lane; other lanes go on.

        Every request of a lane needs every quota of it, so the lane stands until the longest of its pauses is over; a
        pause of a quota `…/day` makes `admit` raise `DayQuotaReached`. A 429 that names none delays its own row, which
        is not done here, and is told to `strain`.

        Args:
            lane: as in `admit`.
            quota: as in `limited_by`; underscores are read as blanks.
            wait_s: from now.
        """
        if quota is not None and wait_s > 0:
            (self._lanes.get(lane) or self._lane(lane)).pause(quota.replace("_", " "), wait_s)

    def refused(self, lane: str, quota: str, value: int | None, wait_s: float, reason: str) -> None:
        """A 429 that names a quota pauses it, as `pause` does, and tells how large it is.

        Args:
            lane: as in `admit`.
            quota: as in `pause`.
            value: its size as the server says; it becomes the limit of a minute quota, unless a smaller one was set.
            wait_s: from now.
            reason: what the server said, in a word.
        """
        lane_ = self._lanes.get(lane) or self._lane(lane)
        lane_.refused(quota.replace("_", " "), value, wait_s, reason)

    def strain(self, lane: str, reason: str) -> None:
        """A 429 that names no quota came: when they are more than a tenth of the replies, the lane's pace is cut.

        Args:
            lane: as in `admit`.
            reason: what it said, in a word.
        """
        (self._lanes.get(lane) or self._lane(lane)).strain(reason)

    def park(self, lane: str, wait_s: float | None) -> None:
        """Let a lane send nothing until its day or its spend allows it again; other lanes go on.

        Args:
            lane: as in `admit`, which raises `DayQuotaReached` for it from now on.
            wait_s: as the server said; None is until the next Pacific midnight.
        """
        (self._lanes.get(lane) or self._lane(lane)).park(wait_s)

    def shut(self, lane: str) -> None:
        """Let a lane send nothing any more."""
        (self._lanes.get(lane) or self._lane(lane)).park_until(FOR_GOOD_US)

    def shut_all(self) -> None:
        """Let none of its lanes send anything any more."""
        for lane in self._lanes.values():
            lane.park_until(FOR_GOOD_US)

    def give_back(self, permit: Permit) -> None:
        """Give a slot back that was not used; one that was lent goes to the next."""
        self._slots.give_back(lent=permit.is_probe)

    def opens_us(self, lane: str) -> int:
        """When a lane may send again as far as its day is concerned, microseconds since the epoch; 0: now."""
        known = self._lanes.get(lane)
        return known.opens_us() if known is not None else 0

    def _lane(self, name: str) -> Lane:
        lane = self._lanes[name] = Lane(
            name,
            self._quotas,
            slots=self._slots,
            now=self._now,
            wall_us=self._wall_us,
            history=self.history,
            answers=lambda: self.breaker.answers,
            used_today=self._used_today.get(name, 0),
            learnt=self._learnt.get(name),
            told=self.on_limit,
        )
        if self._lessee is not None:
            lane.share(self._lessee)
        return lane
