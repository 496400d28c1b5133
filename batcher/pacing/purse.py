"""Who may have money of the budget next? Tasks hold the most that an attempt may cost until they end.

The reserve of a task is the worst case of one attempt. It is held before the attempt is admitted in the journal, so
that after a kill all that was admitted is covered, and kept until the task ends: what failed and was not billed is
asked again out of the same reserve. An attempt that was billed, or may have been, is charged once it is on disk, and
the task holds its reserve anew for the next one, before any new row gets money. So a retry waits only where all that is
left is out already, and no longer than it takes to come home; and two tasks cannot lock each other out, because one
that waits holds nothing. To hold all the attempts that each task might make would keep 5 to 7 times as much idle, and
so leave slots empty, and money unused, long before the cap.

When nothing is held and the first in line does not fit, nothing can ever give it what it wants: that is the end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from batcher.pacing.budget import Amount, Budget, BudgetReached, Spending

_NOTHING = Amount()


@dataclass(slots=True)
class _Hold:
    """What a task holds, what its last attempt was billed, and what it holds beside until that is on disk."""

    reserve: Amount
    billed: Amount = _NOTHING
    beside: Amount = _NOTHING


@dataclass(slots=True, eq=False)
class _Place:
    """One in line."""

    task: int
    reserve: Amount
    served: asyncio.Future[None]


class Purse:
    """Gives tasks their reserves, retries first, then in the order of asking.

    Args:
        budget: the arithmetic.
        nearly: told once, with the setting and how it stands, when four fifths are spent.
        hint: of what is said at the end.

    Attributes:
        on_set_back: called when a retry is put in line: whoever holds back tasks that have a reserve must let them go.
    """

    def __init__(self, budget: Budget, *, nearly: Callable[[str, Spending], None], hint: str = "") -> None:
        self._budget = budget
        self._nearly: Callable[[str, Spending], None] | None = None if budget.nearly_spent else nearly
        self._hint = hint
        self.on_set_back: Callable[[], None] = _nobody_holds_back
        self._holds: dict[int, _Hold] = {}
        self._retries: deque[_Place] = deque()
        self._new: deque[_Place] = deque()
        self._owing: dict[int, _Place] = {}

    @property
    def spending(self) -> Spending:
        """How the budget stands."""
        return self._budget.spending

    @property
    def is_short(self) -> bool:
        """Whether anybody waits for money."""
        return bool(self._retries or self._new)

    async def take(self, asks: Sequence[tuple[int, Amount | None]]) -> int:
        """Hold the reserve of the first of these tasks, and of as many behind it as fit without a wait.

        Args:
            asks: task and reserve, in order; None for a task that is not sent.

        Returns:
            How many of them have what they want, at least one.

        Raises:
            BudgetReached: the first will never fit.
        """
        for at, (task, reserve) in enumerate(asks):
            if reserve is None:
                continue
            if not self.is_short and self._budget.hold(reserve):
                self._holds[task] = _Hold(reserve)
            elif at:
                return at
            else:
                await self._stand(task, reserve, self._new)
        return len(asks)

    def billed(self, task: int, amount: Amount | None) -> None:
        """The attempt of a task was judged: what it was billed for sure; None where that may be all of its reserve."""
        hold = self._holds[task]
        hold.billed = hold.reserve if amount is None else amount

    def renew(self, task: int) -> bool:
        """Hold a reserve for the next attempt beside the last one's, whose record is not on disk yet.

        Returns:
            False when that does not fit, or others are in line: then `set_back` once it is on disk.
        """
        hold = self._holds[task]
        if hold.billed == _NOTHING:
            return True
        if self._retries or not self._budget.hold(hold.billed):
            return False
        hold.beside = hold.billed
        return True

    def renewed(self, task: int) -> None:
        """The record of the last attempt is on disk, and the next one is admitted."""
        hold = self._holds[task]
        self._settle(hold.beside, hold.billed)
        hold.beside = hold.billed = _NOTHING

    def set_back(self, task: int) -> None:
        """The record of the last attempt is on disk, and nothing is held for the next one: the task is in line."""
        hold = self._holds.pop(task)
        place = self._owing[task] = _Place(task, hold.reserve, asyncio.get_running_loop().create_future())
        self._retries.append(place)
        self.on_set_back()
        self._settle(hold.reserve, hold.billed)

    def owes(self, task: int) -> bool:
        """Whether a task was set back and has not got its reserve since."""
        return task in self._owing

    async def again(self, task: int) -> None:
        """Wait for the reserve of a task that was set back.

        Raises:
            BudgetReached: it will never fit.
        """
        await self._waited(self._owing.pop(task))

    def ended(self, task: int) -> None:
        """The task has its outcome, on disk: what it was billed takes the place of what it held."""
        hold = self._holds.pop(task)
        self._settle(hold.reserve, hold.billed)

    def closed(self, in_flight: Collection[int]) -> Spending:
        """How the budget stands at the end of a session: of what is held, only what may have been billed counts.

        Args:
            in_flight: tasks whose requests were abandoned.
        """
        for task in tuple(self._holds):
            hold = self._holds.pop(task)
            is_lost = task in in_flight or hold.billed != _NOTHING  # judged, but its record never got to the disk
            self._budget.settle(hold.reserve, hold.reserve if is_lost else _NOTHING)
        return self._budget.spending

    def _settle(self, held: Amount, spent: Amount) -> None:
        budget = self._budget
        budget.settle(held, spent)
        if self._nearly is not None and (setting := budget.nearly_spent):
            nearly, self._nearly = self._nearly, None
            nearly(setting, budget.spending)
        if self._retries or self._new:
            self._serve()

    async def _stand(self, task: int, reserve: Amount, line: deque[_Place]) -> None:
        place = _Place(task, reserve, asyncio.get_running_loop().create_future())
        line.append(place)
        self._serve()
        await self._waited(place)

    async def _waited(self, place: _Place) -> None:
        try:
            await place.served
        except asyncio.CancelledError:
            if place.served.done() and not place.served.cancelled() and place.served.exception() is None:
                self._settle(self._holds.pop(place.task).reserve, _NOTHING)  # served in the same turn of the loop
            raise

    def _serve(self) -> None:
        """Give to those in line what fits; when nothing is out that could give anything back, tell them the end."""
        while line := self._retries or self._new:
            place = line[0]
            if place.served.done():  # cancelled
                line.popleft()
            elif self._budget.hold(place.reserve):
                line.popleft()
                self._holds[place.task] = _Hold(place.reserve)
                place.served.set_result(None)
            elif self._holds:
                return
            else:
                self._end(place.reserve)

    def _end(self, wanted: Amount) -> None:
        reached = BudgetReached(self._budget.lacks(wanted), self._budget.spending, wanted, hint=self._hint)
        for place in (*self._retries, *self._new):
            if not place.served.done():
                place.served.set_exception(reached)
                place.served.exception()  # who was set back may not wait yet, and never will when the run stops
        self._retries.clear()
        self._new.clear()


def _nobody_holds_back() -> None:
    """A purse of its own, without a session around it."""
