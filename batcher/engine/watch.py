"""How far is the session right now? Looks at it now and then, and tells whoever shows it and `status`."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from batcher.engine.funds import Funds
from batcher.engine.halt import Halt
from batcher.engine.latency import between, quantile_ms
from batcher.engine.plan import Plan
from batcher.engine.progress import Phase, Snapshot, Totals
from batcher.engine.session import Session
from batcher.engine.status import write_status
from batcher.engine.stragglers import Stragglers
from batcher.engine.tally import Tally
from batcher.engine.tokenscale import write_learnt
from batcher.pacing.permit import OUTAGE

_LOOK_EVERY_S = 0.25
_STATUS_EVERY_S = 2.0
_LIMIT_LOOKS = 20  # the wait of a single moment says little: what is told is that of most of the last five seconds
_MARK_EVERY_S = 1.0
_MARKS = 60
_LEAST_TO_PROJECT = 20  # tasks; the costs of fewer say nothing about the rest

Show = Callable[[Snapshot], None]


class _Mark(NamedTuple):
    """Where the session stood at a moment, to tell what came since."""

    at_s: float
    finished: int
    latencies: Sequence[int]


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
        log: told of rows that take very long.
        funds: of a run with a cap.
    """

    def __init__(  # noqa: PLR0913  the parts of a run it looks at
        self,
        plan: Plan,
        session: Session,
        tally: Tally,
        halt: Halt,
        *,
        done_before: int,
        show: Show,
        command: str,
        log: Callable[[str], None],
        funds: Funds | None = None,
    ) -> None:
        self._plan = plan
        self._session = session
        self._tally = tally
        self._halt = halt
        self._done_before = done_before
        self._show = show
        self._command = command
        self._funds = funds
        self._now = asyncio.get_running_loop().time
        self._began_s = self._now()
        self._stragglers = Stragglers(plan, session, tally.latencies, log=log)
        self._waits: dict[str, int] = {}
        self._limits: deque[str] = deque(maxlen=_LIMIT_LOOKS)
        self._marks: deque[_Mark] = deque([self._mark()], maxlen=_MARKS)

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
                write_learnt(self._plan.rundir, self._session.learnt)
            await asyncio.wait([running], timeout=_LOOK_EVERY_S)
        self._look()
        write_learnt(self._plan.rundir, self._session.learnt)
        await running

    def _look(self) -> None:
        limited_by = self._session.limited_by
        if limited_by != OUTAGE:  # it is said as long as it lasts, to the second
            self._limits.append(limited_by)
        if limited_by:
            self._waits[limited_by] = self._waits.get(limited_by, 0) + 1
        if self._now() - self._marks[-1].at_s >= _MARK_EVERY_S:
            self._marks.append(self._mark())
        self._stragglers.look(self._now())
        self._show(self.snapshot())

    def _mark(self) -> _Mark:
        return _Mark(self._now(), self._tally.finished, tuple(self._tally.latencies))

    def snapshot(self) -> Snapshot:
        """The run now."""
        session, tally, now = self._session, self._tally, self._now()
        totals = tally.totals()
        # What need not be asked is done when its block is sealed, and costs no time and no money until then.
        left = self._plan.tasks - totals.done - max(self._plan.spared - totals.spared, 0)
        since = self._marks[0]
        outage = session.outage
        finished, latencies = tally.finished - since.finished, between(since.latencies, tally.latencies)
        return Snapshot(
            phase=self._phase(),
            tasks=self._plan.tasks,
            done_before=self._done_before,
            totals=totals,
            in_flight=session.in_flight,
            waiting=session.open_tasks - session.in_flight,
            limited_by=OUTAGE if outage else self._limited_most(),
            elapsed_s=now - self._began_s,
            rate_per_s=tally.rate_per_s(now, self._began_s),
            eta_s=left * (now - since.at_s) / finished if finished else None,
            p50_ms=quantile_ms(latencies, 0.5),
            p95_ms=quantile_ms(latencies, 0.95),
            projected_usd=self._projected_usd(totals, left),
            outage=outage,
            pace_per_s=session.gate.pace_per_s,
            narrowed=session.gate.narrowed,
            straggling=self._stragglers.count,
            stragglers=self._stragglers.named,
            spending=None if self._funds is None else self._funds.spending,
            parked=session.parked,
        )

    def _limited_most(self) -> str:
        return Counter(self._limits).most_common(1)[0][0] if self._limits else ""

    def _projected_usd(self, totals: Totals, left: int) -> Decimal | None:
        # By this session alone: of what an earlier one left unsealed, the rows are known and the cost is not yet.
        finished = self._tally.finished
        if totals.unpriced or finished < _LEAST_TO_PROJECT:
            return None
        return totals.cost_usd + self._tally.cost_usd * left / finished

    def _phase(self) -> Phase:
        if self._halt.why is not None:
            return Phase.DRAINING
        return Phase.ASKING if self._session.is_asking else Phase.SEALING
