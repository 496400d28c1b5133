"""What may a run spend, and until when may it send?"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*")
_TIME = re.compile(r"\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d|Z)?")
_SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "m": 60, "s": 1}
_LONGEST_S = 10 * 366 * 86_400  # a deadline in more than ten years is a slip


def deadline_us(text: str, now_us: int) -> int:
    """When nothing more may be sent: microseconds since the epoch.

    Args:
        text: a time span from now (`3h`, `1h 30min`, `45s`, `2d`), a time of day (`06:00`: the next one), or an instant
            as ISO 8601 has it. Times without an offset are this machine's.
        now_us: wall time, microseconds since the epoch: when the session starts.

    Raises:
        ValueError: it is none of them, or further away than ten years.
    """
    span_s = _span_s(text)
    if span_s is not None:
        return now_us + round(span_s * 1_000_000)
    now = dt.datetime.fromtimestamp(now_us / 1e6, dt.UTC).astimezone()
    is_time = _TIME.fullmatch(text)
    at = _next(dt.time.fromisoformat(text), now) if is_time else dt.datetime.fromisoformat(text)
    at_us = round(at.timestamp()) * 1_000_000  # what has no offset is read as local time
    if at_us - now_us > _LONGEST_S * 1_000_000:
        raise ValueError(text)
    return at_us


def _next(time: dt.time, now: dt.datetime) -> dt.datetime:
    if time.tzinfo is not None:
        now = now.astimezone(time.tzinfo)
    today = dt.datetime.combine(now.date(), time)
    return today if today.timestamp() > now.timestamp() else dt.datetime.combine(now.date() + dt.timedelta(1), time)


def _span_s(text: str) -> float | None:
    parts = list(_SPAN.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text.lstrip():
        return None
    seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError(text)
    return seconds


def _a_deadline(text: str) -> str:
    deadline_us(text.strip(), round(dt.datetime.now(dt.UTC).timestamp() * 1e6))
    return text.strip()


Dollars = Annotated[Decimal, Field(gt=0, decimal_places=15, max_digits=30)]


class Budget(BaseModel):
    """`[budget]`: where a run stops by itself, with exit code 4; what all its starts have used counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_cost_usd: Dollars | None = None
    """US dollars for the whole run; never exceeded. What a request may cost at most is held before it is sent."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """Billed tokens of the whole run, in and out, kept in the same way."""
    deadline: Annotated[str, AfterValidator(_a_deadline)] | None = None
    """Nothing more is sent after it: a time span from each start of the run (`3h`, `90min`), a time of day (`06:00`),
    or an instant (`2026-12-01T06:00:00+01:00`)."""
    max_cost_per_request_usd: Dollars | None = None
    """What one request costs at most where that cannot be told: no price is known for its model, or it has a
    server-side tool. It is held, and charged, for each of those."""

    @property
    def is_capped(self) -> bool:
        """Whether money or tokens are counted."""
        return self.max_cost_usd is not None or self.max_tokens is not None
