"""When is a block a part? Freeze, build, publish, mark, clear: each step survives a kill and can be repeated."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from batcher.engine.borrowed import Borrowed, Lender, Told, spared_totals, untold
from batcher.engine.fresh import Fresh
from batcher.engine.packing import TASKS_A_STEP
from batcher.engine.plan import Plan
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Attempt, Outcome
from batcher.store.bills import Read, read_attempt, totals_of
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import State, clear_block, forget_asked, put_block, read_answers
from batcher.store.columns import beside, data_columns, ledger_columns
from batcher.store.disk import remove
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.kept import KeptRows, woven
from batcher.store.parts import PartBuilder, Stamp, read_footer
from batcher.store.signed import check_parquet

PICTURES_A_STEP = 8  # answers of some MB each
STEP_BYTES = 16 << 20  # of the user's columns, which a row brings once and a task has once: pictures times samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealable:
    """A block whose tasks all have an outcome.

    Attributes:
        asked: after a retry, the tasks that were asked; the others' rows come from the part. None: all were.
        before: totals of the generations before this one.
    """

    no: int
    generation: int
    digest: str
    first_task: int
    tasks: int
    asked: frozenset[int] | None
    before: Totals | None


class Sealer:
    """Makes parts of finished blocks, one at a time, in steps short enough for the loop.

    Args:
        fresh: answers of this session that need not be read from the journal.
        spared: told of the rows that were never asked.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        failpoints: FailPoints,
        fresh: Fresh | None = None,
        spared: Told = untold,
    ) -> None:
        self._plan = plan
        self._lender = Lender(plan, journal, told=spared) if plan.terms.spares else None
        self._journal = journal
        self._failpoints = failpoints
        self._fresh = fresh or Fresh(most_bytes=0)
        self._tasks = PICTURES_A_STEP if plan.terms.images else TASKS_A_STEP

    async def seal(self, block: Sealable) -> Totals:
        """Seal one block and return its totals, earlier generations included.

        Raises:
            StorageError: the disk refuses, or what is there is not ours.
        """
        await self._mark(block, State.FROZEN, None)
        self._failpoints.hit("frozen")
        totals = await self._build(block)
        await self._mark(block, State.SEALED, totals)
        self._failpoints.hit("sealed")
        for piece in clear_block(block.first_task, block.first_task + block.tasks, self._failpoints):
            await self._journal.call(piece)
        if block.asked is not None:
            await self._journal.call(forget_asked(block.no))
        remove(self._plan.rundir.block_file(block.no))
        return totals

    async def _mark(self, block: Sealable, state: State, totals: Totals | None) -> None:
        await self._journal.call(put_block(block.no, state, block.generation, block.digest, totals))

    async def _build(self, block: Sealable) -> Totals:
        plan = self._plan
        stamp = Stamp(
            run_id=plan.terms.run_id,
            block=block.no,
            generation=block.generation,
            digest=block.digest,
            first_task=block.first_task,
            tasks=block.tasks,
        )
        borrowed = None if self._lender is None else await self._lender.borrowed(block.no, block.asked)
        ledger = plan.rundir.ledger(block.no, block.generation)
        published = await asyncio.to_thread(_published, self._part(block), ledger, stamp)
        if published is not None:
            if borrowed is not None:
                await borrowed.tell_of(self._part(block))
            return published
        file = await asyncio.to_thread(BlockFile, plan.rundir.block_file(block.no), digest=block.digest)
        try:
            builder = PartBuilder(plan.rundir, stamp, plan.schema, blocks=plan.blocks, failpoints=self._failpoints)
            if block.asked is not None:  # or what has rotted in the old part would be written into the new one
                await asyncio.to_thread(check_parquet, self._part(block))
            return await self._finished(builder, block, file, borrowed)
        except OSError as error:
            raise StorageError(
                f"{plan.rundir.out}: a part cannot be written: {error.strerror or error}",
                hint="free or mend the disk and run the same command again: the part is built again from the journal",
            ) from error
        finally:
            file.close()
            if borrowed is not None:
                borrowed.close()

    async def _finished(
        self, builder: PartBuilder, block: Sealable, file: BlockFile, borrowed: Borrowed | None
    ) -> Totals:
        try:
            totals = await self._fill(builder, block, file, borrowed)
            await asyncio.to_thread(builder.finish, totals)
        except Exception:  # whoever is cancelled leaves a thread behind that still writes: the next start cleans up
            builder.abandon()
            raise
        return totals

    async def _fill(self, builder: PartBuilder, block: Sealable, file: BlockFile, borrowed: Borrowed | None) -> Totals:
        kept = None if block.asked is None else KeptRows(self._part(block), block.asked, self._tasks)
        totals = Totals()
        first = block.first_task
        for planned in self._pieces(first, file):
            data, ledger, step = await self._step_of(block, first, planned, kept, borrowed)
            first += planned.num_rows
            totals += step
            builder.add(data, ledger)
            if builder.heavy:
                await asyncio.to_thread(builder.flush)
            else:
                await asyncio.sleep(0)
        return totals if kept is None or block.before is None else kept.replaced(block.before, totals)

    def _pieces(self, first: int, file: BlockFile) -> Iterator[pa.RecordBatch]:
        """The block's rows, one a task, in pieces whose answers are kept in the same way."""
        for planned in _steps(file, self._plan.terms.samples, self._tasks):
            start = 0
            while left := planned.num_rows - start:
                count = self._fresh.apart(first, left)
                yield planned.slice(start, count)
                start += count
                first += count

    async def _step_of(
        self, block: Sealable, first: int, planned: pa.RecordBatch, kept: KeptRows | None, borrowed: Borrowed | None
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Totals]:
        terms = self._plan.terms
        packed = self._fresh.packed(first, planned.num_rows)
        if packed is not None:
            return beside(planned, packed.answers, self._plan.schema, terms), packed.ledger, packed.totals
        ended = await self._ended(first, planned)
        lent = None if borrowed is None else await borrowed.rows(first, planned)
        columns = partial(self._columns, block, first, planned, ended, kept, lent)
        # Pictures are MB of base64 to be decoded: in a thread, or no request would be served meanwhile.
        return await asyncio.to_thread(columns) if terms.images else columns()

    async def _ended(self, first: int, planned: pa.RecordBatch) -> dict[int, tuple[Outcome, list[Read]]]:
        """The outcomes of a step with their attempts, in task order: from memory if it has all, else the journal."""
        fresh = self._fresh.take(first, planned.num_rows)
        if len(fresh) == planned.num_rows:
            return fresh
        outcomes, attempts = await self._journal.call(read_answers(first, first + planned.num_rows))
        models = planned.column("model")
        return {
            outcome.task: fresh.get(outcome.task) or (outcome, self._read(tried, models[outcome.task - first]))
            for outcome, tried in zip(outcomes, attempts, strict=True)
        }

    def _read(self, tried: list[Attempt], model: pa.Scalar) -> list[Read]:
        named = [
            attempt if attempt.model else attempt._replace(model=model.as_py()) for attempt in tried
        ]  # lost ones have none
        return [read_attempt(attempt, self._plan.terms) for attempt in named]

    def _columns(  # noqa: PLR0913, PLR0917  the parts of one slice
        self,
        block: Sealable,
        first: int,
        planned: pa.RecordBatch,
        ended: Mapping[int, tuple[Outcome, list[Read]]],
        kept: KeptRows | None,
        lent: pa.RecordBatch | None,
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Totals]:
        terms = self._plan.terms
        old = None if kept is None else kept.take(first, planned.num_rows)
        wanted = planned.num_rows - (0 if old is None else old.rows.num_rows) - (0 if lent is None else lent.num_rows)
        if len(ended) != wanted:
            raise StorageError(f"journal: block {block.no} has {len(ended)} of {wanted} outcomes from task {first}")
        outcomes, asked = zip(*ended.values(), strict=True) if ended else ((), ())
        whole = len(ended) == planned.num_rows
        mine = planned if whole else planned.take(pa.array([o.task - first for o in outcomes], pa.int64()))
        data = data_columns(mine, outcomes, asked, {} if old is None else old.earlier, self._plan.schema, terms)
        totals = totals_of(outcomes, asked)
        if lent is not None:
            data = woven(data, lent)
            totals += spared_totals(lent)
        if kept is not None and old is not None:
            data = woven(data, old.rows)
            kept.count(data)
        return data, ledger_columns(asked, block.no, terms), totals

    def _part(self, block: Sealable) -> Path:
        return self._plan.rundir.part(block.no, self._plan.blocks)


def _published(part: Path, ledger: Path, stamp: Stamp) -> Totals | None:
    """The totals of a part that a killed session had published, the last step of building one.

    It is not built again: after a retry, the rows it was made of are in it now and would count twice.
    """
    if not part.exists():
        return None
    footer = read_footer(part)
    if footer.stamp != stamp:
        return None
    if ledger.exists():
        return footer.totals
    if stamp.generation == 1:
        return None  # built again from the journal, the ledger with it
    raise StorageError(
        f"{ledger}: gone, though the part that was published after it is there",
        hint=f"put it back; if it is lost: batcher recover {shlex.quote(str(ledger.parent.parent))}",
    )


def _steps(file: BlockFile, samples: int, most_tasks: int) -> Iterator[pa.RecordBatch]:
    """The block's rows, one a task, in pieces of about `most_tasks` and `STEP_BYTES`."""
    for batch in file.batches():
        row_bytes = batch.nbytes // max(1, batch.num_rows)
        tasks = max(1, min(most_tasks, STEP_BYTES // max(1, row_bytes)))
        rows = max(1, tasks // samples)
        for start in range(0, batch.num_rows, rows):
            piece = batch.slice(start, rows)
            yield from (piece,) if samples == 1 else _repeated(piece, samples, tasks)


def _repeated(piece: pa.RecordBatch, samples: int, tasks: int) -> Iterator[pa.RecordBatch]:
    numbers = [row for row in range(piece.num_rows) for _ in range(samples)]
    for start in range(0, len(numbers), tasks):
        yield piece.take(pa.array(numbers[start : start + tasks], pa.int64()))
