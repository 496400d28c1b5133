"""What came of reading replies again? How many rows differ, where, and what was left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batcher.engine.reparsed import Reparsed
from batcher.reports.terminal import entry


def reparse_lines(found: Reparsed) -> list[str]:
    """Say it: `reparsed: 3 of 20 rows differ`."""
    lines = [_verdict(found), "", entry("reread", _rows(found.reread))]
    if found.by_column:
        lines.append(entry("columns", " · ".join(f"{name} {count:,}" for name, count in _columns(found))))
    if found.changed:
        moves = sorted(found.changed.items())
        lines.append(entry("status", " · ".join(f"{was} → {now} {count:,}" for (was, now), count in moves)))
    if found.open:
        lines.append(entry("journal", f"{_rows(found.open)} that are in no part yet"))
    lines.append(entry("parts", f"{found.parts:,} {'to rewrite' if found.dry_run else 'rewritten'}"))
    notes = list(_notes(found))
    return [*lines, "", *(f"note: {note}" for note in notes)] if notes else lines


def reparse_json(found: Reparsed) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {
        "verdict": _verdict(found),
        "exit_code": 0,
        "run_dir": found.run_dir,
        "dry_run": found.dry_run,
        "tasks": found.tasks,
        "reread": found.reread,
        "journal": found.open,
        "without_raw": found.without_raw,
        "unknown": found.unknown,
        "asked_again": found.asked_again,
        "differ": found.differ,
        "by_column": dict(_columns(found)),
        "status": [{"was": was, "now": now, "rows": rows} for (was, now), rows in sorted(found.changed.items())],
        "parts": found.parts,
        "notes": list(_notes(found)),
    }


def _verdict(found: Reparsed) -> str:
    seen = found.reread + found.open
    if not found.differ:
        return f"reparsed: nothing differs in {_rows(seen)}" + ("" if found.parts else "; nothing was written")
    would = "would differ; nothing was written" if found.dry_run else "differ"
    return f"reparsed: {found.differ:,} of {_rows(seen)} {would}"


def _columns(found: Reparsed) -> list[tuple[str, int]]:
    return [(name, count) for name, count in found.by_column.items() if count]


def _notes(found: Reparsed) -> Iterator[str]:
    if found.without_raw:
        yield f"left alone: {_rows(found.without_raw)} without a kept reply (--set output.raw=true keeps them)"
    if found.unknown:
        yield f"left alone: {_rows(found.unknown)} judged by more than a body that the ledger knows"
    if found.asked_again:
        yield f"left alone: {found.asked_again:,} parts whose rows are being asked again; finish the run, then reparse"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
