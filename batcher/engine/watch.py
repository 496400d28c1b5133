"""How far is the session right now? Looks at it now and then, and tells whoever shows it and `status`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from batcher.engine.halt import Halt
from batcher.engine.plan import Plan
from batcher.engine.progress import Phase, Snapshot, Totals
from batcher.engine.session import Session
from batcher.engine.status import write_status
from batcher.engine.tally import Tally

_LOOK_EVERY_S = 0.5
_STATUS_EVERY_S = 2.0

Show = Callable[[Snapshot], None]


def snapshot_of_planning(rows: int, elapsed_s: float) -> Snapshot:
    """The run while its input is read: rows found so far."""
    return Snapshot(
        phase=Phase.PLANNING,
        tasks=rows,
        done_before=0,
        totals=Totals(by_status={}),
        in_flight=0,
        waiting=0,
        limited_by="",
        elapsed_s=elapsed_s,
        rate_per_s=rows / elapsed_s if elapsed_s else 0.0,
        eta_s=None,
    )


class Lookout:
    """Looks at the session now and then, for whoever shows it and for `status`.

    Args:
        plan, session, tally, halt: what it looks at.
        done_before: tasks that earlier sessions had finished.
        show: told of every look.
        command: what was typed, for whoever reads `status` after a kill.
    """

    def __init__(  # noqa: PLR0913  the parts of a run it looks at
        self, plan: Plan, session: Session, tally: Tally, halt: Halt, *, done_before: int, show: Show, command: str
    ) -> None:
        self._plan = plan
        self._session = session
        self._tally = tally
        self._halt = halt
        self._done_before = done_before
        self._show = show
        self._command = command
        self._now = asyncio.get_running_loop().time
        self._began_s = self._now()
        self._waits: dict[str, int] = {}

    @property
    def elapsed_s(self) -> float:
        """Of this session."""
        return self._now() - self._began_s

    @property
    def limited_by(self) -> str:
        """What held the session back at most looks."""
        return max(self._waits, key=self._waits.__getitem__, default="")

    async def over(self, work: Coroutine[Any, Any, None]) -> None:
        """Watch until `work` is done."""
        running = asyncio.ensure_future(work)
        told_at = 0.0
        while not running.done():
            self._look()
            if self._now() - told_at >= _STATUS_EVERY_S:
                told_at = self._now()
                write_status(self._plan.rundir, self.snapshot(), self._session.last, self._command)
            await asyncio.wait([running], timeout=_LOOK_EVERY_S)
        self._look()
        await running

    def _look(self) -> None:
        if limited_by := self._session.limited_by:
            self._waits[limited_by] = self._waits.get(limited_by, 0) + 1
        self._show(self.snapshot())

    def snapshot(self) -> Snapshot:
        """The run now."""
        session, now = self._session, self._now()
        totals = self._tally.totals()
        rate = self._tally.rate_per_s(now, self._began_s)
        left = self._plan.tasks - totals.done
        return Snapshot(
            phase=self._phase(),
            tasks=self._plan.tasks,
            done_before=self._done_before,
            totals=totals,
            in_flight=session.in_flight,
            waiting=session.open_tasks - session.in_flight,
            limited_by=session.limited_by,
            elapsed_s=now - self._began_s,
            rate_per_s=rate,
            eta_s=left / rate if rate else None,
        )

    def _phase(self) -> Phase:
        if self._halt.why is not None:
            return Phase.DRAINING
        return Phase.ASKING if self._session.is_asking else Phase.SEALING
