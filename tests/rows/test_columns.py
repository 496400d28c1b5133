from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.arrays import from_objects
from batcher.rows.columns import INT64_MAX, MAX_COLUMNS, OTHER_COLUMNS, Census, Frozen, plain
from tests.examples import a_few
from tests.strategies import json_rows, typed_rows


def frozen(*rows: dict[str, Any], consumed: frozenset[str] = frozenset(), reserved: tuple[str, ...] = ()) -> Frozen:
    census = Census()
    census.see_rows(rows)
    return census.freeze(consumed=consumed, reserved=reserved)


def written(rows: list[dict[str, Any]], columns: Frozen) -> list[dict[str, Any]]:
    schema = pa.schema([(column.name, column.type) for column in columns.columns])
    batch = from_objects(rows, columns.columns, found=frozenset(columns.found), schema=schema)
    assert batch.schema == schema
    assert batch.num_rows == len(rows)
    return batch.to_pylist()


@pytest.mark.parametrize(
    ("values", "kind", "is_json"),
    [
        (["a", None], pa.large_string(), False),
        ([1, 2], pa.int64(), False),
        ([1, 2.5, None], pa.float64(), False),
        ([True, None], pa.bool_(), False),
        ([None, None], pa.large_string(), False),
        ([True, 1], pa.large_string(), True),
        (["a", 1], pa.large_string(), True),
        ([{"a": 1}], pa.large_string(), True),
        ([[1], None], pa.large_string(), True),
        ([INT64_MAX], pa.int64(), False),
        ([INT64_MAX + 1, 1], pa.large_string(), True),
        ([INT64_MAX + 1, 1.5], pa.float64(), False),
    ],
)
def test_the_type_of_a_column_holds_all_its_values(values: list[Any], kind: pa.DataType, is_json: bool) -> None:
    (column,) = frozen(*({"c": value} for value in values)).columns

    assert (column.type, column.is_json) == (kind, is_json)


@a_few
@given(st.lists(json_rows, max_size=8))
def test_no_row_is_too_odd_for_the_schema_made_from_it(rows: list[dict[str, Any]]) -> None:
    columns = frozen(*rows)
    back = written(rows, columns)

    for row, found in zip(rows, back, strict=True):
        for column in columns.columns:
            value = row.get(column.source)
            if column.is_json:
                assert (found[column.name] is None) == (value is None)
                assert value is None or orjson.loads(found[column.name]) == value
            elif column.type == pa.float64():
                assert found[column.name] == (None if value is None else float(value))
            else:
                assert found[column.name] == value


@given(st.lists(typed_rows, max_size=8))
def test_columns_of_one_type_are_not_json(rows: list[dict[str, Any]]) -> None:
    assert not any(column.is_json for column in frozen(*rows).columns)


@a_few
@given(st.lists(json_rows, max_size=8), st.integers(0, 8))
def test_it_does_not_matter_in_which_batches_rows_are_seen(rows: list[dict[str, Any]], at: int) -> None:
    census = Census()
    census.see_rows(rows[:at])
    census.see_rows(rows[at:])

    kinds = {column.source: (column.type, column.is_json) for column in census.freeze(consumed=(), reserved=()).columns}
    assert kinds == {column.source: (column.type, column.is_json) for column in frozen(*rows).columns}


def test_columns_stand_in_the_order_in_which_they_were_met() -> None:
    assert frozen({"b": 1, "a": 1}, {"c": 1, "b": 1}).found == ("b", "a", "c")


def test_consumed_columns_are_found_but_not_repeated() -> None:
    columns = frozen({"id": 1, "prompt": "a", "lang": "en"}, consumed=frozenset({"id", "prompt"}))

    assert columns.found == ("id", "prompt", "lang")
    assert [column.name for column in columns.columns] == ["lang"]


def test_a_name_of_ours_is_given_a_prefix_and_said_once() -> None:
    columns = frozen({"status": 1, "prompt": "a", "lang": 3}, reserved=("status", "prompt"))

    assert [column.name for column in columns.columns] == ["input_status", "input_prompt", "lang"]
    assert columns.notes == (
        "columns with a name of ours are renamed: 'status' is 'input_status', 'prompt' is 'input_prompt'",
    )


def test_a_prefixed_name_does_not_hit_another_column_of_the_users() -> None:
    columns = frozen({"status": 1, "input_status": 2}, reserved=("status",))

    assert {column.source: column.name for column in columns.columns} == {
        "status": "input_input_status",
        "input_status": "input_status",
    }


def test_json_columns_are_said_in_one_note() -> None:
    assert frozen({"a": {}, "b": [1], "c": 1}).notes == (
        "written as JSON text (objects, arrays or mixed types): 'a', 'b'",
    )


def test_keys_beyond_the_limit_are_kept_together() -> None:
    rows = [{f"c{number}": number} for number in range(MAX_COLUMNS + 2)]
    columns = frozen(*rows)
    back = written(rows, columns)

    assert len(columns.found) == MAX_COLUMNS
    assert back[-1][OTHER_COLUMNS] == '{"c1025":1025}'
    assert back[0][OTHER_COLUMNS] is None
    assert OTHER_COLUMNS in columns.notes[-1]


def test_whole_numbers_too_large_for_a_double_round_rather_than_stop_the_run() -> None:
    rows = [{"c": 2**53 + 1}, {"c": 0.5}]

    assert written(rows, frozen(*rows)) == [{"c": float(2**53)}, {"c": 0.5}]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.string(), pa.large_string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.large_string()),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), pa.list_(pa.large_string())),
        (pa.struct([("a", pa.string()), ("b", pa.int8())]), pa.struct([("a", pa.large_string()), ("b", pa.int8())])),
        (pa.string_view(), pa.large_string()),
        (pa.null(), pa.large_string()),
        (pa.float16(), pa.float32()),
        (pa.int32(), pa.int32()),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    ],
)
def test_parquet_types_become_what_every_reader_loads(kind: pa.DataType, wanted: pa.DataType) -> None:
    assert plain(kind) == wanted


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ((pa.int32(), pa.int64()), pa.int64()),
        ((pa.int32(), pa.float32()), pa.float64()),
        ((pa.string(), pa.large_string()), pa.large_string()),
        ((pa.null(), pa.int32()), pa.int32()),
        ((pa.string(), pa.int32()), None),
        ((pa.uint64(), pa.int64()), None),
    ],
)
def test_tables_meet_in_one_type(kinds: tuple[pa.DataType, ...], wanted: pa.DataType | None) -> None:
    census = Census()
    for kind in kinds:
        census.see_schema(pa.schema([("c", kind)]))
    (column,) = census.freeze(consumed=(), reserved=()).columns

    assert (None if column.is_json else column.type) == wanted
