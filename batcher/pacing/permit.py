"""What is the gate told to keep, and what does it give out?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from batcher.errors import RunStopped
from batcher.pacing.quota import Entry

REQUESTS_A_MINUTE = "requests/min"
INPUT_TOKENS_A_MINUTE = "input tokens/min"
A_DAY = "/day"  # how the name of every day quota ends
REQUESTS_A_DAY = f"requests{A_DAY}"
PARKED = "parked"
CONCURRENCY = "concurrency"
PACE = "pace"  # cut after 429s that named no quota
OPEN_TASKS = "open tasks"
OUTAGE = "outage"
RETRY_BUDGET = "retry budget"
BACKOFF = "backoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What the endpoint allows one lane, that is, one (origin, project, model); None where it sets no limit."""

    requests_per_minute: float | None = None
    input_tokens_per_minute: float | None = None
    requests_per_day: int | None = None

    @property
    def of_a_minute(self) -> bool:
        """Whether there is one that spreads requests over time."""
        return self.requests_per_minute is not None or self.input_tokens_per_minute is not None


class Permit(NamedTuple):
    """Leave to send one request now, holding one slot. Lanes without quotas give out one and the same.

    A tuple, since one is made for each request: a frozen dataclass of seven fields takes four times as long (1.4 µs).

    Attributes:
        lane: whose quotas it took from.
        estimate: tokens as the caller estimated them.
        tokens: tokens taken: the estimate as the lane's replies taught it; 0 without a token quota.
        waited_s: time in the gate.
        of_requests, of_tokens: its entries in the two windows; None without that quota.
        of_day: the day it counts for; None without a day quota.
        is_probe: whether it is the one request that may go while its origin is out.
    """

    lane: str
    estimate: int = 0
    tokens: int = 0
    waited_s: float = 0.0
    of_requests: Entry | None = None
    of_tokens: Entry | None = None
    of_day: int | None = None
    is_probe: bool = False


class Parked(NamedTuple):
    """Rows that wait for a day quota.

    Attributes:
        lane: whose.
        until_us: microseconds since the epoch.
        rows: how many they are.
    """

    lane: str
    until_us: int
    rows: int


class DayQuotaReached(RunStopped):
    """A lane may send nothing more today.

    Args:
        lane: which one.
        resets_at_us: when it may again, microseconds since the epoch.
    """

    def __init__(self, lane: str, resets_at_us: int) -> None:
        super().__init__(f"{lane}: today's quota is used up", hint=go_on_after(resets_at_us))
        self.lane = lane
        self.resets_at_us = resets_at_us


def go_on_after(opens_us: int) -> str:
    """Say when a run goes on that has ended for a day quota; microseconds since the epoch."""
    opens = datetime.fromtimestamp(-(-opens_us // 60_000_000) * 60, UTC)
    return f"type the same command again after {opens:%Y-%m-%d %H:%M} UTC"
