"""How is a file read that data names, and never one outside of its folder?

Names come from somebody's data set. Links may lead from place to place beneath the folder, but not out of it; what was
checked is what is opened: each step goes from one open folder to the next and follows no link on the way.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not hold us up


class TooLongError(Exception):
    """A file is longer than the caller takes.

    Args:
        size_bytes: of the file.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes:,} bytes")
        self.size_bytes = size_bytes


def read_beneath(root: Path, name: str, *, most_bytes: int) -> bytes:
    """Read a regular file.

    Args:
        root: the folder that holds it, at any depth.
        name: relative to `root`, or absolute and beneath it.
        most_bytes: no longer file is read.

    Raises:
        ValueError: it leads outside, is no regular file, or cannot be read; the text says which.
        TooLongError: it is longer; known before it is read.
    """
    try:
        top = Path(os.path.realpath(root))
        wanted = Path(os.path.realpath(top / name))
    except (OSError, ValueError) as error:  # a NUL in it, or a loop of links
        raise ValueError(f"no path: {error}") from None
    if not wanted.is_relative_to(top) or wanted == top:
        raise ValueError(f"leads outside of {root}; wanted a file beneath it, or another folder as input.media_root")
    try:
        return _read(top, wanted.relative_to(top).parts, most_bytes)
    except FileNotFoundError:
        raise ValueError(f"no such file beneath {root} (input.media_root)") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None


def _read(top: Path, steps: tuple[str, ...], most_bytes: int) -> bytes:
    with contextlib.ExitStack() as opened:
        at = os.open(top, _STEP & ~os.O_NOFOLLOW)
        opened.callback(os.close, at)
        for step in steps[:-1]:
            at = os.open(step, _STEP, dir_fd=at)
            opened.callback(os.close, at)
        file = os.open(steps[-1], _FILE, dir_fd=at)
        opened.callback(os.close, file)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is no regular file")
        if found.st_size > most_bytes:
            raise TooLongError(found.st_size)
        return _whole(file, found.st_size, most_bytes)


def _whole(file: int, size_bytes: int, most_bytes: int) -> bytes:
    """Read to the end, one byte beyond the size at first: most files need one read and no joining."""
    pieces = []
    held = 0
    while piece := os.read(file, max(size_bytes - held, 0) + 1):
        pieces.append(piece)
        held += len(piece)
        if held > most_bytes:
            raise TooLongError(held)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
