"""How does a block become files that are never half there? Built in `.tmp`, synced, read back, then given their names.

Order: the ledger first, then the part; each step can be repeated after a crash. A name that exists is ours when its
footer says the same block, generation and digest (bytes are not compared: a library update may encode the same rows
otherwise).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.store import schemas
from batcher.store.disk import publish_new, remove, sync_file, sync_folder
from batcher.store.failpoints import FailPoints
from batcher.store.rundir import RunDir
from batcher.store.signed import UNSIGNED, check_footer, sign_parquet

ROW_GROUP_BYTES = 12 << 20  # of Arrow memory: bounds what a seal holds; the design's ceiling is 64 MiB
_EXACT_FROM_BYTES = 1 << 20
_KEY = b"batcher"
_REPEATING = ["status", "finish_reason", "error_kind", "model", "model_version", "service_tier", "verdict", "reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which rows a file holds, as its footer says.

    Attributes:
        digest: of the block file that the rows were planned in.
        first_task, tasks: the range, dense.
    """

    run_id: str
    block: int
    generation: int
    digest: str
    first_task: int
    tasks: int

    def as_json(self) -> dict[str, Any]:
        """Plain values for the footer."""
        return {
            "run_id": self.run_id,
            "block": self.block,
            "generation": self.generation,
            "digest": self.digest,
            "first_task": self.first_task,
            "tasks": self.tasks,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a finished file says of itself."""

    stamp: Stamp
    totals: Totals
    rows: int


def read_footer(path: Path) -> Footer:
    """Read a part's or ledger file's footer.

    Raises:
        StorageError: it is not a whole file of ours.
    """
    try:
        check_footer(path)
        meta = pq.read_metadata(path)
        found = orjson.loads((meta.metadata or {})[_KEY])
        stamp = Stamp(**found["stamp"])
        totals = Totals.from_json(found["totals"])
    except (OSError, pa.ArrowException, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise StorageError(f"{path}: not a whole part of a run: {error}") from error
    return Footer(stamp=stamp, totals=totals, rows=meta.num_rows)


def read_schema(path: Path) -> pa.Schema | None:
    """A part's schema, None where there is no whole part."""
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return None


def write_anchor(rundir: RunDir, schema: pa.Schema, blocks: int, run_id: str) -> None:
    """Publish part 0: the schema, no rows and no row group (`datasets` fails on an empty row group)."""
    final = rundir.part(0, blocks)
    if final.exists():
        return
    built = rundir.tmp / final.name
    stamp = Stamp(run_id=run_id, block=0, generation=1, digest="", first_task=0, tasks=0)
    writer = _writer(built, schema)
    _close(writer, stamp, Totals())
    sync_file(built)
    publish_new(built, final)


def put_whole(  # noqa: PLR0913, PLR0917  what a file is made of
    rundir: RunDir,
    final: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    stamp: Stamp,
    totals: Callable[[], Totals],
) -> None:
    """Put a file in the place of one that is lost or damaged: whole or not at all, like any other.

    Args:
        rundir: on whose `.tmp` it is built.
        final: its name; what has it now is replaced.
        schema: of the batches.
        batches: its rows.
        stamp: what it says it holds.
        totals: asked when the last batch was taken.

    Raises:
        StorageError: what was read back is not what was meant.
        OSError: the disk refuses.
    """
    growing = _growing(rundir.tmp / final.name, schema)
    for batch in batches:
        growing.add(batch)
        if growing.size >= ROW_GROUP_BYTES:
            growing.flush()
    growing.flush()
    _close(growing.writer, stamp, totals())
    sync_file(growing.path)
    footer = read_footer(growing.path)
    if footer.rows != growing.rows or footer.stamp != stamp:
        raise StorageError(f"{growing.path}: read back {footer.rows} rows of {growing.rows}")
    growing.path.replace(final)
    sync_folder(final.parent)


@dataclass(slots=True)
class _Growing:
    """One file under construction and the slices not yet in a row group."""

    path: Path
    writer: pq.ParquetWriter
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    size: int = 0
    rows: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.waiting.append(batch)
            self.size += _bytes_of(batch)
            self.rows += batch.num_rows

    def flush(self) -> None:
        if not self.waiting:
            return
        table = pa.Table.from_batches(self.waiting)
        self.writer.write_table(table, row_group_size=table.num_rows)
        self.waiting, self.size = [], 0


def _bytes_of(batch: pa.RecordBatch) -> int:
    size: int = batch.get_total_buffer_size()
    # It counts the whole of what a slice shares; exact is only worth 1 µs a row where that may be much.
    return size if size < _EXACT_FROM_BYTES else batch.nbytes


class PartBuilder:
    """Builds a block's part and ledger in `.tmp`, slice by slice; methods block and belong in a thread.

    Args:
        stamp: what the files will say they hold.
        schema: of `data/`.
        blocks: how many blocks the run has; a part's name says it.
    """

    def __init__(self, rundir: RunDir, stamp: Stamp, schema: pa.Schema, *, blocks: int, failpoints: FailPoints) -> None:
        self._rundir = rundir
        self._stamp = stamp
        self._failpoints = failpoints
        self._final_part = rundir.part(stamp.block, blocks)
        self._final_ledger = rundir.ledger(stamp.block, stamp.generation)
        self._part = _growing(rundir.tmp / self._final_part.name, schema)
        self._ledger = _growing(rundir.tmp / self._final_ledger.name, schemas.ATTEMPTS)

    @property
    def heavy(self) -> bool:
        """Whether enough has gathered for a row group."""
        return self._part.size >= ROW_GROUP_BYTES or self._ledger.size >= ROW_GROUP_BYTES

    def add(self, data: pa.RecordBatch, ledger: pa.RecordBatch) -> None:
        """Take one slice of each; cheap, nothing is written."""
        self._part.add(data)
        self._ledger.add(ledger)

    def flush(self) -> None:
        """Write what has gathered as a row group of each file."""
        self._part.flush()
        self._ledger.flush()
        self._failpoints.hit("part-half-written")

    def finish(self, totals: Totals) -> None:
        """Close, sync, read back and publish: the ledger, then the part.

        Raises:
            StorageError: what was read back is not what was meant, or a foreign file has the name.
        """
        for growing in (self._ledger, self._part):
            growing.flush()
            _close(growing.writer, self._stamp, totals)
            sync_file(growing.path)
            self._check(growing)
        self._failpoints.hit("part-built")
        self._publish(self._ledger.path, self._final_ledger)
        self._failpoints.hit("ledger-published")
        self._publish(self._part.path, self._final_part)
        self._failpoints.hit("part-published")

    def abandon(self) -> None:
        """Leave nothing of what was not published; it is built again from the journal."""
        for growing in (self._part, self._ledger):
            remove(growing.path)
            with contextlib.suppress(OSError, pa.ArrowException):  # a full disk refuses the footer, too
                growing.writer.close()

    def _check(self, growing: _Growing) -> None:
        footer = read_footer(growing.path)
        whole = footer.rows == growing.rows and footer.stamp == self._stamp
        if not whole or (growing is self._part and footer.rows != self._stamp.tasks):
            raise StorageError(f"{growing.path}: read back {footer.rows} rows of {self._stamp.tasks} tasks")

    def _publish(self, built: Path, final: Path) -> None:
        if publish_new(built, final):
            return
        there = read_footer(final).stamp
        if there == self._stamp:
            built.unlink()
            return
        older = there.run_id == self._stamp.run_id and there.block == self._stamp.block
        if final == self._final_part and older and there.generation < self._stamp.generation:
            built.replace(final)
            sync_folder(final.parent)
            return
        raise StorageError(f"{final}: holds block {there.block}, generation {there.generation} of run {there.run_id}")


def _growing(path: Path, schema: pa.Schema) -> _Growing:
    return _Growing(path=path, writer=_writer(path, schema))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    repeating = [name for name in schema.names if name in _REPEATING]
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=repeating, write_page_checksum=True, version="2.6"
    )


def _close(writer: pq.ParquetWriter, stamp: Stamp, totals: Totals) -> None:
    content = orjson.dumps({"stamp": stamp.as_json(), "totals": totals.as_json(), "blake2b": UNSIGNED})
    writer.add_key_value_metadata({_KEY: content})
    writer.close()
    sign_parquet(writer.where)
