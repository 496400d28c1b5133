"""What must hold in every row of the ledger, by itself?"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.billing import Bills, Tokens
from batcher.audit.columns import COUNTS, DETAILS
from batcher.audit.corrected import ASK, CORRECTION
from batcher.audit.laws import Law, differ, not_in
from batcher.audit.wholefile import Stamp, column

KEPT = (
    "run_id",
    "block",
    "task",
    "sample",
    "attempt",
    "role",
    "model",
    "model_version",
    "response_id",
    "started_at",
    "http_status",
    "verdict",
    "reason",
    "billed",
    *COUNTS,
    *DETAILS,
    "service_tier",
    "tier_source",
    "price_id",
    "cost_usd",
    "reserve_usd",
    "reserve_input_tokens",
    "reserve_output_tokens",
)
"""What the laws look at."""
VERDICTS = ("ok", "blocked", "invalid", "retry", "throttled", "parked", "refused", "fatal", "lost")
BILLED = ("yes", "no", "maybe")
REBUILT = "rebuilt"
"""The reason of a row that was made again from its part, because its ledger file was lost: sums, and no more."""
TIER_SOURCES = ("header", "usage", "asked", "default")


def ledger_laws(rows: pa.Table, stamp: Stamp, samples: int, tier: str | None) -> list[Law]:
    """The laws of a ledger file's rows, prices apart; `tier` is the service tier that the job asks for."""
    task, verdict, billed = column(rows, "task"), column(rows, "verdict"), column(rows, "billed")
    sample = pc.subtract(task, pc.multiply(pc.divide(task, samples), samples))
    yes, lost = pc.equal(billed, "yes"), pc.equal(verdict, "lost")
    source, served = column(rows, "tier_source"), column(rows, "service_tier")
    last = stamp.first_task + stamp.tasks - 1
    return [
        Law("ledger", stamp.run_id, pc.not_equal(column(rows, "run_id"), stamp.run_id), _said(rows, "run_id")),
        Law("ledger", f"block {stamp.block}", pc.not_equal(column(rows, "block"), stamp.block), _said(rows, "block")),
        Law(
            "ledger",
            f"tasks {stamp.first_task} to {last}",
            pc.or_(pc.less(task, stamp.first_task), pc.greater(task, last)),
            {"task": task},
        ),
        Law(
            "ledger", f"sample = task % {samples}", pc.not_equal(sample, column(rows, "sample")), _said(rows, "sample")
        ),
        Law("ledger", f"one of {', '.join(VERDICTS)}", not_in(verdict, VERDICTS), {"verdict": verdict}),
        Law("ledger", "yes, no or maybe", not_in(billed, BILLED), {"billed": billed}),
        Law(
            "ledger",
            "a lost attempt may have been billed, nobody knows",
            _but_rebuilt(rows, pc.and_(lost, pc.not_equal(billed, "maybe"))),
            _said(rows, "verdict", "billed"),
        ),
        Law(
            "ledger",
            "an answer that was given was billed",
            pc.and_(pc.equal(verdict, "ok"), pc.invert(yes)),
            _said(rows, "verdict", "billed"),
        ),
        Law(
            "bill",
            "a tier and who named it, where and only where it was billed",
            _but_rebuilt(
                rows,
                pc.or_(
                    pc.not_equal(yes, pc.is_valid(served)),
                    pc.or_(pc.not_equal(yes, pc.is_valid(source)), pc.and_(yes, not_in(source, TIER_SOURCES))),
                ),
            ),
            _said(rows, "billed", "service_tier", "tier_source"),
        ),
        Law(
            "bill",
            f"tier {(tier or 'standard').lower()!r}, which nobody but the job named",
            _but_rebuilt(
                rows,
                pc.or_(
                    pc.and_(pc.equal(source, "default"), pc.not_equal(served, "standard")),
                    pc.and_(pc.equal(source, "asked"), pc.not_equal(served, (tier or "").strip().lower())),
                ),
            ),
            _said(rows, "service_tier", "tier_source"),
        ),
    ]


def price_laws(rows: pa.Table, bills: Bills) -> list[Law]:
    """The laws of what each attempt cost, as prices.json has it."""
    cost, price, reserve = (column(rows, name) for name in ("cost_usd", "price_id", "reserve_usd"))
    wide = bills.cost_usd.type
    return [
        Law(
            "bill",
            "the price of its model, tier and time in prices.json",
            _but_rebuilt(rows, differ(price, bills.price_id)),
            {"price_id": price, "in prices.json": bills.price_id},
        ),
        Law(
            "bill",
            "its tokens times its price; 0 when it was not billed, null when nobody knows",
            _but_rebuilt(rows, differ(cost.cast(wide), bills.cost_usd)),
            {"cost_usd": cost, "computed": bills.cost_usd},
        ),
        Law(
            "bill",
            "the most that its reserve can have cost, where and only where it may have been billed",
            _but_rebuilt(rows, differ(reserve, bills.reserve_usd)),
            {"reserve_usd": reserve, "computed": bills.reserve_usd},
        ),
    ]


def role_laws(rows: pa.Table, stamp: Stamp) -> list[Law]:
    """The laws of all rows of a ledger file, requests and corrections."""
    role = column(rows, "role")
    early = pc.and_(pc.equal(role, CORRECTION), pa.scalar(stamp.generation == 1))
    return [
        Law("ledger", f"{ASK} or {CORRECTION}", not_in(role, (ASK, CORRECTION)), {"role": role}),
        Law("ledger", "no correction in the first generation", early, {"role": role}),
    ]


def astray_law(rows: pa.Table) -> list[Law]:
    """Corrections whose attempt is not there: each of these rows breaks it."""
    every = pa.repeat(pa.scalar(value=True), rows.num_rows)
    return [Law("ledger", "an attempt that it corrects", every, _said(rows, "role", "attempt"))]


def numbering_law(rows: pa.Table) -> list[Law]:
    """A task's attempts are numbered 1..n, each once.

    Args:
        rows: of all generations of a block, sorted by task and attempt.
    """
    task, number = column(rows, "task"), column(rows, "attempt").cast(pa.int64())
    if not rows.num_rows:
        return []
    before = pa.concat_arrays([pa.array([None], pa.int64()), task.slice(0, len(task) - 1)])
    last = pa.concat_arrays([pa.array([0], pa.int64()), number.slice(0, len(number) - 1)])
    same = pc.fill_null(pc.equal(task, before), fill_value=False)
    wanted = pc.add(pc.if_else(same, last, 0), 1)
    return [
        Law(
            "ledger",
            "attempts numbered 1, 2, 3, … in each task",
            pc.not_equal(number, wanted),
            {"attempt": number, "where there should be": wanted},
        )
    ]


def sums_by_task(rows: pa.Table, tokens: Tokens) -> pa.Table:
    """Of each task: `attempts`, `input`, `output`, `cost` (null where one is unknown)."""
    yes = pc.equal(column(rows, "billed"), "yes")
    zero = pa.scalar(0, pa.int64())
    cost = column(rows, "cost_usd")
    table = pa.table(
        {
            "task": column(rows, "task"),
            "input": pc.if_else(yes, tokens.billed_input, zero),
            "output": pc.if_else(yes, tokens.billed_output, zero),
            "cost": cost,
            "unknown": pc.and_(yes, pc.is_null(cost)).cast(pa.int64()),
        }
    )
    by = table.group_by("task", use_threads=False).aggregate(
        [("task", "count"), ("input", "sum"), ("output", "sum"), ("cost", "sum"), ("unknown", "sum")]
    )
    unknown = pc.greater(by.column("unknown_sum"), 0)
    known = pc.if_else(unknown, pa.scalar(None, cost.type), pc.coalesce(by.column("cost_sum"), pa.scalar(0, cost.type)))
    return pa.table(
        {
            "task": by.column("task"),
            "attempts": by.column("task_count"),
            "input": by.column("input_sum"),
            "output": by.column("output_sum"),
            "cost": known,
        }
    )


def _but_rebuilt(rows: pa.Table, broken: Any) -> Any:
    return pc.and_(broken, pc.not_equal(column(rows, "reason"), REBUILT))


def _said(rows: pa.Table, *names: str) -> dict[str, Any]:
    return {name: column(rows, name) for name in names}
