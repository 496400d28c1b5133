"""Which rows of a sealed run are asked again? Their blocks are reopened, one generation up; the good rows stay."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from batcher.engine.plan import Plan
from batcher.engine.work import WorkList
from batcher.errors import StorageError
from batcher.records import Status
from batcher.store.blocks import BlockRow, State, read_asked, read_blocks, reopen_block
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.reading import CHECKED
from batcher.store.signed import check_footer

_HOPELESS = ("bad_input", "bad_template", "too_large")
"""Kinds of rows that were never sent: the same input and the same template make them again."""


async def reopen(  # noqa: PLR0913
    plan: Plan,
    rows: Mapping[int, BlockRow],
    statuses: frozenset[Status],
    *,
    journal: Journal,
    worklist: WorkList,
    failpoints: FailPoints,
) -> Mapping[int, BlockRow]:
    """Reopen every sealed block that holds a row with one of `statuses`; return the blocks as they are then.

    `_SUCCESS` goes first and comes back last. A block's new plan is written before the block is reopened.
    """
    plan.rundir.unmark_success()
    failpoints.hit("success-removed")
    for block in plan.index.blocks:
        row = rows.get(block.no)
        if row is None or row.state is not State.SEALED:
            continue
        found = await asyncio.to_thread(_statuses, plan.rundir.part(block.no, plan.blocks))
        asked = [task for task, status in found if status in statuses]
        if asked:
            digest = await worklist.write(block)
            await journal.call(reopen_block(block.no, row.generation + 1, digest, asked))
            failpoints.hit("reopened")
    return await journal.call(read_blocks)


async def standing(plan: Plan, rows: Mapping[int, BlockRow], journal: Journal) -> Mapping[int, BlockRow]:
    """The blocks with totals of which every row has an outcome now: a reopened block's without the rows it asks again.

    What these had used stays in the totals: it was paid.
    """
    found = dict(rows)
    for no, row in rows.items():
        if row.totals is None or row.state is State.SEALED:
            continue
        asked = await journal.call(read_asked(no)) or frozenset()
        pairs = await asyncio.to_thread(_statuses, plan.rundir.part(no, plan.blocks))
        kept = Counter(status for task, status in pairs if task not in asked)
        found[no] = replace(row, totals=replace(row.totals, by_status=dict(kept)))
    return found


def has_worth_asking(plan: Plan) -> bool:
    """Whether any failed row of a finished run could end otherwise when it is asked again."""
    worth = (pc.field("status") == str(Status.FAILED)) & ~pc.field("error_kind").isin(list(_HOPELESS))
    try:
        parts = ds.dataset([str(part) for part in plan.rundir.parts()], schema=plan.schema, format=CHECKED)
        return bool(parts.scanner(columns=["task"], filter=worth).head(1).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{plan.rundir.data}: not the parts of a run: {error}") from error


def _statuses(part: Path) -> list[tuple[int, Status]]:
    try:
        check_footer(part)
        table = pq.read_table(part, columns=["task", "status"], page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{part}: not a whole part of a run: {error}",
            hint=f"batcher recover {shlex.quote(str(part.parent.parent))}",
        ) from error
    return list(_pairs(table))


def _pairs(table: pa.Table) -> Iterator[tuple[int, Status]]:
    tasks, statuses = (table.column(name).to_pylist() for name in ("task", "status"))
    return zip(tasks, map(Status, statuses), strict=True)
