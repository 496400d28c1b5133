"""Where does everything of a run lie, and whose is it? Paths, the lock, the manifest and `_SUCCESS`."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batcher.errors import RunLocked, StorageError
from batcher.store.disk import remove, sync_folder, write_whole
from batcher.store.signed import is_signed_json, sign_json

FORMAT_VERSION = 1
PREVIEW = ".preview"
"""What the name of a run directory ends with that holds the first rows only."""
_TRIES, _TRY_EVERY_S = 3, 0.02  # whoever asks for the owner holds the lock for an instant
_PART = re.compile(r"^train-(\d{5})-of-(\d{5})\.parquet$")
_LEDGER = re.compile(r"^attempts-(\d{5})-g(\d+)\.parquet$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDir:
    """The run directory's map.

    Attributes:
        out: what the user named.
        state: local disk; `out/.state` unless set apart.
    """

    out: Path
    state: Path

    @classmethod
    def at(cls, out: Path, state: Path | None = None) -> RunDir:
        """The map of `out`, made or not."""
        return cls(out=out, state=state or out / ".state")

    @property
    def data(self) -> Path:
        """Finished parts and nothing else (DuckDB's `*.parquet` counts hidden files)."""
        return self.out / "data"

    @property
    def attempts(self) -> Path:
        """The ledger's files and nothing else."""
        return self.out / "attempts"

    @property
    def tmp(self) -> Path:
        """Parts under construction, on the output's own file system."""
        return self.out / ".tmp"

    @property
    def manifest(self) -> Path:
        """run.json."""
        return self.out / "run.json"

    @property
    def prices(self) -> Path:
        """The frozen rate card."""
        return self.out / "prices.json"

    @property
    def readme(self) -> Path:
        """The dataset card."""
        return self.out / "README.md"

    @property
    def success(self) -> Path:
        """Present only when every task has an outcome."""
        return self.out / "_SUCCESS"

    @property
    def journal(self) -> Path:
        """The SQLite journal."""
        return self.state / "journal.db"

    @property
    def reserve(self) -> Path:
        """Disk set aside for the answers that are out when it is full."""
        return self.state / "reserve"

    @property
    def index(self) -> Path:
        """The plan's blocks."""
        return self.state / "index"

    @property
    def spares(self) -> Path:
        """Which tasks need not be asked; see `store/spares.py`."""
        return self.state / "spares"

    def leftovers(self, source: int) -> Path:
        """Answers of a run that is reused here which are in no part of it; see `engine/leftovers.py`."""
        return self.state / f"leftovers-{source}.parquet"

    @property
    def blocks(self) -> Path:
        """Block files of unsealed blocks."""
        return self.state / "blocks"

    @property
    def spool(self) -> Path:
        """Decompressed input."""
        return self.state / "input"

    @property
    def status(self) -> Path:
        """What a running process says of itself."""
        return self.state / "status.json"

    @property
    def tokens(self) -> Path:
        """What replies have taught of tokens: see `engine/tokenscale`."""
        return self.state / "tokens.json"

    @property
    def damaged(self) -> Path:
        """What `recover` found damaged and put aside."""
        return self.state / "damaged"

    @property
    def lock(self) -> Path:
        """Held by the process that owns the run."""
        return self.state / "lock"

    def block_file(self, no: int) -> Path:
        """The plan of one block."""
        return self.blocks / f"{no:05d}.arrow"

    def part(self, no: int, blocks: int) -> Path:
        """The sealed part of block `no`; 0 is the anchor."""
        return self.data / f"train-{no:05d}-of-{blocks + 1:05d}.parquet"

    def ledger(self, no: int, generation: int) -> Path:
        """The ledger file of one block and generation."""
        return self.attempts / f"attempts-{no:05d}-g{generation}.parquet"

    def make(self) -> tuple[Path, ...]:
        """Make the folders; return those that were not there, outermost first, for `unmake`.

        Raises:
            StorageError: the output cannot be written.
        """
        own = (self.data, self.attempts, self.tmp, self.state)
        wanted = sorted({folder for path in own for folder in (path, *path.parents)}, key=lambda path: len(path.parts))
        try:
            new = tuple(folder for folder in wanted if not folder.exists())
            for folder in (self.data, self.attempts, self.tmp):
                folder.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.blocks.mkdir(exist_ok=True)
            self.spool.mkdir(exist_ok=True)
        except OSError as error:
            self.unmake(new)
            raise self._unwritable(error) from error
        return new

    def _unwritable(self, error: OSError) -> StorageError:
        is_apart = not self.state.is_relative_to(self.out) and Path(error.filename or "").is_relative_to(self.state)
        where, setting = (self.state, "output.state_dir") if is_apart else (self.out, "-o")
        return StorageError(f"{where}: cannot be written: {error.strerror}", hint=f"name another folder with {setting}")

    def unmake(self, made: tuple[Path, ...]) -> None:
        """Take away what `make` made, when nothing came of it; the folders around the run's own only when empty."""
        if self.out in made:  # else what lies there may be somebody's
            for path in (self.prices, self.readme, self.manifest, *self.out.glob(".*.new")):  # and halves of them
                with contextlib.suppress(OSError):
                    remove(path)
        for folder in reversed(made):
            if folder in (self.data, self.attempts, self.tmp, self.state):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):  # something else is in it by now
                    folder.rmdir()

    def clear_tmp(self) -> None:
        """Drop what an earlier session was building."""
        for path in self.tmp.iterdir():
            path.unlink()

    def parts(self) -> tuple[Path, ...]:
        """The sealed parts, anchor included, in order."""
        return tuple(sorted(path for path in self.data.glob("train-*.parquet") if _PART.match(path.name)))

    def ledgers(self) -> tuple[Path, ...]:
        """The ledger's files, in order."""
        return tuple(sorted(path for path in self.attempts.glob("attempts-*.parquet") if _LEDGER.match(path.name)))

    def read_manifest(self) -> dict[str, Any] | None:
        """run.json, None when there is none.

        Raises:
            StorageError: it is damaged or of a later format.
        """
        try:
            content = self.manifest.read_bytes()
            found = orjson.loads(content)
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            raise StorageError(f"{self.manifest}: not a run's manifest: {error}") from error
        if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
            raise StorageError(
                f"{self.manifest}: not a manifest of format {FORMAT_VERSION}",
                hint="use the batcher version that made it, or another -o",
            )
        if is_signed_json(content) is False:
            raise StorageError(
                f"{self.manifest}: damaged: its bytes are not those that were written",
                hint=f"batcher audit {self.out}",
            )
        found.pop("blake2b", None)  # of this file, and none of what it says
        return found

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Replace run.json."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        document = {"format_version": FORMAT_VERSION, **content, "blake2b": "0" * 32}
        write_whole(self.manifest, sign_json(orjson.dumps(document, option=options)))

    def write_card(self, text: str) -> None:
        """Replace README.md. It is for whoever finds the folder; nothing of ours reads it."""
        write_whole(self.readme, text.encode("utf-8", "replace"))

    def mark_success(self) -> None:
        """Put `_SUCCESS` in place, last of all."""
        write_whole(self.success, b"")

    def unmark_success(self) -> None:
        """Take `_SUCCESS` away, first of all."""
        remove(self.success)
        sync_folder(self.out)


def state_folder(state_dir: str | None, out: Path) -> Path | None:
    """Where the state of `out` is when the job names a folder for it; a preview's is beside its full run's."""
    if not state_dir:
        return None
    folder = Path(state_dir)
    return folder.with_name(f"{folder.name}{PREVIEW}") if out.name.endswith(PREVIEW) else folder


class Lock:
    """The right to write in a run directory: flock, so that it is free the moment its process is dead.

    Raises:
        RunLocked: another process holds it; its pid and start are in the message.
        StorageError: the folder cannot be written.
    """

    def __init__(self, path: Path, *, now: dt.datetime) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"{path.parent}: cannot be written: {error.strerror}; nothing was sent",
                hint="make it writable, or name another folder with -o (or output.state_dir for the state)",
            ) from error
        try:
            _take(self._handle)
        except OSError:
            owner = _owner(self._handle)
            os.close(self._handle)
            raise _locked(path, owner) from None
        os.ftruncate(self._handle, 0)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, it only says less
            os.pwrite(self._handle, orjson.dumps({"pid": os.getpid(), "since": now.isoformat(timespec="seconds")}), 0)

    def release(self) -> None:
        """Let go."""
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def _take(handle: int) -> None:
    for _ in range(_TRIES - 1):
        with contextlib.suppress(OSError):
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_TRY_EVERY_S)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_owner(path: Path) -> Mapping[str, Any] | None:
    """Who holds the lock now ({"pid", "since"}), None when nobody does."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _owner(handle)
    else:
        return None
    finally:
        os.close(handle)


def _owner(handle: int) -> Mapping[str, Any]:
    try:
        owner = orjson.loads(os.pread(handle, 200, 0))
    except orjson.JSONDecodeError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _locked(path: Path, owner: Mapping[str, Any]) -> RunLocked:
    who = f"process {owner.get('pid')}, started {owner.get('since')}" if owner else "another process"
    return RunLocked(
        f"{path.parent.parent}: {who}, owns this run; nothing was sent",
        pid=owner.get("pid"),
        since=owner.get("since"),
        hint="wait for it, stop it, or name another folder with -o",
    )
