"""What does a Parquet file hold, and how are some rows of a row group read without the others' columns?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.errors import InputError
from batcher.rows.blocks import DIGEST_BYTES

_READ_BYTES = 1 << 20


def check_table(path: Path, name: str) -> None:
    """Refuse a file that is no Parquet or whose columns cannot be told apart.

    Raises:
        InputError: with the reason in Arrow's words.
    """
    with Table(path, name) as table:
        names = table.schema.names
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise InputError(f"{name}: two columns are called {', '.join(map(repr, twice))}")


class Table:
    """An open Parquet file, read in order.

    Reading goes on where the last read of the same row group ended: blocks are smaller than row groups, and to decode
    a group from its beginning for each of its blocks would be quadratic.
    """

    def __init__(self, path: Path, name: str) -> None:
        try:
            # A buffered column stream keeps memory at pages; without it a whole column chunk is read at once.
            self._file = pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{name}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
        self._path = path
        self.schema: pa.Schema = self._file.schema_arrow
        self._cursor: _Cursor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._cursor = None
        self._file.close()

    @property
    def groups(self) -> int:
        """How many row groups there are."""
        return int(self._file.metadata.num_row_groups)

    def rows_in(self, group: int) -> int:
        """Rows of a row group."""
        return int(self._file.metadata.row_group(group).num_rows)

    def bytes_in(self, group: int) -> int:
        """Decoded size of a row group, in bytes, as its writer counted."""
        return int(self._file.metadata.row_group(group).total_byte_size)

    def digest(self, group: int) -> str:
        """Hash the bytes of a row group as they lie on disk."""
        start, stop = self._extent(group)
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with self._path.open("rb") as file:
            file.seek(start)
            left = stop - start
            while left > 0 and (chunk := file.read(min(_READ_BYTES, left))):
                digest.update(chunk)
                left -= len(chunk)
        return digest.hexdigest()

    def _extent(self, group: int) -> tuple[int, int]:
        meta = self._file.metadata.row_group(group)
        chunks = [meta.column(number) for number in range(meta.num_columns)]
        starts = [_first_page(chunk) for chunk in chunks]
        ends = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
        return min(starts, default=0), max(ends, default=0)

    def read(
        self, group: int, *, start: int, stop: int, columns: Sequence[str], batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """Give the rows [start, stop) of a row group in batches of at most `batch_rows`."""
        cursor = self._cursor
        if cursor is None or not cursor.stands_at(group, start, columns, batch_rows):
            batches = self._file.iter_batches(
                batch_size=batch_rows, row_groups=[group], columns=list(columns), use_threads=False
            )
            cursor = self._cursor = _Cursor(group, tuple(columns), batch_rows, batches, rows=self.rows_in(group))
            cursor.skip(start)
        while cursor.at < stop:
            yield cursor.take(min(batch_rows, stop - cursor.at))


class _Cursor:
    """How far a row group has been read."""

    def __init__(
        self, group: int, columns: tuple[str, ...], batch_rows: int, batches: Iterator[pa.RecordBatch], *, rows: int
    ) -> None:
        self._key: tuple[Any, ...] = (group, columns, batch_rows)
        self._batches = batches
        self._rest: pa.RecordBatch | None = None
        self._columns = columns
        self._rows = rows
        self.at = 0

    def stands_at(self, group: int, start: int, columns: Sequence[str], batch_rows: int) -> bool:
        return self._key == (group, tuple(columns), batch_rows) and self.at == start

    def skip(self, rows: int) -> None:
        while self.at < rows:
            self.take(rows - self.at)

    def take(self, rows: int) -> pa.RecordBatch:
        """Give the next rows, at least one and at most so many."""
        if not self._columns:  # without columns Arrow gives no batches
            rows = min(rows, self._rows - self.at)
            self.at += rows
            return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        batch = self._rest if self._rest is not None else next(self._batches)
        taken = batch.slice(0, rows)
        self._rest = batch.slice(rows) if batch.num_rows > rows else None
        self.at += taken.num_rows
        return taken


def _first_page(chunk: pq.ColumnChunkMetaData) -> int:
    pages = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return int(min(page for page in pages if page is not None and page > 0))
