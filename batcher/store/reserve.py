"""What is set aside for the answers that are out when the disk is full? A file of the state folder, given up then.

They are paid for, and the journal must take them although nothing else fits any more.
"""

from __future__ import annotations

import os
from pathlib import Path

from batcher.errors import StorageError
from batcher.store.disk import remove

ANSWER_BYTES = 64 << 10  # of a page or two, its prompt's share of the pages and the WAL's frames included
PICTURES_BYTES = 2 << 20
LEAST_BYTES, MOST_BYTES = 1 << 20, 64 << 20
_ZEROS_BYTES = 1 << 20


def reserve_bytes(concurrency: int, *, pictures: bool) -> int:
    """So much do the answers of as many requests take as are out at once."""
    return min(max(concurrency * (PICTURES_BYTES if pictures else ANSWER_BYTES), LEAST_BYTES), MOST_BYTES)


class Reserve:
    """Disk that is held until it is needed.

    Args:
        path: of the file that holds it, on the journal's file system.
        size_bytes: how much.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def take(self) -> None:
        """Set the room aside.

        Raises:
            StorageError: there is not so much of it.
        """
        try:
            with self._path.open("wb") as file:
                _allocate(file.fileno(), self._size_bytes)
        except OSError as error:
            remove(self._path)
            raise StorageError(
                f"{self._path.parent}: no room to keep answers in: {error.strerror or error}"
                f" ({self._size_bytes >> 20:,} MiB wanted); nothing was sent",
                hint="free some disk and run the same command again",
            ) from error

    def give_back(self) -> bool:
        """Give the room back; False when there was none any more."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def _allocate(handle: int, size_bytes: int) -> None:
    allocate = getattr(os, "posix_fallocate", None)  # macOS has none
    if allocate is not None:
        allocate(handle, 0, size_bytes)
        return
    for _ in range(0, size_bytes, _ZEROS_BYTES):
        os.write(handle, bytes(_ZEROS_BYTES))
