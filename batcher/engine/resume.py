"""What did the last session leave half done? Sealed rows leave the journal, and what was in flight is lost."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Mapping

from batcher.engine.plan import Plan, recover_command
from batcher.errors import StorageError
from batcher.rows.blocks import Block
from batcher.store.blocks import BlockRow, clear_block, is_sealed, read_blocks, recover_lost
from batcher.store.disk import remove
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.reparsed import settle


async def resumed(
    plan: Plan, journal: Journal, *, log: Callable[[str], None], failpoints: FailPoints
) -> Mapping[int, BlockRow]:
    """Finish what a killed session left half done, and read the blocks.

    Raises:
        StorageError: a file is gone that was sealed once, or the journal is damaged.
    """
    await journal.call(settle(plan.rundir, plan.blocks))
    rows = await journal.call(read_blocks)
    _check_files(plan, rows)
    samples = plan.job.samples
    sealed = [block for block in plan.index.blocks if is_sealed(rows.get(block.no))]
    for block in await journal.call(_holding_rows(plan)):
        if is_sealed(rows.get(block.no)):
            first = block.first_ordinal * samples
            for piece in clear_block(first, first + block.rows * samples, failpoints):
                await journal.call(piece)
    # Of a session killed after its last delete, or between writing a block's new plan and reopening it.
    for block in sealed:
        remove(plan.rundir.block_file(block.no))
    lost = await journal.call(recover_lost)
    if lost:
        log(
            f"{lost:,} requests of the last session have no answer on disk;"
            " they are asked again and count as maybe billed"
        )
    return rows


def _check_files(plan: Plan, rows: Mapping[int, BlockRow]) -> None:
    """Refuse to go on where a part or ledger file is gone that was sealed once; only names are looked at."""
    rundir = plan.rundir
    parts, ledgers = ({path.name for path in found} for found in (rundir.parts(), rundir.ledgers()))
    sealed = [(row, row.generation - (not is_sealed(row))) for row in rows.values() if row.totals is not None]
    no_part = [name for row, _ in sealed if (name := rundir.part(row.no, plan.blocks).name) not in parts]
    wanted = (rundir.ledger(row.no, number).name for row, last in sealed for number in range(1, last + 1))
    no_ledger = [name for name in wanted if name not in ledgers]
    for folder, what, gone in ((rundir.data, "finished parts", no_part), (rundir.attempts, "ledger files", no_ledger)):
        if gone:
            raise StorageError(
                f"{folder}: {len(gone):,} {what} are gone, the first is {gone[0]}",
                hint=f"put them back; if they are lost: {recover_command(rundir)}",
            )


def _holding_rows(plan: Plan) -> Callable[[sqlite3.Connection], list[Block]]:
    """The blocks that have rows in the journal: a few, whatever number the run has; each is found by a look or two."""

    def work(connection: sqlite3.Connection) -> list[Block]:
        found, at = [], 0
        while (task := _next_task(connection, at)) is not None:
            ordinal = task // plan.job.samples
            number = bisect_right(plan.index.blocks, ordinal, key=lambda block: block.first_ordinal)
            block = plan.index.blocks[number - 1]
            found.append(block)
            at = (block.first_ordinal + block.rows) * plan.job.samples
        return found

    return work


def _next_task(connection: sqlite3.Connection, least: int) -> int | None:
    (task,) = connection.execute(
        "select min(task) from (select min(task) as task from done where task >= :least"
        " union all select min(task) from attempt where task >= :least"
        " union all select min(task) from admitted where task >= :least)",
        {"least": least},
    ).fetchone()
    found: int | None = task
    return found
