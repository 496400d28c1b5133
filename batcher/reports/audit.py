"""What did an audit find? The verdict, what was looked at, and one line for each thing that is wrong."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from batcher.audit.findings import Audited, Finding
from batcher.reports.paper import drawn, grid, safe
from batcher.reports.terminal import entry


def audit_lines(audited: Audited, *, width: int = 0, colour: bool = False) -> list[str]:
    """Say how an audit went; the last line is what to type, where there is something to do."""
    proved = audited.proved
    cost = f"${proved.cost_usd:f}"
    of = f" of {audited.tasks:,}" if audited.tasks is not None else ""
    lines = [
        audited.verdict,
        "",
        entry("tasks", f"{proved.tasks:,}{of} in {_counted(proved.parts, 'part')}"),
        *([entry("journal", f"{proved.waiting:,} more")] if proved.waiting else []),
        entry("attempts", f"{proved.attempts:,} in {_counted(proved.ledgers, 'ledger file')}"),
        entry("cost", cost.rstrip("0").rstrip(".") if "." in cost else cost),
        entry("read", f"{proved.read_bytes:,} bytes"),
    ]
    if audited.findings:
        rows = [_row(finding) for finding in audited.findings]
        lines += ["", *drawn([grid(rows, wide=1)], width=width, colour=colour), *_untold(audited)]
    lines += ["", *(f"note: {note}" for note in audited.notes)] if audited.notes else []
    return [*lines, "", entry("next", audited.next_command)] if audited.next_command else lines


def audit_json(audited: Audited) -> dict[str, Any]:
    """Say the same as one JSON document."""
    proved = audited.proved
    return {
        "verdict": audited.verdict,
        "exit_code": int(audited.exit_code),
        "run_dir": audited.run_dir,
        "tasks": audited.tasks,
        "is_finished": audited.is_finished,
        "proved": {
            "parts": proved.parts,
            "ledgers": proved.ledgers,
            "tasks": proved.tasks,
            "waiting": proved.waiting,
            "attempts": proved.attempts,
            "cost_usd": f"{proved.cost_usd:f}",
            "read_bytes": proved.read_bytes,
        },
        "counts": dict(audited.counts),
        "findings": [
            {
                "kind": finding.kind,
                "where": finding.where,
                "task": finding.task,
                "times": finding.times,
                "found": finding.found,
                "wanted": finding.wanted,
            }
            for finding in audited.findings
        ],
        "notes": list(audited.notes),
        "next_command": audited.next_command,
    }


def progress_line(seen: int, parts: int) -> str:
    """Say how far it is."""
    return f"{100 * seen // parts if parts else 100:>3} %  {seen:,} of {parts:,} parts"


def _row(finding: Finding) -> tuple[str | Text, ...]:
    task = "" if finding.task is None else f", task {finding.task:,}"
    more = "" if finding.times == 1 else f" and {finding.times - 1:,} more"
    where = f"{finding.where}{task}{more}"
    return Text(finding.kind, "bold red"), safe(f"{where}: found {finding.found}; wanted {finding.wanted}")


def _untold(audited: Audited) -> list[str]:
    """How many there are beyond those that are told one by one."""
    told: dict[str, int] = {}
    for finding in audited.findings:
        told[finding.kind] = told.get(finding.kind, 0) + 1
    left = {kind: count - told.get(kind, 0) for kind, count in audited.counts.items()}
    return [f"  … {count:,} more of kind {kind}" for kind, count in left.items() if count]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
