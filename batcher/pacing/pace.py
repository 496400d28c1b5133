"""How fast may one lane go after it was refused? Arithmetic only: the time and the counts come in as numbers.

Additive increase, multiplicative decrease, by 429s; by nothing else (503 and timeouts are `width.py`'s). There is no
slow start: a quota that somebody named is used from the first second on, and a lane without one goes as fast as its
slots allow. A pace comes into being with the first cut, and goes away once nobody was refused for long.
"""

from __future__ import annotations

from collections import deque
from math import inf, sqrt

CUT = 0.7
CUT_EVERY_S = 5.0
BORNE_SHARE = 0.1
WITHIN_S = 5.0
"""More refusals than this share of the replies of the last seconds cut the pace: fewer delay their own rows only."""
_DEEPEST_CUT = 0.1
"""A cut goes down to what was accepted in the last second, if that is less than 0.7 of what was sent: a quota that fell
to two fifths would take three cuts, and ten seconds of refusals."""
_LEAST_REFUSED, _LEAST_S = 3, 1.0
_EARLY_REFUSED, _EARLY_S = 20, 0.5  # refusals come sooner than answers do, so that the first few tell nothing
LEAST_PER_S = 0.2
_GROWTH = 0.02
"""Of the ceiling, a second: additive."""
_NEAR, _NEAR_GROWTH = 0.95, 0.01
"""So near to where it was refused last, it grows by less."""
_BEYOND, _DOUBLES_IN_S = 1.02, 3.0
"""Beyond that, the ceiling has moved: it doubles."""
QUIET_S = 3.0
_TRIM, _MOST_TRIM, _MOST_TRIMS = 0.985, 0.9, 5
"""A few refusals take away what was not accepted, and at least that; where they come whatever we do, only so often.
Between two cuts, many do so every second."""
_PATIENCE_S = 15.0  # with few refusals all the time, it grows again
_GONE_AFTER_S = 60.0
_USED = 0.85  # no growth where less than this part of it is
_STEP_S = 0.01
"""So much of the pace may go at once: a timer for each of a hundred requests a second is dear."""
_MARK_EVERY_S = 0.25


class Refusals:
    """Which share of the replies was refused in the last seconds, and how many replies came?

    Nobody counts the good ones for this: they are read off when something is refused.

    Args:
        now_s: since when replies are counted, monotonic seconds.
        answers: good ones so far.
    """

    __slots__ = ("_marks", "_refused_s")

    def __init__(self, now_s: float, answers: int) -> None:
        self._marks = deque([(now_s, answers)])
        self._refused_s: deque[float] = deque()

    def add(self, now_s: float, answers: int) -> None:
        """One more is refused."""
        marks, refused_s = self._marks, self._refused_s
        if now_s - marks[-1][0] >= _MARK_EVERY_S:
            marks.append((now_s, answers))
        while len(marks) > 1 and marks[1][0] <= now_s - WITHIN_S:
            marks.popleft()
        refused_s.append(now_s)
        while refused_s[0] <= now_s - WITHIN_S:
            refused_s.popleft()

    def are_many(self, now_s: float, answers: int) -> bool:
        """Whether more than the share that is borne was refused in the last seconds, and not by chance."""
        refused, age_s = len(self._refused_s), now_s - self._marks[0][0]
        least, least_s = (_EARLY_REFUSED, _EARLY_S) if age_s < WITHIN_S else (_LEAST_REFUSED, WITHIN_S)
        return refused >= least and age_s >= least_s and _are_many(refused, self._answered(now_s, answers))

    def of_a_second(self, now_s: float, answers: int) -> tuple[int, float]:
        """Refused and answered in the last second."""
        since_s, then = next((mark for mark in reversed(self._marks) if mark[0] <= now_s - _LEAST_S), self._marks[0])
        answered = float(answers - then)
        if now_s - since_s > WITHIN_S:  # nothing was refused for long until just now
            since_s, answered = now_s - _LEAST_S, answered * _LEAST_S / (now_s - since_s)
        return sum(1 for at_s in self._refused_s if at_s > since_s), answered

    def per_second(self, now_s: float, answers: int) -> float:
        """Replies a second, the refused ones included."""
        span_s = min(WITHIN_S, max(_EARLY_S, now_s - self._marks[0][0]))
        return (len(self._refused_s) + self._answered(now_s, answers)) / span_s

    def forget(self, now_s: float, answers: int) -> None:
        """What came until now says nothing of what comes."""
        self._marks = deque([(now_s, answers)])
        self._refused_s.clear()

    def _answered(self, now_s: float, answers: int) -> float:
        at_s, then = self._marks[0]
        span_s = now_s - at_s
        came = answers - then
        return came * WITHIN_S / span_s if span_s > WITHIN_S else came


class Pace:
    """What one lane may send, in requests or tokens a second.

    Args:
        name: as in `limited_by`.
        now_s: monotonic seconds.
        per_second: what was sent until now.
        ceiling: what it never grows beyond, if somebody said.
        by_tokens: whether it is of tokens, not of requests.

    Attributes:
        per_second: the pace now.
        refused_s: when it was last refused.
    """

    __slots__ = (
        "_answers",
        "_at_s",
        "_ceiling",
        "_cut_s",
        "_is_used",
        "_known",
        "_lowered_s",
        "_next_s",
        "_restless_s",
        "_sent",
        "_since_s",
        "_trims",
        "_used_s",
        "by_tokens",
        "name",
        "per_second",
        "refused_s",
    )

    def __init__(
        self, name: str, now_s: float, per_second: float, *, ceiling: float = inf, by_tokens: bool = False
    ) -> None:
        self.name = name
        self.by_tokens = by_tokens
        self.per_second = max(per_second, LEAST_PER_S)
        self.refused_s = now_s
        self._ceiling = ceiling
        self._known = self.per_second  # where it was refused last
        self._cut_s = self._lowered_s = -inf
        self._restless_s = now_s  # since when there were refusals without a quiet time between them
        self._trims = 0
        self._answers = 0
        self._at_s = now_s  # until when it has grown
        self._next_s = self._used_s = self._since_s = now_s
        self._sent = 0.0  # since then
        self._is_used = False

    def earliest(self, now_s: float) -> float:
        """When the next request may go."""
        return max(now_s, self._next_s - _STEP_S)

    def take(self, now_s: float, amount: float, answers: int) -> None:
        """A request goes; grows, if it may."""
        self._sent += amount
        span_s = now_s - self._since_s
        if span_s >= max(_LEAST_S, 4 * amount / self.per_second):
            self._is_used = self._sent >= _USED * self.per_second * span_s
            if self._is_used:
                self._used_s = now_s
            self._since_s, self._sent = now_s, 0.0
        if self._is_used:
            self._grow(min(now_s - self._at_s, _LEAST_S), now_s, answers)
        self._at_s = now_s
        self._next_s = max(self._next_s, now_s) + amount / self.per_second

    def give_back(self, amount: float) -> None:
        """What was taken was never sent, or was more than there was."""
        self._next_s -= amount / self.per_second

    def refused(self, now_s: float, refusals: Refusals, answers: int) -> bool:
        """A request was refused; whether the pace is cut for it.

        Args:
            now_s: monotonic seconds.
            refusals: this one included.
            answers: good replies so far.
        """
        if now_s - self.refused_s > QUIET_S:
            self._restless_s = now_s
            self._trims = 0
        self.refused_s = now_s
        refused, answered = refusals.of_a_second(now_s, answers)
        accepted = 1 - refused / max(refused + answered, 1)
        if now_s - self._cut_s >= CUT_EVERY_S and refusals.are_many(now_s, answers):
            is_guess = self._cut_s == -inf
            self.cut(now_s, refusals.per_second(now_s, answers), answers, max(_DEEPEST_CUT, min(CUT, accepted)))
            if is_guess:  # nothing was refused at such a pace: it doubles until something is
                self._known = self.per_second / _BEYOND
            return True
        lowered_s = now_s - self._lowered_s
        if now_s - self._cut_s < CUT_EVERY_S:
            if lowered_s >= _LEAST_S and refused >= _LEAST_REFUSED and _are_many(refused, answered):
                self._lower(now_s, max(0.5, accepted))
        elif lowered_s >= QUIET_S and self._trims < _MOST_TRIMS:
            self._trims += 1
            is_beyond = self.per_second > _BEYOND * self._known
            self._lower(now_s, 0.5 ** (1 / _DOUBLES_IN_S) if is_beyond else max(_MOST_TRIM, min(_TRIM, accepted)))
        return False

    def refused_by_name(self, now_s: float, sent_per_s: float, answers: int) -> bool:
        """A quota that was believed to have room was named in a refusal once more; whether the pace is cut for it."""
        self.refused_s = now_s
        if now_s - self._cut_s < CUT_EVERY_S:
            return False
        self.cut(now_s, sent_per_s, answers)
        return True

    def is_over(self, now_s: float) -> bool:
        """Whether it has done its work: nothing was refused for long, and what went was less than it allows."""
        return now_s - max(self.refused_s, self._used_s) > _GONE_AFTER_S

    def cut(self, now_s: float, sent_per_s: float, answers: int, factor: float = CUT) -> None:
        """Go on at that part of what was really sent."""
        self._known = min(self.per_second, sent_per_s)
        self.per_second = max(LEAST_PER_S, factor * self._known)
        self._cut_s = self._lowered_s = now_s
        self._answers = answers
        self._trims = 0

    def _lower(self, now_s: float, factor: float) -> None:
        self._known = self.per_second
        self.per_second = max(LEAST_PER_S, factor * self.per_second)
        self._lowered_s = now_s

    def _grow(self, span_s: float, now_s: float, answers: int) -> None:
        if answers - self._answers < self.per_second or self.per_second >= self._ceiling:
            return
        if now_s - self.refused_s < QUIET_S and now_s - self._restless_s < _PATIENCE_S:
            return
        if self.per_second < _NEAR * self._known:
            self.per_second += _GROWTH * self._known * span_s
        elif self.per_second < _BEYOND * self._known:
            self.per_second += _NEAR_GROWTH * self._known * span_s
        else:
            self.per_second *= 2.0 ** (span_s / _DOUBLES_IN_S)
        self.per_second = min(self.per_second, self._ceiling)


def _are_many(refused: int, answered: float) -> bool:
    borne = BORNE_SHARE * (refused + answered)
    return refused > borne + sqrt(borne)
