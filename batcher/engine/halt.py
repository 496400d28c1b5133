"""Why does a session end early, and how long may it take?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from batcher.errors import BatcherError


@dataclass(slots=True)
class Halt:
    """Why the session ends early, and how long it may take."""

    why: BatcherError | None = None
    drain_s: float | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, why: BatcherError, drain_s: float | None = None) -> None:
        """End the session; the first reason stays. A second call while draining does not hurry: `hurry_up` does."""
        if self.why is None:
            self.why, self.drain_s = why, drain_s
            self.asked.set()

    def hurry_up(self) -> None:
        """Leave now: what is in flight is abandoned and counts as maybe billed."""
        self.hurry.set()
