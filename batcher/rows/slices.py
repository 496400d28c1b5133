"""What are the rows of a block? Read again in small slices, with the user's columns, and checked against the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from batcher.errors import InputError, PlanChanged
from batcher.job.spec import Input
from batcher.records import Problem, Row
from batcher.rows import arrays
from batcher.rows.blocks import DIGEST_BYTES, Block, Extent
from batcher.rows.containers import Parse, parser_of, place_in, records_of
from batcher.rows.conversion import reference_of
from batcher.rows.index import Index
from batcher.rows.labels import label_of
from batcher.rows.lines import Lines
from batcher.rows.objects import too_long
from batcher.rows.tables import Table

SLICE_ROWS = 256
SLICE_BYTES = 8 << 20  # of a Parquet file, decoded: a slice of pictures has fewer rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSlice:
    """Some rows of a block, in order.

    Attributes:
        first_ordinal: of the first row.
        rows: with what the prompt needs.
        columns: the user's columns of the same rows, in the frozen schema.
    """

    first_ordinal: int
    rows: list[Row]
    columns: pa.RecordBatch


def read_block(
    index: Index, block: Block, spec: Input, *, slice_rows: int = SLICE_ROWS, needed: frozenset[str] | None = None
) -> Iterator[RowSlice]:
    """Read one block; see `BlockReader` for many."""
    with BlockReader(index, spec, slice_rows=slice_rows, needed=needed) as reader:
        yield from reader.read(block)


class BlockReader:
    """Reads blocks, fastest in order: a Parquet file stays open and is decoded once, however many blocks it has.

    Args:
        index: the plan.
        spec: `[input]`, as it was planned.
        slice_rows: rows of a slice at most.
        needed: the columns that the prompt needs; rows of Parquet files hold only these. None needs all.
    """

    def __init__(
        self, index: Index, spec: Input, *, slice_rows: int = SLICE_ROWS, needed: frozenset[str] | None = None
    ) -> None:
        self._index = index
        self._max_row_bytes = spec.max_row_bytes
        self._slice_rows = slice_rows
        self._needed = set(index.found if needed is None else needed)
        self._found = frozenset(index.found)
        self._id_key = index.shape.id_key
        self._reference_key = index.shape.reference_key
        self._table: tuple[int, Table] | None = None
        self._verified: tuple[int, int] | None = None  # the row group hashed last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open."""
        if self._table is not None:
            self._table[1].close()
            self._table = None

    def read(self, block: Block) -> Iterator[RowSlice]:
        """Give the rows of a block, in order.

        The bytes of lines are hashed as they go by: a change is known when the last slice was taken, so nothing may be
        sent before. A row group is hashed before its first row.

        Raises:
            PlanChanged: the input is not what it was when it was planned.
        """
        ordinal = block.first_ordinal
        for extent in block.extents:
            slices = self._lines if extent.group is None else self._groups
            end = ordinal + extent.rows
            try:
                for piece in slices(extent, ordinal):
                    ordinal += len(piece.rows)
                    yield piece
            except (OSError, InputError, pa.ArrowException, OverflowError) as error:
                raise self._changed(extent, block, str(error)) from error
            except _DigestDiffersError:
                raise self._changed(extent, block, "its bytes differ") from None
            if ordinal != end:
                raise self._changed(extent, block, "its rows differ")

    def _changed(self, extent: Extent, block: Block, how: str) -> PlanChanged:
        name = self._index.files[extent.file].name
        return PlanChanged(
            f"{name}: changed since it was planned: block {block.no} is not what it was",
            differences=(f"{name}, block {block.no}: as planned → {how.splitlines()[0] if how else 'unreadable'}",),
            hint="put the file back as it was, or start a fresh run in another directory",
        )

    # Lines

    def _lines(self, extent: Extent, ordinal: int) -> Iterator[RowSlice]:
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        file = self._index.files[extent.file]
        parse, place = parser_of(file.format, file.layout), place_in(file.name, file.format)
        for piece in records_of(
            file.path,
            file.format,
            file.layout,
            start=extent.start,
            stop=extent.stop,
            first_line=extent.first_line,
            max_row_bytes=self._max_row_bytes,
        ):
            digest.update(piece.raw)
            for found in self._from_piece(piece, parse, place, ordinal):
                ordinal += len(found.rows)
                yield found
        if digest.hexdigest() != extent.digest:
            raise _DigestDiffersError

    def _from_piece(self, piece: Lines, parse: Parse, place: str, ordinal: int) -> Iterator[RowSlice]:
        if piece.ends_oversized:
            where = f"{place}{piece.first_line}"
            yield self._slice([_bad_row(ordinal, where, too_long(self._max_row_bytes))])
        for at in range(0, len(piece.lines), self._slice_rows):
            lines = piece.lines[at : at + self._slice_rows]
            if rows := self._rows(zip(piece.numbers_of(at, len(lines)), lines, strict=True), parse, place, ordinal):
                ordinal += len(rows)
                yield self._slice(rows)

    def _rows(self, lines: Iterable[tuple[int, bytes]], parse: Parse, place: str, ordinal: int) -> list[Row]:
        """Parse lines to rows. This runs once per row of the run."""
        rows: list[Row] = []
        id_key = self._id_key
        for number, line in lines:
            values = parse(line)
            if type(values) is dict:
                label = None if id_key is None else values.get(id_key)
                rows.append(
                    Row(
                        ordinal=ordinal,
                        id=label if label and type(label) is str else _label(label, ordinal),
                        values=values,
                        where=f"{place}{number}",
                    )
                )
            elif values is None:
                continue
            else:
                rows.append(_bad_row(ordinal, f"{place}{number}", str(values)))
            ordinal += 1
        return rows

    def _slice(self, rows: list[Row]) -> RowSlice:
        index = self._index
        objects = [row.values for row in rows]
        return RowSlice(
            first_ordinal=rows[0].ordinal,
            rows=rows,
            columns=arrays.from_objects(
                objects,
                index.columns,
                found=self._found,
                schema=index.schema,
                references=self._references(objects),
            ),
        )

    def _references(self, rows: Iterable[Mapping[str, Any]]) -> list[str | None]:
        shape = self._index.shape
        return [] if shape.reference_key is None else [reference_of(shape, row) for row in rows]

    # Row groups

    def _groups(self, extent: Extent, ordinal: int) -> Iterator[RowSlice]:
        table, group = self._opened(extent.file), extent.group
        if group is None or group >= table.groups or extent.stop > table.rows_in(group):
            raise _DigestDiffersError
        if self._verified != (extent.file, group):
            if table.digest(group) != extent.digest:
                raise _DigestDiffersError
            self._verified = (extent.file, group)
        wanted = self._needed | {column.source for column in self._index.columns} | {self._id_key, self._reference_key}
        columns = [name for name in table.schema.names if name in wanted]
        first_row, name = extent.first_line, self._index.files[extent.file].name
        fitting = SLICE_BYTES * table.rows_in(group) // max(1, table.bytes_in(group))
        batch_rows = max(1, min(self._slice_rows, fitting))
        batches = table.read(group, start=extent.start, stop=extent.stop, columns=columns, batch_rows=batch_rows)
        for batch in batches:
            sound, problems = arrays.mended(batch)
            rows = self._table_rows(sound, first_row, name, ordinal)
            for at, why in problems.items():
                rows[at] = _bad_row(ordinal + at, rows[at].where, why)
            yield RowSlice(
                first_ordinal=ordinal,
                rows=rows,
                columns=arrays.from_table(
                    sound, self._index.columns, schema=self._index.schema, references=self._answers(sound)
                ),
            )
            first_row, ordinal = first_row + len(rows), ordinal + len(rows)

    def _answers(self, batch: pa.RecordBatch) -> list[str | None]:
        key = self._reference_key
        if key is None or key not in batch.schema.names:
            return [] if key is None else [None] * batch.num_rows
        return self._references({key: value} for value in arrays.to_python(batch.column(key)))

    def _opened(self, number: int) -> Table:
        if self._table is None or self._table[0] != number:
            self.close()
            file = self._index.files[number]
            self._table = (number, Table(file.path, file.name))
        return self._table[1]

    def _table_rows(self, batch: pa.RecordBatch, first_row: int, name: str, ordinal: int) -> list[Row]:
        names = [column for column in batch.schema.names if column in self._needed]
        values: list[Mapping[str, Any]] = [{}] * batch.num_rows
        if names:
            columns = [arrays.to_python(batch.column(column)) for column in names]
            values = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        labels = [None] * batch.num_rows
        if self._id_key in batch.schema.names:
            labels = arrays.to_python(batch.column(self._id_key))
        return [
            Row(ordinal=ordinal + at, id=_label(label, ordinal + at), values=row, where=f"{name}, row {first_row + at}")
            for at, (label, row) in enumerate(zip(labels, values, strict=True))
        ]


class _DigestDiffersError(Exception):
    """Never leaves this module: it becomes a PlanChanged that names the block."""


def _bad_row(ordinal: int, where: str, why: str) -> Row:
    problem = Problem(kind="bad_input", message=f"{where}: {why}")
    return Row(ordinal=ordinal, id=f"row-{ordinal}", values={}, where=where, problem=problem)


def _label(value: object, ordinal: int) -> str:
    """Name a row; by its place where it has no name of its own."""
    return label_of(value) or f"row-{ordinal}"
