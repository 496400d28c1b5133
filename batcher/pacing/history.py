"""When did we slow down, how far, and why? What is kept of it is bounded, however often it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A limit that changed.

    Attributes:
        at_us: microseconds since the epoch.
        what: which limit: `pace`, `concurrency`, `requests/min`, `input tokens/min`.
        lane: of which lane; empty for all of an origin.
        limit: from now on, in units a second for a pace, a minute for a quota; None: there is none any more.
        why: what the server said, or what we saw.
    """

    at_us: int
    what: str
    lane: str
    limit: float | None
    why: str


class History:
    """The turns of a gate, oldest first.

    When there are too many, every second one of the older half is forgotten: how it is now is known in detail, how it
    was hours ago in outline.

    Args:
        wall_us: microseconds since the epoch.

    Attributes:
        cuts: how often each limit was lowered, the forgotten ones included.
        least: the lowest that each limit ever was.
    """

    __slots__ = ("_turns", "_wall_us", "cuts", "least")

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._turns: list[Turn] = []
        self._wall_us = wall_us
        self.cuts: dict[str, int] = {}
        self.least: dict[str, float] = {}

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those that are remembered."""
        return tuple(self._turns)

    def cut(self, what: str, lane: str, limit: float, why: str) -> None:
        """A limit was lowered."""
        self.cuts[what] = self.cuts.get(what, 0) + 1
        self.least[what] = min(limit, self.least.get(what, limit))
        self.add(what, lane, limit, why)

    def add(self, what: str, lane: str, limit: float | None, why: str) -> None:
        """A limit has changed, upwards or away."""
        self._turns.append(Turn(at_us=self._wall_us(), what=what, lane=lane, limit=limit and round(limit, 3), why=why))
        if len(self._turns) > MOST:
            del self._turns[: MOST // 2 : 2]
