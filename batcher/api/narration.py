"""How does a run tell its caller how it goes? A line that changes in a notebook, plain lines elsewhere, or nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batcher.engine.progress import Snapshot
from batcher.reports.terminal import ProgressPrinter

Progress = bool | Callable[[Snapshot], None]
"""True tells in lines, False nothing; a function is given every snapshot, about two a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narration:
    """Who is told: `show` of every look at the run, `log` of a line that is worth saying."""

    show: Callable[[Snapshot], None]
    log: Callable[[str], None]


def narration(*, progress: Progress) -> Narration:
    """Make out of what the caller asked for whom to tell."""
    if callable(progress):
        return Narration(show=progress, log=_nothing)
    if not progress:
        return Narration(show=_nothing, log=_nothing)
    display = _notebook_display()
    if display is not None:
        line = ChangingLine(display)
        return Narration(show=ProgressPrinter(line), log=line)
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else 0
    return Narration(show=ProgressPrinter(_to_stderr, width=width), log=_to_stderr)


class ChangingLine:
    """One output of a notebook's cell that always shows the last line; it needs no widgets.

    Args:
        display: `IPython.display.display`.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display
        self._handle: Any = None

    def __call__(self, line: str) -> None:
        """Show a line in the place of the one before."""
        content = {"text/plain": line}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _notebook_display() -> Callable[..., Any] | None:
    """Jupyter's own display, where this is a notebook; it is there then, so nothing has to be imported."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    display: Callable[..., Any] = ipython.display.display
    return display


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _nothing(_: object) -> None:
    pass
