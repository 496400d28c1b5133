"""Who is told of every outcome, the ones of earlier starts included? One listener, that may make the run wait."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from batcher.engine.fresh import Fresh
from batcher.engine.outcomes import COLUMNS, TaskOutcome, outcome_of_bill, outcome_of_row
from batcher.engine.packing import packer_of
from batcher.engine.plan import Plan
from batcher.engine.work import Chunk, Work, WorkList
from batcher.records import Outcome
from batcher.rows.blocks import Block
from batcher.store.bills import Earlier, Read, read_attempt, row_bill
from batcher.store.blockfile import SLICE, SliceOfIds, read_ids
from batcher.store.blocks import BlockRow, State, read_answers, read_asked, read_unfinished
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.kept import earlier_of
from batcher.store.reading import part_file

_MOST_SLICES = 16  # whose ids are at hand: rows end nearly in order


class Listener(Protocol):
    """Who is told; both are called on the run's loop."""

    def told(self, outcome: TaskOutcome) -> None:
        """Take one outcome; must not block."""
        ...

    async def room(self, tasks: int) -> bool:
        """Wait until so many more outcomes may come; False when nobody listens any more."""
        ...


class PacedWorkList(WorkList):
    """Yields tasks no faster than the listener takes their outcomes."""

    def __init__(  # noqa: PLR0913  as `WorkList`
        self,
        plan: Plan,
        journal: Journal,
        *,
        wall_us: Callable[[], int],
        secret: str | Sequence[str],
        failpoints: FailPoints,
        listener: Listener,
    ) -> None:
        super().__init__(plan, journal, wall_us=wall_us, secret=secret, failpoints=failpoints)
        self._listener = listener

    async def chunks(self, work: Work) -> AsyncIterator[Chunk]:
        """See `WorkList.chunks`."""
        async for chunk in super().chunks(work):
            await self._listener.room(len(chunk.tasks) + len(chunk.ended))
            yield chunk


class Teller(Fresh):
    """Tells a listener of every task of a run, once.

    It stands in the place of `Fresh`, which sees every judged request and every outcome; so a run that nobody listens
    to pays nothing for it.

    Args:
        plan, rows, journal: of the run that starts.
        listener: who is told.
    """

    def __init__(self, plan: Plan, rows: Mapping[int, BlockRow], journal: Journal, listener: Listener) -> None:
        super().__init__(packer=packer_of(plan, rows))
        self._plan = plan
        self._blocks = [(block, row) for block in plan.index.blocks if (row := rows.get(block.no)) is not None]
        self._journal = journal
        self._listener = listener
        self._ids = _Ids(plan)
        self._samples = plan.job.samples
        self._tried: dict[int, list[Read]] = {}
        self._earlier: dict[int, Earlier] = {}

    def read(self, read: Read) -> None:
        """One request was judged and priced."""
        self._tried.setdefault(read.attempt.task, []).append(read)
        super().read(read)

    def outcome(self, outcome: Outcome) -> None:
        """One task ended, and the journal has it."""
        super().outcome(outcome)
        self._tell(outcome, self._tried.pop(outcome.task, []))

    async def spared(self, rows: pa.RecordBatch) -> None:
        """Rows were sealed whose answers somebody else had paid for."""
        await self._listener.room(rows.num_rows)
        for row in rows.select(list(COLUMNS)).to_pylist():
            self._listener.told(outcome_of_row(row, samples=self._samples))

    async def over(self, work: Coroutine[Any, Any, None]) -> None:
        """Tell what earlier starts finished before and while `work` goes on.

        Raises:
            StorageError: a finished part cannot be read.
        """
        for block, row in self._blocks:
            if row.state is not State.SEALED:
                await self._of_journal(block, row)
        telling = asyncio.ensure_future(self._of_parts())
        try:
            await work
            await telling
        finally:
            telling.cancel()

    async def _of_journal(self, block: Block, row: BlockRow) -> None:
        """The finished tasks of an open block, before a seal takes them from the journal; the past of the others."""
        first, stop = block.first_ordinal * self._samples, (block.first_ordinal + block.rows) * self._samples
        if row.totals is not None:
            await self._of_reopened(block)
        for start in range(first, stop, SLICE):
            outcomes, attempts = await self._journal.call(read_answers(start, min(start + SLICE, stop)))
            await self._listener.room(len(outcomes))
            for outcome, tried in zip(outcomes, attempts, strict=True):
                self._tell(outcome, [read_attempt(attempt, self._plan.terms) for attempt in tried])
        for attempt in await self._journal.call(read_unfinished(first, stop)):
            self._tried.setdefault(attempt.task, []).append(read_attempt(attempt, self._plan.terms))

    async def _of_reopened(self, block: Block) -> None:
        """A retry that was killed: the part's good rows stand, the others had used something before."""
        asked = await self._journal.call(read_asked(block.no)) or frozenset()
        part = self._plan.rundir.part(block.no, self._plan.blocks)
        self._earlier |= await asyncio.to_thread(earlier_of, part, asked)
        await self._of_part(part, asked)

    async def _of_parts(self) -> None:
        for block, row in self._blocks:
            if row.state is State.SEALED and not await self._of_part(
                self._plan.rundir.part(block.no, self._plan.blocks), frozenset()
            ):
                return

    async def _of_part(self, part: Path, asked: frozenset[int]) -> bool:
        """Tell the rows of a part but those asked again; False when nobody listens any more."""
        batches = _batches(part)
        while (rows := await asyncio.to_thread(next, batches, None)) is not None:
            standing = [row for row in rows if row["task"] not in asked]
            if not await self._listener.room(len(standing)):
                return False
            for row in standing:
                self._listener.told(outcome_of_row(row, samples=self._samples))
        return True

    def _tell(self, outcome: Outcome, reads: list[Read]) -> None:
        bill = row_bill(outcome, reads, self._earlier.pop(outcome.task, None))
        told = outcome_of_bill(outcome, bill, id=self._ids.of(outcome.task), samples=self._samples)
        self._listener.told(told)


def _batches(part: Path) -> Iterator[list[dict[str, Any]]]:
    with part_file(part) as file:
        for batch in file.iter_batches(batch_size=SLICE, columns=list(COLUMNS)):
            yield batch.to_pylist()


class _Ids:
    """The rows' ids, from the block files: they are there until the block's last outcome has been told."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._samples = plan.job.samples
        self._firsts = [block.first_ordinal for block in plan.index.blocks]
        self._slices: deque[SliceOfIds] = deque(maxlen=_MOST_SLICES)

    def of(self, task: int) -> str:
        """The id of a task's row."""
        ordinal = task // self._samples
        found = next((each for each in self._slices if each.has(ordinal)), None) or self._read(ordinal)
        name: str = found.ids[ordinal - found.first].as_py()
        return name

    def _read(self, ordinal: int) -> SliceOfIds:
        block = self._plan.index.blocks[bisect_right(self._firsts, ordinal) - 1]
        found = read_ids(self._plan.rundir.block_file(block.no), ordinal, within=ordinal - block.first_ordinal)
        self._slices.appendleft(found)
        return found
