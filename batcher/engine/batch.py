"""Which requests can go through the Batch API instead? Those of the rows that still want an answer, as one input file.

By default the rows without an outcome and those that failed, as `run` and `retry` would ask them. Rows without an
outcome are only given away while nobody else can ask them: the run is locked meanwhile.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from batcher.datasets.batchfile import MOST_BYTES, BatchLines
from batcher.datasets.checks import check_order
from batcher.datasets.order import OPEN, Exported, Order
from batcher.datasets.selection import Selection, read_rows
from batcher.engine.asked import AskedSlice, Requests, spool_folder
from batcher.engine.export import Progress, Run, exported, open_run, opened
from batcher.engine.plan import Plan, read_plan
from batcher.errors import PlanChanged, RunLocked, StorageError, UserError
from batcher.job.spec import Dialect, Job
from batcher.records import Request
from batcher.rows.blocks import Block
from batcher.store.blocks import read_endings
from batcher.store.journal import connect
from batcher.store.rundir import Lock

Endings = Callable[[Block], dict[int, str]]
"""Block -> task -> status; absent where there is no outcome."""

_NEVER_SENT = "that cannot be asked"


def export_requests(out: Path, order: Order, *, stdout: BinaryIO, progress: Progress) -> Exported:
    """Export requests of a run directory; blocks until it is done.

    Args:
        out: the run directory.
        order: what is wanted, as `gemini-batch`.
        stdout: written to where the order has no target.
        progress: told now and then how far it is.

    Raises:
        UserError: the order cannot be done, the input has changed or is gone, or the rows ask several models.
        RunLocked: a process is asking the rows that have no outcome yet.
        StorageError: the run is damaged or the disk refuses.
    """
    run = open_run(out)
    own = (run.rundir.data, run.rundir.attempts)
    with _held(run, order) as journal:
        requests = Requests.of_plan(_plan(run))
        _check(order, requests, own)
        return _export(requests, _Endings(run, journal).of, run.job, order, stdout=stdout, progress=progress)


def export_job(job: Job, order: Order, *, stdout: BinaryIO, progress: Progress) -> Exported:
    """Export all requests of a job that was never run; no run directory is made.

    Raises:
        UserError: the job, its input or the order is wrong.
        StorageError: the disk refuses.
    """
    with spool_folder() as spool:
        requests = Requests.of_job(job, Path(spool))
        _check(order, requests, ())
        return _export(requests, _nothing_yet, job, order, stdout=stdout, progress=progress)


def _plan(run: Run) -> Plan:
    try:
        return read_plan(run.job, run.rundir, run.manifest)
    except PlanChanged as error:
        hint = "put it back as it was: without it the requests cannot be made again"
        raise PlanChanged(error.message, differences=error.differences, hint=hint) from error


def _check(order: Order, requests: Requests, own: tuple[Path, ...]) -> None:
    """See `check_order`; only what the input has can be asked for, because a row may have no outcome."""
    text = pa.large_string()
    schema = pa.schema([("id", text), ("model", text), *requests.index.schema])
    check_order(order, schema=schema, forbidden=own)


def _nothing_yet(_: Block) -> dict[int, str]:
    return {}


class _Endings:
    """How the tasks of a block ended: as its part says, and over it what the journal has of later attempts."""

    def __init__(self, run: Run, journal: sqlite3.Connection | None) -> None:
        self._parts = dict(run.parts)
        self._samples = run.job.samples
        self._journal = journal

    def of(self, block: Block) -> dict[int, str]:
        """Task -> status; absent where there is no outcome."""
        ended: dict[int, str] = {}
        part = self._parts.get(block.no)
        if part is not None:
            for batch in read_rows(part, ("task", "status")):
                ended.update(zip(batch.column("task").to_pylist(), batch.column("status").to_pylist(), strict=True))
        if self._journal is not None:
            first = block.first_ordinal * self._samples
            ended.update(read_endings(first, first + block.rows * self._samples)(self._journal))
        return ended


@contextlib.contextmanager
def _held(run: Run, order: Order) -> Iterator[sqlite3.Connection | None]:
    """Keep others from asking the rows that are given away; gives the journal, which has answers of unsealed blocks."""
    if OPEN not in order.wanted or run.rundir.success.exists() or not run.rundir.journal.exists():
        yield None  # nothing is open, or nobody can ask it: `read_plan` says what is gone
        return
    if run.running:
        raise RunLocked(
            f"{run.rundir.out}: a process is asking the rows that have no answer yet",
            hint="stop it first; or export what has failed so far: --status failed",
        )
    try:
        lock = Lock(run.rundir.lock, now=dt.datetime.now(dt.UTC))
    except OSError as error:
        raise StorageError(f"{run.rundir.lock}: cannot be locked: {error.strerror}") from error
    try:
        with contextlib.closing(connect(run.rundir.journal)) as journal:
            yield journal
    finally:
        lock.release()


def _export(  # noqa: PLR0913  what is asked, what became of it, and where it goes
    requests: Requests, endings: Endings, job: Job, order: Order, *, stdout: BinaryIO, progress: Progress
) -> Exported:
    selection = Selection(order.wanted, order.where)
    samples, tasks = job.samples, requests.index.rows * job.samples
    dialect = job.endpoint.dialect or Dialect.GOOGLE
    with opened(order, stdout) as sink, contextlib.closing(BatchLines(sink, dialect)) as lines:
        for block in requests.index.blocks:
            ended = endings(block)
            selection.seen += block.rows * samples
            if len(ended) == block.rows * samples and not order.wanted.intersection(ended.values()):
                for status in ended.values():
                    selection.leave(status)
            else:
                for piece in requests.slices(block):
                    _write(piece, ended, samples, selection, lines)
            progress(selection.seen, tasks)
        _one_model(lines)
    return exported(order, selection, tasks=tasks, running=False, notes=_notes(lines))


def _write(piece: AskedSlice, ended: dict[int, str], samples: int, selection: Selection, lines: BatchLines) -> None:
    wanted = [
        (row, task)
        for row in range(len(piece.rows))
        for task in range(piece.rows[row].ordinal * samples, (piece.rows[row].ordinal + 1) * samples)
        if selection.wants(ended.get(task, OPEN))
    ]
    for row, task in selection.matching_rows(wanted, piece.columns):
        asked = piece.rows[row]
        if isinstance(asked.made, Request):
            lines.add(asked.id, task, asked.made)
            selection.written += 1
        else:
            selection.leave(_NEVER_SENT)


def _one_model(lines: BatchLines) -> None:
    if len(lines.models) > 1:
        found = ", ".join(f"{model} ({count:,} rows)" for model, count in sorted(lines.models.items()))
        raise UserError(
            f"a batch asks one model, and the rows name {len(lines.models)}: {found}",
            hint=f"one file for each: --where model={min(lines.models)}",
        )


def _notes(lines: BatchLines) -> list[str]:
    notes = [f"for the model {model}" for model in lines.models]
    if lines.renamed:
        notes.append(f"{lines.renamed:,} keys are an id with #task behind it: a batch wants keys that differ")
    if lines.size_bytes > MOST_BYTES:
        notes.append("the Batch API takes input files of 2 GB at most: ask for fewer rows at a time (--where)")
    return notes
