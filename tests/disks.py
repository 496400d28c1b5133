"""A real file system of a few MB, to be filled or made read-only, where this machine lets us mount one."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted tmpfs."""

    path: Path

    def fill(self, *, but_pages: int = 0) -> None:
        """Leave not a byte free, or so many pages."""
        with (self.path / "ballast").open("wb", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(_PAGE_BYTES))
            ballast.truncate(max(0, ballast.tell() - but_pages * _PAGE_BYTES))

    def clean_up(self) -> None:
        """Remove what `fill` wrote."""
        (self.path / "ballast").unlink()

    def grow(self, size_bytes: int) -> None:
        """Make it larger, as somebody does who finds a full disk."""
        self._remount(f"size={size_bytes}")

    def protect(self) -> None:
        """Make it read-only."""
        self._remount("ro")

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.path)], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[Disk]:
    """Mount a disk for as long as the block runs; skips the test where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no program `mount`")
    if mounted.returncode:
        pytest.skip(f"we may not mount a file system here: {mounted.stderr.strip() or errno.EPERM}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)
