"""What does the gate learn of the origin from a judged reply? Only those that are not plainly good come here."""

from __future__ import annotations

from collections.abc import Sequence

from batcher.asking.scrub import scrub
from batcher.gemini.origin import Sign, sign_of
from batcher.gemini.verdict import Verdict
from batcher.pacing.gate import Gate
from batcher.pacing.permit import Permit


class Health:
    """Reports to the gate how its origin fares.

    Args:
        gate: whose origin it is.
        secrets: the keys, to scrub them from a server's words.
        max_hint_s: a server's own hint is believed up to here.
    """

    def __init__(self, gate: Gate, *, secrets: Sequence[str], max_hint_s: float) -> None:
        self._origin = gate.origin
        self._breaker = gate.breaker
        self._secrets = secrets
        self._max_hint_s = max_hint_s

    def report(self, permit: Permit, verdict: Verdict, *, used: int, is_new: bool) -> bool:
        """Tell what one reply shows.

        Args:
            permit: of its request.
            verdict: on it.
            used: attempts that the row has used up before.
            is_new: whether no earlier session has asked the row.

        Returns:
            Whether it was a probe that found the origin down: the row has had no chance, so that neither an attempt nor
            its time is used up.
        """
        sign = sign_of(verdict, served=bool(self._breaker.answers))
        if sign in _FAILURES:
            # A few rows that always fail are no outage: `retry` asks nothing but such rows.
            tells = not verdict.counted or used < (_TELLING if sign is Sign.DOWN else is_new)
            hint_s = min(verdict.wait_s or 0.0, self._max_hint_s)
            if self._origin.failed(permit, hint_s, tells=tells, reason=verdict.reason):
                self._origin.said = scrub(f"{verdict.reason}: {verdict.message}".rstrip(": "), *self._secrets)
            return permit.is_probe and sign is Sign.DOWN
        if sign is Sign.SERVES:
            self._breaker.answers += 1
        if sign is Sign.NOTHING:
            self._origin.learnt_nothing(permit)
        else:
            self._origin.answered(permit)
        return False


_TELLING = 2
"""So many failures of one row count against the origin; of those that may be the row's own fault, only the first."""
_FAILURES = frozenset({Sign.TROUBLE, Sign.DOWN})
