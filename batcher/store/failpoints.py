"""Where may a test kill the process, or the disk refuse? Named points on every arrow of the storage protocol.

`BATCHER_FAILPOINT=name` dies by SIGKILL the first time the point is reached; `name:3` the third time. `name=fault` and
`name:3=fault` raise there once instead: what the file system says (`eio`, `enospc`), what SQLite makes of it
(`io-error`, `full`), or what nobody foresaw (`bug`). Several are separated by commas.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from batcher.errors import JobError

NAMES = (
    "planned",
    "block-written",
    "admitted",
    "before-commit",
    "after-commit",
    "frozen",
    "part-half-written",
    "part-built",
    "ledger-published",
    "part-published",
    "sealed",
    "journal-half-cleared",
    "reopened",
    "success-removed",
    "before-success",
    "state-rebuilt",
    "ledger-rebuilt",
    "part-mended",
)


def _of_sqlite(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def _of_the_disk(number: int) -> OSError:
    return OSError(number, os.strerror(number))


FAULTS: Mapping[str, Callable[[], Exception]] = {
    "eio": lambda: _of_the_disk(errno.EIO),
    "enospc": lambda: _of_the_disk(errno.ENOSPC),
    "io-error": lambda: _of_sqlite("disk I/O error", sqlite3.SQLITE_IOERR),
    "full": lambda: _of_sqlite("database or disk is full", sqlite3.SQLITE_FULL),
    "bug": lambda: RuntimeError("nobody foresaw this"),
}


@dataclass(slots=True)
class FailPoints:
    """The armed points; nothing is armed unless the command line said so.

    Attributes:
        armed: how many times each is passed, the last one included.
        faults: what is raised at a point; at one without, the process dies.
    """

    armed: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> FailPoints:
        """Read `name`, `name:count`, `name=fault` or `name:count=fault`; an unknown name is a `JobError`."""
        points = cls()
        for entry in filter(None, text.split(",")):
            at, _, fault = entry.partition("=")
            name, _, count = at.partition(":")
            if name not in NAMES:
                raise JobError(f"BATCHER_FAILPOINT: no point is named {name!r}", hint=f"known: {', '.join(NAMES)}")
            if count and not count.isdecimal():
                raise JobError(f"BATCHER_FAILPOINT: {entry!r}: found {count!r}, wanted how often, such as {name}:3")
            points.armed[name] = int(count or 1)
            if fault:
                points.faults[name] = _known(fault)
        return points

    def hit(self, name: str) -> None:
        """Die or fail here when this point is armed and its count is used up."""
        if not self.armed or name not in self.armed:
            return
        self.armed[name] -= 1
        if self.armed[name] > 0:
            return
        if name not in self.faults:
            os.kill(os.getpid(), signal.SIGKILL)
        del self.armed[name]
        error = FAULTS[self.faults[name]]()
        raise error


def _known(fault: str) -> str:
    if fault not in FAULTS:
        raise JobError(f"BATCHER_FAILPOINT: no fault is named {fault!r}", hint=f"known: {', '.join(FAULTS)}")
    return fault
