"""What is a row called, and is another one called the same? Where the job names the column that tells rows apart."""

from __future__ import annotations

import contextlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from batcher.errors import InputError
from batcher.job.spec import Input, InputFormat
from batcher.rows.arrays import mended, to_python
from batcher.rows.containers import parser_of, place_in, records_of
from batcher.rows.readers import InputFile
from batcher.rows.tables import Table

MOST_HELD = 1 << 22
"""Hashes in memory, 32 MB; more of them lie in temporary files."""
_SHELF_BITS = 6
_SHELVES = range(-(1 << _SHELF_BITS - 1), 1 << _SHELF_BITS - 1)
_SHOWN = 10
_LOOKED_FOR = 10_000
_BATCH_ROWS = 1024


def label_of(value: object) -> str | None:
    """Name a row: text as it is, anything else as JSON; None where it has no name or an empty one."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


class Labels:
    """The labels of all rows as eight bytes each: enough to know which ones to look at again.

    Args:
        column: that names a row.
        most_held: hashes in memory; what comes beyond is sorted onto shelves on disk (`TMPDIR`).
    """

    def __init__(self, column: str, *, most_held: int = MOST_HELD) -> None:
        self.column = column
        self._most_held = most_held
        self._held = array("q")
        self._shelves: dict[int, IO[bytes]] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def see(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the labels of some rows. This runs once per row of the input."""
        column, held = self.column, self._held
        held.extend(hash(label) for row in rows if (label := label_of(row.get(column))) is not None)
        if len(held) >= self._most_held:
            self._put_away()

    def repeated(self) -> tuple[int, frozenset[int]]:
        """Count the rows that are called as an earlier one; with the hashes of such labels, a few thousand at most."""
        if self._shelves:
            self._put_away()
        count, hashes = 0, set[int]()
        for values in self._each():
            again = _again(values)
            count += len(again)
            hashes.update(again.slice(0, _LOOKED_FOR - len(hashes)).to_pylist())
        return count, frozenset(hashes)

    def _each(self) -> Iterator[pa.Array]:
        yield _as_arrow(self._held)
        for shelf in self._shelves.values():
            shelf.seek(0)
            yield _as_arrow(array("q", shelf.read()))

    def _put_away(self) -> None:
        values = _as_arrow(self._held)
        on = pc.shift_right(values, 64 - _SHELF_BITS)
        for number in _SHELVES:
            if number not in self._shelves:
                self._shelves[number] = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  closed with the stack
            mine = values.filter(pc.equal(on, number))
            self._shelves[number].write(memoryview(mine.buffers()[1])[: mine.nbytes])
        self._held = array("q")


def _as_arrow(held: array[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(held), [None, pa.py_buffer(held)])


def _again(values: pa.Array) -> pa.Array:
    """Give what stands in `values` beside an equal one, once less than it is there."""
    in_order = values.take(pc.array_sort_indices(values))
    later = in_order.slice(1)
    return later.filter(pc.equal(later, in_order.slice(0, len(later))))


def check_unique(labels: Labels, files: Sequence[InputFile], spec: Input, *, rows: int) -> None:
    """Refuse an input of which rows are called the same; the files are read once more only where hashes are equal.

    Args:
        labels: of the rows.
        files: that they were read from.
        spec: `[input]`, which names their column.
        rows: how many of the files' rows there are, from the first.

    Raises:
        InputError: with the first ten labels and where they stand.
    """
    count, hashes = labels.repeated()
    if not count:
        return
    twice = _standing_twice(files, spec, labels.column, hashes, rows=rows)
    if not twice:  # two labels of one hash: of 10 M rows that happens once in 400,000 inputs
        return
    more = count - len(twice)
    lines = [
        f"{files[0].name}: {_rows(count)} called as an earlier one by column {labels.column!r} (input.id):",
        *(f"  {label!r}: {first} and {second}" for label, (first, second) in twice.items()),
        *([f"  and {more:,} more"] if more > 0 else ()),
    ]
    raise InputError("\n".join(lines), hint="name another column with input.id, or none: rows then go by their place")


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _standing_twice(
    files: Sequence[InputFile], spec: Input, column: str, hashes: frozenset[int], *, rows: int
) -> dict[str, tuple[str, str]]:
    """Find the first labels that stand on two rows, with both places."""
    seen: dict[str, str] = {}
    twice: dict[str, tuple[str, str]] = {}
    for _, (value, place) in zip(range(rows), _named(files, spec, column), strict=False):
        label = label_of(value)
        if label is None or label in twice or hash(label) not in hashes:
            continue
        if label in seen:
            twice[label] = seen[label], place
        seen[label] = place
        if len(twice) == _SHOWN:
            break
    return twice


def _named(files: Sequence[InputFile], spec: Input, column: str) -> Iterator[tuple[Any, str]]:
    """Give what each row has in `column`, and where the row stands."""
    for file in files:
        yield from _in_table(file, column) if file.format is InputFormat.PARQUET else _in_lines(file, spec, column)


def _in_lines(file: InputFile, spec: Input, column: str) -> Iterator[tuple[Any, str]]:
    parse, place, layout = parser_of(file.format, file.layout), place_in(file.name, file.format), file.layout
    pieces = records_of(
        file.path,
        file.format,
        layout,
        start=layout.start,
        stop=None,
        first_line=layout.first_line,
        max_row_bytes=spec.max_row_bytes,
    )
    for piece in pieces:
        if piece.ends_oversized:
            yield None, ""
        for number, line in zip(piece.numbers_of(0, len(piece.lines)), piece.lines, strict=True):
            row = parse(line)
            if row is not None:
                yield row.get(column) if isinstance(row, dict) else None, f"{place}{number}"


def _in_table(file: InputFile, column: str) -> Iterator[tuple[Any, str]]:
    with Table(file.path, file.name) as table:
        number = 0
        for group in range(table.groups):
            for value in labels_in(table, group, column, stop=table.rows_in(group)):
                number += 1
                yield value, f"{file.name}, row {number}"


def labels_in(table: Table, group: int, column: str, *, stop: int) -> Iterator[Any]:
    """Give what the first rows of a row group have in `column`."""
    if column not in table.schema.names:
        return
    for batch in table.read(group, start=0, stop=stop, columns=[column], batch_rows=_BATCH_ROWS):
        sound, _ = mended(batch)
        yield from to_python(sound.column(column))
