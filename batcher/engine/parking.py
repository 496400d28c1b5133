"""Where are the rows kept whose way is closed for now, and when do they go again?

A row is shelved when the last lane that may ask it has used up its day. It holds no slot and no credit then, and no
admission: what waits for tomorrow must not count as sent today if the process dies. Rows of other lanes go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from batcher.asking.ask import Ending, OpenTask
from batcher.engine.detours import Detours
from batcher.engine.plan import Plan
from batcher.engine.work import Work, WorkList
from batcher.job.spec import OnDayQuota
from batcher.pacing.gate import DayQuotaReached
from batcher.pacing.park import FOR_GOOD_US
from batcher.pacing.permit import Parked, Permit
from batcher.records import Kind
from batcher.rows.conversion import brings_request

MOST_ROWS = 4096
"""Rows on the shelf at most: behind so many of a parked lane, the rows of another are waited for."""
_FEW_ROWS = 64  # where all rows are of one lane, there is nobody to look for behind them
_LOOK_AGAIN_S = 300.0  # the wall clock may be set, and a machine may sleep, while the loop's own clock stands still


class Ways(Protocol):
    """What parking asks of a gate."""

    def free(self, permit: Permit) -> None:
        """Give a permit's slot back."""
        ...

    def opens_us(self, lane: str) -> int:
        """When it may send again; 0: now."""
        ...


def parking_of(
    plan: Plan, gate: Ways, worklist: WorkList, wall_us: Callable[[], int], detours: Detours | None = None
) -> Parking:
    """Make the shelf that a plan's session needs."""
    of_many = "model" in plan.job.prompt.overrides or brings_request(plan.index.shape)
    waits = plan.job.limits.on_day_quota is OnDayQuota.WAIT
    return Parking(gate, worklist, wall_us, waits=waits, most_rows=MOST_ROWS if of_many else _FEW_ROWS, detours=detours)


class Parking:
    """The shelf of one session.

    Args:
        gate: what it says of a lane decides.
        worklist: admits rows again.
        wall_us: microseconds since the epoch.
        waits: whether the run waits for a new day, or ends.
        detours: where rows have several ways.
        most_rows: the shelf is full with so many.
    """

    def __init__(  # noqa: PLR0913
        self,
        gate: Ways,
        worklist: WorkList,
        wall_us: Callable[[], int],
        *,
        waits: bool,
        most_rows: int = MOST_ROWS,
        detours: Detours | None = None,
    ) -> None:
        self._gate = gate
        self._worklist = worklist
        self._wall_us = wall_us
        self._waits = waits
        self._most_rows = most_rows
        self._detours = detours
        self._shelf: dict[str, list[tuple[OpenTask, Work]]] = {}
        self._moved = asyncio.Event()
        self._is_over = False
        self.rows = 0

    @property
    def is_full(self) -> bool:
        """Whether no more rows should come as long as these are here."""
        return self.rows >= self._most_rows

    @property
    def parked(self) -> tuple[Parked, ...]:
        """Whose rows are here, and until when."""
        known = ((lane, self._gate.opens_us(lane), len(rows)) for lane, rows in self._shelf.items())
        return tuple(Parked(*each) for each in known if each[1])

    def takes(self, ending: Ending) -> bool:
        """Whether a row that was sent away stays in the run: somebody else may ask it, or it waits for another day.

        Of one that stays the slot is given back, and it has to be shelved.
        """
        verdict, permit = ending.turn.verdict, ending.turn.permit
        if verdict.kind is not Kind.PARKED:
            return self._detours is not None and self._goes_elsewhere(ending, self._detours)
        if not self._waits and self._gate.opens_us(ending.task.lane):
            return False
        tries = ending.task.tries
        tries[verdict.reason] = tries.get(verdict.reason, 0) + 1
        self._gate.free(permit)
        return True

    def _goes_elsewhere(self, ending: Ending, detours: Detours) -> bool:
        if not detours.takes(ending):
            return False
        lane = ending.task.lane
        if not self._waits and (opens_us := self._gate.opens_us(lane)):
            raise DayQuotaReached(lane, opens_us)
        return True

    async def shelve(self, task: OpenTask, work: Work, why: DayQuotaReached | None = None) -> None:
        """Keep a row until its lane may send again.

        Args:
            task: it holds neither slot nor credit.
            work: its block.
            why: what the gate said; None when another lane may ask it at once.

        Raises:
            DayQuotaReached: `why`, where the run does not wait.
        """
        if why is not None and not self._waits:
            raise why
        task.waiting = False
        if why is not None:
            await self._worklist.withdraw([task])
        self._shelf.setdefault(task.lane, []).append((task, work))
        self.rows += 1
        self._moved.set()

    async def back(self, most: int) -> AsyncIterator[list[tuple[OpenTask, Work]]]:
        """The rows that may go again, admitted, at most so many at a time; ends once it is told that all is `over`."""
        while not self._is_over:
            self._moved.clear()
            lane = next((lane for lane in self._shelf if self._goes_now(lane)), None)
            if lane is None:
                await self._rest()
                continue
            rows, rest = self._shelf[lane][:most], self._shelf[lane][most:]
            self._shelf[lane] = rest
            if not rest:
                del self._shelf[lane]
            await self._worklist.admit([task for task, _ in rows])
            self.rows -= len(rows)
            yield rows

    def over(self) -> None:
        """Nothing can come here any more."""
        self._is_over = True
        self._moved.set()

    def _goes_now(self, lane: str) -> bool:
        """Whether the rows of a lane go back: it is open, or nothing is to be waited for and the gate has to say so."""
        opens_us = self._gate.opens_us(lane)
        return not self._waits or not opens_us or opens_us >= FOR_GOOD_US

    async def _rest(self) -> None:
        opens_us = min((self._gate.opens_us(lane) for lane in self._shelf), default=None)
        left_s = None if opens_us is None else min((opens_us - self._wall_us()) / 1e6, _LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(left_s):
                await self._moved.wait()
        except TimeoutError:
            return
