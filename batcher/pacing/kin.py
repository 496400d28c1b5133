"""Are two keys of one project? Quotas are a project's: then two endpoints run into one quota with half of it each.

Pure: time comes in as a number. Two lanes of one origin and one model are kin when both are told within seconds that
the same quota is full, each has sent much less than its size, and together they have sent about as much. That both are
told at one time is not enough: two projects of one size that are asked evenly run full together, too.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_MINUTE_US = 60_000_000
_TOGETHER_US = 10_000_000
_MOST_ALONE = 0.75  # of the quota: one who has sent more may have filled it by itself
_LEAST_TOGETHER = 0.9  # of the quota: where less was sent by both, somebody else fills it


class Kin(NamedTuple):
    """Two lanes that share a quota, and how much each had sent of it."""

    one: str
    other: str
    sent: tuple[int, int]


class _Told(NamedTuple):
    at_us: int
    quota_id: str
    sent: int


class Family:
    """What is known of the lanes of one origin and model.

    Args:
        lanes: their names.
    """

    def __init__(self, lanes: frozenset[str]) -> None:
        self._stamps: dict[str, deque[int]] = {lane: deque() for lane in lanes}
        self._totals = dict.fromkeys(lanes, 0)
        self._told: dict[str, _Told] = {}
        self._known: set[frozenset[str]] = set()

    def sent(self, lane: str, now_us: int) -> None:
        """One request went; microseconds since the epoch."""
        stamps = self._stamps[lane]
        stamps.append(now_us)
        self._totals[lane] += 1
        while stamps[0] <= now_us - _MINUTE_US:
            stamps.popleft()

    def refused(self, lane: str, quota_id: str, size: int, now_us: int) -> Kin | None:
        """A lane was told that a quota of this size is full; another that it shares it with, once for each pair."""
        is_daily = "day" in quota_id.lower()
        stamps = self._stamps[lane]
        recent = sum(1 for at_us in stamps if at_us > now_us - _MINUTE_US)
        mine = self._told[lane] = _Told(now_us, quota_id, self._totals[lane] if is_daily else recent)
        for other, told in self._told.items():
            pair = frozenset((lane, other))
            if other == lane or pair in self._known or told.quota_id != quota_id or told.at_us < now_us - _TOGETHER_US:
                continue
            if max(mine.sent, told.sent) <= _MOST_ALONE * size and mine.sent + told.sent >= _LEAST_TOGETHER * size:
                self._known.add(pair)
                return Kin(other, lane, (told.sent, mine.sent))
        return None
