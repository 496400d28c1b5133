"""Where may a test kill the process? Named points on every arrow of the storage protocol.

`BATCHER_FAILPOINT=name` dies by SIGKILL the first time the point is reached; `name:3` the third time. Several are
separated by commas.
"""

from __future__ import annotations

import os
import signal
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
)


@dataclass(slots=True)
class FailPoints:
    """The armed points; nothing is armed unless the command line said so."""

    armed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> FailPoints:
        """Read `name` or `name:count`, comma-separated; an unknown name is a `JobError`."""
        armed = {}
        for entry in filter(None, text.split(",")):
            name, _, count = entry.partition(":")
            if name not in NAMES:
                raise JobError(f"BATCHER_FAILPOINT: no point is named {name!r}", hint=f"known: {', '.join(NAMES)}")
            if count and not count.isdecimal():
                raise JobError(f"BATCHER_FAILPOINT: {entry!r}: found {count!r}, wanted how often, such as {name}:3")
            armed[name] = int(count or 1)
        return cls(armed)

    def hit(self, name: str) -> None:
        """Die here when this point is armed and its count is used up."""
        if not self.armed or name not in self.armed:
            return
        self.armed[name] -= 1
        if self.armed[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
