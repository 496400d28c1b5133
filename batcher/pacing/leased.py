"""What does one lane hold of a shared quota? The window and the day count of a lane, taking from a lease.

They have the faces of `Window` and `DayCount`, so that the gate takes permits from a lease as it takes them locally.
Pure book-keeping: `want` says what happened, `given` brings what the broker answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import ceil, inf, sqrt

from batcher.pacing.daypool import DayGrant, DayWant
from batcher.pacing.pool import LATE_S, Want
from batcher.pacing.quota import DOUBT_SIGMAS, MINUTE_S, DayCount, Entry, Window

LOOK_AGAIN_S = 1.0
"""Whoever lacks units is stirred when they come; nobody can say when that will be."""
_DAY_AHEAD_S = 2.0  # requests of so long are held of a day's quota: each grant is written to disk

Stir = Callable[[], None]


class LeasedEntry(Entry):
    """An entry that knows in which report it was told."""

    __slots__ = ("report",)

    report: int


class LeasedWindow(Window):
    """The window of one lane whose quota is shared: what goes has to fit, and to be in hand.

    Args:
        limit: units a minute, for this client alone and, as far as it knows, for all.
        pool: whose quota it is, and which.
        report: the number of the next report.
        stir: called when units came that something waited for.
        lacks: called when something waits for units.

    Attributes:
        hand: units that may be used until `until_s`; infinite for a client that shares with nobody.
        needs: units that the next request needs in hand, once it has lacked them; until it went.
    """

    __slots__ = (
        *("_corrections", "_lacks", "_rate", "_report", "_served_s", "_stir", "_told_s", "_used"),
        *("hand", "needs", "pool", "until_s"),
    )

    def __init__(self, limit: float, *, pool: str, report: int, stir: Stir, lacks: Stir) -> None:
        super().__init__(limit)
        self.pool = pool
        self.hand: float = 0
        self.until_s = -inf
        self.needs = 0
        self._stir = stir
        self._lacks = lacks
        self._report = report
        self._used = 0
        self._rate = 0.0
        self._told_s = 0.0
        self._served_s = inf
        self._corrections: Counter[int] = Counter()

    def room(self, now_s: float, doubt: float = 0.0) -> float:
        """See `Window.room`; what is not in hand does not fit."""
        self._forget(now_s)
        hand = self.hand if now_s < self.until_s else 0
        return min(self.limit - self.held, hand) - DOUBT_SIGMAS * sqrt(self._doubt + doubt)

    def fits(self, now_s: float, amount: int, doubt: float = 0.0) -> bool:
        """See `Window.fits`; what does not is asked for."""
        return amount <= self.room(now_s, doubt) or self._fits_alone(now_s, amount, doubt)

    def earliest(self, now_s: float, amount: int, doubt: float = 0.0) -> float:
        """See `Window.earliest`; for units that are not in hand, when to look again at the latest."""
        if self.fits(now_s, amount, doubt):
            return now_s
        return now_s + LOOK_AGAIN_S if self._is_short else super().earliest(now_s, amount, doubt)

    def add(self, now_s: float, amount: int, doubt: float = 0.0) -> LeasedEntry:
        """See `Window.add`; it is taken from the hand."""
        entry = LeasedEntry(now_s + self._hold_s, amount, doubt)
        entry.report = self._report
        self._entries.append(entry)
        self.held += amount
        self._doubt += doubt
        self.hand -= amount
        self.needs = 0
        self._used += amount
        return entry

    def amend(self, now_s: float, entry: Entry, amount: int) -> None:
        """See `Window.amend`; the broker will hear of it."""
        if entry.leaves_s > now_s and isinstance(entry, LeasedEntry):
            if entry.report == self._report:
                self._used += amount - entry.amount
            else:
                self._corrections[entry.report] += amount - entry.amount
        super().amend(now_s, entry, amount)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to say and nothing to wish."""
        return not (self.hand or self.needs or self._used or self._corrections)

    def want(self, now_s: float, next_s: float) -> Want:
        """Give an account of what happened since the last one; what is in hand beyond need is given back.

        Args:
            now_s: of the loop.
            next_s: how long until the next one, as far as known.
        """
        since_s = max(now_s - self._told_s, 1e-6)
        self._rate += min(since_s, 1.0) * (self._used / since_s - self._rate)
        self.hand = self.hand if now_s < self.until_s else 0
        is_short = self._is_short
        if not is_short and now_s - self._served_s > MINUTE_S:
            self.needs = 0  # whoever needed it has gone
        margin = ceil(DOUBT_SIGMAS * sqrt(self._doubt))
        if is_short:  # too little is of no use to us, but may be enough for another
            wish = self.needs + ceil(self.limit / MINUTE_S * min(max(2 * next_s, since_s), LATE_S))
            self.hand = min(self.hand, margin)
        else:
            wish = max(int(2 * next_s * self._rate) + margin, self.needs)
            self.hand = min(self.hand, wish)
        said = Want(
            pool=self.pool,
            limit=self.limit,
            used=self._used,
            corrections={report: more for report, more in self._corrections.items() if more},
            hand=int(self.hand),
            want=wish,
            least=self.needs if is_short else 0,
        )
        self._told_s, self._used = now_s, 0
        self._report += 1
        self._corrections.clear()
        return said

    def given(self, more: int, *, now_s: float, until_s: float) -> None:
        """The answer: all that is in hand is good until then, and there is more of it."""
        if until_s <= now_s:
            self.hand = 0  # it came too late: for the broker, all of it may have expired
            return
        was_short = self._is_short
        self.hand += more
        self.until_s = until_s
        if was_short and not self._is_short:
            self._served_s = now_s
            self._stir()

    def begin(self, report: int) -> None:
        """A new broker, or a new connection: what was in hand is void, and what it was told nobody may have heard.

        What was used of late came out of what the old broker had given: in the books, all of that counts as used.
        """
        self.hand, self._used, self._report = 0, 0, report
        more = sum(more for more in self._corrections.values() if more > 0)
        self._corrections = Counter({0: more} if more else {})

    def share_no_more(self) -> None:
        """Be an ordinary window from now on."""
        self.hand = self.until_s = inf
        self.needs = 0
        self._stir()

    @property
    def _is_short(self) -> bool:
        return self.hand < self.needs

    def _fits_alone(self, now_s: float, amount: int, doubt: float) -> bool:
        """What is bigger than the quota goes into an empty window, once the broker gave so much."""
        need = ceil(amount + DOUBT_SIGMAS * sqrt(self._doubt + doubt))
        if now_s >= self.until_s:
            self.hand = 0
        if need <= self.hand:
            return not self.held
        self.needs = need
        self._lacks()
        return False


class LeasedDay(DayCount):
    """The day quota of one lane, shared with other runs.

    Args:
        limit, used, wall_us: see `DayCount`; `used` is what this run has sent, over all its starts.
        pool: whose quota it is.
        run: which run.
        stir, lacks: see `LeasedWindow`.
    """

    __slots__ = ("_lacks", "_left", "_rate", "_stir", "_told", "hand", "pool", "run", "short")

    def __init__(self, limit: int, *, used: int, wall_us: int, pool: str, run: str, stir: Stir, lacks: Stir) -> None:  # noqa: PLR0913
        super().__init__(limit, used=used, wall_us=wall_us)
        self.pool = pool
        self.run = run
        self.hand: float = 0
        self.short = False
        self._left: int | None = None  # of all runs; None until the broker said so
        self._rate = 0.0
        self._told = (0.0, used)
        self._stir = stir
        self._lacks = lacks

    def left(self, wall_us: int) -> int:
        """Requests that may go now; when none may, more are asked for."""
        if wall_us >= self.resets_at_us:
            self.hand, self._left = self.hand if self.hand == inf else 0, None
        of_this_run = super().left(wall_us)
        if self.hand == inf:
            return of_this_run
        if self.hand <= 0 and self._left != 0:
            self.short = True
            self._lacks()
        return int(self.hand)

    def is_over(self, wall_us: int) -> bool:
        """Whether nobody may send anything more today."""
        return self.left(wall_us) <= 0 and (self._left == 0 or self.hand == inf)

    def take(self) -> int:
        """See `DayCount.take`."""
        self.hand -= 1
        return super().take()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to say and nothing to wish."""
        return not (self.hand or self.short or self.used != self._told[1])

    def want(self, now_s: float) -> DayWant:
        """Give an account; see `LeasedWindow.want`."""
        told_s, told = self._told
        since_s = max(now_s - told_s, 1e-6)
        sent = max(self.used - told, 0)
        self._rate += min(since_s, 1.0) * (sent / since_s - self._rate)
        ahead = int(self._rate * _DAY_AHEAD_S) + self.short
        self.hand = min(self.hand, ahead)
        want = ahead if self.hand < max(ahead / 2, 1) else self.hand
        self._told = now_s, self.used
        return DayWant(
            pool=self.pool,
            limit=self.limit,
            run=self.run,
            day=self.resets_at_us,
            sent=self.used,
            hand=int(self.hand),
            want=int(want),
        )

    def given(self, grant: DayGrant) -> None:
        """The answer; one about a day that is over says nothing about this one."""
        if grant.day != self.resets_at_us:
            return
        self.hand += grant.more
        self._left = grant.left
        if self.short and (self.hand > 0 or grant.left == 0):
            self.short = False
            self._stir()

    def share_no_more(self) -> None:
        """Be an ordinary count from now on."""
        self.hand = inf
        self.short = False
        self._stir()
