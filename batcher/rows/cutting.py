"""Where does each record begin and end that is not a line? Cut by a grammar, in chunks, never whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO, Protocol

from batcher.rows.lines import CHUNK_BYTES, Lines

Skip = Callable[[bytes], int]
"""Takes the bytes of one record as they come; gives how many of these belong to it once it has ended, else -1."""


class Grammar(Protocol):
    """How records stand in a file: one after the other, each but the last with one separating byte behind it."""

    @property
    def counts_lines(self) -> bool:
        """Whether a record has the number of its first line; else its own place among the records."""
        ...

    def ends(self, data: bytes) -> Sequence[int]:
        """Give the place behind the separator of each whole record; `data` begins where a record does."""
        ...

    def skip(self) -> Skip:
        """Find the end of one record without holding it."""
        ...


def read_records(  # noqa: PLR0913  a range, its name, its grammar and two bounds
    file: BinaryIO,
    grammar: Grammar,
    *,
    start: int,
    stop: int,
    first_line: int,
    max_row_bytes: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Lines]:
    """Cut the bytes [start, stop) of a file into records, as `lines.read_lines` does into lines.

    Where the cuts are is a matter of the bytes alone, not of `start` (if a record begins there) or of the chunks.
    """
    cutter = _Cutter(grammar, start=start, line=first_line, max_row_bytes=max_row_bytes)
    file.seek(start)
    left = stop - start
    while left > 0 and (chunk := file.read(min(chunk_bytes, left))):
        left -= len(chunk)
        yield from cutter.feed(chunk)
    yield from cutter.finish()


class _Cutter:
    """Carries the beginning of a record from chunk to chunk."""

    def __init__(self, grammar: Grammar, *, start: int, line: int, max_row_bytes: int) -> None:
        self._grammar = grammar
        self._start = start
        self._line = line
        self._max_row_bytes = max_row_bytes
        self._carry = b""
        self._skip: Skip | None = None  # set inside an oversized record
        self._lines_within = 0

    def feed(self, chunk: bytes) -> Iterator[Lines]:
        data = self._carry + chunk
        at = 0
        while at < len(data):
            if self._skip is not None:
                end = self._skip(data[at:])
                taken = len(data) - at if end < 0 else end
                yield self._piece(data[at : at + taken], ends=end >= 0)
                at += taken
                continue
            ends = self._fitting(data[at:])
            if ends:
                yield self._whole(data[at : at + ends[-1]], ends)
                at += ends[-1]
            if len(data) - at <= self._max_row_bytes:
                break
            self._skip = self._grammar.skip()
        self._carry = data[at:]

    def finish(self) -> Iterator[Lines]:
        if self._skip is not None:
            yield self._piece(b"", ends=True)
        elif self._carry:
            # As if the separator that the last record lacks were there.
            yield self._whole(self._carry, [len(self._carry) + 1])

    def _fitting(self, data: bytes) -> Sequence[int]:
        """Give the ends of the whole records before the first that is too long."""
        ends = self._grammar.ends(data)
        sizes = (end - begin - 1 for begin, end in pairwise((0, *ends)))
        good = next((count for count, size in enumerate(sizes) if size > self._max_row_bytes), len(ends))
        return ends[:good]

    def _whole(self, raw: bytes, ends: Sequence[int]) -> Lines:
        lines = [raw[begin : end - 1] for begin, end in pairwise((0, *ends))]
        numbers = self._numbers(lines)
        whole = Lines(start=self._start, raw=raw, lines=lines, first_line=self._line, numbers=numbers[:-1])
        self._start += len(raw)
        self._line = numbers[-1]
        return whole

    def _numbers(self, lines: Sequence[bytes]) -> list[int]:
        """Number the lines, and what comes behind them."""
        numbers = [self._line]
        for line in lines:
            numbers.append(numbers[-1] + 1 + (line.count(b"\n") if self._grammar.counts_lines else 0))
        return numbers

    def _piece(self, raw: bytes, *, ends: bool) -> Lines:
        piece = Lines(start=self._start, raw=raw, lines=(), first_line=self._line, ends_oversized=ends)
        self._start += len(raw)
        self._lines_within += raw.count(b"\n")
        if ends:  # every piece has the number of its record
            self._line += max(1, self._lines_within) if self._grammar.counts_lines else 1
            self._lines_within = 0
            self._skip = None
        return piece
