"""What had an unfinished run answered that is in no part of it yet? Written as one more part, for who reuses it.

A run that was stopped or killed and whose input has changed since is never continued: its last answers would stay in
its journal, paid for and read by nobody.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.engine.reused import Source
from batcher.errors import StorageError
from batcher.job.spec import Job
from batcher.money.prices import RateCard
from batcher.store.bills import Terms, read_attempt
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import State, read_answers, read_blocks
from batcher.store.columns import data_columns
from batcher.store.journal import connect
from batcher.store.rundir import Lock, RunDir
from batcher.store.schemas import PICTURES, data_schema

_STEP = 128
_NO_USER_COLUMNS = pa.schema([])


def write_leftovers(source: Source, path: Path) -> int:
    """Write the finished tasks of a run that are in its journal only, as rows of `data/` without the user's columns.

    Args:
        source: the run; nobody may be running it.
        path: of the file.

    Returns:
        How many there are; with none, no file is written.

    Raises:
        RunLocked: somebody runs it now.
        StorageError: its state is damaged.
    """
    rundir = source.rundir
    if rundir.success.exists() or not rundir.journal.exists():
        return 0
    lock = Lock(rundir.lock, now=dt.datetime.now(dt.UTC))
    try:
        return _written(rundir, path)
    finally:
        lock.release()


def _written(rundir: RunDir, path: Path) -> int:
    manifest = rundir.read_manifest()
    assert manifest is not None
    terms = _terms(rundir, manifest)
    schema = _schema(manifest, terms)
    written = 0
    with contextlib.ExitStack() as open_files:
        writer: pq.ParquetWriter | None = None
        for rows in _rows(rundir, schema, terms, blocks=manifest["blocks"]):
            if writer is None:
                writer = open_files.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
            writer.write_batch(rows)
            written += rows.num_rows
    return written


def _rows(rundir: RunDir, schema: pa.Schema, terms: Terms, *, blocks: int) -> Iterator[pa.RecordBatch]:
    with contextlib.closing(connect(rundir.journal)) as connection:
        for row in read_blocks(connection).values():
            # A block with a part gives that: what a retry was asking again is in there, too, as it had ended before.
            if row.state is State.SEALED or rundir.part(row.no, blocks).exists():
                continue
            with contextlib.closing(BlockFile(rundir.block_file(row.no), digest=row.digest)) as file:
                for planned in _steps(file):
                    yield from _of_step(connection, planned, schema, terms)


def _of_step(
    connection: sqlite3.Connection, planned: pa.RecordBatch, schema: pa.Schema, terms: Terms
) -> Iterator[pa.RecordBatch]:
    first = planned.column("ordinal")[0].as_py()
    stop = first + planned.num_rows
    outcomes, tried = read_answers(first * terms.samples, stop * terms.samples)(connection)
    if outcomes:
        mine = planned.take(pa.array([outcome.task // terms.samples - first for outcome in outcomes], pa.int64()))
        reads = [[read_attempt(attempt, terms) for attempt in one] for one in tried]
        yield data_columns(mine, outcomes, reads, {}, schema, terms)


def _steps(file: BlockFile) -> Iterator[pa.RecordBatch]:
    for batch in file.batches():
        for start in range(0, batch.num_rows, _STEP):
            yield batch.slice(start, _STEP)


def _terms(rundir: RunDir, manifest: Mapping[str, Any]) -> Terms:
    job = Job.model_validate(manifest["job"])
    return Terms(
        run_id=manifest["run_id"],
        project=job.endpoint.project,
        endpoint="",
        tier=job.request.service_tier,
        labels=(),
        rates=RateCard.read(rundir.prices),
        samples=job.samples,
        store_prompt=False,
        raw=job.output.raw,
        images=PICTURES in _names(rundir),
    )


def _names(rundir: RunDir) -> list[str]:
    """The columns of the run, as its anchor has them."""
    anchor = next(iter(rundir.parts()), None)
    if anchor is None:
        return []
    try:
        names: list[str] = pq.read_schema(anchor).names
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{anchor}: not a whole part of a run: {error}") from error
    return names


def _schema(manifest: Mapping[str, Any], terms: Terms) -> pa.Schema:
    parsed = "schema" in manifest["job"]["output"]
    return data_schema(_NO_USER_COLUMNS, raw=terms.raw, parsed=parsed, images=terms.images)
