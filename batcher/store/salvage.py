"""Which rows of a damaged file can still be read? Row group by row group, page checksums checked, in batches.

A page that is damaged takes with it the rows of its row group from there on: they cannot be told apart without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.errors import StorageError
from batcher.records import Status
from batcher.store.parts import Footer, read_footer

LOST = "lost"
"""The `error_kind` of a row whose answer was paid for and cannot be read any more; `recover` has it asked again."""
_ROWS_AT_ONCE = 1024
_CHECKSUM = "CRC checksum"  # what Arrow says of a page whose head is sound and whose content is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What is left of a part.

    Attributes:
        footer: None where nothing of the file can be read.
        lost: the tasks of the block that have no row any more, or one that says so.
        whole: whether every row that the block must have can be read.
    """

    footer: Footer | None
    lost: frozenset[int]
    whole: bool


def footer_of(path: Path) -> Footer | None:
    """A file's footer, None where it is missing or cannot be read."""
    try:
        return read_footer(path)
    except StorageError:
        return None


def look_at(part: Path, *, run_id: str, block: int, first_task: int, tasks: int) -> Looked:
    """Read a whole part and say which rows of a block it lacks.

    Args:
        part: where it lies, or should.
        run_id: whose it must be.
        block: of which number.
        first_task: of its first row.
        tasks: how many rows it must have.
    """
    every = frozenset(range(first_task, first_task + tasks))
    footer = footer_of(part)
    if footer is None or (footer.stamp.run_id, footer.stamp.block) != (run_id, block):
        return Looked(footer=None, lost=every, whole=False)
    there: set[int] = set()
    queued: set[int] = set()
    for batch in sound_rows(part):
        numbers = batch.column("task")
        there.update(numbers.to_pylist())
        queued.update(numbers.filter(_says_lost(batch)).to_pylist())
    return Looked(footer=footer, lost=(every - there) | (queued & every), whole=there == every)


def _says_lost(batch: pa.RecordBatch) -> pa.Array:
    says = pc.and_(pc.equal(batch.column("status"), str(Status.FAILED)), pc.equal(batch.column("error_kind"), LOST))
    return pc.fill_null(says, fill_value=False)


def sound_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a part or ledger file that can be read, in order; nothing where the file is no Parquet file."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return
    with file:
        for group in range(file.num_row_groups):
            yield from _of_group(file, group)


def _of_group(file: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    read: list[pa.RecordBatch] = []
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group]):
            batch.validate(full=True)
            read.append(batch)
    except (OSError, pa.ArrowException) as error:
        # Any other complaint may come from a damaged page head: then columns no longer stand beside each other.
        if _CHECKSUM not in str(error):
            return
    else:
        if sum(batch.num_rows for batch in read) != file.metadata.row_group(group).num_rows:
            return
    yield from read
