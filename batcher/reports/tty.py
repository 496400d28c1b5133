"""Is there a terminal that a live block may be drawn on, and how does text get there?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol, TextIO

_NO_CURSOR_CODES = frozenset({"", "dumb", "unknown"})


class Terminal(Protocol):
    """The one door to a terminal."""

    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        ...

    def is_ours(self) -> bool:
        """Whether what is on it is ours to change: not while a shell has put us into the background."""
        ...

    def write(self, text: str) -> None:
        """Put text and control codes on it, at once.

        Raises:
            OSError: it is gone.
        """
        ...


class Tty:
    """The terminal behind a stream.

    Args:
        stream: a stream for which `may_draw` is true.
    """

    def __init__(self, stream: TextIO) -> None:
        self._handle = stream.fileno()

    def size(self) -> tuple[int, int]:
        """Columns and rows; of the terminal itself, since `COLUMNS` does not follow a resize."""
        columns, rows = os.get_terminal_size(self._handle)
        return columns or 80, rows or 24

    def is_ours(self) -> bool:
        """Whether we are in the foreground."""
        try:
            return os.tcgetpgrp(self._handle) == os.getpgrp()
        except OSError:  # it does not control us: there is no background
            return True

    def write(self, text: str) -> None:
        """Write past Python's buffers: their locks must not be held by a thread that a stuck terminal has stopped."""
        left = text.encode("utf-8", "replace")
        while left:
            left = left[os.write(self._handle, left) :]


def may_draw(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether cursor codes may go to a stream; else plain lines do.

    Asked of the terminal itself. rich would say yes to a log file when FORCE_COLOR is set, and 12 redraws a second of
    a log were the result elsewhere (pypa/pip#13354).
    """
    if not stream.isatty() or environ.get("TERM", "") in _NO_CURSOR_CODES:
        return False
    if environ.get("CI", "").lower() not in {"", "0", "false"}:
        return False
    return stream.encoding.lower().replace("-", "") == "utf8" and Tty(stream).is_ours()
