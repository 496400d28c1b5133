"""Which columns must `data/` and `attempts/` have? Said here once more, apart from the code that writes them.

A user's columns stand between `id` and `prompt`; columns that a later version adds stand at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

COUNTS = (
    "prompt_token_count",
    "candidates_token_count",
    "total_token_count",
    "cached_content_token_count",
    "tool_use_prompt_token_count",
    "thoughts_token_count",
)
DETAILS = (
    "prompt_tokens_details",
    "candidates_tokens_details",
    "cache_tokens_details",
    "tool_use_prompt_tokens_details",
)
_MONEY, _STAMP = "decimal128(38, 15)", "timestamp[us, tz=UTC]"
_IDENTITY = {"task": "int64", "ordinal": "int64", "sample": "int16", "id": "string"}
_ANSWER = {
    "prompt": "large_string",
    "status": "string",
    "response": "large_string",
    "candidates": "list",
    "prompt_feedback": "struct",
    "usage_metadata": "struct",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "cost_usd": _MONEY,
    "wasted_usd": _MONEY,
    "finish_reason": "string",
    "error_kind": "string",
    "error_message": "string",
    "model": "string",
    "model_version": "string",
    "response_id": "string",
    "service_tier": "string",
    "created": "int64",
    "attempts": "int32",
    "started_at": _STAMP,
    "latency_ms": "double",
    "first_byte_ms": "double",
    "finished_at": _STAMP,
    "request_hash": "fixed_size_binary[16]",
    "labels": "list",
}
_OPTIONAL = {"parsed": "large_string", "schema_valid": "bool"}  # behind `response`, with a schema of answers
_LEDGER = {
    "run_id": "string",
    "block": "int32",
    "task": "int64",
    "sample": "int16",
    "attempt": "int32",
    "role": "string",
    "project": "string",
    "endpoint": "string",
    "model": "string",
    "model_version": "string",
    "response_id": "string",
    "started_at": _STAMP,
    "latency_ms": "double",
    "http_status": "int32",
    "verdict": "string",
    "reason": "string",
    "quota_id": "string",
    "waited_ms": "double",
    "billed": "string",
    **dict.fromkeys(COUNTS, "int64"),
    **dict.fromkeys(DETAILS, "list"),
    "billable_searches": "int64",
    "service_tier": "string",
    "tier_source": "string",
    "price_id": "string",
    "cost_usd": _MONEY,
    "reserve_usd": _MONEY,
    "labels": "list",
    "reserve_input_tokens": "int64",
    "reserve_output_tokens": "int64",
}


def data_faults(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    """(found, wanted) for each column of `data/` that is not where or what it must be."""
    names = [name for name in schema.names if name not in _OPTIONAL]
    yield from _misplaced(names[:4], list(_IDENTITY))
    start = names.index("prompt") if "prompt" in names else 4
    yield from _misplaced(names[start : start + len(_ANSWER)], list(_ANSWER))
    yield from _mistyped(schema, _IDENTITY | _ANSWER | _OPTIONAL)


def ledger_faults(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    """The same of `attempts/`."""
    yield from _misplaced(schema.names[: len(_LEDGER)], list(_LEDGER))
    yield from _mistyped(schema, _LEDGER)


def _misplaced(found: list[str], wanted: list[str]) -> Iterator[tuple[str, str]]:
    if found != wanted:
        at = next((n for n, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), len(found))
        there = f"column {found[at]!r}" if at < len(found) else "no column"
        yield there, f"column {wanted[at]!r}" if at < len(wanted) else "no column"


def _mistyped(schema: pa.Schema, wanted: dict[str, str]) -> Iterator[tuple[str, str]]:
    for field in schema:
        kind = wanted.get(field.name)
        found = "list" if pa.types.is_list(field.type) else "struct" if pa.types.is_struct(field.type) else field.type
        if kind is not None and str(found) != kind:
            yield f"{field.name}: {field.type}", f"{field.name}: {kind}"
