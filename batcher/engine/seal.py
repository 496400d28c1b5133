"""When is a block a part? Freeze, build, publish, mark, clear: each step survives a kill and can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from batcher.engine.plan import Plan
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Attempt, Outcome
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import State, clear_block, forget_asked, put_block, read_answers
from batcher.store.columns import Read, data_columns, ledger_columns, read_attempt, totals_of
from batcher.store.disk import remove
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.kept import KeptRows, woven
from batcher.store.parts import PartBuilder, Stamp

TASKS_A_STEP = 128  # one step is a few ms of work on the loop; 8,192 rows at once stalled it for 153 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealable:
    """A block whose tasks all have an outcome.

    Attributes:
        asked: after a retry, the tasks that were asked; the others' rows come from the part that is there. None: all were.
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
    """Makes parts of finished blocks, one at a time, in steps short enough for the loop."""

    def __init__(self, plan: Plan, journal: Journal, failpoints: FailPoints) -> None:
        self._plan = plan
        self._journal = journal
        self._failpoints = failpoints

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
        file = await asyncio.to_thread(BlockFile, plan.rundir.block_file(block.no), digest=block.digest)
        try:
            builder = PartBuilder(plan.rundir, stamp, plan.schema, blocks=plan.blocks, failpoints=self._failpoints)
            totals = await self._fill(builder, block, file)
            await asyncio.to_thread(builder.finish, totals)
        except OSError as error:
            raise StorageError(f"{plan.rundir.out}: a part cannot be written: {error.strerror or error}") from error
        finally:
            file.close()
        return totals

    async def _fill(self, builder: PartBuilder, block: Sealable, file: BlockFile) -> Totals:
        kept = None if block.asked is None else KeptRows(self._part(block), block.asked, TASKS_A_STEP)
        totals = Totals()
        for planned in _steps(file, self._plan.terms.samples):
            first = planned.column("ordinal")[0].as_py() * self._plan.terms.samples
            outcomes, attempts = await self._journal.call(read_answers(first, first + planned.num_rows))
            data, ledger, step = self._columns(block, planned, outcomes, attempts, kept)
            totals += step
            builder.add(data, ledger)
            if builder.heavy:
                await asyncio.to_thread(builder.flush)
            else:
                await asyncio.sleep(0)
        return totals if kept is None or block.before is None else kept.replaced(block.before, totals)

    def _columns(
        self,
        block: Sealable,
        planned: pa.RecordBatch,
        outcomes: list[Outcome],
        attempts: list[list[Attempt]],
        kept: KeptRows | None,
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, Totals]:
        terms = self._plan.terms
        first = planned.column("ordinal")[0].as_py() * terms.samples
        old = None if kept is None else kept.take(first, planned.num_rows)
        wanted = planned.num_rows - (0 if old is None else old.rows.num_rows)
        if len(outcomes) != wanted:
            raise StorageError(f"journal: block {block.no} has {len(outcomes)} of {wanted} outcomes from task {first}")
        mine = planned if old is None else planned.take(pa.array([o.task - first for o in outcomes], pa.int64()))
        asked = _read_all(mine, attempts, self._plan)
        data = data_columns(mine, outcomes, asked, {} if old is None else old.earlier, self._plan.schema, terms)
        if kept is not None and old is not None:
            data = woven(data, old.rows)
            kept.count(data)
        return data, ledger_columns(asked, block.no, terms), totals_of(outcomes, asked)

    def _part(self, block: Sealable) -> Path:
        return self._plan.rundir.part(block.no, self._plan.blocks)


def _read_all(planned: pa.RecordBatch, attempts: list[list[Attempt]], plan: Plan) -> list[list[Read]]:
    terms = plan.terms
    asked = []
    for number, tried in enumerate(attempts):
        if any(not attempt.model for attempt in tried):  # lost ones: the admission does not say
            model = planned.column("model")[number].as_py()
            tried = [replace(attempt, model=model) for attempt in tried]  # noqa: PLW2901
        asked.append([read_attempt(attempt, terms) for attempt in tried])
    return asked


def _steps(file: BlockFile, samples: int) -> Iterator[pa.RecordBatch]:
    """The block's rows, one a task, in pieces of about `TASKS_A_STEP`."""
    rows = max(1, TASKS_A_STEP // samples)
    for batch in file.batches():
        for start in range(0, batch.num_rows, rows):
            piece = batch.slice(start, rows)
            if samples > 1:
                repeated = [row for row in range(piece.num_rows) for _ in range(samples)]
                piece = piece.take(pa.array(repeated, pa.int64()))
            yield piece
