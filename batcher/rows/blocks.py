"""Which rows belong together? Extents of the input files, gathered into blocks of bounded rows and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

DIGEST_BYTES = 16
MAX_BLOCKS = 8192
MAX_BLOCK_BYTES = 256 << 20
MEDIA_BLOCK_ROWS = 256
"""Rows of a block whose rows name files: planning does not open those, and a block file holds them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A contiguous piece of one input file.

    Attributes:
        file: index into the plan's files.
        group: row group of a Parquet file; None for lines.
        start, stop: bytes of the file; with a row group, rows of it.
        first_line: number of the first line, from 1; of a Parquet file, of the first row.
        rows: readable and unreadable ones.
        digest: hex BLAKE2b-16 of the bytes as they lie on disk; with a row group, of the whole group's.
    """

    file: int
    group: int | None
    start: int
    stop: int
    first_line: int
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A contiguous range of rows: the unit of storage, resume and distribution.

    Attributes:
        no: from 1.
        first_ordinal: of its first row.
        extents: where its rows lie, in order.
    """

    no: int
    first_ordinal: int
    rows: int
    extents: tuple[Extent, ...]


@dataclass(slots=True)
class _Pile:
    """A block in the making."""

    extents: list[Extent]
    rows: int = 0
    size: int = 0

    def add(self, extent: Extent, size: int) -> None:
        last = self.extents[-1] if self.extents else None
        if last is not None and extent.group is not None and _continues(last, extent):
            self.extents[-1] = replace(last, stop=extent.stop, rows=last.rows + extent.rows)
        else:
            self.extents.append(extent)
        self.rows += extent.rows
        self.size += size

    def absorb(self, other: _Pile) -> None:
        rows, size = self.rows + other.rows, self.size + other.size
        for extent in other.extents:
            self.add(extent, 0)
        self.rows, self.size = rows, size


def _continues(last: Extent, extent: Extent) -> bool:
    """Say whether two extents are one; only row groups can be joined, because their digest is the whole group's."""
    return (last.file, last.group, last.stop) == (extent.file, extent.group, extent.start)


class BlockCutter:
    """Gathers extents into blocks while the input goes by.

    All blocks but the last get the same number of rows, `block_rows` doubled as often as it takes to stay within
    `max_blocks`, except where `max_block_bytes` closes one early. The byte limit is the stronger one: beyond
    `max_blocks * max_block_bytes / 2` of input there are more blocks.
    """

    def __init__(
        self, *, block_rows: int, max_blocks: int = MAX_BLOCKS, max_block_bytes: int = MAX_BLOCK_BYTES
    ) -> None:
        self._block_rows = block_rows
        self._max_blocks = max_blocks
        self._max_block_bytes = max_block_bytes
        self._closed: list[_Pile] = []
        self._open = _Pile([])

    @property
    def room_rows(self) -> int:
        """Rows that the open block still takes; at least 1."""
        return self._block_rows - self._open.rows

    @property
    def room_bytes(self) -> int:
        """Bytes that the open block still takes; an empty one takes a row of any size."""
        return self._max_block_bytes - self._open.size

    @property
    def is_empty(self) -> bool:
        """Whether the open block has no rows yet."""
        return not self._open.rows

    def add(self, extent: Extent, *, size_bytes: int) -> None:
        """Put an extent of at most `room_rows` rows into the open block; it closes when it is full."""
        self._open.add(extent, size_bytes)
        if self._is_full(self._open):
            self.close()
            if self._closed and not self._is_full(self._closed[-1]):
                self._open = self._closed.pop()  # merging has made it half a block; it goes on, so that all are alike

    def close(self) -> None:
        """Close the open block, full or not."""
        if self._open.rows:
            self._closed.append(self._open)
            self._open = _Pile([])
        if len(self._closed) > self._max_blocks:
            self._double()

    def finish(self) -> tuple[Block, ...]:
        """Close the last block and number them all."""
        self.close()
        before = 0
        while len(self._closed) > self._max_blocks and len(self._closed) != before:
            before = len(self._closed)
            self._double()
        return numbered([(pile.rows, tuple(pile.extents)) for pile in self._closed])

    def _is_full(self, pile: _Pile) -> bool:
        return pile.rows >= self._block_rows or pile.size >= self._max_block_bytes

    def _double(self) -> None:
        """Merge neighbours into blocks of twice the rows."""
        self._block_rows *= 2
        first, *others = self._closed
        merged = [first]
        for pile in others:
            last = merged[-1]
            if last.rows + pile.rows > self._block_rows or last.size + pile.size > self._max_block_bytes:
                merged.append(pile)
            else:
                last.absorb(pile)
        self._closed = merged


def numbered(piles: list[tuple[int, tuple[Extent, ...]]]) -> tuple[Block, ...]:
    """Number blocks from 1 and their rows from 0; each pile is its rows and its extents."""
    firsts = accumulate((rows for rows, _ in piles), initial=0)
    return tuple(
        Block(no=no, first_ordinal=first, rows=rows, extents=extents)
        for no, (first, (rows, extents)) in enumerate(zip(firsts, piles, strict=False), start=1)
    )
