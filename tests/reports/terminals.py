"""A terminal in memory: the codes a live block uses, scrolling, and tmux's way of breaking lines anew on a resize."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@dataclass(slots=True)
class Row:
    text: str = ""
    goes_on: bool = False  # the next row is the same line


@dataclass
class FakeTerminal:
    """Rows that scrolled away first, then the screen. A line feed also returns, as terminals in cooked mode do.

    `told` is the size that a program is told: it may lag behind the real one, as in tmux while it is resized.
    """

    columns: int = 80
    rows: int = 24
    grid: list[Row] = field(default_factory=list)
    x: int = 0
    y: int = 0
    wraps: bool = True
    cursor_shown: bool = True
    ours: bool = True
    told: tuple[int, int] | None = None
    written: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._fill()

    def size(self) -> tuple[int, int]:
        return self.told or (self.columns, self.rows)

    def is_ours(self) -> bool:
        return self.ours

    @property
    def lines(self) -> list[str]:
        """What is on it and what scrolled away, without blank lines at the end; broken lines in one piece."""
        lines, begun = [], ""
        for row in self.grid:
            begun += row.text
            if not row.goes_on:
                lines.append(begun.rstrip())
                begun = ""
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def screen(self) -> list[str]:
        return [row.text.rstrip() for row in self.grid[self.top :]]

    @property
    def top(self) -> int:
        return len(self.grid) - self.rows

    def write(self, text: str) -> None:
        self.written.append(text)
        at = 0
        for token in _TOKEN.finditer(text):
            assert token.start() == at, f"unknown code: {text[at : at + 20]!r}"
            at = token.end()
            private, number, letter, control, plain = token.groups()
            if plain:
                self._put(plain)
            elif control:
                self._move(control)
            else:
                self.codes.add(private + letter)
                self._obey(private + letter, number)
        assert at == len(text), f"unknown code: {text[at:]!r}"

    def _put(self, plain: str) -> None:
        for letter in plain:
            if self.x >= self.columns and self.wraps:
                self.grid[self.y].goes_on = True
                self._move("\n")
            self.x = min(self.x, self.columns - 1)
            row = self.grid[self.y]
            row.text = row.text[: self.x].ljust(self.x) + letter + row.text[self.x + 1 :]
            self.x += 1

    def _move(self, control: str) -> None:
        self.x = 0
        if control == "\n":
            self.y += 1
            self._fill()

    def _obey(self, code: str, number: str) -> None:
        match code:
            case "A":
                self.y = max(self.top, self.y - int(number or 1))
            case "K":
                self._erase_line()
            case "J":
                self._erase_line()
                self.grid[self.y + 1 :] = [Row() for _ in self.grid[self.y + 1 :]]
            case "?h" | "?l" if number == "7":
                self.wraps = code == "?h"
            case "?h" | "?l" if number == "25":
                self.cursor_shown = code == "?h"
            case "m":
                pass
            case _:
                raise AssertionError(f"unknown code: {number}{code}")

    def _erase_line(self) -> None:
        row = self.grid[self.y]
        row.text, row.goes_on = row.text[: self.x], False

    def _fill(self) -> None:
        while len(self.grid) < max(self.rows, self.y + 1):
            self.grid.append(Row())

    def resize(self, columns: int, rows: int) -> None:
        """First the height: rows below the cursor go, then those on top scroll away. Then every line is broken anew."""
        spare = min(len(self.grid) - 1 - self.y, self.rows - rows)
        if spare > 0:
            del self.grid[-spare:]
        self.rows = rows
        self._fill()
        self.columns = columns
        self._break_anew()
        self._fill()
        if self.y < self.top:  # tmux: the cursor's row scrolled away
            self.x, self.y = 0, self.top

    def _break_anew(self) -> None:
        broken: list[Row] = []
        line, offset, cursor = "", None, (0, 0)
        for at, row in enumerate(self.grid):
            if at == self.y:
                offset = len(line) + self.x
            line += row.text
            if row.goes_on:
                continue
            pieces = [line[i : i + self.columns] for i in range(0, len(line), self.columns)] or [""]
            if offset is not None:
                down = min(offset // self.columns, len(pieces) - 1)
                cursor, offset = (offset - down * self.columns, len(broken) + down), None
            broken += [Row(piece, goes_on=piece is not pieces[-1]) for piece in pieces]
            line = ""
        self.grid = broken
        self.x, self.y = cursor
