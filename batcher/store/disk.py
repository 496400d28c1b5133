"""How do bytes reach the disk for good? Whole files, synced, under names that never change hands silently."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from batcher.errors import StorageError
from batcher.rows.private import private

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def digest_of(path: Path) -> str:
    """blake2b-16 of a whole file, hex.

    Raises:
        StorageError: it is not there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file, hex: what people compare (`sha256sum`).

    Raises:
        StorageError: it is not there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk; of a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Force a folder's names to the disk."""
    sync_file(path)


def write_whole(path: Path, content: bytes, *, sync: bool = True, own: bool = False) -> None:
    """Replace a small file by a whole new one; a reader sees the old or the new, never half.

    With `own`, nobody else reads it.
    """
    unfinished = path.with_name(f".{path.name}.new")
    with open(unfinished, "wb", opener=private if own else None) as file:
        file.write(content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    unfinished.replace(path)
    if sync:
        sync_folder(path.parent)


def publish_new(built: Path, final: Path) -> bool:
    """Give a built, synced file its final name; False when that name exists already (then nothing is touched).

    `os.link` cannot overwrite; a file system without links gets check-absent and rename, safe under the run's lock.
    """
    try:
        os.link(built, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():
            return False
        built.replace(final)
    else:
        built.unlink()
    sync_folder(final.parent)
    return True


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
