"""How much asking again can an endpoint bear? Arithmetic only: the time comes in as a number.

Each answer earns a tenth of a retry, each second one, and a full bucket of 500 is given from the start; asking again
after a failure costs one. So in the long run retries are at most a tenth of the answers and one a second, however many
rows fail (Google's SRE book, chapter 21; Finagle's RetryBudget). Nobody waits at a screen for a batch: an empty bucket
makes a retry wait, never fail.
"""

from __future__ import annotations

FULL = 500.0
AN_ANSWER = 0.1
A_SECOND = 1.0
_ROUNDING = 1e-9


class RetryBudget:
    """What may be spent on asking again.

    Args:
        now_s: monotonic seconds.
    """

    __slots__ = ("_answers", "_at_s", "left")

    def __init__(self, now_s: float) -> None:
        self.left = FULL
        self._at_s = now_s
        self._answers = 0

    def take(self, now_s: float, answers: int) -> float:
        """Pay for one retry: 0.0, or nothing is paid and these are the seconds after which it can be at the latest.

        Args:
            now_s: monotonic seconds.
            answers: so many came so far.
        """
        earned = AN_ANSWER * (answers - self._answers) + A_SECOND * (now_s - self._at_s)
        self._at_s, self._answers = now_s, answers
        self.left = min(FULL, self.left + earned)
        if self.left < 1.0 - _ROUNDING:
            return (1.0 - self.left) / A_SECOND
        self.left -= 1.0
        return 0.0
