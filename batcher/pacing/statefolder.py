"""Where does one user of one host keep what several runs have to know, and how is it written there?

The folder is its owner's alone (mode 0700, files 0600). A file is replaced whole: a reader sees the old or the new.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from batcher.rows.private import private

_SECRET = "secret"  # noqa: S105  the name of a file
_SECRET_BYTES = 32
_SHOWN_BYTES = 6


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Name the folder after the XDG base directory specification; None where there is no home.

    Args:
        environ: the environment; a relative XDG_STATE_HOME is invalid there, and counts as unset.
    """
    root, home = Path(environ.get("XDG_STATE_HOME", "")), Path(environ.get("HOME", ""))
    if root.is_absolute():
        return root / "batcher"
    return home / ".local" / "state" / "batcher" if home.is_absolute() else None


class StateFolder:
    """The folder, made when something is written.

    All methods raise `OSError` when the disk refuses.

    Args:
        path: from `state_folder`.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make it, for its owner alone.

        Raises:
            PermissionError: it is somebody else's.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise PermissionError(1, "it belongs to another user", str(self.path))
        if found.st_mode & 0o077:
            self.path.chmod(0o700)

    def read(self, name: str) -> dict[str, Any]:
        """What a file holds; empty when it is not there, or is none of ours."""
        try:
            said = orjson.loads((self.path / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
            return {}
        return said if isinstance(said, dict) else {}

    def write(self, name: str, said: Mapping[str, Any]) -> None:
        """Replace a file. It outlives a kill; not waiting for the disk, it need not outlive a power loss."""
        unfinished = self.path / f".{name}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with open(unfinished, "wb", opener=private) as file:
                file.write(orjson.dumps(said))
            unfinished.replace(self.path / name)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of that name; gives whether we have it, which without `wait` may be no.

        The system lets go of it when a process dies. Hold it for moments only.
        """
        handle = os.open(self.path / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)

    def mark(self, key: str) -> str:
        """A short name for a key that tells nothing of it: a hash under a secret that never leaves this folder."""
        digest = hashlib.blake2b(key.encode(), key=self._secret(), digest_size=_SHOWN_BYTES)
        return f"key-{digest.hexdigest()}"

    def _secret(self) -> bytes:
        path = self.path / _SECRET
        with self.locked(_SECRET):
            with contextlib.suppress(FileNotFoundError):
                found = path.read_bytes()
                if len(found) == _SECRET_BYTES:
                    return found
            made = secrets.token_bytes(_SECRET_BYTES)
            with open(path, "wb", opener=private) as file:
                file.write(made)
            return made
