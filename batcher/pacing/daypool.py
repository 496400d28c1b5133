"""How much of one day quota is left, and for whom? Counts of each run, so that none is counted twice or forgotten.

A run says how many requests it has sent today, all its starts together: its own ledger knows, so that what it says
stands. Of a run that is gone, what it sent and what it held counts, until it comes back and says what was really sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWant:
    """What one client says of one day quota.

    Attributes:
        pool: whose quota it is: the same text for all that share it.
        limit: requests a day.
        run: whose requests they are.
        day: when that day ends, microseconds since the epoch.
        sent: requests of the run on that day, over all its starts.
        hand: requests that it may send, unsent.
        want: requests that it would like to be allowed.
    """

    pool: str
    limit: int
    run: str
    day: int
    sent: int
    hand: int = 0
    want: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayGrant:
    """The answer for a day: `more` may be sent, and `left` others may be got, by this client or another."""

    pool: str
    day: int
    more: int
    left: int


class DayPool:
    """One day quota, and those who share it.

    Attributes:
        day: when the day ends that is counted, microseconds since the epoch.
        runs: run -> requests that it sent or may have sent on it.
    """

    def __init__(self, day: int = 0, runs: Mapping[str, int] | None = None) -> None:
        self.day = day
        self.runs: dict[str, int] = dict(runs or {})
        self._hands: dict[int, int] = {}
        self._limits: dict[int, int] = {}

    def lease(self, client: int, want: DayWant) -> DayGrant:
        """Take down what a client has sent, and let it send more."""
        if want.day > self.day:
            self.day, self.runs = want.day, {}
            self._hands = dict.fromkeys(self._hands, 0)
        if want.day < self.day:  # it has not noticed yet that the day is over
            return DayGrant(pool=want.pool, day=want.day, more=0, left=0)
        self._limits[client] = want.limit
        self.runs[want.run] = want.sent + want.hand
        self._hands[client] = want.hand
        free = max(self._limits.values()) - sum(self.runs.values())
        # Near the end of the day's quota nobody holds what another could send at once.
        more = max(min(want.want - want.hand, -(-free // len(self._hands)), free), 0)
        self.runs[want.run] += more
        self._hands[client] += more
        others = sum(self._hands.values()) - self._hands[client]
        return DayGrant(pool=want.pool, day=want.day, more=more, left=max(free - more, 0) + others)

    def leave(self, client: int) -> None:
        """A client is gone; what it held it may have sent: `runs` has it."""
        self._hands.pop(client, None)
        self._limits.pop(client, None)
