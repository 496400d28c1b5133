"""How does a file that the user named come to be? Whole and synced, under a name that never changes hands silently."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batcher.errors import StorageError, UserError
from batcher.store.disk import publish_new, remove, sync_folder


def check_target(path: Path, *, force: bool) -> None:
    """Refuse a name that cannot be written to, before any work is done.

    Raises:
        UserError: it is a folder, or something stands there and `force` is not given.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; wanted a file", hint=f"-o {path / 'FILE'}")
    if path.is_file() and not force:
        raise UserError(f"{path}: is there already; nothing was written", hint="--force replaces it")


@contextlib.contextmanager
def written(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Give a file to write to; it gets its name when the block ends well, and is gone when it does not.

    It is built beside its name, so that the last step is a rename on one file system. What is no regular file (a pipe,
    `/dev/null`) is written to as it is. A link is followed: the file that it leads to is replaced.

    Raises:
        UserError: see `check_target`; also when somebody else took the name meanwhile.
        StorageError: the disk refuses.
    """
    check_target(path, force=force)
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        final = Path(os.path.realpath(path))
        final.parent.mkdir(parents=True, exist_ok=True)
        unfinished = final.with_name(f".{final.name}.{os.getpid()}.part")
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _publish(unfinished, final, path, force=force)
        finally:
            remove(unfinished)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}", hint="name another file with -o"
        ) from error


def _publish(unfinished: Path, final: Path, path: Path, *, force: bool) -> None:
    if force:
        unfinished.replace(final)
        sync_folder(final.parent)
    elif not publish_new(unfinished, final):
        raise UserError(f"{path}: somebody else has written it meanwhile", hint="--force replaces it")
