"""How do tables and boxes get into a terminal? Drawn by rich into lines, with colours or without."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from batcher.reports.plain import Drawn, plain

NO_TERMINAL_WIDTH = 100  # a pipe has no columns; a log is read in a window
_LEAST_WIDTH = 40


def drawn(things: Sequence[RenderableType], *, width: int, colour: bool) -> list[str]:
    """Draw things one below the other.

    Args:
        things: tables, texts, panels.
        width: columns of the terminal; 0 when there is none.
        colour: whether colours may be used; nothing here ever moves the cursor.
    """
    paper = io.StringIO()
    console = Console(
        file=paper,
        width=max(width or NO_TERMINAL_WIDTH, _LEAST_WIDTH),
        force_terminal=colour,
        color_system="standard" if colour else None,
        force_interactive=False,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},  # what the environment says of colours has been decided by the caller
    )
    for thing in things:
        console.print(thing)
    return [Drawn(line.rstrip()) for line in paper.getvalue().splitlines()]


def grid(rows: Sequence[tuple[str | Text, ...]], *, head: Sequence[str] = (), wide: int = 1) -> Table:
    """Set rows in columns without lines; two blanks in front and between.

    Args:
        rows: as many cells each; a text is shown as it is, whatever marks are in it.
        head: names of the columns.
        wide: so many columns, the last ones, give way when the terminal is narrow.
    """
    table = Table(box=None, show_header=bool(head), header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")  # the margin
    table.columns[0].width = 0
    count = len(rows[0]) if rows else len(head)
    for at in range(count):
        gives_way = at >= count - wide
        table.add_column(head[at] if head else "", no_wrap=not gives_way, overflow="fold" if gives_way else "ellipsis")
    for row in rows:
        table.add_row("", *row)
    return table


def safe(text: str, style: str = "") -> Text:
    """A text of somebody else's: its control characters made harmless, its brackets left alone."""
    return Text(plain(text), style=style)
