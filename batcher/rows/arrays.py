"""How do the values of a slice of rows become Arrow columns of the frozen schema?"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from batcher.rows.columns import OTHER_COLUMNS, Column

_BROKEN = object()


def from_objects(
    objects: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    found: Collection[str],
    schema: pa.Schema,
    references: Sequence[str | None] = (),
) -> pa.RecordBatch:
    """Make the user's columns of a slice of JSON rows; a missing key is null.

    Args:
        objects: one mapping a row; empty for a row that could not be read.
        columns: of the frozen schema, in order.
        found: all columns of the input, which tells the others apart.
        schema: of `columns`.
        references: the known answer of each row, where a column is for it.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError: a value is not what planning saw.
    """
    arrays = []
    for column in columns:
        if column.is_reference:
            arrays.append(pa.array(references, column.type))
            continue
        values = [row.get(column.source) for row in objects]
        if column.source == OTHER_COLUMNS and OTHER_COLUMNS not in found:
            values = [{key: row[key] for key in row if key not in found} or None for row in objects]
        arrays.append(_array(values, column))
    return _batch(arrays, schema, len(objects))


def from_table(
    batch: pa.RecordBatch, columns: Sequence[Column], *, schema: pa.Schema, references: Sequence[str | None] = ()
) -> pa.RecordBatch:
    """Make the user's columns of a slice of a Parquet file; a missing column is null."""
    names = set(batch.schema.names)
    arrays = []
    for column in columns:
        if column.is_reference:
            arrays.append(pa.array(references, column.type))
        elif column.source in names:
            arrays.append(_fitted(batch.column(column.source), column))
        else:
            arrays.append(pa.nulls(batch.num_rows, column.type))
    return _batch(arrays, schema, batch.num_rows)


def mended(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[int, str]]:
    """Take out of a slice of a Parquet file what is not valid UTF-8: nobody could send it, or read it in the output.

    Returns:
        The slice with nulls in such places, and what is wrong with each row that had one.
    """
    columns = []
    problems: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
            columns.append(column)
        except pa.ArrowInvalid:
            values = [_decoded(scalar) for scalar in column]
            problems |= {
                at: f"column {name!r} is not valid UTF-8" for at, value in enumerate(values) if value is _BROKEN
            }
            columns.append(pa.array([None if value is _BROKEN else value for value in values], column.type))
    return (_batch(columns, batch.schema, batch.num_rows) if problems else batch), problems


def _decoded(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _BROKEN


def to_python(array: pa.Array) -> list[Any]:
    """Give an array's values; nanoseconds, which Python's own times do not have, are cut off."""
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    values: list[Any] = array.to_pylist()
    return values


def _batch(arrays: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    # A batch without columns would forget how many rows it has.
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def _array(values: list[Any], column: Column) -> pa.Array:
    if column.is_json:
        return pa.array([None if value is None else _json(value) for value in values], pa.large_string())
    if pa.types.is_floating(column.type):
        # Arrow refuses whole numbers above 2**53 here; the column was told to hold doubles, so they round.
        values = [float(value) if type(value) is int else value for value in values]
    return pa.array(values, column.type)


def _fitted(array: pa.Array, column: Column) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if column.is_json:
        return _array(to_python(array), column)
    return array if array.type == column.type else array.cast(column.type, safe=False)


def _json(value: object) -> str:
    return orjson.dumps(value, default=_other).decode()


def _other(value: object) -> object:
    """Write what JSON does not know: bytes as base64, decimals and the rest as their text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
