from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from batcher.rows.arrays import from_objects, from_table, mended, to_python
from batcher.rows.columns import Column


def a_column(name: str, kind: pa.DataType, *, is_json: bool = False) -> Column:
    return Column(source=name, name=f"out_{name}", type=kind, is_json=is_json)


def schema_of(*columns: Column) -> pa.Schema:
    return pa.schema([(column.name, column.type) for column in columns])


def broken_text() -> pa.Array:
    """Two texts, the second no UTF-8: Arrow does not look."""
    return pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")]
    )


def test_a_key_that_a_row_lacks_is_null() -> None:
    columns = [a_column("a", pa.int64()), a_column("b", pa.large_string(), is_json=True)]
    batch = from_objects([{"a": 1}, {"b": [1]}, {}], columns, found={"a", "b"}, schema=schema_of(*columns))

    assert batch.to_pylist() == [
        {"out_a": 1, "out_b": None},
        {"out_a": None, "out_b": "[1]"},
        {"out_a": None, "out_b": None},
    ]


def test_rows_without_columns_are_still_counted() -> None:
    assert from_objects([{}, {}], [], found=set(), schema=pa.schema([])).num_rows == 2
    assert from_table(pa.record_batch({"a": [1, 2, 3]}), [], schema=pa.schema([])).num_rows == 3


@pytest.mark.parametrize("values", [["x"], [2**63], [{}]])
def test_what_planning_did_not_see_is_an_error(values: list[Any]) -> None:
    column = a_column("a", pa.int64())
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)):
        from_objects([{"a": value} for value in values], [column], found={"a"}, schema=schema_of(column))


@pytest.mark.parametrize(
    ("array", "kind", "wanted"),
    [
        (pa.array(["a", None]).dictionary_encode(), pa.large_string(), ["a", None]),
        (pa.array([1, None], pa.int32()), pa.float64(), [1.0, None]),
        (pa.array([2**53 + 1, 0]), pa.float64(), [float(2**53), 0.0]),
        (pa.array([[1], None]), pa.list_(pa.int64()), [[1], None]),
    ],
)
def test_an_array_is_cast_to_the_frozen_type(array: pa.Array, kind: pa.DataType, wanted: list[Any]) -> None:
    column = a_column("a", kind)
    batch = from_table(pa.RecordBatch.from_arrays([array], names=["a"]), [column], schema=schema_of(column))

    assert batch.column(0).to_pylist() == wanted
    assert batch.schema == schema_of(column)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"\x00\xff", "AP8="),
        (Decimal("1.50"), "1.50"),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
        ({"a": [None]}, {"a": [None]}),
    ],
)
def test_any_arrow_value_has_a_json_text(value: Any, wanted: Any) -> None:
    column = a_column("a", pa.large_string(), is_json=True)
    batch = from_table(pa.RecordBatch.from_arrays([pa.array([value])], names=["a"]), [column], schema=schema_of(column))

    assert orjson.loads(batch.column(0)[0].as_py()) == wanted


def test_a_column_that_one_file_lacks_is_null_there() -> None:
    column = a_column("b", pa.large_string())

    assert from_table(pa.record_batch({"a": [1]}), [column], schema=schema_of(column)).to_pylist() == [{"out_b": None}]


@pytest.mark.parametrize("wrap", [lambda array: array, lambda array: pa.StructArray.from_arrays([array], ["in"])])
def test_broken_text_becomes_null_and_is_told(wrap: Any) -> None:
    batch = pa.RecordBatch.from_arrays([wrap(broken_text()), pa.array([1, 2])], names=["t", "n"])
    sound, problems = mended(batch)

    assert problems == {1: "column 't' is not valid UTF-8"}
    assert sound.schema == batch.schema
    assert sound.column("t")[1].as_py() is None
    assert sound.column("n").to_pylist() == [1, 2]


def test_sound_text_is_not_touched() -> None:
    batch = pa.record_batch({"t": ["ä", None]})

    assert mended(batch) == (batch, {})
    assert mended(batch)[0] is batch


def test_nanoseconds_are_cut_off() -> None:
    array = pa.array([1_500, None], pa.timestamp("ns", "UTC"))

    assert to_python(array) == [dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC), None]
