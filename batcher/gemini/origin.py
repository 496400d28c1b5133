"""What does a judged exchange say about the origin: does it serve, is it in trouble, is it not there?"""

from __future__ import annotations

import enum

from batcher.gemini.verdict import Verdict
from batcher.records import Kind, NoReplyKind


class Sign(enum.Enum):
    """What one exchange shows of the one who was asked."""

    SERVES = "serves"  # it answered, or refused this request in so many words
    THERE = "there"  # it wants fewer requests: no trouble of its own, and no answer either
    TROUBLE = "trouble"  # it failed; a row that makes it fail looks the same
    DOWN = "down"  # it cannot be reached or says that it is not up: no row is to blame
    NOTHING = "nothing"


IS_DOWN = frozenset(
    {
        NoReplyKind.DNS.value,
        NoReplyKind.REFUSED.value,
        NoReplyKind.CONNECT_TIMEOUT.value,
        NoReplyKind.TLS_HANDSHAKE.value,
        "http_502",
        "http_503",
        "http_529",
    }
)
"""Reasons that no row can be blamed for. 500, 504 and timeouts are not among them: some prompts always end so."""
_SHOWS_NOTHING = NoReplyKind.STALE.value  # the connection had died, who knows when
# The origin did its work, whatever it is worth.
_ROWS_OWN = frozenset({"empty", "error_in_200", NoReplyKind.TOO_LARGE.value})


def loads(verdict: Verdict) -> bool:
    """Whether asking again is a load on an origin that has failed: of that there may only be so much at a time."""
    return verdict.kind is Kind.RETRY and verdict.reason != _SHOWS_NOTHING


def sign_of(verdict: Verdict, *, served: bool) -> Sign:
    """Read one verdict as a sign.

    Args:
        verdict: of `gemini/refusal.py`, or of a job's own check.
        served: whether the origin has ever answered. A page in the place of an answer is then trouble, as in the hour
            of a maintenance page; before that, it is what this origin gives, and no outage.
    """
    if verdict.kind is Kind.THROTTLED:
        return Sign.THERE
    if verdict.kind is not Kind.RETRY or verdict.reason in _ROWS_OWN:
        return Sign.SERVES
    if verdict.reason in IS_DOWN:
        return Sign.DOWN
    if verdict.reason == _SHOWS_NOTHING or (verdict.reason == "bad_body" and not served):
        return Sign.NOTHING
    return Sign.TROUBLE
