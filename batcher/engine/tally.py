"""What has this session seen so far? A running sum for whoever watches; the parts' own sums are the record."""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal

import pyarrow as pa

from batcher.asking.ask import Turn
from batcher.engine.fresh import Fresh
from batcher.engine.latency import bucket_of, no_latencies
from batcher.gemini.refusal import OK, status_of
from batcher.money.cost import usd
from batcher.money.totals import Tokens, Totals
from batcher.records import Answer, Billed, Kind, Outcome, Status
from batcher.store.bills import Read, Terms, priced_attempt

_WINDOW_S = 10.0
_USABLE = frozenset({Status.OK, Status.TRUNCATED})  # as the parts' own sums have it; a test compares the two
_MOST_NAMED = 3


class Tally:
    """Adds up turns and outcomes as they happen.

    Args:
        before: what earlier sessions of the run had.
        terms: the run's rate card and tier.
        fresh: keeps what was read and priced here for the seal.

    Attributes:
        sent: requests of this session.
        latencies: of those that were answered; counts as `engine/latency` keeps them.
        unpriced_models: a few of the models whose answers have no known price.
    """

    def __init__(self, before: Totals, terms: Terms, fresh: Fresh | None = None) -> None:
        self._before = before
        self._terms = terms
        self._fresh = fresh or Fresh(most_bytes=0)
        self._statuses = dict.fromkeys(Status, 0)
        self._spared: Counter[Status] = Counter()
        self._finished: deque[tuple[float, int]] = deque()
        self.sent = 0
        self.latencies = no_latencies()
        self._first_us: int | None = None
        self._last_us = 0
        self._throttled = 0
        self._maybe = 0
        self._unpriced = 0
        self.unpriced_models: set[str] = set()
        self._input = self._output = self._cached = self._thinking = 0
        self._cost_fusd = self._wasted_fusd = 0

    def turn(self, turn: Turn) -> Read:
        """One request was judged; gives it back with its bill."""
        attempt = turn.attempt
        self.sent += 1
        if self._first_us is None:
            self._first_us = attempt.started_at
        if attempt.http_status == 200:  # a refusal comes back at once and says nothing about answers
            self.latencies[bucket_of(attempt.latency_ms or 0.0)] += 1
        elif attempt.http_status == 429:
            self._throttled += 1
        read = priced_attempt(attempt, turn.answer or Answer(), self._terms)
        self._fresh.read(read)
        if attempt.billed is Billed.YES:
            self._bill(read, wasted=_is_wasted(turn))
        elif attempt.billed is Billed.MAYBE:
            self._maybe += 1
        return read

    def _bill(self, read: Read, *, wasted: bool) -> None:
        priced = read.priced
        if priced is None:
            return
        if priced.cost_fusd is None:
            self._unpriced += 1
            if len(self.unpriced_models) < _MOST_NAMED:
                self.unpriced_models.add(read.attempt.model)
        else:
            self._cost_fusd += priced.cost_fusd
            if wasted:
                self._wasted_fusd += priced.cost_fusd
        tokens = read.buckets
        self._input += tokens.billed_input
        self._output += tokens.billed_output
        self._cached += tokens.cached_input + tokens.audio_cached_input
        self._thinking += tokens.thinking

    def outcome(self, outcome: Outcome, now_s: float) -> None:
        """One task ended."""
        self._fresh.outcome(outcome)
        self._last_us = outcome.finished_at
        self._statuses[outcome.status] += 1
        second = int(now_s)
        if self._finished and self._finished[-1][0] == second:
            self._finished[-1] = (second, self._finished[-1][1] + 1)
        else:
            self._finished.append((second, 1))
            while self._finished[0][0] < second - _WINDOW_S:
                self._finished.popleft()

    async def spared(self, rows: pa.RecordBatch) -> None:
        """Rows were sealed whose answers somebody else had paid for."""
        await self._fresh.spared(rows)
        self._spared += Counter(map(Status, rows.column("status").to_pylist()))

    def rate_per_s(self, now_s: float, since_s: float) -> float:
        """Tasks finished a second, over the last ten whole seconds and the one that has begun; or since `since_s`."""
        oldest = int(now_s) - _WINDOW_S
        recent = sum(count for second, count in self._finished if second >= oldest)
        return recent / max(now_s - max(since_s, oldest), 0.1)

    @property
    def steady_per_s(self) -> float:
        """Tasks finished a second from the first request to the last answer of this session; 0 without any."""
        span_us = self._last_us - (self._first_us or 0)
        return self.finished * 1e6 / span_us if self._first_us is not None and span_us > 0 else 0.0

    @property
    def finished(self) -> int:
        """Tasks that ended in this session."""
        return sum(self._statuses.values())

    @property
    def cost_usd(self) -> Decimal:
        """Of this session."""
        return usd(self._cost_fusd)

    @property
    def answered(self) -> int:
        """Tasks of this session that the endpoint answered; 0 while nothing shows that it will serve us."""
        return self.finished - self._statuses[Status.FAILED]

    def totals(self) -> Totals:
        """Earlier sessions and this one."""
        mine = Totals(
            by_status={status: count for status, count in self._statuses.items() if count},
            attempts=self.sent,
            throttled=self._throttled,
            tokens=Tokens(input=self._input, output=self._output, cached=self._cached, thinking=self._thinking),
            cost_usd=usd(self._cost_fusd),
            wasted_usd=usd(self._wasted_fusd),
            unpriced=self._unpriced,
            maybe_billed=self._maybe,
        )
        if self._spared:
            mine += Totals(by_status=self._spared, spared=self._spared.total())
        return self._before + mine


def _is_wasted(turn: Turn) -> bool:
    """Whether a billed reply is paid for in vain: it is no answer to use, or the task is asked again after it."""
    if turn.verdict is OK:  # nearly every reply
        return False
    return turn.verdict.kind is not Kind.OK or status_of(turn.verdict, turn.answer) not in _USABLE
