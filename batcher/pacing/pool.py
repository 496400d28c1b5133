"""How much of one minute quota may each of several clients hold now? Arithmetic only: the time comes in as a number.

What has been reported as used lies in an exact window; what is handed out and not reported yet may be used at any
moment, so that it counts as if it were. Together they never exceed the quota, whatever dies, freezes or comes late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from batcher.pacing.quota import MINUTE_S, SKEW_S, Entry, Window

LATE_S = 1.0
"""The time since a client's last lease counts up to two periods, and up to this: so much is in the bucket anyway."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """How long a lease is: clients ask once a period, and what they hold is good for `hold_s`."""

    period_s: float
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What one client says of one minute quota.

    Attributes:
        pool: whose quota it is, and which: the same text for all that share it.
        limit: units a minute, as this client knows it.
        used: units since its last word.
        corrections: number of an earlier report -> what is to be added to it, now that replies said what it held.
        hand: units that it holds, unused.
        want: units that it would like to hold.
        least: units that the next request needs in hand; 0 when none waits for them.
    """

    pool: str
    limit: float
    used: int = 0
    corrections: Mapping[int, int]
    hand: int = 0
    want: int = 0
    least: int = 0


class _Record(Window):
    """A window that can be handed to a successor."""

    __slots__ = ()

    def put(self, leaves_s: float, amount: int) -> None:
        """Record what leaves then."""
        self._entries.append(Entry(leaves_s, amount, 0.0))
        self.held += amount

    def told(self, now_s: float) -> list[tuple[int, int]]:
        """What it holds: in so many seconds, rounded up, so much leaves."""
        self._forget(now_s)
        left: Counter[int] = Counter()
        for entry in self._entries:
            left[ceil(entry.leaves_s - now_s)] += entry.amount
        return sorted(left.items())


class _Holder:
    """What is known of one client."""

    __slots__ = (
        *("asked_s", "credit", "expired", "hand", "least", "limit"),
        *("rate", "reports", "share", "until_s", "waited_s"),
    )

    def __init__(self, now_s: float) -> None:
        self.limit = 0.0
        self.hand = 0
        self.until_s = now_s  # when what is in hand expires
        self.asked_s = now_s
        self.credit = 1.0
        self.share = 0.0
        self.rate = 0.0  # units a second that it used of late
        self.least = 0
        self.waited_s = -inf  # when it last waited for units that it saves up by the way
        self.expired: Entry | None = None
        self.reports: dict[int, Entry] = {}

    @property
    def lacking(self) -> int:
        """Units that its next request still needs."""
        return max(self.least - self.hand, 0)

    @property
    def demand(self) -> float:
        """Units a second: a quarter more than it used of late, so that it may grow; no bound for one that waits."""
        return inf if self.least else 1.25 * self.rate

    @property
    def is_big(self) -> bool:
        """Whether its next request is more than it may have saved up without a turn."""
        return self.lacking > 1.0 + self.share * LATE_S


class Pool:
    """One minute quota, and those who share it.

    Args:
        now_s: monotonic seconds.
        bucket: units that may go at once in the beginning: one, when it is known that nobody used the quota of late,
            so that a slow quota's first request need not wait; else none.

    Attributes:
        window: what was used.
        handed_out: units that clients hold and may use.
        is_owed: whether more was handed out since the last snapshot than a successor would fear: have it written down
            before anybody hears of it.
    """

    def __init__(self, now_s: float, *, bucket: float = 0.0) -> None:
        self.window = _Record(0.0)
        self.handed_out = 0
        self.is_owed = False
        self._told_limit = 0.0
        self._bucket = bucket
        self._filled_s = self._looked_s = now_s
        self._holders: dict[int, _Holder] = {}
        self._turn: _Holder | None = None
        self._promised = 0.0  # what all together had saved up at the last look

    def lease(self, now_s: float, client: int, want: Want, report: int, term: Term) -> int:
        """Settle what a client reports, and give it more.

        Args:
            now_s: monotonic seconds.
            client: who asks.
            want: see there.
            report: the number of this report, by which corrections will name it.
            term: of the lease.

        Returns:
            How many units more it holds now.
        """
        holder = self._holders.get(client)
        if is_new := holder is None:
            holder = self._holders[client] = _Holder(now_s)
        elapsed_s = now_s - holder.asked_s
        back = holder.hand - want.used - want.hand - sum(want.corrections.values())
        self._settle(now_s, holder, want, report)
        holder.rate = _smooth(holder.rate, want.used, elapsed_s)
        holder.limit, holder.least, holder.asked_s, holder.until_s = want.limit, want.least, now_s, now_s + term.hold_s
        if is_new or now_s - self._looked_s >= term.period_s:
            self._look_round(now_s)
        self._fill(now_s)
        self._pay(holder, -back)
        counted_s = min(elapsed_s, max(2 * term.period_s, LATE_S))
        saved = max(1.0 + holder.share * LATE_S, holder.lacking)
        holder.credit = min(holder.credit + holder.share * counted_s, saved)
        more = self._more(now_s, holder, want)
        self._hold(holder, holder.hand + more)
        self.is_owed |= more > max(self._bucket, 0.0) + _ROUNDING or self.window.limit > self._told_limit
        credit = holder.credit
        self._pay(holder, more)
        if self._turn is not holder:  # what nobody else had saved up for is not held against it
            holder.credit = max(holder.credit, min(credit, 0.0))
        if holder.lacking and not holder.is_big:
            holder.waited_s = now_s
        if holder is self._turn and not holder.lacking:
            self._look_round(now_s)
        return more

    def leave(self, now_s: float, client: int) -> None:
        """A client is gone; what it held it may have used."""
        holder = self._holders.pop(client, None)
        if holder is None:
            return
        if holder.hand:
            self.window.add(now_s, holder.hand)
            self._hold(holder, 0)
        if self._holders:
            self._look_round(now_s)

    def snapshot(self, now_s: float) -> dict[str, Any]:
        """All that a successor has to know, as JSON; empty when there is nothing."""
        used = self.window.told(now_s)
        self.is_owed, self._told_limit = False, self.window.limit
        if not (used or self._holders):
            return {}
        self._fill(now_s)
        bucket = max(self._bucket, 0.0)
        return {"limit": self.window.limit, "used": used, "handed_out": self.handed_out, "bucket": bucket}

    @classmethod
    def restored(cls, now_s: float, said: Mapping[str, Any], *, since_s: float, gap_s: float, hold_s: float) -> Pool:
        """Go on where another left off.

        Args:
            now_s: monotonic seconds.
            said: its last snapshot.
            since_s: seconds since that was taken.
            gap_s: so long it may have gone on giving out, from its bucket and at full pace; 0 when it stopped there.
            hold_s: what was given out was good for so long.
        """
        limit = said["limit"]
        per_second = limit / (MINUTE_S + SKEW_S)
        unknown = said["handed_out"] + (said["bucket"] + per_second * gap_s if gap_s else 0.0)
        held = [(left_s - since_s, amount) for left_s, amount in said["used"]]
        held.append((gap_s + hold_s + MINUTE_S + SKEW_S - since_s, ceil(min(unknown, limit))))
        held = [(left_s, amount) for left_s, amount in sorted(held) if left_s > 0 and amount]
        pool = cls(now_s, bucket=0.0 if held else 1.0)
        pool.window.limit = limit
        for left_s, amount in held:
            pool.window.put(now_s + left_s, amount)
        return pool

    def _settle(self, now_s: float, holder: _Holder, want: Want, report: int) -> None:
        self._expire(now_s, holder)
        reports = holder.reports
        for number in [number for number, entry in reports.items() if entry.leaves_s <= now_s]:
            del reports[number]
        if holder.expired is not None:
            self.window.amend(now_s, holder.expired, want.used)
            reports[report] = holder.expired
            holder.expired = None
        elif want.used:
            reports[report] = self.window.add(now_s, want.used)
        for number, difference in want.corrections.items():
            entry = reports.get(number)
            if entry is not None:
                self.window.amend(now_s, entry, entry.amount + difference)
            elif difference > 0:  # told to another broker: what it really holds more is new to us
                self.window.add(now_s, difference)
        self._hold(holder, want.hand)

    def _hold(self, holder: _Holder, hand: int) -> None:
        self.handed_out += hand - holder.hand
        holder.hand = hand

    def _expire(self, now_s: float, holder: _Holder) -> None:
        """What nobody came back for in time may have been used until then, and never later."""
        if holder.hand and holder.until_s < now_s:
            holder.expired = self.window.add(now_s, holder.hand)
            self._hold(holder, 0)

    def _look_round(self, now_s: float) -> None:
        """Who is there, whose hand has expired, whose turn it is, and how much a second is whose; once a period."""
        self._looked_s = now_s
        for holder in self._holders.values():
            self._expire(now_s, holder)
        self.window.limit = max(holder.limit for holder in self._holders.values())
        live = {client: holder for client, holder in self._holders.items() if holder.until_s >= now_s}
        per_second = self.window.limit / (MINUTE_S + SKEW_S)
        parts = shares(per_second, {client: holder.demand for client, holder in live.items()})
        for client, holder in self._holders.items():
            holder.share = parts.get(client, 0.0)
        self._promised = sum(max(holder.credit, 0.0) for holder in live.values())
        if self._turn is None or not self._turn.lacking or self._turn not in live.values():
            self._turn = _turn(now_s, live.values())
        small = {client: holder.demand for client, holder in live.items() if not holder.is_big}
        if self._turn is None and len(small) < len(live):  # what the big ones save up, the others use meanwhile
            for client, part in shares(per_second, small).items():
                live[client].share = part

    def _fill(self, now_s: float) -> None:
        per_second = self.window.limit / (MINUTE_S + SKEW_S)
        self._bucket = min(self._bucket + per_second * (now_s - self._filled_s), 1.0 + per_second)
        self._filled_s = now_s

    def _pay(self, holder: _Holder, amount: int) -> None:
        """Charge what was handed out, or give back what came back unused."""
        least, per_second = -self.window.limit, self.window.limit / (MINUTE_S + SKEW_S)
        holder.credit = max(holder.credit - amount, least)
        self._bucket = min(max(self._bucket - amount, least), 1.0 + per_second)

    def _more(self, now_s: float, holder: _Holder, want: Want) -> int:
        """How much may be handed out: what the next request can go with, or nothing: half full hands help nobody."""
        if self._turn is not None and self._turn is not holder:
            return 0
        room = self.window.room(now_s) - self.handed_out
        lacking, wish = holder.lacking, want.want - holder.hand
        if self.handed_out == holder.hand and not self.window.held and want.least > self.window.limit:
            return lacking  # bigger than the quota: waiting longer would not make it smaller
        paced = max(self._bucket, lacking) if self._bucket > 0 else 0.0  # what is more than a bucket is paid for later
        spare = self._bucket - (self._promised - max(holder.credit, 0.0))
        saved = lacking if self._turn is holder else max(holder.credit, spare)
        more = int(max(min(wish, saved, paced, room) + _ROUNDING, 0.0))
        return more if more >= lacking else 0


def _turn(now_s: float, holders: Collection[_Holder]) -> _Holder | None:
    """Who gets all that becomes free until the next request can go.

    Of the requests that are too big to be saved up for on the side, the one whose client has saved up most for it: once
    that is enough, or at once when only such requests wait. Small ones would starve it, and many hands that are half
    full are of use to nobody.
    """
    big = [holder for holder in holders if holder.is_big]
    if not big:
        return None
    first = max(big, key=lambda holder: holder.credit - holder.lacking)
    others_wait = any(now_s - holder.waited_s < LATE_S for holder in holders if not holder.is_big)
    return None if others_wait and first.credit < first.lacking else first


def shares(total: float, demands: Mapping[int, float]) -> dict[int, float]:
    """Divide `total` among demands, max-min fair; what nobody demands is spread evenly on top."""
    left, given = total, {}
    for count, client in enumerate(sorted(demands, key=lambda client: demands[client])):
        given[client] = min(demands[client], left / (len(demands) - count))
        left -= given[client]
    return {client: part + left / len(given) for client, part in given.items()}


def _smooth(rate: float, used: int, elapsed_s: float) -> float:
    """The rate of about the last second."""
    weight = min(elapsed_s, 1.0)
    return rate + weight * (used / elapsed_s - rate) if elapsed_s > 0 else rate
