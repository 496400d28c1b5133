"""How does a task ask when money is counted? As ever; attempts that are on disk give their reserve back or renew it.

A class of its own, so that a run without a budget pays nothing for it.
"""

from __future__ import annotations

from typing import Any

from batcher.asking.ask import Asker, Ending, OpenTask, Turn
from batcher.pacing.permit import Permit
from batcher.pacing.purse import Purse
from batcher.store.frames import pack_attempt


class ThriftyAsker(Asker):
    """Asks within a budget.

    Args:
        purse: holds the reserve of every task that is asked, from before its admission; `on_turn` tells it what each
            attempt was billed.
        parts: as of `Asker`.
    """

    def __init__(self, purse: Purse, **parts: Any) -> None:
        super().__init__(**parts)
        self._purse = purse

    async def ask(self, task: OpenTask, permit: Permit) -> Ending:
        """See `Asker.ask`.

        What ends in another way gives nothing back: an attempt may be admitted that nobody knows the end of, and the
        run is over.
        """
        ending = await super().ask(task, permit)
        self._purse.ended(task.task)
        return ending

    async def _set_aside(self, task: OpenTask, turn: Turn) -> None:
        await super()._set_aside(task, turn)
        if self._purse.owes(task.task):
            self._gate.stand_aside()  # else those that hold what it waits for might never be opened
            try:
                await self._purse.again(task.task)
            finally:
                self._gate.come_back()
            await self._journal.admit([self._admission(task)])

    async def _keep(self, task: OpenTask, turn: Turn) -> None:
        if self._purse.renew(task.task):
            await super()._keep(task, turn)
            self._purse.renewed(task.task)
        else:
            await self._journal.attempted(task.task, turn.attempt.n, pack_attempt(turn.attempt))
            self._purse.set_back(task.task)
