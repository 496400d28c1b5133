"""How far is a run, as a person reads it who did not start it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from batcher.engine.progress import Outage, Parked, Phase, Snapshot, Spending, Totals
from batcher.reports.budget import budget
from batcher.reports.limits import limit_now, until
from batcher.reports.money import roughly
from batcher.reports.stragglers import straggler_line
from batcher.reports.terminal import (
    duration,
    entry,
    latency,
    pace,
    totals_json,
    totals_lines,
    whole_duration,
)

_NOW = (
    "in_flight",
    "waiting",
    "limited_by",
    "elapsed_s",
    "rate_per_s",
    "eta_s",
    "p50_ms",
    "p95_ms",
    "projected_usd",
)


class RunStatus(Protocol):
    """What is known of a run from its directory alone."""

    @property
    def run_dir(self) -> str:
        """As the user typed it."""
        ...

    @property
    def phase(self) -> Phase | None:
        """What it is doing; None when nobody runs it."""
        ...

    @property
    def verdict(self) -> str | None:
        """How its last session ended; None when it did not say."""
        ...

    @property
    def tasks(self) -> int:
        """All tasks of the run."""
        ...

    @property
    def totals(self) -> Totals:
        """What it has taken so far."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that runs it."""
        ...

    @property
    def host(self) -> str | None:
        """Where that process is."""
        ...

    @property
    def last_activity(self) -> datetime | None:
        """When it last wrote anything."""
        ...

    @property
    def next_command(self) -> str:
        """What to type next."""
        ...

    @property
    def spending(self) -> Spending | None:
        """Of the budget, as it was said last; None without a cap."""
        ...

    @property
    def now(self) -> Snapshot | None:
        """How it goes now, as the process that runs it said last; None when nobody runs it."""
        ...


def status_lines(status: RunStatus, *, now: datetime) -> list[str]:
    """Say how far a run is; the last line is what to type next.

    Args:
        status: what is known of it.
        now: with a time zone, as `status.last_activity` has one.
    """
    lines = [f"{status.run_dir}: {_state(status)}", "", *totals_lines(status.totals, status.tasks)]
    if status.spending is not None:
        lines.append(entry("budget", budget(status.spending)))
    if status.now is not None:
        lines += [entry(label, text) for label, text in _now(status.now) if text]
    if status.pid is not None:
        lines.append(entry("process", f"{status.pid} on {status.host or 'this machine'}"))
    if status.last_activity is not None:
        ago = max(0.0, (now - status.last_activity).total_seconds())
        lines.append(entry("active", f"{duration(ago)} ago"))
    return [*lines, "", entry("next", status.next_command)]


def status_json(status: RunStatus) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {
        "run_dir": status.run_dir,
        "phase": status.phase,
        "verdict": status.verdict,
        "tasks": status.tasks,
        **totals_json(status.totals),
        "budget": status.spending and status.spending.as_json(),
        "pid": status.pid,
        "host": status.host,
        "last_activity": status.last_activity and status.last_activity.isoformat(),
        "next_command": status.next_command,
        **_now_json(status.now),
    }


def _now(seen: Snapshot) -> Iterator[tuple[str, str]]:
    """What the live block shows beside the totals."""
    if seen.projected_usd is not None and seen.totals.done < seen.tasks:
        yield "projected", f"about {roughly(seen.projected_usd)}"
    throttled = seen.totals.throttled
    requests = [f"{seen.in_flight:,} in flight", f"{seen.waiting:,} waiting" if seen.waiting else ""]
    yield "requests", " · ".join(filter(None, [*requests, f"{throttled:,} answered 429" if throttled else ""]))
    yield "latency", latency(seen)
    left = f"{whole_duration(seen.eta_s)} left" if seen.eta_s is not None and seen.totals.done < seen.tasks else ""
    held_by = f"limited by {limit_now(seen)}" if seen.limited_by else ""
    pace_now = pace(seen.rate_per_s) if seen.rate_per_s else ""
    yield "time", " · ".join(filter(None, [duration(seen.elapsed_s), pace_now, left, held_by]))
    for each in seen.parked:
        waiting = f"{each.rows:,} rows wait" if each.rows else "others are asked"
        yield "parked", f"{each.lane} has used up its day, {until([each])}: {waiting}"
    yield "seen last", seen.outage.said if seen.outage else ""
    yield "slow", straggler_line(seen)


def _now_json(seen: Snapshot | None) -> dict[str, Any]:
    """The same names whether somebody runs it or not; null when nobody does."""
    if seen is None:
        return dict.fromkeys((*_NOW, "outage", "straggling", "stragglers", "parked"))
    known = {name: getattr(seen, name) for name in _NOW}
    projected = seen.projected_usd
    return known | {
        "projected_usd": None if projected is None else f"{projected:f}",
        "outage": seen.outage and _outage_json(seen.outage),
        "straggling": seen.straggling,
        "stragglers": [{**asdict(each), "open_s": round(each.open_s, 1)} for each in seen.stragglers],
        "parked": [_parked_json(each) for each in seen.parked],
    }


def _parked_json(parked: Parked) -> dict[str, Any]:
    until_at = datetime.fromtimestamp(parked.until_us / 1e6, UTC)
    return {"lane": parked.lane, "until": until_at.isoformat(), "rows": parked.rows}


def _outage_json(outage: Outage) -> dict[str, Any]:
    since = datetime.fromtimestamp(outage.since_us / 1e6, UTC)
    return {"since": since.isoformat(), "probe_in_s": outage.probe_in_s, "said": outage.said}


def _state(status: RunStatus) -> str:
    if status.phase is not None:
        return str(status.phase)
    return status.verdict or "stopped"
