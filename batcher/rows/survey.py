"""How many rows are there, of which types, and where are the cuts? What planning has seen of the files so far."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from batcher.job.spec import InputFormat
from batcher.rows.arrays import mended, to_python
from batcher.rows.blocks import DIGEST_BYTES, BlockCutter, Extent
from batcher.rows.columns import Census
from batcher.rows.containers import Parse, parser_of, place_in, records_of
from batcher.rows.labels import Labels, labels_in
from batcher.rows.lines import Lines
from batcher.rows.objects import too_long
from batcher.rows.readers import InputFile
from batcher.rows.tables import Table

Audit = Callable[[Mapping[str, Any]], Iterable[str]]
"""Names the parts of a row that cannot be sent."""

_SHOWN_PROBLEMS = 10
_AUDITED_ROWS = 256


def whole_file(file: InputFile, max_row_bytes: int) -> Iterator[Lines]:
    """Cut all rows of a file that is no Parquet."""
    layout = file.layout
    return records_of(
        file.path,
        file.format,
        layout,
        start=layout.start,
        stop=None,
        first_line=layout.first_line,
        max_row_bytes=max_row_bytes,
    )


class _Stretch:
    """An extent in the making: lines of one file that go into one block."""

    def __init__(self, *, file: int, start: int, first_line: int) -> None:
        self._file = file
        self._start = start
        self._first_line = first_line
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.size = 0
        self.rows = 0

    def add(self, raw: bytes | memoryview, *, rows: int) -> None:
        self._digest.update(raw)
        self.size += len(raw)
        self.rows += rows

    def sealed(self) -> Extent:
        return Extent(
            file=self._file,
            group=None,
            start=self._start,
            stop=self._start + self.size,
            first_line=self._first_line,
            rows=self.rows,
            digest=self._digest.hexdigest(),
        )


class Survey:
    """Takes the files in order; `rows`, `bad_rows`, `problems` (the first ten), `census` and `ignored` tell the rest.

    Args:
        cutter: is given every extent.
        max_row_bytes: a longer line is a bad row.
        limit: rows at most; None takes all.
        on_progress: called now and then with the rows and bytes so far.
        audit: looks at every row; None where there is nothing to look for.
        audited: the column that it looks at.
        labels: is given what every row is called; None where nothing asks for it.
    """

    def __init__(  # noqa: PLR0913  what is counted, and who is told
        self,
        cutter: BlockCutter,
        *,
        max_row_bytes: int,
        limit: int | None,
        on_progress: Callable[[int, int], None],
        audit: Audit | None = None,
        audited: str | None = None,
        labels: Labels | None = None,
    ) -> None:
        self.census = Census()
        self.rows = 0
        self.bad_rows = 0
        self.problems: list[str] = []
        self.ignored: Counter[str] = Counter()
        self._audit = audit
        self._audited = audited
        self._labels = labels
        self._cutter = cutter
        self._max_row_bytes = max_row_bytes
        self._limit = limit
        self._on_progress = on_progress
        self._bytes_before = 0
        self._stretch: _Stretch | None = None

    @property
    def _wants_more(self) -> bool:
        return self._limit is None or self.rows < self._limit

    @property
    def _room_rows(self) -> int:
        room = self._cutter.room_rows - (self._stretch.rows if self._stretch else 0)
        return room if self._limit is None else min(room, self._limit - self.rows)

    @property
    def _room_bytes(self) -> int:
        return self._cutter.room_bytes - (self._stretch.size if self._stretch else 0)

    @property
    def _block_is_empty(self) -> bool:
        return self._cutter.is_empty and not (self._stretch and self._stretch.rows)

    def take(self, number: int, file: InputFile) -> None:
        """Read the file that has this number in the plan."""
        if file.format is InputFormat.PARQUET:
            self._take_table(number, file)
        else:
            self._take_lines(number, file)
        self._bytes_before += file.path.stat().st_size
        self._on_progress(self.rows, self._bytes_before)

    def _take_table(self, number: int, file: InputFile) -> None:
        with Table(file.path, file.name) as table:
            self.census.see_schema(table.schema)
            rows_before = 0
            for group in range(table.groups):
                self._take_group(number, table, group, rows_before=rows_before)
                rows_before += table.rows_in(group)
                self._on_progress(self.rows, self._bytes_before)

    def _take_group(self, number: int, table: Table, group: int, *, rows_before: int) -> None:
        rows = table.rows_in(group)
        if not rows or not self._wants_more:
            return
        digest, row_bytes, start = table.digest(group), max(1, table.bytes_in(group) // rows), 0
        while start < rows and self._wants_more:
            fitting = self._room_bytes // row_bytes
            if fitting < 1 and not self._block_is_empty:
                self._cutter.close()
                continue
            taken = min(self._room_rows, max(1, fitting), rows - start)
            extent = Extent(
                file=number,
                group=group,
                start=start,
                stop=start + taken,
                first_line=rows_before + start + 1,
                rows=taken,
                digest=digest,
            )
            self._cutter.add(extent, size_bytes=taken * row_bytes)
            self.rows += taken
            start += taken
        if self._audit is not None and self._audited in table.schema.names:
            self._audit_group(table, group, stop=start)
        if self._labels is not None:
            column = self._labels.column
            self._labels.see({column: value} for value in labels_in(table, group, column, stop=start))

    def _audit_group(self, table: Table, group: int, *, stop: int) -> None:
        """Look at the one column that is looked at; of a Parquet file no row is read while planning otherwise."""
        column = self._audited or ""
        for batch in table.read(group, start=0, stop=stop, columns=[column], batch_rows=_AUDITED_ROWS):
            sound, _ = mended(batch)
            self._look_at([{column: value} for value in to_python(sound.column(column))])

    def _look_at(self, rows: Iterable[Mapping[str, Any]]) -> None:
        if self._audit is not None:
            self.ignored.update(chain.from_iterable(map(self._audit, rows)))

    def _take_lines(self, number: int, file: InputFile) -> None:
        parse, place = parser_of(file.format, file.layout), place_in(file.name, file.format)
        for piece in whole_file(file, self._max_row_bytes):
            if not self._wants_more:
                break
            if piece.lines:
                self._take_piece(piece, number, parse, place)
            else:
                self._take_oversized(piece, number, place)
            self._on_progress(self.rows, self._bytes_before + piece.start + len(piece.raw))
        self._seal()

    def _take_oversized(self, piece: Lines, number: int, place: str) -> None:
        self._add(piece.raw, number=number, start=piece.start, line=piece.first_line, rows=int(piece.ends_oversized))
        if piece.ends_oversized:
            self._bad(f"{place}{piece.first_line}: {too_long(self._max_row_bytes)}")

    def _take_piece(self, piece: Lines, number: int, parse: Parse, place: str) -> None:
        view, at, offset = memoryview(piece.raw), 0, 0
        while at < len(piece.lines) and self._wants_more:
            lines, size = self._fitting(piece.lines[at : at + self._room_rows])
            if not lines:
                self._seal()
                self._cutter.close()
                continue
            raw = view[offset : offset + size]
            numbers = piece.numbers_of(at, len(lines))
            rows = self._parsed(lines, numbers, parse, place)
            self._add(raw, number=number, start=piece.start + offset, line=numbers[0], rows=rows)
            at, offset = at + len(lines), offset + size

    def _fitting(self, lines: Sequence[bytes]) -> tuple[Sequence[bytes], int]:
        """Give the first lines that the open block still takes, and their bytes; an empty block takes one of any size.

        The bytes count a newline a line, which the last line of a file may lack.
        """
        size = sum(map(len, lines)) + len(lines)
        if size <= self._room_bytes:
            return lines, size
        count = size = 0
        while size + len(lines[count]) + 1 <= self._room_bytes:
            size += len(lines[count]) + 1
            count += 1
        if not count and self._block_is_empty:
            return lines[:1], len(lines[0]) + 1
        return lines[:count], size

    def _parsed(self, lines: Sequence[bytes], numbers: Sequence[int], parse: Parse, place: str) -> int:
        """Parse lines and count their rows. This runs once per row of the input."""
        rows = []
        blank = 0
        for number, line in zip(numbers, lines, strict=True):
            row = parse(line)
            if type(row) is dict:
                rows.append(row)
            elif row is None:
                blank += 1
            else:
                self._bad(f"{place}{number}: {row}")
        self.census.see_rows(rows)
        self._look_at(rows)
        if self._labels is not None:
            self._labels.see(rows)
        return len(lines) - blank

    def _bad(self, problem: str) -> None:
        self.bad_rows += 1
        if len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(problem)

    def _add(self, raw: bytes | memoryview, *, number: int, start: int, line: int, rows: int) -> None:
        if self._stretch is None:
            self._stretch = _Stretch(file=number, start=start, first_line=line)
        self._stretch.add(raw, rows=rows)
        self.rows += rows
        if self._cutter.room_rows <= self._stretch.rows or (self._room_bytes <= 0 and self._stretch.rows):
            self._seal()

    def _seal(self) -> None:
        stretch, self._stretch = self._stretch, None
        if stretch is not None and stretch.rows:  # only blank lines: no row would be read from there
            self._cutter.add(stretch.sealed(), size_bytes=stretch.size)
