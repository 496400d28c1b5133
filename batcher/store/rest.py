"""Is a journal that nobody has open as it was closed? A digest of the whole file, beside it, from close to open.

SQLite has no checksum of its pages, and what it takes for free holds no record to check. After a kill there is no
digest: then each record's own crc, the log's and SQLite's `integrity_check` are what there is.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from batcher.errors import StorageError
from batcher.store.disk import digest_of, remove, sync_folder, write_whole

DAMAGED = "`batcher audit OUT` says what of the run is whole; the finished parts stay valid"
MOST_HASHED_BYTES = 256 << 20
"""A second signal wants us gone within 2 s; a longer journal is left as a kill leaves it."""


def digest_file(journal: Path) -> Path:
    """Where the digest of a closed journal is."""
    return journal.with_suffix(".digest")


def lay_down(journal: Path) -> None:
    """Write the digest of a journal that has just been closed; a disk that refuses leaves it without one."""
    with contextlib.suppress(OSError, StorageError):
        if journal.stat().st_size <= MOST_HASHED_BYTES:
            write_whole(digest_file(journal), digest_of(journal).encode(), own=True)


def is_as_closed(journal: Path) -> bool:
    """Whether a journal's bytes are those of its digest; one without a digest may be anything, and passes.

    Raises:
        StorageError: one of them cannot be read.
    """
    path = digest_file(journal)
    try:
        expected = path.read_bytes()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    return digest_of(journal).encode() == expected


def wake(journal: Path) -> bool:
    """Compare a journal with its digest, before it is opened, and take the digest away; False when there is none.

    Raises:
        StorageError: it has changed since it was closed.
    """
    path = digest_file(journal)
    if not path.exists():
        return False
    if not is_as_closed(journal):
        raise StorageError(f"{journal}: damaged: it is not as it was closed", hint=DAMAGED)
    remove(path)
    sync_folder(path.parent)  # for good, before the first change: an old digest would call a good journal damaged
    return True
