"""Totals, snapshots and summaries with everything but the point of the test filled in."""

from decimal import Decimal
from typing import Any

from batcher.engine.progress import Phase, Snapshot, Summary, Tokens, Totals
from batcher.errors import Exit
from batcher.records import Status


def some_totals(ok: int = 164, **given: Any) -> Totals:
    defaults: dict[str, Any] = {
        "by_status": {Status.OK: ok},
        "attempts": ok,
        "tokens": Tokens(input=48_211, output=12_004),
        "cost_usd": Decimal("0.044491230"),
    }
    return Totals(**defaults | given)


def a_snapshot(done: int = 0, tasks: int = 100, **given: Any) -> Snapshot:
    defaults: dict[str, Any] = {
        "phase": Phase.ASKING,
        "tasks": tasks,
        "done_before": 0,
        "totals": some_totals(done, cost_usd=Decimal(0)),
        "in_flight": 8,
        "waiting": 0,
        "limited_by": "",
        "elapsed_s": 1.0,
        "rate_per_s": 13.2,
        "eta_s": None,
    }
    return Snapshot(**defaults | given)


def a_summary(**given: Any) -> Summary:
    defaults: dict[str, Any] = {
        "verdict": "done: 164 of 164 rows ok",
        "exit_code": Exit.DONE,
        "run_dir": "out/he",
        "rows": 164,
        "samples": 1,
        "tasks": 164,
        "totals": some_totals(),
        "sent": 164,
        "elapsed_s": 12.42,
        "rows_per_s": 13.204,
        "limited_by": "requests/min",
        "next_command": "batcher show out/he",
    }
    return Summary(**defaults | given)
