"""May this project ask this model once more, and if not, when?

Strict: no stretch of 60 s, wherever it begins, sees more than the quota; a day ends at midnight in Los Angeles. Refused
requests count for nothing. Time is passed in.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from batcher.emulator.refusals import Limit, Violation

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one project may ask of one model; None is unlimited.

    Attributes:
        project: whose quota; `*` is every project, each with its own count.
        model: for which model; `*` is every model, each with its own count.
    """

    project: str = "*"
    model: str = "*"
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    requests_per_day: int | None = None

    def covers(self, project: str, model: str) -> bool:
        """Whether this quota is the one for that project and model."""
        return self.project in ("*", project) and self.model in ("*", model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment on both clocks: steady for windows, epoch seconds for days."""

    steady_s: float
    epoch_s: float


class Window:
    """How much was taken in the last 60 s. Memory: one pair for each request in the window."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait_s(self, amount: int, *, at_s: float) -> float:
        """Seconds until `amount` more would fit; 0 when it fits now, a whole window when it never will."""
        self._forget(at_s)
        over = self._sum + amount - self.allowed
        if over <= 0:
            return 0.0
        for taken_at_s, taken in self._taken:
            over -= taken
            if over <= 0:
                return max(taken_at_s + WINDOW_S - at_s, 1e-6)
        return WINDOW_S

    def take(self, amount: int, *, at_s: float) -> None:
        """Count what was accepted at `at_s`."""
        self._taken.append((at_s, amount))
        self._sum += amount

    def _forget(self, at_s: float) -> None:
        # Left exactly 60 s after it came: a stretch of 60 s holds its beginning, not its end.
        while self._taken and self._taken[0][0] + WINDOW_S <= at_s:
            self._sum -= self._taken.popleft()[1]


class Day:
    """How many requests today."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._taken = 0
        self._ends_at_s = float("-inf")

    def wait_s(self, *, epoch_s: float) -> float:
        """Seconds until one more request would fit; 0 when it fits now."""
        if epoch_s >= self._ends_at_s:
            self._ends_at_s = next_midnight_s(epoch_s)
            self._taken = 0
        return 0.0 if self._taken < self.allowed else self._ends_at_s - epoch_s

    def take(self) -> None:
        """Count one accepted request."""
        self._taken += 1


class Lane:
    """The counts of one project and model."""

    def __init__(self, quota: Quota) -> None:
        self._requests = None if quota.requests_per_minute is None else Window(quota.requests_per_minute)
        self._tokens = None if quota.input_tokens_per_minute is None else Window(quota.input_tokens_per_minute)
        self._day = None if quota.requests_per_day is None else Day(quota.requests_per_day)

    def admit(self, tokens: int, now: Instant) -> tuple[Violation, ...]:
        """Count one request of that many input tokens, or say which quotas forbid it; empty means it was counted."""
        waits = self._waits(tokens, now)
        if waits:
            return waits
        if self._requests is not None:
            self._requests.take(1, at_s=now.steady_s)
        if self._tokens is not None:
            self._tokens.take(tokens, at_s=now.steady_s)
        if self._day is not None:
            self._day.take()
        return ()

    def _waits(self, tokens: int, now: Instant) -> tuple[Violation, ...]:
        found: list[tuple[Limit, int, float]] = []
        if self._requests is not None:
            found.append(
                (Limit.REQUESTS_PER_MINUTE, self._requests.allowed, self._requests.wait_s(1, at_s=now.steady_s))
            )
        if self._tokens is not None:
            found.append(
                (Limit.INPUT_TOKENS_PER_MINUTE, self._tokens.allowed, self._tokens.wait_s(tokens, at_s=now.steady_s))
            )
        if self._day is not None:
            found.append((Limit.REQUESTS_PER_DAY, self._day.allowed, self._day.wait_s(epoch_s=now.epoch_s)))
        return tuple(
            Violation(limit=limit, allowed=allowed, wait_s=wait_s) for limit, allowed, wait_s in found if wait_s > 0
        )


class Lanes:
    """All projects and models under their quotas; the first quota that covers a pair is its quota."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self._quotas = tuple(quotas)
        self._lanes: dict[tuple[str, str], Lane] = {}

    def admit(self, project: str, model: str, *, tokens: int, now: Instant) -> tuple[Violation, ...]:
        """Count one request, or say which quotas forbid it; empty means it was counted."""
        if not self._quotas:
            return ()
        lane = self._lanes.get((project, model))
        if lane is None:
            quota = next((each for each in self._quotas if each.covers(project, model)), Quota())
            lane = self._lanes[project, model] = Lane(quota)
        return lane.admit(tokens, now)


def next_midnight_s(epoch_s: float) -> float:
    """When the day quotas of that moment are filled up again: the next midnight in Los Angeles, epoch seconds."""
    here = datetime.fromtimestamp(epoch_s, UTC).astimezone(_pacific())
    tomorrow = here.date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=_pacific()).timestamp()


@functools.cache
def _pacific() -> ZoneInfo:
    # Read when a day quota is first asked for: a system without time zone data still runs everything else.
    return ZoneInfo("America/Los_Angeles")
