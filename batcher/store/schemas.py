"""What columns do `data/` and `attempts/` have? Schema version 1: columns are added at the end, never renamed.

All types stay within what pyarrow, DuckDB, pandas, Polars and `datasets` load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from batcher.rows.features import IMAGES, IMAGES_FEATURE, metadata_of

SCHEMA_VERSION = 1

MONEY = pa.decimal128(38, 15)
STAMP = pa.timestamp("us", tz="UTC")
LABELS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
MODALITY_TOKENS = pa.list_(pa.struct([("modality", pa.string()), ("token_count", pa.int64())]))
RATING = pa.struct([("category", pa.string()), ("probability", pa.string()), ("blocked", pa.bool_())])
CITATION = pa.struct(
    [("start_index", pa.int64()), ("end_index", pa.int64()), ("uri", pa.string()), ("license", pa.string())]
)
CANDIDATE = pa.struct(
    [
        ("index", pa.int32()),
        ("role", pa.string()),
        ("text", pa.large_string()),
        ("thoughts", pa.large_string()),
        ("parts", pa.large_string()),
        ("finish_reason", pa.string()),
        ("finish_message", pa.string()),
        ("token_count", pa.int64()),
        ("avg_logprobs", pa.float64()),
        ("safety_ratings", pa.list_(RATING)),
        ("citation_sources", pa.list_(CITATION)),
        ("grounding_metadata", pa.large_string()),
    ]
)
PROMPT_FEEDBACK = pa.struct([("block_reason", pa.string()), ("safety_ratings", pa.list_(RATING))])
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
USAGE_METADATA = pa.struct(
    [(name, pa.int64()) for name in COUNTS] + [(name, MODALITY_TOKENS) for name in DETAILS],
)

_IDENTITY = [("task", pa.int64()), ("ordinal", pa.int64()), ("sample", pa.int16()), ("id", pa.string())]
_ANSWER = [
    ("prompt", pa.large_string()),
    ("status", pa.string()),
    ("response", pa.large_string()),
    ("candidates", pa.list_(CANDIDATE)),
    ("prompt_feedback", PROMPT_FEEDBACK),
    ("usage_metadata", USAGE_METADATA),
    ("input_tokens", pa.int64()),
    ("output_tokens", pa.int64()),
    ("cost_usd", MONEY),
    ("wasted_usd", MONEY),
    ("finish_reason", pa.string()),
    ("error_kind", pa.string()),
    ("error_message", pa.string()),
    ("model", pa.string()),
    ("model_version", pa.string()),
    ("response_id", pa.string()),
    ("service_tier", pa.string()),
    ("created", pa.int64()),
    ("attempts", pa.int32()),
    ("started_at", STAMP),
    ("latency_ms", pa.float64()),
    ("first_byte_ms", pa.float64()),
    ("finished_at", STAMP),
    ("request_hash", pa.binary(16)),
    ("labels", LABELS),
]
_PARSED = [("parsed", pa.large_string()), ("schema_valid", pa.bool_())]
PICTURES = "response_images"
"""The column of the pictures that a model made, there only where the job asks for some."""

PAID_BY_RUN, PAID_BY_TASK = "paid_by_run", "paid_by_task"
PAID_BY = [(PAID_BY_RUN, pa.string()), (PAID_BY_TASK, pa.int64())]
"""Whose request brought the answer, as the ledger names it, where it was not this row's own: another run's, or another
row's of this run. There only where a run may have such rows; null in the rows that paid for themselves."""

RESERVED = frozenset(name for name, _ in _IDENTITY + _ANSWER + _PARSED + PAID_BY) | {"raw", PICTURES}
"""Names a user's column may not take; it gets the prefix `input_` instead."""


def data_schema(  # noqa: PLR0913  each is a column or two
    user: Iterable[pa.Field],
    *,
    raw: bool,
    parsed: bool = False,
    images: bool = False,
    spares: bool = False,
    features: Mapping[str, Any] | None = None,
) -> pa.Schema:
    """The frozen schema of `data/`: identity, the user's columns under their output names, then ours.

    Args:
        user: the input's columns.
        raw: whether the raw replies are kept.
        parsed: whether the job has a schema for its answers; their columns stand behind `response`.
        images: whether the pictures that the model makes are a column.
        spares: whether rows may have an answer that they did not pay for.
        features: what `datasets` takes the input's columns for; see `rows/features.py`.
    """
    fields = [pa.field(name, kind) for name, kind in _IDENTITY]
    fields += list(user)
    for name, kind in _ANSWER:
        fields.append(pa.field(name, kind))
        if parsed and name == "response":
            fields += [pa.field(own, own_kind) for own, own_kind in _PARSED]
    if raw:
        fields.append(pa.field("raw", pa.large_binary()))
    features = dict(features or {})
    if images:
        fields.append(pa.field(PICTURES, IMAGES))
        features[PICTURES] = IMAGES_FEATURE
    if spares:
        fields += [pa.field(name, kind) for name, kind in PAID_BY]
    return pa.schema(fields, metadata=metadata_of(features))


ATTEMPTS = pa.schema(
    [
        ("run_id", pa.string()),
        ("block", pa.int32()),
        ("task", pa.int64()),
        ("sample", pa.int16()),
        ("attempt", pa.int32()),
        ("role", pa.string()),
        ("project", pa.string()),
        ("endpoint", pa.string()),
        ("model", pa.string()),
        ("model_version", pa.string()),
        ("response_id", pa.string()),
        ("started_at", STAMP),
        ("latency_ms", pa.float64()),
        ("http_status", pa.int32()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("quota_id", pa.string()),
        ("waited_ms", pa.float64()),
        ("billed", pa.string()),
        *((name, pa.int64()) for name in COUNTS),
        ("prompt_tokens_details", MODALITY_TOKENS),
        ("candidates_tokens_details", MODALITY_TOKENS),
        ("cache_tokens_details", MODALITY_TOKENS),
        ("tool_use_prompt_tokens_details", MODALITY_TOKENS),
        ("billable_searches", pa.int64()),
        ("service_tier", pa.string()),
        ("tier_source", pa.string()),
        ("price_id", pa.string()),
        ("cost_usd", MONEY),
        ("reserve_usd", MONEY),
        ("labels", LABELS),
        ("reserve_input_tokens", pa.int64()),
        ("reserve_output_tokens", pa.int64()),
    ]
)
