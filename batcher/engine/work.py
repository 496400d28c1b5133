"""Which blocks are open, and what is next to ask? Block files are written ahead, tasks admitted before sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from batcher.asking.ask import OpenTask, failed_row
from batcher.engine.funds import Funds, few_ahead
from batcher.engine.plan import Plan
from batcher.engine.seal import Sealable
from batcher.engine.spared import Spares
from batcher.errors import StorageError
from batcher.job.spec import Job
from batcher.money.totals import Totals
from batcher.records import Kind, Outcome, Problem, Request, Row
from batcher.rows.blocks import Block
from batcher.rows.slices import BlockReader
from batcher.store.blockfile import SLICE, SLICE_BYTES, BlockFile, BlockWriter, Planned, schema_of, slice_of
from batcher.store.blocks import Begun, BlockRow, State, put_block, read_asked, read_begun, read_done, withdraw
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_outcome
from batcher.store.journal import Journal
from batcher.store.kept import used_before

MOST_AHEAD_BYTES = 8 << 20  # of requests kept in memory between a block's writing and its asking
LOOK_AHEAD_IN_A_DAY_QUOTA = 8  # there, what counts as maybe sent counts against the day, too
LOOK_AHEAD = 64  # tasks admitted together; after a kill, what was admitted but not sent counts as maybe billed


@dataclass(slots=True, eq=False, kw_only=True)
class Work:
    """A block with tasks to ask.

    Attributes:
        done: tasks that are not to be asked: they have an outcome, or somebody else has their answer.
        remaining: tasks without an outcome; the block is sealed at 0.
        needs: blocks whose parts hold answers for this one.
    """

    no: int
    first_task: int
    tasks: int
    generation: int
    digest: str
    asked: frozenset[int] | None
    before: Totals | None
    done: set[int] = field(default_factory=set)
    remaining: int = 0
    needs: frozenset[int] = frozenset()

    def sealable(self) -> Sealable:
        """What the sealer needs to know."""
        return Sealable(
            no=self.no,
            generation=self.generation,
            digest=self.digest,
            first_task=self.first_task,
            tasks=self.tasks,
            asked=self.asked,
            before=self.before,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Tasks that may be sent once `committed` is done, and rows that ended without being asked."""

    work: Work
    tasks: list[OpenTask]
    ended: list[Outcome]
    committed: asyncio.Future[None]


def planned(ordinal: int, made: Request | Problem) -> Planned:
    """One row as the feeder needs it."""
    if isinstance(made, Request):
        return Planned(ordinal=ordinal, request=made, problem=None)
    return Planned(ordinal=ordinal, request=None, problem=made)


class WorkList:
    """Opens blocks in order and yields their unfinished tasks in chunks.

    Args:
        plan: what there is.
        journal: where blocks and admissions are recorded.
        wall_us: for the stamp of an admission.
        secret: the key, kept out of messages.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        *,
        wall_us: Callable[[], int],
        secret: str | Sequence[str],
        failpoints: FailPoints,
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._wall_us = wall_us
        self._secret = secret
        self._failpoints = failpoints
        self._samples = plan.job.samples
        self._look_ahead = _look_ahead(plan.job)
        self.funds: Funds | None = None
        """Gives tasks their reserves before they are admitted; None without a cap."""
        self._schema = schema_of(plan.index.schema)
        self._heavy = bool(plan.builder.media)
        self._spares = Spares(plan) if plan.terms.spares else None
        self._lanes: dict[str, str] = {}
        self._ahead: dict[int, list[list[Planned]]] = {}
        self._reader = BlockReader(plan.index, plan.job.input, slice_rows=SLICE, needed=plan.builder.needed)

    async def open(self, block: Block, row: BlockRow | None) -> Work:
        """Make a block ready to ask: its block file written and recorded, its finished tasks known.

        Raises:
            PlanChanged: the input's bytes are not those that were planned.
            StorageError: the disk refuses, or the block file is damaged.
        """
        first, count = block.first_ordinal * self._samples, block.rows * self._samples
        if row is None:
            digest = await self.write(block)
            await self._journal.call(put_block(block.no, State.OPEN, 1, digest))
            work = Work(
                no=block.no,
                first_task=first,
                tasks=count,
                generation=1,
                digest=digest,
                asked=None,
                before=None,
                remaining=count,
            )
            return work if self._spares is None else await self._sparing(work, block, self._spares)
        asked = await self._journal.call(read_asked(block.no))
        done = await self._journal.call(read_done(first, first + count))
        work = Work(
            no=block.no,
            first_task=first,
            tasks=count,
            generation=row.generation,
            digest=row.digest,
            asked=asked,
            before=row.totals,
            done=done,
            remaining=(count if asked is None else len(asked)) - len(done),
        )
        return work if self._spares is None else await self._sparing(work, block, self._spares)

    async def _sparing(self, work: Work, block: Block, spares: Spares) -> Work:
        """Take out the tasks whose answer another run or another row has."""
        spared = await asyncio.to_thread(spares.of, block, work.asked)
        before = len(work.done)
        work.done |= spared.tasks
        work.remaining -= len(work.done) - before
        work.needs = spared.needs
        return work

    async def write(self, block: Block) -> str:
        """Write a block file from the input, in steps short enough for the loop; its digest.

        Raises:
            PlanChanged: the input's bytes are not those that were planned.
            StorageError: the disk refuses.
        """
        path = self._plan.rundir.block_file(block.no)
        try:
            digest = await self._written(block, path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        self._failpoints.hit("block-written")
        return digest

    async def _written(self, block: Block, path: Path) -> str:
        writer = BlockWriter(path, self._schema)
        ahead: list[list[Planned]] = []
        size = 0
        pieces = self._pieces(block)
        # Media are read from disk and are big: such a slice is made in a thread, any other is faster made here.
        while (piece := await asyncio.to_thread(next, pieces, None) if self._heavy else next(pieces, None)) is not None:
            rows, made, batch = piece
            writer.write(batch)
            size += sum(len(item.body) for item in made if isinstance(item, Request))
            if size <= MOST_AHEAD_BYTES:
                ahead.append([planned(row.ordinal, item) for row, item in zip(rows, made, strict=True)])
            await asyncio.sleep(0)
        if size <= MOST_AHEAD_BYTES:
            self._ahead[block.no] = ahead
        return await asyncio.to_thread(writer.finish)

    def _pieces(self, block: Block) -> Iterator[tuple[list[Row], list[Request | Problem], pa.RecordBatch]]:
        """The rows of a block, what became of them, and both as a slice of its file: in pieces that memory can hold."""
        build = self._plan.builder.build
        for part in self._reader.read(block):
            if not self._heavy:
                made = [row.problem or build(row) for row in part.rows]
                yield part.rows, made, slice_of(part.rows, made, part.columns, self._schema)
                continue
            first = 0
            for made in _bounded(part.rows, build):
                rows, columns = part.rows[first : first + len(made)], part.columns.slice(first, len(made))
                yield rows, made, slice_of(rows, made, columns, self._schema)
                first += len(made)

    async def chunks(self, work: Work) -> AsyncIterator[Chunk]:
        """The unfinished tasks of a block, in order; each chunk's admission is already on its way to the disk."""
        if not work.remaining:
            return
        begun = await self._begun(work)
        ahead = self._ahead.pop(work.no, None)
        if ahead is not None:  # written a moment ago: reading it back would tell nothing new
            async for chunk in self._cut(work, begun, ahead):
                yield chunk
            return
        path = self._plan.rundir.block_file(work.no)
        file = await asyncio.to_thread(BlockFile, path, digest=work.digest)
        try:
            async for chunk in self._cut(work, begun, map(file.planned, range(file.slices))):
                yield chunk
        finally:
            file.close()

    async def _begun(self, work: Work) -> dict[int, Begun]:
        stop = work.first_task + work.tasks
        begun = await self._journal.call(read_begun(work.first_task, stop))
        if work.asked is None:
            return begun
        part = self._plan.rundir.part(work.no, self._plan.blocks)
        before = await asyncio.to_thread(used_before, part, work.asked)
        return {task: Begun(attempts=count, counted=0) for task, count in before.items()} | begun

    async def _cut(self, work: Work, begun: dict[int, Begun], slices: Iterable[list[Planned]]) -> AsyncIterator[Chunk]:
        for rows in slices:
            numbers = [
                (row, task)
                for row in rows
                for task in range(row.ordinal * self._samples, (row.ordinal + 1) * self._samples)
                if task not in work.done and (work.asked is None or task in work.asked)
            ]
            start = 0
            while some := numbers[start : start + self._look_ahead]:
                if self.funds is not None:
                    some = some[: await self.funds.afford(some)]
                yield self._admitted(work, begun, some)
                start += len(some)

    def _admitted(self, work: Work, begun: dict[int, Begun], numbers: list[tuple[Planned, int]]) -> Chunk:
        now = self._wall_us()
        tasks, ended, committed = [], [], None
        for row, number in numbers:
            if row.request is None:
                assert row.problem is not None
                outcome = failed_row(number, row.problem, at_us=now, secret=self._secret)
                committed = self._journal.finish(number, pack_outcome(outcome))
                ended.append(outcome)
            else:
                past = begun.get(number)
                task = OpenTask(
                    task=number,
                    request=row.request,
                    lane=self._lane(row.request.model),
                    attempts=past.attempts if past else 0,
                    counted=past.counted if past else 0,
                )
                if past and past.invalid:
                    task.tries[Kind.INVALID] = past.invalid
                tasks.append(task)
        if tasks:
            committed = self._admit(tasks, now)
        assert committed is not None
        return Chunk(work=work, tasks=tasks, ended=ended, committed=committed)

    async def admit(self, tasks: Sequence[OpenTask]) -> None:
        """Put the next attempt of each on the disk, so that it may be sent."""
        await self._admit(tasks, self._wall_us())

    async def withdraw(self, tasks: Sequence[OpenTask]) -> None:
        """Take that back: their next attempts are not made for now."""
        await self._journal.call(withdraw([(task.task, task.attempts + 1) for task in tasks]))

    def _admit(self, tasks: Sequence[OpenTask], now_us: int) -> asyncio.Future[None]:
        return self._journal.admit(
            [(t.task, t.attempts + 1, t.request.input_bound, t.request.output_bound, now_us) for t in tasks]
        )

    def _lane(self, model: str) -> str:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = self._plan.lane(model)
        return lane


def _look_ahead(job: Job) -> int:
    if job.limits.requests_per_day:
        return LOOK_AHEAD_IN_A_DAY_QUOTA
    return few_ahead(job.limits.concurrency) if job.budget.is_capped else LOOK_AHEAD


def _bounded(rows: Sequence[Row], build: Callable[[Row], Request | Problem]) -> Iterator[list[Request | Problem]]:
    """Build rows until their bodies are enough for a slice, and so on."""
    made: list[Request | Problem] = []
    size = 0
    for row in rows:
        item = row.problem or build(row)
        made.append(item)
        size += len(item.body) if isinstance(item, Request) else 0
        if size >= SLICE_BYTES:
            yield made
            made, size = [], 0
    if made:
        yield made
