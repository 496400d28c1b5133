"""How far is a run, as a person reads it who did not start it?"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from batcher.engine.progress import Phase, Totals
from batcher.reports.terminal import duration, entry, totals_json, totals_lines


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


def status_lines(status: RunStatus, *, now: datetime) -> list[str]:
    """Say how far a run is; the last line is what to type next.

    Args:
        status: what is known of it.
        now: with a time zone, as `status.last_activity` has one.
    """
    lines = [f"{status.run_dir}: {_state(status)}", "", *totals_lines(status.totals, status.tasks)]
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
        "pid": status.pid,
        "host": status.host,
        "last_activity": status.last_activity and status.last_activity.isoformat(),
        "next_command": status.next_command,
    }


def _state(status: RunStatus) -> str:
    if status.phase is not None:
        return str(status.phase)
    return status.verdict or "stopped"
