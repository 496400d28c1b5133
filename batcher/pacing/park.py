"""Until when does a lane send nothing that has used up its day or its spend? Arithmetic only: wall time comes in.

Parks end by the wall clock, since the quotas of a day do: a machine that slept through the night goes on at once.
"""

from __future__ import annotations

from batcher.pacing.quota import pacific_midnight_after

_JUST_AFTER_US = 15 * 60_000_000
"""A day quota that is told so soon after midnight is most often the old day's: the server's clock is behind ours."""
_SOON_US = 5 * 60_000_000
_MOST_US = 26 * 3_600_000_000
"""No day is longer (25 hours, when the clocks go back): a hint beyond that is a slip."""

FOR_GOOD_US = 253_000_000_000_000_000
"""When a lane sends again that never does: late enough, and still a date."""


def parked_until_us(wait_s: float | None, wall_us: int, *, before_us: int = 0) -> int:
    """When a lane may send again that the server has sent away; in and out are microseconds since the epoch.

    Args:
        wait_s: what the server said; None where it said nothing that can be meant for a day.
        wall_us: now.
        before_us: when it was parked until the last time.

    Returns:
        After the wait, else at the next midnight in Los Angeles. In the first minutes behind one, a few minutes later,
        once: if it is sent away again, it has used up its new day.
    """
    if wait_s is not None:
        return wall_us + min(round(wait_s * 1e6), _MOST_US)
    midnight_us = pacific_midnight_after(wall_us)
    last_us = pacific_midnight_after(wall_us - _JUST_AFTER_US)
    return wall_us + _SOON_US if before_us <= last_us < midnight_us else midnight_us
