"""What must hold in every row of `data/`, by itself?"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.laws import Law, differ, not_in
from batcher.audit.wholefile import column

KEPT = (
    "task",
    "ordinal",
    "sample",
    "id",
    "status",
    "usage_metadata",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "wasted_usd",
    "error_kind",
    "model_version",
    "response_id",
    "attempts",
    "request_hash",
    "response",
    "candidates",
)
"""What the laws look at; the other columns are read for their checksums only."""
PAID_BY = "paid_by_run"
"""There where a run may have answers that it did not ask for: the run that paid, null in rows that paid themselves."""
LOST = "lost"
"""The kind of error of a row whose answer went with a damaged file, until it is asked again."""
STATUSES = ("ok", "blocked", "truncated", "invalid", "failed")


def row_laws(rows: pa.Table, first_task: int, samples: int) -> list[Law]:
    """The laws of rows that should hold the tasks from `first_task` on."""
    task, attempts = column(rows, "task"), column(rows, "attempts")
    expected = pa.array(range(first_task, first_task + rows.num_rows), pa.int64())
    ordinal = pc.divide(task, samples)
    sample = pc.subtract(task, pc.multiply(ordinal, samples))
    status, kind = column(rows, "status"), column(rows, "error_kind")
    told = pc.or_(pc.equal(status, "failed"), pc.equal(status, "invalid"))
    cost, wasted = column(rows, "cost_usd"), column(rows, "wasted_usd")
    asked = pc.greater(attempts, 0)
    return [
        Law("tasks", "every task once, in order", differ(task, expected), {"task": task}),
        Law("tasks", f"ordinal = task / {samples}", differ(ordinal, column(rows, "ordinal")), _said(rows, "ordinal")),
        Law("tasks", f"sample = task % {samples}", differ(sample, column(rows, "sample")), _said(rows, "sample")),
        Law("tasks", "an id", pc.is_null(column(rows, "id")), _said(rows, "id")),
        Law("tasks", f"one of {', '.join(STATUSES)}", not_in(status, STATUSES), _said(rows, "status")),
        Law(
            "tasks",
            "a kind of error in failed and invalid rows, and only there",
            pc.not_equal(told, pc.is_valid(kind)),
            _said(rows, "status", "error_kind"),
        ),
        Law(
            "tasks",
            "a hash of the request that was sent",
            pc.and_(asked, pc.is_null(column(rows, "request_hash"))),
            _said(rows, "request_hash", "attempts"),
        ),
        Law(
            "tasks",
            "no attempts only in rows that failed, or whose answer was paid for elsewhere",
            pc.and_(pc.and_(pc.equal(attempts, 0), pc.not_equal(status, "failed")), _paid_here(rows)),
            _said(rows, "status", "attempts"),
        ),
        Law(
            "tasks",
            "the text of the first candidate",
            differ(column(rows, "response"), _first_texts(column(rows, "candidates"))),
            _said(rows, "response"),
        ),
        Law(
            "bill",
            "tokens and attempts that are there and not below 0",
            _any(_below_zero(column(rows, name)) for name in ("input_tokens", "output_tokens", "attempts")),
            _said(rows, "input_tokens", "output_tokens", "attempts"),
        ),
        Law(
            "bill",
            "0 <= wasted_usd <= cost_usd, or both null",
            _any((pc.not_equal(pc.is_null(cost), pc.is_null(wasted)), pc.greater(wasted, cost), pc.less(wasted, 0))),
            _said(rows, "wasted_usd", "cost_usd"),
        ),
    ]


def siblings_law(rows: pa.Table, samples: int) -> list[Law]:
    """All samples of a row, which are all in one block, have the same id and the same request."""
    if samples == 1 or rows.num_rows % samples:
        return []
    first = pa.array([at - at % samples for at in range(rows.num_rows)], pa.int64())
    laws = []
    for name in ("id", "request_hash"):
        mine = column(rows, name)
        laws.append(Law("tasks", "the same in all samples of a row", differ(mine, mine.take(first)), {name: mine}))
    return laws


def _said(rows: pa.Table, *names: str) -> dict[str, Any]:
    return {name: column(rows, name) for name in names}


def _paid_here(rows: pa.Table) -> Any:
    return pc.is_null(column(rows, PAID_BY)) if PAID_BY in rows.column_names else pa.scalar(value=True)


def _below_zero(values: Any) -> Any:
    return pc.or_(pc.is_null(values), pc.fill_null(pc.less(values, 0), fill_value=False))


def _any(broken: Any) -> Any:
    masks = [pc.fill_null(mask, fill_value=False) for mask in broken]
    while len(masks) > 1:
        masks.append(pc.or_(masks.pop(), masks.pop()))
    return masks[0]


def _first_texts(candidates: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(candidates), 0)
    flat = candidates.flatten().field("text")
    starts = pc.subtract(pc.cumulative_sum(lengths), lengths)
    return flat.take(pc.if_else(pc.greater(lengths, 0), starts, pa.scalar(None, starts.type)))
