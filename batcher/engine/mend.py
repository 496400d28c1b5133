"""How is a block made whole again? Its ledger, then its part; then its lost tasks are asked again.

A row whose answer is lost stays a row: `failed`, `error_kind = lost`, with what it had used, until it is asked again.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from batcher.engine.findings import Finding, ledgers_of
from batcher.engine.plan import Plan
from batcher.engine.work import WorkList
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Outcome, Status
from batcher.store.bills import Earlier
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import clear_block, is_sealed, put_block, reopen_block
from batcher.store.columns import data_columns
from batcher.store.disk import remove
from batcher.store.failpoints import FailPoints
from batcher.store.history import past_of
from batcher.store.journal import Journal
from batcher.store.parts import Stamp, put_whole
from batcher.store.rebuilt import rebuilt_ledger
from batcher.store.salvage import LOST, footer_of, sound_rows
from batcher.store.schemas import ATTEMPTS

_WHAT = "its answer was lost with a damaged file; the next run asks it again"
_ROWS_AT_ONCE = 128


class Mender:
    """Makes the files of blocks whole and has their lost tasks asked again.

    Args:
        plan: of the run.
        journal: where blocks are reopened.
        worklist: writes the block files.
        at_us: now, microseconds since the epoch: when a row was asked whose ledger is lost, too.
    """

    def __init__(self, plan: Plan, journal: Journal, worklist: WorkList, *, at_us: int, failpoints: FailPoints) -> None:
        self._plan = plan
        self._journal = journal
        self._worklist = worklist
        self._at_us = at_us
        self._failpoints = failpoints

    async def mend(self, found: Finding, asked: frozenset[int]) -> None:
        """Mend one block.

        Args:
            found: what is wrong with it.
            asked: what it asks already, where it was reopened before.

        Raises:
            PlanChanged: the input is not what was planned.
            StorageError: the disk refuses.
        """
        try:
            await self._mend(found, asked)
        except OSError as error:
            out = self._plan.rundir.out
            raise StorageError(f"{out}: block {found.block.no} cannot be mended: {error.strerror or error}") from error

    async def _mend(self, found: Finding, asked: frozenset[int]) -> None:
        for path in found.stale:
            remove(path)
        if found.ledgers:
            await asyncio.to_thread(self._rebuild_ledgers, found)
        if not found.mend and not found.lost:
            return
        digest = await self._planned(found)
        if found.mend:
            await asyncio.to_thread(self._mend_part, found, digest)
            self._failpoints.hit("part-mended")
        if found.lost:
            await self._reopen(found, digest, asked)
            self._failpoints.hit("reopened")

    async def _planned(self, found: Finding) -> str:
        """The digest of the block's plan, written anew unless it is there."""
        path = self._plan.rundir.block_file(found.block.no)
        if not is_sealed(found.row) and path.exists():
            try:
                await asyncio.to_thread(lambda: BlockFile(path, digest=found.row.digest).close())
            except StorageError:
                return await self._worklist.write(found.block)
            return found.row.digest
        return await self._worklist.write(found.block)

    async def _reopen(self, found: Finding, digest: str, asked: frozenset[int]) -> None:
        no, generation = found.block.no, found.generation + 1
        if found.row.generation == found.generation and not is_sealed(found.row):
            # Its seal was cut short after the part had its name: what the journal still has is in the ledger already.
            first, tasks = self._range(found)
            for piece in clear_block(first, first + tasks, self._failpoints):
                await self._journal.call(piece)
            asked = frozenset()
        if footer := footer_of(self._part(found)):
            await self._journal.call(put_block(no, found.row.state, found.row.generation, digest, footer.totals))
        await self._journal.call(reopen_block(no, generation, digest, asked | found.lost))

    # The ledger

    def _rebuild_ledgers(self, found: Finding) -> None:
        """Write the ledger files that are lost: the first has every attempt that no other file of the block has."""
        plan, no = self._plan, found.block.no
        there = ledgers_of(plan).get(no, {})
        sound = [path for number, path in there.items() if number not in found.ledgers]
        broken = [there[number] for number in found.ledgers if number in there]
        part = footer_of(self._part(found))
        totals = part.totals if part is not None else found.row.totals or Totals()
        for number in found.ledgers:
            final = plan.rundir.ledger(no, number)
            self._put_aside(final)
            rows = self._saved(final) if final in broken else iter(())
            self._put_ledger(found, number, rows, totals)
            sound.append(final)
        missing = rebuilt_ledger(self._part(found), sound, block=no, totals=totals, terms=plan.terms)
        first = found.ledgers[0]
        self._put_ledger(found, first, _chain(list(sound_rows(plan.rundir.ledger(no, first))), missing), totals)
        self._failpoints.hit("ledger-rebuilt")

    def _put_ledger(self, found: Finding, generation: int, rows: Iterator[pa.RecordBatch], totals: Totals) -> None:
        """Write one file; of an earlier generation nobody knows the totals any more."""
        final = self._plan.rundir.ledger(found.block.no, generation)
        stamp = self._stamp(found, generation, found.row.digest)
        known = totals if generation == found.generation else Totals()
        put_whole(self._plan.rundir, final, ATTEMPTS, rows, stamp, lambda: known)

    def _saved(self, path: Path) -> Iterator[pa.RecordBatch]:
        for batch in sound_rows(path):
            yield from pa.Table.from_batches([batch]).cast(ATTEMPTS).to_batches()

    # The part

    def _mend_part(self, found: Finding, digest: str) -> None:
        plan, part = self._plan, self._part(found)
        used = self._used(found)
        base = self._base(found)
        statuses: Counter[Status] = Counter()
        wasted = Decimal(0)

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal wasted
            for batch in self._rows(found, digest, used):
                statuses.update(map(Status, batch.column("status").to_pylist()))
                wasted += pc.sum(batch.column("wasted_usd")).as_py() or Decimal(0)
                yield batch

        self._put_aside(part)
        put_whole(
            plan.rundir,
            part,
            plan.schema,
            counted(),
            self._stamp(found, found.generation, digest),
            lambda: replace(base, by_status=dict(statuses), wasted_usd=wasted),
        )

    def _base(self, found: Finding) -> Totals:
        """What the block had used: each file of its last generation says it, and so does the journal."""
        for path in (self._plan.rundir.ledger(found.block.no, found.generation), self._part(found)):
            footer = footer_of(path)
            if footer is not None and footer.stamp.generation == found.generation:
                return footer.totals
        return found.row.totals or Totals()

    def _rows(self, found: Finding, digest: str, used: dict[int, Earlier]) -> Iterator[pa.RecordBatch]:
        """The rows that can be read, and one that says so for each that cannot: dense, in order."""
        sound = _Sound(self._part(found), found.lost, self._plan.schema)
        file = BlockFile(self._plan.rundir.block_file(found.block.no), digest=digest)
        samples = self._plan.job.samples
        try:
            for planned in file.batches():
                ordinals = planned.column("ordinal")
                first, stop = ordinals[0].as_py() * samples, (ordinals[-1].as_py() + 1) * samples
                for start in range(first, stop, _ROWS_AT_ONCE):
                    end = min(start + _ROWS_AT_ONCE, stop)
                    lost = [task for task in range(start, end) if task in found.lost]
                    rows = planned.take(pa.array([(task - first) // samples for task in lost], pa.int64()))
                    yield from _woven(sound.take(end), self._lost_rows(rows, lost, used))
        finally:
            file.close()

    def _lost_rows(self, planned: pa.RecordBatch, tasks: list[int], used: dict[int, Earlier]) -> pa.RecordBatch:
        outcomes = [_lost_outcome(task, used[task]) for task in tasks]
        return data_columns(planned, outcomes, [[] for _ in tasks], used, self._plan.schema, self._plan.terms)

    def _used(self, found: Finding) -> dict[int, Earlier]:
        """What the lost tasks had used. Without a row in a whole ledger a task was never sent; else nobody knows."""
        ledgers = [p for n, p in ledgers_of(self._plan).get(found.block.no, {}).items() if n <= found.generation]
        cost = None if found.ledgers else Decimal(0)
        unknown = Earlier(attempts=0, input_tokens=0, output_tokens=0, cost_usd=cost, started_at=self._at_us)
        past = past_of(ledgers, found.lost)
        return {task: past[task].used if task in past else unknown for task in found.lost}

    # Both

    def _part(self, found: Finding) -> Path:
        return self._plan.rundir.part(found.block.no, self._plan.blocks)

    def _range(self, found: Finding) -> tuple[int, int]:
        samples = self._plan.job.samples
        return found.block.first_ordinal * samples, found.block.rows * samples

    def _stamp(self, found: Finding, generation: int, digest: str) -> Stamp:
        first, tasks = self._range(found)
        return Stamp(
            run_id=self._plan.terms.run_id,
            block=found.block.no,
            generation=generation,
            digest=digest,
            first_task=first,
            tasks=tasks,
        )

    def _put_aside(self, path: Path) -> None:
        """Keep a copy of what is damaged; never over an earlier one."""
        if not path.exists():
            return
        folder = self._plan.rundir.damaged
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = folder / path.name
        if not kept.exists():
            partial = folder / f"{path.name}.partial"
            shutil.copyfile(path, partial)
            partial.replace(kept)


class _Sound:
    """The rows of a part that can be read, taken from its beginning on."""

    def __init__(self, part: Path, lost: frozenset[int], schema: pa.Schema) -> None:
        self._batches = sound_rows(part)
        self._lost = pa.array(sorted(lost), pa.int64())
        self._schema = schema
        self._ahead = schema.empty_table()

    def take(self, stop: int) -> pa.Table:
        """All of them below a task."""
        while not self._ahead.num_rows or self._ahead.column("task")[-1].as_py() < stop - 1:
            batch = next(self._batches, None)
            if batch is None:
                break
            kept = batch.filter(pc.invert(pc.is_in(batch.column("task"), value_set=self._lost)))
            self._ahead = pa.concat_tables([self._ahead, pa.Table.from_batches([kept]).cast(self._schema)])
        below = pc.sum(pc.less(self._ahead.column("task"), stop)).as_py() or 0
        taken, self._ahead = self._ahead.slice(0, below), self._ahead.slice(below)
        return taken


def _woven(sound: pa.Table, lost: pa.RecordBatch) -> list[pa.RecordBatch]:
    if not lost.num_rows:
        kept: list[pa.RecordBatch] = sound.combine_chunks().to_batches()
        return kept
    both = pa.concat_tables([sound, pa.Table.from_batches([lost])])
    in_order: list[pa.RecordBatch] = both.sort_by("task").combine_chunks().to_batches()
    return in_order


def _lost_outcome(task: int, used: Earlier) -> Outcome:
    return Outcome(task, Status.FAILED, 0, used.attempts, used.started_at, used.started_at, LOST, _WHAT)


def _chain(first: list[pa.RecordBatch], then: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from first
    yield from then
