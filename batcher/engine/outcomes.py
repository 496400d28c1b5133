"""What is told of one finished task? The facts of its row in `data/`, as soon as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from batcher.records import Candidate, Outcome, Status, Usage
from batcher.store.bills import RowBill
from batcher.store.schemas import COUNTS, DETAILS

COLUMNS = (
    "task",
    "sample",
    "id",
    "status",
    "response",
    "finish_reason",
    "usage_metadata",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "error_kind",
    "error_message",
    "attempts",
)
"""Of a part, what `outcome_of_row` reads."""

_NO_CANDIDATE = Candidate(index=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """What became of one task, as its row in `data/` says it.

    Attributes:
        task: its number, `ordinal * samples + sample`.
        ordinal: position of the row over all inputs, from 0.
        sample: which ask of the row, from 0.
        id: the user's, else `row-<ordinal>`.
        response: visible text of the first candidate; None when there is none.
        usage: of the attempt that answered; None where the endpoint said nothing.
        input_tokens, output_tokens: billed, over all attempts.
        cost_usd: over all attempts, exact; None where a price is unknown.
        error_kind, error_message: why there is no answer.
        attempts: HTTP requests.
    """

    task: int
    ordinal: int
    sample: int
    id: str
    status: Status
    response: str | None
    finish_reason: str | None
    usage: Usage | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    error_kind: str | None
    error_message: str | None
    attempts: int


def outcome_of_bill(outcome: Outcome, bill: RowBill, *, id: str, samples: int) -> TaskOutcome:  # noqa: A002  the column's name
    """Tell of a task from its outcome and its bill."""
    answer = bill.answer
    first = answer.candidates[0] if answer.candidates else _NO_CANDIDATE
    ordinal, sample = divmod(outcome.task, samples)
    return TaskOutcome(
        task=outcome.task,
        ordinal=ordinal,
        sample=sample,
        id=id,
        status=outcome.status,
        response=first.text,
        finish_reason=first.finish_reason or answer.block_reason,
        usage=_without_tier(answer.usage),
        input_tokens=bill.input_tokens,
        output_tokens=bill.output_tokens,
        cost_usd=bill.cost_usd,
        error_kind=outcome.error_kind,
        error_message=outcome.error_message,
        attempts=outcome.attempts,
    )


def outcome_of_row(row: Mapping[str, Any], *, samples: int) -> TaskOutcome:
    """Tell of a task from its row in a part, the columns `COLUMNS` of it."""
    told = {name: value for name, value in row.items() if name != "usage_metadata"}
    return TaskOutcome(
        **told | {"status": Status(row["status"])},
        ordinal=row["task"] // samples,
        usage=_usage_of(row["usage_metadata"]),
    )


def _usage_of(found: Mapping[str, Any] | None) -> Usage | None:
    if found is None:
        return None
    told: dict[str, Any] = {name: found[name] for name in COUNTS}
    told |= {name: {each["modality"]: each["token_count"] for each in found[name] or ()} for name in DETAILS}
    return Usage(**told)


def _without_tier(usage: Usage | None) -> Usage | None:
    """The tier has a column of its own, so the column of usage does not tell it."""
    return replace(usage, service_tier=None) if usage and usage.service_tier else usage
