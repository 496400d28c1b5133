"""What came out of an export? One line with the counts, then where it is and what to know about it."""

from __future__ import annotations

from typing import Any

from batcher.datasets.order import OPEN, Exported
from batcher.reports.terminal import entry

_OF_OPEN = "without an answer yet"


def export_lines(exported: Exported) -> list[str]:
    """Say what an export came to: `exported 18 of 20: 2 failed left out`."""
    lines = [_verdict(exported), "", entry("format", str(exported.to)), entry("file", exported.target)]
    if exported.size_bytes is not None:
        lines.append(entry("size", _size(exported.size_bytes)))
    notes = _notes(exported)
    return [*lines, "", *(f"note: {note}" for note in notes)] if notes else lines


def export_json(exported: Exported) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {
        "verdict": _verdict(exported),
        "exit_code": 0,
        "format": str(exported.to),
        "file": exported.target,
        "exported": exported.written,
        "tasks": exported.tasks,
        "left_out": dict(exported.left_out),
        "open": exported.open,
        "size_bytes": exported.size_bytes,
        "notes": _notes(exported),
    }


def progress_line(seen: int, tasks: int) -> str:
    """Say how far it is."""
    return f"{100 * seen // tasks if tasks else 100:>3} %  {seen:,} of {tasks:,} rows"


def _verdict(exported: Exported) -> str:
    left = ", ".join(f"{rows:,} {_OF_OPEN if reason == OPEN else reason}" for reason, rows in exported.left_out.items())
    missing = f"{exported.open:,} {'has' if exported.open == 1 else 'have'} no answer yet" if exported.open else ""
    said = "; ".join(filter(None, (f"{left} left out" if left else "", missing)))
    return f"exported {exported.written:,} of {exported.tasks:,}{f': {said}' if said else ''}"


def _notes(exported: Exported) -> list[str]:
    notes = list(exported.notes)
    if exported.running and exported.open:
        notes.append("the run is under way: this has its finished parts; export again when it is done")
    return notes


def _size(size_bytes: int) -> str:
    for unit, worth in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= worth:
            return f"{size_bytes / worth:.1f} {unit}"
    return f"{size_bytes} bytes"
