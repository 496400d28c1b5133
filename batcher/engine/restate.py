"""How does a run get its state back? A new journal: what has its part is sealed; what was out is lost, maybe billed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from batcher.engine.findings import adopted
from batcher.engine.plan import Plan
from batcher.engine.recovered import Restated
from batcher.engine.work import WorkList
from batcher.job.pool import pooled
from batcher.records import Request
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import BlockRow, State, put_block, put_blocks
from batcher.store.disk import remove, sync_folder
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.rest import digest_file, is_as_closed

_SIDE_FILES = ("", "-wal", "-shm", "-journal")


def is_sound(journal: Path) -> bool:
    """Whether a journal is there, whole and as it was closed. A missing one is not; an empty one is new."""
    if not journal.exists() or not is_as_closed(journal):
        return False
    try:
        connection = sqlite3.connect(journal, timeout=0)
        try:
            said: tuple[str] = connection.execute("pragma quick_check(1)").fetchone()
            return said == ("ok",)
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return False


async def restate(plan: Plan, *, wall_us: Callable[[], int], secret: str, failpoints: FailPoints) -> Restated:
    """Make a new journal beside the old one's place, and move it there when it is whole.

    Nobody knows which requests were out when the state was lost: one for each slot counts as maybe billed, at the
    largest reserve of the blocks that are asked next.

    Raises:
        PlanChanged: the input is not what was planned.
        StorageError: the disk refuses.
    """
    final = plan.rundir.journal
    new = final.with_name(f"{final.name}.new")
    for left in _files_of(new):
        remove(left)
    journal = Journal(new, failpoints=failpoints)
    try:
        worklist = WorkList(plan, journal, wall_us=wall_us, secret=secret, failpoints=failpoints)
        known = await asyncio.to_thread(adopted, plan, {})
        await journal.call(put_blocks(known.values()))
        charged = await _charge(plan, known, journal, worklist, wall_us())
    finally:
        await journal.close()
    _put_aside(plan, final)
    remove(digest_file(new))  # it does not go by the name that the journal gets; the next close writes another
    new.replace(final)
    sync_folder(final.parent)
    failpoints.hit("state-rebuilt")
    return charged


async def _charge(
    plan: Plan, known: Mapping[int, BlockRow], journal: Journal, worklist: WorkList, at_us: int
) -> Restated:
    """Open the blocks that are asked next and admit as many of their tasks as there are slots: never to be recorded."""
    tasks: list[int] = []
    models: set[str] = set()
    reserve_input = reserve_output = 0
    for block in plan.index.blocks:
        if len(tasks) >= pooled(plan.job).concurrency:
            break
        if block.no in known:
            continue
        digest = await worklist.write(block)
        await journal.call(put_block(block.no, State.OPEN, 1, digest))
        for ordinal, request in await asyncio.to_thread(_requests, plan.rundir.block_file(block.no), digest):
            tasks += range(ordinal * plan.job.samples, (ordinal + 1) * plan.job.samples)
            models.add(request.model)
            reserve_input = max(reserve_input, request.input_bound)
            reserve_output = max(reserve_output, request.output_bound)
    charged = tasks[: pooled(plan.job).concurrency]
    if charged:
        await journal.admit([(task, 1, reserve_input, reserve_output, at_us) for task in charged])
    return Restated(
        sealed=len(known),
        charged=len(charged),
        reserve_input=reserve_input,
        reserve_output=reserve_output,
        model=models.pop() if len(models) == 1 else "",
    )


def _requests(path: Path, digest: str) -> list[tuple[int, Request]]:
    """The rows of a block that can be sent; their bodies are let go."""
    file = BlockFile(path, digest=digest)
    try:
        planned = ((row.ordinal, row.request) for number in range(file.slices) for row in file.planned(number))
        return [(at, request._replace(body=b"", prompt=None)) for at, request in planned if request is not None]
    finally:
        file.close()


def _files_of(journal: Path) -> list[Path]:
    return [*(journal.with_name(f"{journal.name}{suffix}") for suffix in _SIDE_FILES), digest_file(journal)]


def _put_aside(plan: Plan, journal: Path) -> None:
    """Keep a damaged journal: a better tool than ours may find answers in it.

    Its side files must not meet the new one: not its log, and not its digest, by which the new one would be damaged.
    """
    folder = plan.rundir.damaged
    for left in _files_of(journal):
        if left.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            left.replace(folder / left.name)
