"""How does a checkup look in a terminal, and as JSON?"""

from __future__ import annotations

from typing import Any

from rich.text import Text

from batcher.engine.checkup import Checkup, State
from batcher.reports.paper import drawn, grid, safe

_STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}


def checkup_lines(checkup: Checkup, *, width: int = 0, colour: bool = False) -> list[str]:
    """Say how the machine is: the verdict, then one line for each check, and under it what to type."""
    rows: list[tuple[str | Text, ...]] = []
    for check in checkup.checks:
        rows.append((Text(str(check.state), _STYLES[check.state]), check.name, safe(check.found)))
        rows += [("", "", safe(f"→ {check.hint}", "bold"))] if check.hint else []
    return [checkup.verdict, "", *drawn([grid(rows)], width=width, colour=colour)]


def checkup_json(checkup: Checkup) -> dict[str, Any]:
    """Say the same as one JSON document."""
    return {
        "verdict": checkup.verdict,
        "exit_code": int(checkup.exit_code),
        "checks": [
            {"name": check.name, "state": str(check.state), "found": check.found, "hint": check.hint}
            for check in checkup.checks
        ],
    }
