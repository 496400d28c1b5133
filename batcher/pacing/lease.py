"""What do clients and the broker of shared quotas say to each other, and what does the broker answer? Arithmetic only.

A client asks about once a period: what it has used since, what it still holds, what it would like to hold. The broker
answers with units that expire. How the two reach each other is not their concern: a call, a socket, an actor. On a
connection words come in order, each at most once; who has lost one begins anew, with nothing in hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from batcher.pacing.daypool import DayGrant, DayPool, DayWant
from batcher.pacing.pool import Pool, Term, Want

CALLS_A_SECOND = 200
LEAST_PERIOD_S, MOST_PERIOD_S = 0.1, 10.0
LEAST_HOLD_S = 1.0
WRITTEN_EVERY_S = 1.0
"""Nothing is given out later than this after a snapshot without another one: so a successor need not fear more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A client's word.

    Attributes:
        report: its number, from 1 on each connection.
    """

    report: int
    minutes: tuple[Want, ...] = ()
    days: tuple[DayWant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The broker's word.

    Attributes:
        report: which ask it answers.
        next_s: ask again after so long.
        hold_s: all that the client holds is good for so long, from when it *asked*.
        more: pool -> units that it holds in addition.
        days: of each day quota.
    """

    report: int
    next_s: float
    hold_s: float
    more: Mapping[str, int]
    days: tuple[DayGrant, ...] = ()


def term_of(clients: int) -> Term:
    """How often so many clients ask, that the broker has no more than 200 calls a second."""
    period_s = min(max(clients / CALLS_A_SECOND, LEAST_PERIOD_S), MOST_PERIOD_S)
    return Term(period_s=period_s, hold_s=max(4 * period_s, LEAST_HOLD_S))


class Broker:
    """Divides quotas among clients.

    The world calls it; before anybody hears an answer it writes down a snapshot, when one is owed.

    Args:
        said: the last snapshot of a predecessor; None when nobody ever shared anything here.
        now_s: monotonic seconds.
        since_s: seconds since that snapshot.

    Attributes:
        clients: how many have asked and not left.
    """

    def __init__(self, said: Mapping[str, Any] | None = None, *, now_s: float, since_s: float = 0.0) -> None:
        said = said or {}
        self._pools: dict[str, Pool] = {}
        self._days = {name: DayPool(day["day"], day["runs"]) for name, day in said.get("days", {}).items()}
        self._members: set[int] = set()
        self._written_s = -inf
        self._allowed_a_day = False
        # A clock that was set back hides how long ago it was: then it may have been as long as it can have been.
        gap_s = min(since_s or WRITTEN_EVERY_S, WRITTEN_EVERY_S) if not said.get("closed") else 0.0
        for name, pool in said.get("pools", {}).items():
            self._pools[name] = Pool.restored(now_s, pool, since_s=since_s, gap_s=gap_s, hold_s=said["hold_s"])

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._members)

    def lease(self, client: int, ask: Ask, *, now_s: float) -> Answer:
        """Answer one ask.

        Args:
            client: a number for each connection, never used again.
            ask: see there.
            now_s: monotonic seconds.
        """
        self._members.add(client)
        term = term_of(self.clients)
        more: dict[str, int] = {}
        for want in ask.minutes:
            pool = self._pools.get(want.pool)
            if pool is None:
                pool = self._pools[want.pool] = Pool(now_s, bucket=1.0)
            more[want.pool] = pool.lease(now_s, client, want, ask.report, term)
        days = tuple(self._days.setdefault(want.pool, DayPool()).lease(client, want) for want in ask.days)
        self._allowed_a_day |= any(grant.more for grant in days)
        return Answer(report=ask.report, next_s=term.period_s, hold_s=term.hold_s, more=more, days=days)

    def is_owed(self, now_s: float) -> bool:
        """Whether a snapshot must be written down before the last answer is given: a successor goes by the last one.

        It fears what its bucket and a second of pace could have given out after it, and no more than that. A day is
        long: what was allowed must outlive whoever was allowed it.
        """
        late = now_s - self._written_s >= WRITTEN_EVERY_S
        return late or self._allowed_a_day or any(pool.is_owed for pool in self._pools.values())

    def leave(self, client: int, *, now_s: float) -> None:
        """A client is gone, dead or by itself."""
        self._members.discard(client)
        for pool in self._pools.values():
            pool.leave(now_s, client)
        for day in self._days.values():
            day.leave(client)

    def snapshot(self, *, now_s: float, wall_us: int, closed: bool = False) -> dict[str, Any]:
        """What a successor goes by, as JSON.

        Args:
            now_s: monotonic seconds.
            wall_us: microseconds since the epoch; days that are over are left out.
            closed: nothing is given out after this.
        """
        self._written_s, self._allowed_a_day = now_s, False
        pools = {name: pool.snapshot(now_s) for name, pool in self._pools.items()}
        days = {name: {"day": day.day, "runs": day.runs} for name, day in self._days.items() if day.day > wall_us}
        return {
            "closed": closed,
            "hold_s": term_of(self.clients).hold_s,
            "pools": {name: said for name, said in pools.items() if said},
            "days": days,
        }
