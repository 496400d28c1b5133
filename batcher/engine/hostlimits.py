"""What do the runs of this host know of an endpoint's limits, and how much of today have they used?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batcher.errors import StorageError
from batcher.job.spec import Limits
from batcher.pacing.learntlimits import Learnt, LearntLimits
from batcher.pacing.links import STATE
from batcher.pacing.permit import INPUT_TOKENS_A_MINUTE, REQUESTS_A_DAY, REQUESTS_A_MINUTE
from batcher.pacing.statefolder import StateFolder

_SETTINGS = {
    REQUESTS_A_MINUTE: "requests_per_minute",
    INPUT_TOKENS_A_MINUTE: "input_tokens_per_minute",
    REQUESTS_A_DAY: "requests_per_day",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """The requests of one Pacific day.

    Attributes:
        owner: whose quota they are on, as `Learnt.owner`.
        requests: of all runs; what a killed one may have sent is in it.
        resets_at_us: when the day ends, microseconds since the epoch.
    """

    owner: str
    requests: int
    resets_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the state folder says."""

    learnt: tuple[Learnt, ...] = ()
    today: tuple[Today, ...] = ()

    def of(self, lane: str) -> Known:
        """What is known of one lane, with whatever key."""

        def is_of(owner: str) -> bool:
            return owner == lane or owner.startswith(f"{lane} key-")

        return Known(
            learnt=tuple(each for each in self.learnt if is_of(each.owner)),
            today=tuple(each for each in self.today if is_of(each.owner)),
        )

    def narrow(self, limits: Limits) -> Limits:
        """The limits of a job, where an endpoint has told a smaller one or one that the job does not name."""
        update: dict[str, float] = {}
        for each in self.learnt:
            setting = _SETTINGS.get(each.quota)
            stated = getattr(limits, setting) if setting else None
            if setting and (stated is None or each.value < stated):
                update[setting] = min(each.value, update.get(setting, each.value))
        if (day := update.get("requests_per_day")) is not None:
            update["requests_per_day"] = int(day)
        return limits.model_copy(update=update)

    def notes(self, limits: Limits) -> Iterator[str]:
        """Say it, one line each."""
        for each in self.learnt:
            yield f"{each.quota}: {each.value:,.10g}, as {said_by(each)}; batcher limits --forget drops it"
        for day in self.today:
            of = f" of {limits.requests_per_day:,}" if limits.requests_per_day else ""
            yield f"today: {day.requests:,}{of} requests sent by the runs of this machine"


def known(state: Path | None, *, now_us: int) -> Known:
    """Read what is known.

    Args:
        state: the user's state folder; None when there is none.
        now_us: microseconds since the epoch.

    Raises:
        StorageError: it cannot be read.
    """
    if state is None:
        return Known()
    folder = StateFolder(state)
    try:
        learnt, days = LearntLimits(folder).all(), folder.read(STATE).get("days", {})
    except OSError as error:
        raise StorageError(f"{state}: {error.strerror or error}") from error
    today = [
        Today(owner=owner, requests=sum(day["runs"].values()), resets_at_us=day["day"])
        for owner, day in sorted(days.items())
        if day["day"] > now_us
    ]
    return Known(learnt=learnt, today=tuple(today))


def forget(state: Path | None, owner: str | None) -> int:
    """Drop learnt limits, all or those of one owner; returns how many.

    Raises:
        StorageError: the folder cannot be written.
    """
    if state is None:
        return 0
    try:
        return LearntLimits(StateFolder(state)).forget(owner)
    except OSError as error:
        raise StorageError(f"{state}: {error.strerror or error}") from error


def said_by(learnt: Learnt) -> str:
    """Say who was told a limit, and when."""
    day = dt.datetime.fromtimestamp(learnt.at_us // 1_000_000, dt.UTC).date().isoformat()
    return f"a 429 told {learnt.run} on {day}"
