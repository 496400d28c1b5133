"""Which rows of a sealed run are asked again? Their blocks are reopened, one generation up; the good rows stay as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from batcher.engine.plan import Plan
from batcher.engine.work import WorkList
from batcher.records import Status
from batcher.store.blocks import BlockRow, State, read_blocks, reopen_block
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal


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
        asked = await asyncio.to_thread(_with_status, plan.rundir.part(block.no, plan.blocks), statuses)
        if asked:
            digest = await worklist.write(block)
            await journal.call(reopen_block(block.no, row.generation + 1, digest, asked))
            failpoints.hit("reopened")
    return await journal.call(read_blocks)


def _with_status(part: Path, statuses: frozenset[Status]) -> list[int]:
    table = pq.read_table(part, columns=["task", "status"])
    pairs = zip(table.column("task").to_pylist(), table.column("status").to_pylist(), strict=True)
    return [task for task, status in pairs if status in statuses]
