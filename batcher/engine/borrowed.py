"""Which rows of a part were never asked, and what are they? Answers of other runs, and of other rows of this one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.engine.outcomes import COLUMNS
from batcher.engine.plan import Plan
from batcher.engine.spared import Spared, Spares
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Attempt, Outcome, Status
from batcher.store.bills import Read, read_attempt
from batcher.store.blocks import read_ended
from batcher.store.columns import data_columns
from batcher.store.journal import Journal
from batcher.store.kept import woven
from batcher.store.lent import LentRows, lent_columns, shared_columns

Told = Callable[[pa.RecordBatch], Awaitable[None]]
"""Takes rows with the columns `outcomes.COLUMNS`, or more."""


async def untold(_: pa.RecordBatch) -> None:
    """Nobody wants to know."""


class Lender:
    """Finds the rows of a block that were never asked.

    Args:
        plan: one in which there may be some.
        journal: has the answers that rows of the same block share.
        told: of every such row, when its part is built.
    """

    def __init__(self, plan: Plan, journal: Journal, *, told: Told) -> None:
        self._plan = plan
        self._journal = journal
        self._told = told
        self._spares = Spares(plan)

    async def borrowed(self, no: int, asked: frozenset[int] | None) -> Borrowed:
        """Those of one block; `asked` as in `Spares.of`."""
        spared = await asyncio.to_thread(self._spares.of, self._plan.index.blocks[no - 1], asked)
        return Borrowed(self._plan, self._journal, spared, no=no, told=self._told)


class Borrowed:
    """The rows of one block that were never asked, step by step."""

    def __init__(self, plan: Plan, journal: Journal, spared: Spared, *, no: int, told: Told) -> None:
        self._plan = plan
        self._journal = journal
        self._spared = spared
        self._scratch = plan.rundir.tmp / f"lent-{no:05d}.arrow"
        self._told = told
        self._lent: LentRows | None = None

    async def rows(self, first: int, planned: pa.RecordBatch) -> pa.RecordBatch | None:
        """Those of the tasks from `first`, as rows of `data/` in their order; None when there are none.

        Raises:
            StorageError: a part is gone or damaged, or is no longer what it was.
        """
        lent = await asyncio.to_thread(self._of_parts, first, planned) if self._spared.loans else None
        shared = await self._of_rows(first, planned)
        found = lent if shared is None else shared if lent is None else woven(lent, shared)
        if found is not None:
            await self._told(found)
        return found

    async def tell_of(self, part: Path) -> None:
        """Tell of those rows of a part that was built before."""
        table = await asyncio.to_thread(pq.read_table, part, columns=list(COLUMNS))
        tasks = pa.array(sorted(self._spared.tasks), pa.int64())
        for batch in table.filter(pc.is_in(table.column("task"), value_set=tasks)).to_batches():
            await self._told(batch)

    def close(self) -> None:
        """Take the scratch file away."""
        if self._lent is not None:
            self._lent.close()
            self._scratch.unlink(missing_ok=True)

    def _of_parts(self, first: int, planned: pa.RecordBatch) -> pa.RecordBatch | None:
        if self._lent is None:
            user = [field.name for field in planned.schema.field("user").type]
            self._lent = LentRows(self._spared.loans, self._plan.schema, user, self._scratch)
        lent = self._lent.take(first, planned.num_rows)
        if not lent.tasks:
            return None
        mine = planned.take(pa.array([task - first for task in lent.tasks], pa.int64()))
        return lent_columns(mine, lent, self._plan.schema, self._plan.terms)

    async def _of_rows(self, first: int, planned: pa.RecordBatch) -> pa.RecordBatch | None:
        """Rows that share the answer of an earlier row of the block, which the journal still has."""
        shared = self._spared.shared
        tasks = [task for task in range(first, first + planned.num_rows) if task in shared]
        if not tasks:
            return None
        originals = [shared[task] for task in tasks]
        ended = await self._journal.call(read_ended(originals))
        if missing := set(originals) - ended.keys():
            raise StorageError(f"journal: task {min(missing)}, whose answer others share, has no outcome")
        outcomes = [ended[original][0]._replace(task=task) for task, original in zip(tasks, originals, strict=True)]
        mine = planned.take(pa.array([task - first for task in tasks], pa.int64()))
        models = mine.column("model").to_pylist()
        reads = [self._read(ended[original], model) for original, model in zip(originals, models, strict=True)]
        plan = self._plan
        rows = data_columns(mine, outcomes, reads, {}, plan.schema, plan.terms)
        return shared_columns(rows, originals, plan.terms.run_id)

    def _read(self, ended: tuple[Outcome, list[Attempt]], model: str) -> list[Read]:
        terms = self._plan.terms
        return [read_attempt(one if one.model else one._replace(model=model), terms) for one in ended[1]]


def spared_totals(rows: pa.RecordBatch) -> Totals:
    """What rows add to the sums that were never asked: how they ended, and nothing else."""
    return Totals(by_status=Counter(map(Status, rows.column("status").to_pylist())), spared=rows.num_rows)
