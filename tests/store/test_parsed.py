from __future__ import annotations

import pyarrow as pa

from batcher.records import Status
from batcher.store.columns import data_columns
from batcher.store.parsed import parsed, schema_valid
from batcher.store.schemas import data_schema
from tests.builders import an_attempt, an_outcome
from tests.store.builders import AT_US, asked, body, planned, terms


def test_only_what_is_valid_is_parsed_and_in_one_spelling() -> None:
    texts = ['{"b": 1,\n "a": [ ]}', '{"b": 1}', '{"b"', "{}", None]
    statuses = [Status.OK, Status.INVALID, Status.TRUNCATED, Status.BLOCKED, Status.FAILED]

    found = parsed(statuses, texts)

    assert found.to_pylist() == ['{"a":[],"b":1}', None, None, None, None]
    assert found.type == pa.large_string()


def test_valid_is_said_of_answers_and_unknown_of_rows_without_one() -> None:
    assert dict(zip(Status, schema_valid(list(Status)).to_pylist(), strict=True)) == {
        Status.OK: True,
        Status.BLOCKED: None,
        Status.TRUNCATED: False,
        Status.INVALID: False,
        Status.FAILED: None,
    }


def test_a_slice_has_the_columns_where_the_run_has_a_schema_and_only_there() -> None:
    outcome = an_outcome(status=Status.INVALID, error_kind="schema_mismatch", error_message="$: no")
    reads = asked([an_attempt(started_at=AT_US, body=body("[1]"))])

    for has_schema in (True, False):
        schema = data_schema([], raw=False, parsed=has_schema)
        row = data_columns(planned(1), [outcome], reads, {}, schema, terms()).to_pylist()[0]
        assert (row["response"], row["error_kind"]) == ("[1]", "schema_mismatch")
        assert ("parsed" in row, row.get("schema_valid")) == (has_schema, False if has_schema else None)
        assert row["wasted_usd"] == row["cost_usd"] > 0
