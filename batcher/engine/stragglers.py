"""Which rows hold a block open, and which take far longer than the others? Looks at the open tasks once a second.

A block is sealed when its last task is done, so one slow row keeps the answers of a whole block out of its part. A row
is named when nothing of its block is left to be sent and it has been open for three times what 99 % of the answers
took, and for 10 s. Nothing of this runs for a row that is answered in time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from batcher.asking.ask import OpenTask
from batcher.engine.latency import quantile_ms
from batcher.engine.plan import Plan
from batcher.engine.progress import Straggler
from batcher.engine.session import IN_FLIGHT, Session
from batcher.engine.work import Work
from batcher.store.blockfile import read_ids

LOOK_EVERY_S = 1.0
LATE_S, LATE_P99S = 10.0, 3.0
"""A row is a straggler after so long, and so many times what 99 % of the answers took."""
VERY_LATE_S, VERY_LATE_P99S = 60.0, 10.0
"""And is told of in a line of its own after so much time of asking."""
MOST_NAMED = 5
SAY_EVERY_S = 30.0
_LONGEST_ID = 60
_OF_DEADLINE = 0.5


@dataclass(slots=True)
class _Seen:
    """What is known of an open task that it does not know itself.

    Attributes:
        open_s: since it was first seen, without outages.
        attempts: as they were at the last look.
        out_s: how long the request has been out that it is.
        told: how bad it was when the user was told: 0 not at all, 1 very late, 2 near the deadline.
    """

    open_s: float = 0.0
    attempts: int = 0
    out_s: float = 0.0
    told: int = 0


class Stragglers:
    """Keeps an eye on the open tasks of a session.

    Args:
        plan, session: what it looks at.
        latencies: of the answers so far, as `engine/latency` counts them.
        log: told in one line of rows that are asked for very long, once each.

    Attributes:
        count: rows that hold a block open.
        named: the oldest of them, oldest first.
    """

    def __init__(self, plan: Plan, session: Session, latencies: Sequence[int], *, log: Callable[[str], None]) -> None:
        self._plan = plan
        self._session = session
        self._latencies = latencies
        self._log = log
        self._deadline_s = plan.job.retry.row_deadline_s
        self._looked_s: float | None = None
        self._said_s = float("-inf")
        self._seen: dict[int, _Seen] = {}
        self._ids: dict[int, str] = {}
        self.count = 0
        self.named: tuple[Straggler, ...] = ()

    def look(self, now_s: float) -> None:
        """Look, if it is time to; seconds of the loop."""
        since_s = now_s if self._looked_s is None else self._looked_s
        if self._looked_s is not None and now_s - since_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        is_out = self._session.outage is not None  # then all wait for one thing, which is told already
        self._age(0.0 if is_out else now_s - since_s)
        p99_ms = quantile_ms(self._latencies, 0.99)
        late = [] if is_out or p99_ms is None else list(self._late(max(LATE_S, LATE_P99S * p99_ms / 1000)))
        self.count = len(late)
        self.named = tuple(self._straggler(*each) for each in self._oldest(late))
        self._ids = {task: name for task, name in self._ids.items() if task in self._seen}
        if not is_out:
            self._warn(now_s, p99_ms)

    def _age(self, passed_s: float) -> None:
        before, self._seen = self._seen, {}
        for task in self._session.open:
            seen = before.get(task.task)
            if seen is None:
                seen = _Seen()
            else:
                seen.open_s += passed_s
                seen.out_s = seen.out_s + passed_s if seen.attempts == task.attempts else 0.0
            seen.attempts = task.attempts
            self._seen[task.task] = seen

    def _late(self, late_s: float) -> Iterator[tuple[OpenTask, Work]]:
        """The late tasks of blocks of which nothing is left but what was sent already."""
        if all(seen.open_s < late_s for seen in self._seen.values()):  # nearly always
            return
        undecided = Counter(work.no for work in self._session.undecided)
        for work, tasks in _by_block(self._session):
            if work.remaining <= len(tasks) + undecided[work.no]:
                yield from ((task, work) for task in tasks if self._seen[task.task].open_s >= late_s)

    def _oldest(self, late: list[tuple[OpenTask, Work]]) -> list[tuple[OpenTask, Work]]:
        return sorted(late, key=lambda each: (-self._seen[each[0].task].open_s, each[0].task))[:MOST_NAMED]

    def _straggler(self, task: OpenTask, work: Work) -> Straggler:
        return Straggler(
            task=task.task,
            id=self._id(task.task),
            sample=task.task % self._plan.job.samples if self._plan.job.samples > 1 else None,
            block=work.no,
            open_s=self._seen[task.task].open_s,
            attempts=task.attempts,
            waits_for=self._session.waits_for(task),
        )

    def _id(self, task: int) -> str:
        """The row's id, from its block's file; only ever asked of a handful."""
        if task not in self._ids:
            self._ids[task] = _shortened(self._read_id(task // self._plan.job.samples))
        return self._ids[task]

    def _read_id(self, ordinal: int) -> str:
        blocks = self._plan.index.blocks
        block = blocks[bisect_right(blocks, ordinal, key=lambda each: each.first_ordinal) - 1]
        try:
            path = self._plan.rundir.block_file(block.no)
            found = read_ids(path, ordinal, within=ordinal - block.first_ordinal)
            return str(found.ids[ordinal - found.first].as_py())
        except (OSError, pa.ArrowException, IndexError):
            return f"row-{ordinal}"

    def _warn(self, now_s: float, p99_ms: float | None) -> None:
        """Tell of the rows that have become very late; seldom, and of many at once."""
        if now_s - self._said_s < SAY_EVERY_S:
            return
        very_late_s = float("inf") if p99_ms is None else max(VERY_LATE_S, VERY_LATE_P99S * p99_ms / 1000)
        near_end_s = _OF_DEADLINE * self._deadline_s
        worst: list[tuple[int, float, OpenTask]] = []
        for task in self._session.open:
            seen = self._seen[task.task]
            if task.active_s + seen.out_s < min(very_late_s, near_end_s):  # nearly always
                continue
            active_s = self._active_s(task)
            how_bad = 2 if active_s >= near_end_s else 1 if active_s >= very_late_s else 0
            if how_bad > seen.told:
                seen.told = how_bad
                worst.append((how_bad, active_s, task))
        if worst:
            self._said_s = now_s
            self._log(self._told(*max(worst, key=lambda each: each[:2]), more=len(worst) - 1, p99_ms=p99_ms))

    def _told(self, how_bad: int, active_s: float, task: OpenTask, *, more: int, p99_ms: float | None) -> str:
        how = f"try {task.attempts:,}, {self._session.waits_for(task)}"
        others = f"; so are {more:,} more" if more else ""
        measure = self._measure(how_bad, p99_ms)
        return f"slow row {self._named(task)}: asked for {active_s:,.0f} s so far ({how}){others}; {measure}"

    def _active_s(self, task: OpenTask) -> float:
        is_out = self._session.waits_for(task) == IN_FLIGHT
        return task.active_s + (self._seen[task.task].out_s if is_out else 0.0)

    def _named(self, task: OpenTask) -> str:
        samples = self._plan.job.samples
        return self._id(task.task) if samples == 1 else f"{self._id(task.task)} (sample {task.task % samples})"

    def _measure(self, how_bad: int, p99_ms: float | None) -> str:
        if how_bad > 1 or p99_ms is None:
            return f"retry.row_deadline_s is {self._deadline_s:,.0f} s"
        return f"99 % of the answers took {p99_ms / 1000:,.1f} s or less"


def _by_block(session: Session) -> list[tuple[Work, list[OpenTask]]]:
    works = sorted(session.blocks, key=lambda work: work.first_task)
    firsts = [work.first_task for work in works]
    found: list[tuple[Work, list[OpenTask]]] = [(work, []) for work in works]
    for task in session.open:
        at = bisect_right(firsts, task.task) - 1
        if at >= 0 and task.task < firsts[at] + works[at].tasks:  # else its block has just got its last outcome
            found[at][1].append(task)
    return found


def _shortened(text: str) -> str:
    text = " ".join(text[: 4 * _LONGEST_ID].split())  # it is the user's, and goes into lines
    return text if len(text) <= _LONGEST_ID else f"{text[: _LONGEST_ID - 1]}…"
