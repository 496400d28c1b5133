"""How do an ask and an answer look on a line, and is what came one? JSON objects of their fields; `orjson` writes them.

Whoever can write to the socket is the same user, so this is no fortress: it tells a stranger's line from ours.
"""

from __future__ import annotations

from typing import Any

from batcher.pacing.daypool import DayGrant, DayWant
from batcher.pacing.lease import Answer, Ask
from batcher.pacing.pool import Want


def ask_of(said: Any) -> Ask:
    """Read an ask.

    Raises:
        ValueError: it is none.
    """
    try:
        return Ask(
            report=int(said["report"]),
            minutes=tuple(_want(want) for want in said["minutes"]),
            days=tuple(DayWant(**want) for want in said["days"]),
        )
    except (TypeError, KeyError) as error:
        raise ValueError("no ask") from error


def answer_of(said: Any) -> Answer:
    """Read an answer.

    Raises:
        ValueError: it is none.
    """
    try:
        days = tuple(DayGrant(**grant) for grant in said["days"])
        return Answer(**(said | {"days": days}))
    except (TypeError, KeyError) as error:
        raise ValueError("no answer") from error


def _want(said: Any) -> Want:
    return Want(**(said | {"corrections": {int(report): more for report, more in said["corrections"].items()}}))
