"""Is one origin out, and when is it probed next? Arithmetic only: time comes in as a number, chance is handed in.

Closed, everything may go. Failures open it; then nothing goes but, once a wait is over, one probe, which is a real row.
A probe that is answered closes it, one that fails doubles the wait. What was on its way when it opened says nothing
any more, neither for nor against.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

IN_A_ROW = 20
"""So many failures without an answer between them open it, between their replies or between their sending: what was on
its way before the first may be answered for a minute yet, and says nothing of now (simulated: such answers kept it
closed until four rows of twenty had used up their attempts). At 10 % of random failures: once in 10^20 requests."""
SENDING_OVER_S = 2.0
"""What was sent between them counts once they took so long: an endpoint that turns away a tenth of 256 that come at
once does so before anything else is sent."""
HALF, OF_LAST, WITHIN_S = 50, 100, 30.0
"""Or so many of the last so many, within so many seconds. At 10 % of random failures: once in 10^23 requests."""
FEW_IN_A_ROW, FEW_OVER_S = 6, 8.0
"""Or so few, if they took so long: where little may be asked, the rows that are asked would have used up their attempts
by twenty (simulated: at two requests a minute, ten minutes of 503 cost two rows of thirty). They are three rows at
least: two failures of each are believed. At 10 % of random failures: once in 10^5 requests."""
DOUBTED = 3
"""After so many in a row, rows that have failed no longer go before those that have not."""
PROBE_AFTER_S = 5.0
MOST_WAIT_S = 120.0
_LEAST_RESTART = 4


class _Failure(NamedTuple):
    """When it was, and how many had been answered or lost by then, and sent."""

    at_s: float
    replies: int
    sent: int


class Breaker:
    """The state of one origin, a small state machine: it is touched for every reply.

    Args:
        chance: uniform in [0, 1).
        in_a_row: failures that open it; fewer than `IN_A_ROW` where few rows are asked at a time, or these had used up
            their attempts by then.
        probe_after_s: before the first probe, half of it to one and a half; doubled by each probe that fails, up to
            `MOST_WAIT_S`.

    Attributes:
        answers: replies that show that the origin serves. Whoever judges a reply adds it here: a call would cost every
            good row more than all the rest of this.
        failures: counted while it was closed.
        is_closed: whether everything may go.
        since_s: when the failures began that opened it; None while it is closed.
        next_probe_s: when the next probe may go; None while closed, and while a probe is out.
    """

    __slots__ = (
        "_chance",
        "_doubted_to",
        "_in_a_row",
        "_probe_after_s",
        "_recent",
        "_tried",
        "answers",
        "failures",
        "is_closed",
        "next_probe_s",
        "since_s",
    )

    def __init__(
        self, chance: Callable[[], float], *, in_a_row: int = IN_A_ROW, probe_after_s: float = PROBE_AFTER_S
    ) -> None:
        self._chance = chance
        self._in_a_row = in_a_row
        self._probe_after_s = probe_after_s
        self._recent: deque[_Failure] = deque(maxlen=HALF)
        self._doubted_to = -1
        self._tried = 0
        self.answers = 0
        self.failures = 0
        self.is_closed = True
        self.since_s: float | None = None
        self.next_probe_s: float | None = None

    @property
    def is_doubted(self) -> bool:
        """Whether it is out, or nothing that was sent lately was answered."""
        return self.answers <= self._doubted_to or not self.is_closed

    def failed(self, now_s: float, hint_s: float = 0.0, *, in_flight: int = 1) -> bool:
        """A request failed while it is closed; whether that opened it.

        Args:
            now_s: monotonic seconds.
            hint_s: how long the origin asks to be left alone; a floor of the wait for the first probe.
            in_flight: requests out, this one included.
        """
        self.failures += 1
        replies = self.answers + self.failures
        self._recent.append(_Failure(now_s, replies, replies + in_flight - 1))
        if self._are_in_a_row(DOUBTED):
            self._doubted_to = self.answers + in_flight - 1  # as many may have been sent before
        first_s = self._began_s(now_s)
        if first_s is None:
            return False
        self.is_closed = False
        self.since_s = first_s
        self._tried = 0
        self._recent.clear()
        self._wait(now_s, hint_s)
        return True

    def probe(self) -> None:
        """The wait is over: one request goes."""
        self.next_probe_s = None

    def probe_failed(self, now_s: float, hint_s: float = 0.0) -> None:
        """The probe failed as well: wait longer."""
        self._tried += 1
        self._wait(now_s, hint_s)

    def close(self) -> None:
        """The probe was answered."""
        self.is_closed = True
        self.since_s = self.next_probe_s = None

    def _began_s(self, now_s: float) -> float | None:
        """When the failures began that are too many; None while they are not."""
        recent = self._recent
        last = recent[-1]
        if self._are_in_a_row(self._in_a_row):
            return recent[-self._in_a_row].at_s
        if self._are_in_a_row(FEW_IN_A_ROW) and recent[-FEW_IN_A_ROW].at_s <= now_s - FEW_OVER_S:
            return recent[-FEW_IN_A_ROW].at_s
        first = recent[0]
        half = len(recent) == HALF and first.replies > last.replies - OF_LAST and first.at_s >= now_s - WITHIN_S
        return first.at_s if half else None

    def _are_in_a_row(self, many: int) -> bool:
        """Whether so many last failures are all that came, or all that was sent, since the first of them."""
        recent = self._recent
        if len(recent) < many:
            return False
        first, last = recent[-many], recent[-1]
        by_sending = last.at_s - first.at_s >= SENDING_OVER_S and many > last.sent - first.sent
        return by_sending or many > last.replies - first.replies

    def _wait(self, now_s: float, hint_s: float) -> None:
        # Spread at the longest wait, too: the hosts of one office lost their line in the same second.
        middle_s = min(self._probe_after_s * 2.0 ** min(self._tried, 64), max(MOST_WAIT_S / 1.5, self._probe_after_s))
        self.next_probe_s = now_s + max(middle_s * (0.5 + self._chance()), hint_s)


def restart_size(slots: int) -> int:
    """How many of `slots` may be busy right after an outage: a tenth, at least 4."""
    return min(slots, max(_LEAST_RESTART, slots // 10))
