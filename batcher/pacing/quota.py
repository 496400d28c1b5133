"""How much of a quota is left, and when does a request fit? Arithmetic only: the time comes in as a number.

The server counts a request when it arrives, in a sliding minute; we know when we let it go. Two books of one quota keep
the law together:

- `Window` remembers what went in the last minute (and a little longer) and can veto: the law itself, for any burst.
- `Account` smooths: it says how much of the steady pace has to be paid for before the next request may go.

These are small state machines, not frozen values: they are touched for every request, and copies would cost more than
the sums.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, time, timedelta
from math import sqrt
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTE_S = 60.0
SKEW_S = 0.3
"""How much later than our permit a request may arrive without breaking the law: the loop's own lag and the network's.

An entry leaves the server's window a minute after its *arrival*, so the record keeps it a minute and this long; that
costs SKEW_S / 60 = 0.5 % of the quota. A reply proves that its request had arrived, but answers take seconds: waiting
for that proof would cost 5 to 20 %.
"""
DOUBT_SIGMAS = 3.0
"""How many standard deviations of what the unanswered requests may hold beyond their estimates are kept free.

Simulated with 400,000 tokens/min, replies after 2 to 8 s and estimates off by up to 20 % each: at 2 the fullest minute
of five held 100.1 % of the quota, at 3 it held 99.9 %, for 0.15 % less throughput. Exact estimates cost nothing.
"""


_MOST_PARTS = 60  # of a window that is only assumed


def burst(per_second: float) -> float:
    """How much may go at once: one second of the rate, and at least one unit."""
    return max(1.0, per_second)


class Entry:
    """One request in a window: when it leaves (seconds), what it holds, and the variance of that while nobody knows."""

    __slots__ = ("amount", "doubt", "leaves_s")

    def __init__(self, leaves_s: float, amount: int, doubt: float) -> None:
        self.leaves_s = leaves_s
        self.amount = amount
        self.doubt = doubt


class Window:
    """The exact record of what the server may still count.

    Args:
        limit: units a minute.
        hold_s: how long an entry counts after it was added.
    """

    __slots__ = ("_doubt", "_entries", "_hold_s", "held", "limit")

    def __init__(self, limit: float, *, hold_s: float = MINUTE_S + SKEW_S) -> None:
        self.limit = limit
        self.held = 0
        self._hold_s = hold_s
        self._doubt = 0.0
        self._entries: deque[Entry] = deque()

    def room(self, now_s: float, doubt: float = 0.0) -> float:
        """Units that fit now; below 0 when replies turned out bigger than their estimates."""
        self._forget(now_s)
        return self.limit - self.held - DOUBT_SIGMAS * sqrt(self._doubt + doubt)

    def fits(self, now_s: float, amount: int, doubt: float = 0.0) -> bool:
        """Whether `amount` may go now. Into an empty window anything may: waiting longer would not make it smaller."""
        return amount <= self.room(now_s, doubt) or not self.held

    def earliest(self, now_s: float, amount: int, doubt: float = 0.0) -> float:
        """When `amount` fits at the latest, in seconds of the same clock; `now_s` when it fits already.

        Walks over the entries that must leave first, so ask only once something has to wait.
        """
        missing = amount - self.room(now_s, doubt)
        held = self.held
        for entry in self._entries:
            if missing <= 0 or not held:
                break
            missing -= entry.amount
            held -= entry.amount
            now_s = entry.leaves_s
        return now_s

    def add(self, now_s: float, amount: int, doubt: float = 0.0) -> Entry:
        """Record a request that goes now; `doubt` is the variance of its amount."""
        entry = Entry(now_s + self._hold_s, amount, doubt)
        self._entries.append(entry)
        self.held += amount
        self._doubt += doubt
        return entry

    def assume_full(self, now_s: float, first_s: float) -> None:
        """Take it that the server's window holds all it allows: it said so, and we have no record of the last minute.

        Args:
            now_s: monotonic seconds.
            first_s: until the first of them leave; the others are taken to leave evenly until a minute from now.
        """
        whole = int(self.limit)
        parts = max(1, min(_MOST_PARTS, whole))
        first_s = min(first_s, self._hold_s)
        for part in range(parts):
            amount = whole * (part + 1) // parts - whole * part // parts
            leaves_s = now_s + first_s + (self._hold_s - first_s) * part / parts
            self._entries.append(Entry(leaves_s, amount, 0.0))
            self.held += amount

    def amend(self, now_s: float, entry: Entry, amount: int) -> None:
        """Put what an entry really holds in the place of its estimate; one that has left counts nowhere any more."""
        self._forget(now_s)
        if entry.leaves_s > now_s:
            self.held += amount - entry.amount
            self._drop_doubt(entry.doubt)
        entry.amount = amount
        entry.doubt = 0.0

    def _forget(self, now_s: float) -> None:
        entries = self._entries
        while entries and entries[0].leaves_s <= now_s:
            entry = entries.popleft()
            self.held -= entry.amount
            self._drop_doubt(entry.doubt)

    def _drop_doubt(self, doubt: float) -> None:
        # Sums of floats do not come back to zero exactly; a root of less than zero would end the run.
        self._doubt = max(self._doubt - doubt, 0.0)


class Account:
    """What the steady pace of one quota is still owed, in units of the quota; below 0 it has some in hand.

    The pace is smooth from the first request on: that one pays for a whole burst, so that a run does not begin with
    one. A request bigger than a burst goes once a burst is paid; the rest is paid, in instalments, before the next.

    Args:
        per_second: units a second.
        most_owed: one correction adds at most this much: a reply that claims a trillion tokens must not stop the lane.
    """

    __slots__ = ("_fresh", "_most_owed", "burst", "owed")

    def __init__(self, per_second: float, *, most_owed: float) -> None:
        self.burst = burst(per_second)
        self.owed = 0.0
        self._most_owed = most_owed
        self._fresh = True

    def change(self, per_second: float, *, most_owed: float) -> None:
        """Go on at another pace; what is owed stays owed."""
        self.burst = burst(per_second)
        self._most_owed = most_owed

    def due(self, amount: int) -> float:
        """What has to be paid before `amount` may go."""
        if self._fresh:
            return self.burst
        return self.owed + min(amount, self.burst)

    def charge(self, amount: int) -> float:
        """Put `amount` on the account; returns the part of it that may be paid after the request went."""
        later = max(amount - self.burst, 0.0)
        self.owed = self.due(amount) + later
        self._fresh = False
        return later

    def pay(self, part: float) -> None:
        """`part` was paid."""
        self.owed -= part

    def correct(self, difference: float) -> None:
        """A request was bigger than charged by `difference`, or smaller; what is in hand never exceeds a burst."""
        self.owed = max(self.owed + min(difference, self._most_owed), -self.burst)


class Learnt(NamedTuple):
    """What the replies of one lane have taught; means of the newest of them. Kept from one start of a run to the next.

    Attributes:
        replies: how many taught it.
        actual, estimated: tokens, and what they had been estimated at.
        error2, estimated2: squares, of how far an estimate was off and of the estimates.
    """

    replies: int
    actual: float
    estimated: float
    error2: float
    estimated2: float


class TokenScale:
    """How many tokens an estimated token really is, learnt from the replies of one lane.

    A ratio of sums, not a mean of ratios: what has to come out right is the sum over a window. The newest 200 replies
    or so count.

    Args:
        before: what an earlier start of the run had learnt; it counts as a few replies, since other rows come now.
    """

    __slots__ = ("_actual", "_error2", "_estimated", "_estimated2", "_replies", "ratio", "variance")

    NEWEST = 0.005
    MOST = 20.0  # tokens for an estimated one that a reply is believed
    UNTAUGHT = 0.25  # standard deviation of actual/estimate before the first reply: characters per token vary that much
    BEFORE = 20  # replies that an earlier start counts as

    def __init__(self, before: Learnt | None = None) -> None:
        self.ratio = 1.0
        self.variance = self.UNTAUGHT**2
        self._replies = 0
        self._actual = self._estimated = self._error2 = self._estimated2 = 0.0
        if before is not None and before.replies > 0:
            self._replies = min(before.replies, self.BEFORE)
            _, self._actual, self._estimated, self._error2, self._estimated2 = before
            self.ratio = self._actual / self._estimated
            self.variance = self._error2 / self._estimated2

    @property
    def learnt(self) -> Learnt:
        """To be kept for the next start."""
        return Learnt(self._replies, self._actual, self._estimated, self._error2, self._estimated2)

    def amount(self, estimate: int) -> int:
        """Tokens to ask for; at least 1."""
        return max(1, round(estimate * self.ratio))

    def doubt(self, amount: int) -> float:
        """The variance of a request's tokens around that amount."""
        return self.variance * amount * amount

    def learn(self, estimate: int, actual: int) -> None:
        """A reply said how many tokens its prompt had; 0 or less on either side teaches nothing."""
        if estimate <= 0 or actual <= 0:
            return
        actual = min(actual, round(estimate * self.MOST))
        self._replies += 1
        if self._replies == 1:
            self._actual, self._estimated, self._estimated2 = actual, estimate, estimate**2
            self._error2 = self.variance * self._estimated2  # one reply shows no spread: what was assumed stands for it
        weight = max(1 / self._replies, self.NEWEST)
        self._actual += weight * (actual - self._actual)
        self._estimated += weight * (estimate - self._estimated)
        self.ratio = self._actual / self._estimated
        if self._replies > 1:
            self._estimated2 += weight * (estimate**2 - self._estimated2)
            self._error2 += weight * ((actual / self.ratio - estimate) ** 2 - self._error2)
            self.variance = self._error2 / self._estimated2


def pacific_midnight_after(wall_us: int) -> int:
    """When day quotas reset next: midnight in Los Angeles, daylight saving included.

    In and out are microseconds since the epoch. The zone is loaded here, not on import: a machine without time zone
    data runs everything that has no day quota.
    """
    zone = ZoneInfo("America/Los_Angeles")
    tomorrow = datetime.fromtimestamp(wall_us // 1_000_000, zone).date() + timedelta(days=1)
    return int(datetime.combine(tomorrow, time.min, zone).timestamp()) * 1_000_000


class DayCount:
    """Requests of one Pacific day.

    Args:
        limit: requests a day.
        used: of which were sent today already.
        wall_us: now, microseconds since the epoch.
    """

    __slots__ = ("limit", "resets_at_us", "used")

    def __init__(self, limit: int, *, used: int, wall_us: int) -> None:
        self.limit = limit
        self.used = used
        self.resets_at_us = pacific_midnight_after(wall_us)

    def left(self, wall_us: int) -> int:
        """Requests that may still go today."""
        if wall_us >= self.resets_at_us:
            self.used = 0
            self.resets_at_us = pacific_midnight_after(wall_us)
        return self.limit - self.used

    def is_over(self, wall_us: int) -> bool:
        """Whether nothing may go any more today."""
        return self.left(wall_us) <= 0

    def take(self) -> int:
        """One request goes; returns the day it belongs to, for `give_back`."""
        self.used += 1
        return self.resets_at_us

    def give_back(self, day: int) -> None:
        """The request never reached the server; of another day it counts nowhere any more."""
        if day == self.resets_at_us:
            self.used -= 1
