"""How does a block of lines stay at the foot of a terminal? Drawn over itself, with what is said meanwhile above it.

rich styles the lines; where they go is decided here. Its own Live hides the cursor until it ends, which a kill then
leaves hidden, and erases its block before it draws the next. Here the cursor rests, seen, in the first column below the
block: what the terminal echoes (`^C`), and what a shell prints after a kill, begins on a line of its own. A block is
drawn over the last one in one write, line by line, so that no moment is blank.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TextIO

from rich.console import Console
from rich.text import Text

from batcher.engine.progress import Phase, Snapshot
from batcher.reports.live import block_lines
from batcher.reports.plain import plain
from batcher.reports.terminal import next_line
from batcher.reports.tty import Terminal

_EVERY_S = 0.25
_STUCK_S = 2.0
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_WRAP, _NO_WRAP = "\x1b[?7h", "\x1b[?7l"
_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"


class Screen:
    """A block at the foot of a terminal.

    Args:
        terminal: where it is.
        style: turns a line of rich's into text with colour codes, or without.
    """

    def __init__(self, terminal: Terminal, style: Callable[[Text], str] = str) -> None:
        self._terminal = terminal
        self._style = style
        self._drawn: list[int] = []  # cells of each line that is there

    def draw(self, lines: Sequence[Text], *, above: Sequence[str] = ()) -> None:
        """Put a block in the place of the one before, and lines above it that stay."""
        top = self._to_top() + (f"{_TO_SCREEN_END}{_said(above)}" if above else "")
        block = "".join(f"{self._style(line)}{_TO_LINE_END}\n" for line in lines)
        self._drawn = [line.cell_len for line in lines]
        self._terminal.write(f"{_HIDE}{top}{_NO_WRAP}{block}{_WRAP}{_TO_SCREEN_END}{_SHOW}")

    def clear(self, *, above: Sequence[str] = ()) -> None:
        """Take the block away, if there is one; what is written next begins where it began."""
        gone = f"{self._to_top()}{_TO_SCREEN_END}" if self._drawn else ""
        self._drawn = []
        if gone or above:
            self._terminal.write(f"{gone}{_said(above)}")

    def _to_top(self) -> str:
        # A terminal that was made narrower than a line has broken it; `live.WIDTH` keeps that to the very narrow.
        columns, _ = self._terminal.size()
        rows = sum(max(1, -(-cells // columns)) for cells in self._drawn)
        return f"\r\x1b[{rows}A" if rows else "\r"


class LiveBlock:
    """Shows a run at the foot of a terminal, for as long as its context lasts.

    A thread of its own draws, four times a second: a terminal that takes nothing (Ctrl-S, a line that hangs) holds up
    the thread and not the run.

    Args:
        terminal: where.
        style: as of `Screen`.
        every_s: between two drawings.
    """

    def __init__(self, terminal: Terminal, style: Callable[[Text], str] = str, *, every_s: float = _EVERY_S) -> None:
        self._terminal = terminal
        self._screen = Screen(terminal, style)
        self._every_s = every_s
        self._above: deque[str] = deque()
        self._asking = False
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="live block", daemon=True)
        self.last: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Take note of how the run is now; costs the run an assignment."""
        if not self._asking and snapshot.phase is not Phase.PLANNING:
            self._asking = True
            if snapshot.done_before and (line := next_line(None, snapshot)):
                self.log(line)
        self.last = snapshot

    def log(self, line: str) -> None:
        """Say a line that stays, above the block."""
        self._above.append(line)

    def draw(self) -> None:
        """Draw once, if the terminal is ours.

        Raises:
            OSError: it is gone.
        """
        if not self._terminal.is_ours():
            return
        above = self._taken()
        if self.last is not None:
            columns, rows = self._terminal.size()
            self._screen.draw(block_lines(self.last, columns=columns, rows=rows), above=above)
        elif above:
            self._screen.clear(above=above)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Leave the terminal to others for a while: nothing of the block is on it."""
        held = self._drawing.acquire(timeout=_STUCK_S)
        try:
            if held:
                self._clear()
            yield
        finally:
            if held:
                self._drawing.release()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()  # what comes next is written to the same terminal and would wait for it, too
        self._clear()

    def _keep_drawing(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                with self._drawing:
                    self.draw()
            except OSError:
                return

    def _clear(self) -> None:
        with contextlib.suppress(OSError):  # it is gone, and with it whoever would look
            self._screen.clear(above=self._taken())

    def _taken(self) -> list[str]:
        return [self._above.popleft() for _ in range(len(self._above))]


def styled(stream: TextIO) -> Callable[[Text], str]:
    """Give what turns a line into text with the colours that the terminal behind a stream has; NO_COLOR is heard."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def style(line: Text) -> str:
        with console.capture() as captured:
            console.print(line, end="")
        return captured.get()

    return style


def _said(lines: Sequence[str]) -> str:
    return "".join(f"{plain(line)}\n" for line in lines)
