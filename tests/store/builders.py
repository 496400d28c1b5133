"""Rows on their way to the disk: planned, asked, sealed. Say only what the test is about."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from batcher.money.prices import RateCard
from batcher.records import Attempt, Outcome, Problem, Request
from batcher.store.bills import Read, Terms, read_attempt
from batcher.store.blockfile import schema_of, slice_of
from batcher.store.schemas import data_schema
from tests.builders import a_request, a_row, an_attempt, an_outcome

CARD = RateCard.bundled()
NO_COLUMNS = pa.schema([])
AT_US = 1_700_000_000_000_000


def terms(**changes: Any) -> Terms:
    defaults: dict[str, Any] = {
        "run_id": "run-1",
        "project": "p",
        "endpoint": "https://example.org",
        "tier": None,
        "labels": (("team", "x"),),
        "rates": CARD,
        "samples": 1,
        "store_prompt": True,
        "raw": False,
    }
    return Terms(**(defaults | changes))


def usd(input_tokens: int, output_tokens: int) -> Decimal:
    """What a plain reply of gemini-2.5-flash costs: $0.30 and $2.50 a million tokens."""
    return (input_tokens * Decimal("0.3") + output_tokens * Decimal("2.5")) / 1_000_000


def body(text: str | None = "yes", *, tokens: tuple[int, int] | None = (4, 1), **fields: Any) -> bytes:
    """A whole reply; `tokens` are those of the prompt and of the candidates."""
    content = {"role": "model", "parts": [{"text": text}]} if text is not None else {"role": "model"}
    said: dict[str, Any] = {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }
    if tokens is not None:
        counts = {"promptTokenCount": tokens[0], "candidatesTokenCount": tokens[1], "totalTokenCount": sum(tokens)}
        said["usageMetadata"] = counts
    return orjson.dumps(said | fields)


def planned(
    count: int = 1, *, first: int = 0, user: pa.RecordBatch | None = None, problems: Sequence[int] = ()
) -> pa.RecordBatch:
    """A slice of a block file; the rows whose ordinals are in `problems` cannot be asked."""
    rows = [a_row(ordinal) for ordinal in range(first, first + count)]
    made: list[Request | Problem] = [
        Problem(kind="bad_input", message=f"prompts.jsonl:{row.ordinal + 1}: not JSON")
        if row.ordinal in problems
        else a_request(f"prompt {row.ordinal}")
        for row in rows
    ]
    columns = user if user is not None else pa.RecordBatch.from_pylist([{}] * count, schema=NO_COLUMNS)
    return slice_of(rows, made, columns, schema_of(columns.schema))


def asked(*tasks: Sequence[Attempt], at: Terms | None = None) -> list[list[Read]]:
    return [[read_attempt(attempt, at or terms()) for attempt in attempts] for attempts in tasks]


def answered(task: int = 0, text: str = "yes", **fields: Any) -> tuple[Outcome, list[Attempt]]:
    """A task that the first request answered."""
    return an_outcome(task=task, **fields), [an_attempt(task=task, started_at=AT_US, body=body(text))]


SCHEMA = data_schema(NO_COLUMNS, raw=False)
