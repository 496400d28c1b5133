"""What are some rows of an input, from all over it, and how many has it, without reading it all?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from batcher.job.spec import Input, InputFormat
from batcher.records import Row
from batcher.rows.blocks import Block
from batcher.rows.index import Index
from batcher.rows.readers import InputFile
from batcher.rows.slices import BlockReader
from batcher.rows.survey import whole_file
from batcher.rows.tables import Table

# One second of a core or two: planning takes 1 to 2 µs for a short line and hashes Parquet at the disk's pace;
# counting lines alone takes 0.2 µs a line.
_WHOLE_TEXT_BYTES = 128 << 20
_WHOLE_TABLE_BYTES = 1 << 30
_COUNTED_BYTES = 1 << 30
_LINES = frozenset({InputFormat.JSONL, InputFormat.TEXT})
_RECORD_COSTS = 4  # lines: a field of CSV has to be looked into for its newlines, an array for its commas
_LONGEST_LINE_BYTES = 1 << 20  # a longer one counts in pieces; it is a row all the same, readable or not

_PLACES = 32
_PLACES_IN_A_GROUP = 4  # to get into a row group, all of it before that is decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many rows there are; `exact` or extrapolated from the size of the files."""

    rows: int
    exact: bool


def is_small(files: Sequence[InputFile]) -> bool:
    """Whether planning all of it takes a second or two."""
    sizes = [(file.format, file.path.stat().st_size) for file in files]
    tables = sum(size for kind, size in sizes if kind is InputFormat.PARQUET)
    texts = sum(
        size * (1 if kind in _LINES else _RECORD_COSTS) for kind, size in sizes if kind is not InputFormat.PARQUET
    )
    return tables <= _WHOLE_TABLE_BYTES and texts <= _WHOLE_TEXT_BYTES


def count_rows(files: Sequence[InputFile], planned: Index) -> Count:
    """Count the rows of an input of which the first rows are planned.

    Parquet files say it themselves. Lines are counted where that is quick, else the size of the planned ones tells.
    """
    tables = [file for file in files if file.format is InputFormat.PARQUET]
    texts = [file for file in files if file.format is not InputFormat.PARQUET]
    in_tables = sum(_rows_of(file) for file in tables)
    size = sum(file.path.stat().st_size for file in texts)
    if size <= _COUNTED_BYTES and all(file.format in _LINES for file in texts):
        return Count(rows=in_tables + sum(_lines_of(file) for file in texts), exact=True)
    extents = [extent for block in planned.blocks for extent in block.extents if extent.group is None]
    planned_bytes = sum(extent.stop - extent.start for extent in extents)
    planned_rows = sum(extent.rows for extent in extents)
    return Count(rows=in_tables + (size * planned_rows // planned_bytes if planned_bytes else 0), exact=False)


def some_rows(index: Index, spec: Input, *, needed: frozenset[str], count: int) -> Iterator[Row]:
    """Give about `count` rows, the first one first, from places all over the planned part.

    Args:
        index: the plan.
        spec: `[input]`, as it was planned.
        needed: the columns that the prompt needs.
        count: all rows are given when there are no more than that.
    """
    blocks = index.blocks if index.rows <= count else _places(index)
    each = count if index.rows <= count else max(1, -(-count // max(len(blocks), 1)))
    with BlockReader(index, spec, slice_rows=min(each, 256), needed=needed) as reader:
        for block in blocks:
            yield from islice((row for piece in reader.read(block) for row in piece.rows), each)


def _places(index: Index) -> Sequence[Block]:
    if any(extent.group is not None for block in index.blocks for extent in block.extents):
        beginnings = [block for block in index.blocks if block.extents and block.extents[0].start == 0]
        if len(beginnings) < _PLACES_IN_A_GROUP:
            return _evenly(index.blocks, _PLACES_IN_A_GROUP)
        return _evenly(beginnings, _PLACES)
    return _evenly(index.blocks, _PLACES)


def _evenly(blocks: Sequence[Block], most: int) -> Sequence[Block]:
    if len(blocks) <= most:
        return blocks
    return [blocks[at * (len(blocks) - 1) // (most - 1)] for at in range(most)]


def _rows_of(file: InputFile) -> int:
    with Table(file.path, file.name) as table:
        return sum(table.rows_in(group) for group in range(table.groups))


def _lines_of(file: InputFile) -> int:
    pieces = whole_file(file, _LONGEST_LINE_BYTES)
    return sum(piece.ends_oversized + sum(1 for line in piece.lines if line and not line.isspace()) for piece in pieces)
