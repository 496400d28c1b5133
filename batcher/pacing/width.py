"""How many requests may be in flight at one origin? Arithmetic only: the time and the counts come in as numbers.

Additive increase, multiplicative decrease, by failures (503, timeouts; not by 429, which `pace.py` answers). It begins
small and grows with every answer until the first cut; after that by a few slots each time that so many answers came as
there are slots, which is a round trip where all are busy. It grows only where what it allows was really used: latency
follows the length of the answers, so that nothing else says whether more would help.
"""

from __future__ import annotations

from collections import deque
from math import sqrt

FIRST = 16
_FIRST_RUN = 3
"""So many slots more for each answer, until the first cut: from 16 to 512 in three round trips. Doubling takes five,
which cost a run of 20,000 rows at 100 ms a tenth of its time (simulated: 4.0 round trips of work against 2.4)."""
_AGAIN = 1  # after an outage, whoever comes back is spared: twice as many each round trip
STEP, STEP_SHARE = 8, 64
"""So many more each round trip, or this part of the most, which is more from 512 on."""
CUT = 0.7
CUT_EVERY_S = 2.0
BAD_SHARE = 0.1
"""No cut while no more than this part of the last replies failed, and what chance may add to it. Where failures come
whatever we do, cutting does not help and hurts much: with 256 slots, answers after 3 s and 1 % of them a 503, a cut for
each would hold 18 in flight."""
_LEAST_SEEN = 20  # replies that a share is told of


class Width:
    """The limit of what is in flight, a small state machine.

    Args:
        most: it never grows beyond.
        first: where it begins.

    Attributes:
        size: the limit now.
        is_cut: whether failures or an outage have made it smaller than all there is.
    """

    __slots__ = (
        "_answers",
        "_cut_at",
        "_deaf_until",
        "_deaf_until_s",
        "_failed",
        "_last_peak",
        "_peak",
        "_per_answer",
        "_round",
        "_round_ends",
        "_until",
        "_was",
        "is_cut",
        "most",
        "size",
    )

    def __init__(self, most: int, *, first: int) -> None:
        self.most = most
        self.size = min(first, most)
        self.is_cut = False
        self._per_answer = _FIRST_RUN
        self._until = most  # it grows with every answer up to here
        self._answers = 0  # what grows by answers has grown by these
        self._peak = self._last_peak = 0  # in flight at most, in this round trip and in the one before
        self._round = self._round_ends = self.size  # what there was when this one began, and the answer that ends it
        # Of each failure, the how manieth reply it was.
        self._failed: deque[int] = deque(maxlen=_too_many(max(most, _LEAST_SEEN)))
        self._was, self._cut_at = self.size, -most - _LEAST_SEEN  # before the last cut, and the reply that it came with
        self._deaf_until, self._deaf_until_s = 0, float("-inf")

    @property
    def is_whole(self) -> bool:
        """Whether all are open, so that nobody need count what may grow."""
        return self.size >= self.most

    def replied(self, in_flight: int, answers: int) -> bool:
        """A reply came home; whether the limit has grown.

        Args:
            in_flight: with the one that came home.
            answers: good ones, so far.
        """
        self._peak = max(self._peak, in_flight)
        size = self.size
        used = 2 * max(self._peak, self._last_peak) >= self._round
        if self._per_answer:
            grown = self._per_answer * (answers - self._answers) if used else 0
            self._answers = answers
        else:
            grown = self._step() if used and answers >= self._round_ends else 0
        if grown:
            self.size = min(self._until if self._per_answer else self.most, size + grown)
        if self._per_answer and self.size >= self._until:
            self._per_answer = 0
            self._begin_round(answers, self._peak)
        if answers >= self._round_ends:
            self._begin_round(answers, self._peak)
        if self.is_whole:
            self.is_cut = False
        return self.size > size

    def failed(self, now_s: float, in_flight: int, *, answers: int, failures: int) -> bool:
        """A request failed; whether the limit was cut for it.

        What was in flight at a cut tells nothing of what came after it, so that there is one cut a round trip, too.

        Args:
            now_s: monotonic seconds.
            in_flight: with this one.
            answers: good replies so far.
            failures: so far, with this one.
        """
        replies = answers + failures
        self._failed.append(replies)
        if now_s < self._deaf_until_s or replies < self._deaf_until or not self._are_too_many(replies):
            return False
        # Of a limit that is far from being used, a cut would change nothing.
        self._was, self._cut_at = self.size, replies
        self.size = max(1, int(CUT * min(self.size, 2 * in_flight)))
        self.is_cut = True
        self._per_answer = 0
        self._failed.clear()
        self._deaf_until, self._deaf_until_s = replies + in_flight, now_s + CUT_EVERY_S
        self._begin_round(answers)
        return self.size < self._was

    def broke(self, replies: int) -> None:
        """An outage begins. That may be our doing, so that its end is no reason to have as many in flight at once."""
        is_cut_for_it = replies <= self._cut_at + self._was + _LEAST_SEEN
        self._until = max(1, int(CUT * (self._was if is_cut_for_it else self.size)))

    def restart(self, size: int, answers: int) -> None:
        """An outage is over: `size` may be busy, and more with every answer, up to what a cut would have left."""
        self.size = min(size, self._until)
        self.is_cut = not self.is_whole
        self._per_answer = _AGAIN
        self._answers = answers
        self._failed.clear()
        self._begin_round(answers)

    def _are_too_many(self, replies: int) -> bool:
        seen = max(self.size, _LEAST_SEEN)
        many = _too_many(seen)
        return len(self._failed) >= many and self._failed[-many] > replies - seen

    def _begin_round(self, answers: int, last_peak: int = 0) -> None:
        self._last_peak, self._peak = last_peak, 0
        self._round, self._round_ends = self.size, answers + self.size

    def _step(self) -> int:
        return min(self.size, max(STEP, self.most // STEP_SHARE))


def _too_many(replies: int) -> int:
    """So many failures among that many replies are more than the share that is borne; two sigmas are chance."""
    borne = BAD_SHARE * replies
    return int(borne + 2 * sqrt(borne)) + 1
