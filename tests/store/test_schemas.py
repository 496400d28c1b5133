from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.rows.features import MEDIUM
from batcher.store.schemas import ATTEMPTS, PICTURES, RESERVED, SCHEMA_VERSION, data_schema
from tests.media import a_picture

RATINGS = "list<item: struct<category: string, probability: string, blocked: bool>>"
TOKENS = "list<item: struct<modality: string, token_count: int64>>"
MONEY, STAMP, LABELS = "decimal128(38, 15)", "timestamp[us, tz=UTC]", "list<item: struct<key: string, value: string>>"
CANDIDATES = (
    "list<item: struct<index: int32, role: string, text: large_string, thoughts: large_string, parts: large_string, "
    "finish_reason: string, finish_message: string, token_count: int64, avg_logprobs: double, "
    f"safety_ratings: {RATINGS}, "
    "citation_sources: list<item: struct<start_index: int64, end_index: int64, uri: string, license: string>>, "
    "grounding_metadata: large_string>>"
)
USAGE = (
    "struct<prompt_token_count: int64, candidates_token_count: int64, total_token_count: int64, "
    "cached_content_token_count: int64, tool_use_prompt_token_count: int64, thoughts_token_count: int64, "
    f"prompt_tokens_details: {TOKENS}, candidates_tokens_details: {TOKENS}, cache_tokens_details: {TOKENS}, "
    f"tool_use_prompt_tokens_details: {TOKENS}>"
)
DATA = [
    ("task", "int64"),
    ("ordinal", "int64"),
    ("sample", "int16"),
    ("id", "string"),
    ("lang", "large_string"),
    ("prompt", "large_string"),
    ("status", "string"),
    ("response", "large_string"),
    ("parsed", "large_string"),
    ("schema_valid", "bool"),
    ("candidates", CANDIDATES),
    ("prompt_feedback", f"struct<block_reason: string, safety_ratings: {RATINGS}>"),
    ("usage_metadata", USAGE),
    ("input_tokens", "int64"),
    ("output_tokens", "int64"),
    ("cost_usd", MONEY),
    ("wasted_usd", MONEY),
    ("finish_reason", "string"),
    ("error_kind", "string"),
    ("error_message", "string"),
    ("model", "string"),
    ("model_version", "string"),
    ("response_id", "string"),
    ("service_tier", "string"),
    ("created", "int64"),
    ("attempts", "int32"),
    ("started_at", STAMP),
    ("latency_ms", "double"),
    ("first_byte_ms", "double"),
    ("finished_at", STAMP),
    ("request_hash", "fixed_size_binary[16]"),
    ("labels", LABELS),
    ("raw", "large_binary"),
    ("response_images", "list<item: struct<bytes: binary, path: string>>"),
    ("paid_by_run", "string"),
    ("paid_by_task", "int64"),
]
LEDGER = [
    ("run_id", "string"),
    ("block", "int32"),
    ("task", "int64"),
    ("sample", "int16"),
    ("attempt", "int32"),
    ("role", "string"),
    ("project", "string"),
    ("endpoint", "string"),
    ("model", "string"),
    ("model_version", "string"),
    ("response_id", "string"),
    ("started_at", STAMP),
    ("latency_ms", "double"),
    ("http_status", "int32"),
    ("verdict", "string"),
    ("reason", "string"),
    ("quota_id", "string"),
    ("waited_ms", "double"),
    ("billed", "string"),
    ("prompt_token_count", "int64"),
    ("candidates_token_count", "int64"),
    ("total_token_count", "int64"),
    ("cached_content_token_count", "int64"),
    ("tool_use_prompt_token_count", "int64"),
    ("thoughts_token_count", "int64"),
    ("prompt_tokens_details", TOKENS),
    ("candidates_tokens_details", TOKENS),
    ("cache_tokens_details", TOKENS),
    ("tool_use_prompt_tokens_details", TOKENS),
    ("billable_searches", "int64"),
    ("service_tier", "string"),
    ("tier_source", "string"),
    ("price_id", "string"),
    ("cost_usd", MONEY),
    ("reserve_usd", MONEY),
    ("labels", LABELS),
    ("reserve_input_tokens", "int64"),
    ("reserve_output_tokens", "int64"),
]
SCHEMAS = {
    "data": data_schema([pa.field("lang", pa.large_string())], raw=True, parsed=True, images=True, spares=True),
    "attempts": ATTEMPTS,
}
COST, WASTED = Decimal("12345678901234567890123.000000000000001"), Decimal("0.000000000000002")
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)

Rows = list[dict[str, Any]]


def full_value(kind: pa.DataType, name: str = "") -> Any:
    """Some value of a type, none of its parts null."""
    if pa.types.is_struct(kind):
        return {field.name: full_value(field.type, field.name) for field in kind}
    if pa.types.is_list(kind):
        return [full_value(kind.value_type)] * 2
    if pa.types.is_decimal(kind):
        return WASTED if name == "wasted_usd" else COST
    if pa.types.is_timestamp(kind):
        return AT
    return _PLAIN[str(kind)]


_PLAIN: dict[str, Any] = {
    "string": "größer",
    "large_string": "a\u2028b",
    "int16": 32_767,
    "int32": 2**31 - 1,
    "int64": 2**62,
    "double": 0.1,
    "bool": True,
    "large_binary": b"\xff\x00",
    "binary": a_picture(),
    "fixed_size_binary[16]": bytes(range(16)),
}


def rows_of(schema: pa.Schema) -> Rows:
    return [{field.name: full_value(field.type, field.name) for field in schema}, dict.fromkeys(schema.names)]


def by_pyarrow(path: Path) -> Rows:
    return pq.read_table(path).to_pylist()


def by_duckdb(path: Path) -> Rows:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        # Through Arrow: as Python objects, its stamps want pytz, which it does not bring.
        return connection.sql(f"select * from '{path}'").to_arrow_table().to_pylist()


def by_pandas(path: Path) -> Rows:
    return [row for _, row in pd.read_parquet(path, dtype_backend="pyarrow").iterrows()]


def by_polars(path: Path) -> Rows:
    return pl.read_parquet(path).to_dicts()


def by_datasets(path: Path) -> Rows:
    return list(datasets.Dataset.from_parquet(str(path), cache_dir=str(path.parent / "cache")))


READERS = [by_pyarrow, by_duckdb, by_pandas, by_polars, by_datasets]


def test_the_columns_are_pinned():
    """A column is added at the end, never renamed or retyped: a change here is a new schema version."""
    assert SCHEMA_VERSION == 1
    assert [(field.name, str(field.type)) for field in SCHEMAS["data"]] == DATA
    assert [(field.name, str(field.type)) for field in SCHEMAS["attempts"]] == LEDGER


def test_the_raw_column_is_there_when_asked_for():
    assert data_schema([], raw=True).names == [*data_schema([], raw=False).names, "raw"]


def test_the_columns_of_a_schema_for_answers_are_there_when_it_is():
    plain, parsed = data_schema([], raw=False).names, data_schema([], raw=False, parsed=True).names
    at = plain.index("response") + 1

    assert parsed == [*plain[:at], "parsed", "schema_valid", *plain[at:]]


def test_the_pictures_are_there_when_asked_for_and_say_what_they_are():
    schema = data_schema([pa.field("image", MEDIUM)], raw=True, images=True, features={"image": {"_type": "Image"}})

    assert schema.names[-2:] == ["raw", PICTURES]
    features = datasets.Features.from_arrow_schema(schema)
    assert (features["image"], features[PICTURES]) == (datasets.Image(), datasets.List(datasets.Image()))
    assert data_schema([], raw=True).metadata is None


def test_who_paid_stands_last_and_only_where_somebody_else_may_have():
    plain = data_schema([], raw=True, images=True).names

    assert data_schema([], raw=True, images=True, spares=True).names == [*plain, "paid_by_run", "paid_by_task"]


def test_our_names_are_reserved():
    assert {name for name, _ in DATA if name != "lang"} == RESERVED


@pytest.mark.parametrize("table", SCHEMAS)
@pytest.mark.parametrize("read", READERS)
def test_every_reader_loads_a_full_row_and_an_empty_one(
    read: Callable[[Path], Rows], table: str, tmp_path: Path
) -> None:
    schema = SCHEMAS[table]
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(schema), schema=schema), path)
    full, empty = read(path)
    expected = rows_of(schema)[0]

    for name in ("cost_usd", "task", "sample", "model", "latency_ms", "started_at", "service_tier"):
        assert full[name] == expected[name], name
    assert list(full.keys()) == schema.names
    assert isinstance(full["cost_usd"], Decimal)
    assert full["cost_usd"] + WASTED == COST + WASTED
    assert [dict(label) for label in full["labels"]] == expected["labels"]
    assert all(is_null(empty[name]) for name in schema.names), {name: empty[name] for name in schema.names}


def is_null(value: Any) -> bool:
    return value is None or value is pd.NA


@pytest.mark.parametrize("read", READERS)
def test_every_reader_sees_what_is_nested(read: Callable[[Path], Rows], tmp_path: Path) -> None:
    schema = SCHEMAS["data"]
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(schema), schema=schema), path)
    full = read(path)[0]
    expected = rows_of(schema)[0]

    candidate = full["candidates"][1]
    assert candidate["text"] == "a\u2028b"
    assert candidate["safety_ratings"][0]["blocked"]
    assert candidate["citation_sources"][0]["end_index"] == 2**62
    assert full["usage_metadata"]["prompt_token_count"] == 2**62
    assert full["usage_metadata"]["cache_tokens_details"][0]["modality"] == "größer"
    assert full["prompt_feedback"]["block_reason"] == "größer"
    assert (full["request_hash"], full["raw"]) == (expected["request_hash"], expected["raw"])
    assert full["wasted_usd"] == WASTED


def test_duckdb_adds_money_up_exactly(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"cost_usd": pa.array([WASTED] * 1000, SCHEMAS["data"].field("cost_usd").type)}), path)
    with duckdb.connect() as connection:
        total = connection.execute(f"select sum(cost_usd) from '{path}'").fetchone()

    assert total == (WASTED * 1000,)
