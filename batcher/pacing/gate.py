"""When may the next request go?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from batcher.pacing.lane import Lane
from batcher.pacing.permit import OPEN_TASKS, DayQuotaReached, Permit, Quotas
from batcher.pacing.slots import Slots

__all__ = ["DayQuotaReached", "Gate", "Permit", "Quotas"]

OPEN_TASKS_A_SLOT = 4
"""Tasks that wait for a retry hold no slot; this bounds how many there are of them."""


class Gate:
    """The one door that every request passes.

    A task takes open-task credit, then for each attempt a permit, which holds a slot:
    `open` … (`admit` … `settle` or `unsent` … `free`)* … `close`. A wait that is cancelled leaves nothing taken.
    Lanes come into being when they are first named; each has the quotas of its own, all share the slots.

    Args:
        quotas: of each lane.
        slots: requests in flight at most, over all lanes.
        now: the loop's monotonic seconds.
        wall_us: microseconds since the epoch, for the day quota only.
        used_today: lane -> requests sent since the last Pacific midnight by earlier sessions.
    """

    def __init__(
        self,
        quotas: Quotas,
        *,
        slots: int,
        now: Callable[[], float],
        wall_us: Callable[[], int],
        used_today: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._quotas = quotas
        self._slots = Slots(slots)
        self._open = Slots(OPEN_TASKS_A_SLOT * slots)
        self._now = now
        self._wall_us = wall_us
        self._used_today = used_today
        self._lanes: dict[str, Lane] = {}

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
        """Whether every slot is taken."""
        return self._slots.free <= 0

    @property
    def limited_by(self) -> str:
        """What the head of a lane waits for now, empty when nothing waits.

        `concurrency`, `requests/min`, `input tokens/min`, another quota that a pause named, or `open tasks`.
        """
        for lane in self._lanes.values():
            if lane.waits_for:
                return lane.waits_for
        return OPEN_TASKS if self._open.waiting else ""

    @property
    def used_today(self) -> dict[str, int]:
        """Lane -> requests sent this Pacific day, for lanes with a day quota; what a later session passes in again."""
        return {name: lane.day.used for name, lane in self._lanes.items() if lane.day is not None}

    def on_free(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever a slot came back that nobody waits for; it may be taken again a moment later."""
        self._slots.on_free = tell

    def open_now(self) -> bool:
        """Take open-task credit if that needs no wait."""
        return self._open.take_now()

    async def open(self) -> None:
        """Wait for open-task credit."""
        await self._open.take()

    def close(self) -> None:
        """The task has its outcome: give its credit back."""
        self._open.give()

    def admit_now(self, lane: str, tokens: int) -> Permit | None:
        """A permit if nothing would make it wait, else None and nothing taken.

        Args:
            lane: "(origin, project, model)" as one string.
            tokens: estimated input tokens; what they really come to is learnt from `settle`.
        """
        return (self._lanes.get(lane) or self._lane(lane)).admit_now(tokens)

    async def admit(self, lane: str, tokens: int, *, retry: bool = False) -> Permit:
        """Wait for a permit; first come first served in each lane, save that retries go before new rows.

        A prompt bigger than the minute's quota goes alone, once the window is empty.

        Raises:
            DayQuotaReached: the lane's day quota is used up, by our count or as a 429 told.
        """
        return await (self._lanes.get(lane) or self._lane(lane)).admit(tokens, retry=retry)

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
        pause of a quota `…/day` makes `admit` raise `DayQuotaReached`. A 429 that names none delays its own row only,
        which is not done here.

        Args:
            lane: as in `admit`.
            quota: as in `limited_by`; underscores are read as blanks.
            wait_s: from now.
        """
        if quota is not None and wait_s > 0:
            (self._lanes.get(lane) or self._lane(lane)).pause(quota.replace("_", " "), wait_s)

    def _lane(self, name: str) -> Lane:
        lane = self._lanes[name] = Lane(
            name,
            self._quotas,
            slots=self._slots,
            now=self._now,
            wall_us=self._wall_us,
            used_today=self._used_today.get(name, 0),
        )
        return lane
