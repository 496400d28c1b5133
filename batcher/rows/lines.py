"""Where does each line of a byte range begin and end? Read in chunks, never whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A run of whole lines, or a piece of one line that is too long to hold.

    What is a row of another format stands here as a line, too: a record of a CSV file, an element of an array.

    Attributes:
        start: byte offset of `raw` in the file.
        raw: the bytes as they stand in the file, newlines included.
        lines: `raw` without its newlines; empty for a piece of an oversized line.
        first_line: number of the first line, from 1.
        ends_oversized: whether this piece is the last of an oversized line.
        numbers: of `lines`, where they do not follow one another.
    """

    start: int
    raw: bytes
    lines: tuple[bytes, ...] | list[bytes]
    first_line: int
    ends_oversized: bool = False
    numbers: Sequence[int] | None = None

    def numbers_of(self, at: int, count: int) -> Sequence[int]:
        """Give the numbers of `count` lines from the one at the position `at`."""
        if self.numbers is None:
            return range(self.first_line + at, self.first_line + at + count)
        return self.numbers[at : at + count]


def read_lines(  # noqa: PLR0913  a range, its name and two bounds
    file: BinaryIO, *, start: int, stop: int, first_line: int, max_row_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Lines]:
    """Cut the bytes [start, stop) of a file at line feeds and nowhere else: U+2028 and a lone CR belong to their line.

    Args:
        file: seekable.
        start: byte offset of the beginning of a line.
        stop: byte offset.
        first_line: the number of the line at `start`.
        max_row_bytes: a longer line is given away in pieces, so that memory holds at most this and one chunk.
        chunk_bytes: bytes read at a time.
    """
    cutter = _Cutter(start=start, line=first_line, max_row_bytes=max_row_bytes)
    file.seek(start)
    left = stop - start
    # A line that ends in the chunk it begins in then cannot be too long: only what is carried over has to be measured.
    chunk_bytes = max(1, min(chunk_bytes, max_row_bytes))
    while left > 0 and (chunk := file.read(min(chunk_bytes, left))):
        left -= len(chunk)
        yield from cutter.feed(chunk)
    yield from cutter.finish()


class _Cutter:
    """Carries the beginning of a line from chunk to chunk."""

    def __init__(self, *, start: int, line: int, max_row_bytes: int) -> None:
        self._start = start
        self._line = line
        self._max_row_bytes = max_row_bytes
        self._carry: list[bytes] = []
        self._carried_bytes = 0
        self._inside_oversized = False

    def feed(self, chunk: bytes) -> Iterator[Lines]:
        head = chunk.find(b"\n") + 1
        if self._inside_oversized or self._carried_bytes + (head - 1 if head else len(chunk)) > self._max_row_bytes:
            yield self._piece(self._take() + (chunk[:head] if head else chunk), ends=head > 0)
            chunk = chunk[head:] if head else b""
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield self._whole(self._take() + chunk[:cut])
        if cut < len(chunk):
            self._carry.append(chunk[cut:])
            self._carried_bytes += len(chunk) - cut

    def finish(self) -> Iterator[Lines]:
        if self._inside_oversized:
            yield self._piece(b"", ends=True)
        elif self._carry:
            yield self._whole(self._take())

    def _take(self) -> bytes:
        carried = b"".join(self._carry)
        self._carry.clear()
        self._carried_bytes = 0
        return carried

    def _whole(self, raw: bytes) -> Lines:
        lines = raw.split(b"\n")
        if not lines[-1]:
            lines.pop()
        whole = Lines(start=self._start, raw=raw, lines=lines, first_line=self._line)
        self._start += len(raw)
        self._line += len(lines)
        return whole

    def _piece(self, raw: bytes, *, ends: bool) -> Lines:
        piece = Lines(start=self._start, raw=raw, lines=(), first_line=self._line, ends_oversized=ends)
        self._start += len(raw)
        self._line += ends
        self._inside_oversized = not ends
        return piece
