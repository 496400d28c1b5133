"""What holds a run back, in the words of someone who does not know our parts?"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from batcher.engine.progress import Outage, Parked, Snapshot
from batcher.pacing.permit import CONCURRENCY, PACE

_WORDS = {
    "open tasks": "rows waiting to be asked again",
    "outage": "an outage of the endpoint",
    "pace": "a pace that was cut after 429s",
    "parked": "a day quota",
    "retry budget": "the share of requests that ask again",
}


def limit(name: str) -> str:
    """Name what holds a run back."""
    return _WORDS.get(name, name)


def limit_now(snapshot: Snapshot) -> str:
    """Name what holds a run back now; of an outage or a day quota, also when it goes on."""
    outage = snapshot.outage
    if outage is not None:
        return f"outage {began(outage)}, {next_probe(outage)}"
    lowered = lowered_to(snapshot)
    if lowered:
        return f"{lowered} after {'429s' if snapshot.limited_by == PACE else 'failures'}"
    when = f" {until(snapshot.parked)}" if snapshot.limited_by == "parked" and snapshot.parked else ""
    return f"{limit(snapshot.limited_by)}{when}"


def lowered_to(snapshot: Snapshot) -> str:
    """Say where a limit stands that was lowered and holds the run back now: `pace 12/s`, `concurrency 45`, or empty."""
    if snapshot.limited_by == PACE and snapshot.pace_per_s is not None:
        return f"pace {snapshot.pace_per_s:.{0 if snapshot.pace_per_s >= 9.95 else 1}f}/s"
    if snapshot.limited_by == CONCURRENCY and snapshot.narrowed is not None:
        return f"concurrency {snapshot.narrowed:,}"
    return ""


def began(outage: Outage) -> str:
    """Say when an outage began, by this machine's clock on the wall: `since 03:12`."""
    since = dt.datetime.fromtimestamp(outage.since_us / 1e6, dt.UTC).astimezone()
    return f"since {since:%H:%M}"


def until(parked: Sequence[Parked]) -> str:
    """Say when the first of those goes on that wait for a day quota, by this machine's clock: `until Fri 09:00`."""
    opens_us = min(each.until_us for each in parked)
    return f"until {dt.datetime.fromtimestamp(opens_us / 1e6, dt.UTC).astimezone():%a %H:%M}"


def next_probe(outage: Outage) -> str:
    """Say when it is tried next: `next probe in 7 s`, or `probing`."""
    return "probing" if outage.probe_in_s is None else f"next probe in {math.ceil(outage.probe_in_s)} s"
