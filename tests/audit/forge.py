"""A run directory changed by somebody who knows how: new content, and good digests, checksums and footers over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.store.rundir import RunDir
from batcher.store.signed import UNSIGNED, sign_parquet

Change = Callable[[pa.Table], pa.Table]


def forge(path: Path, change: Change, *, stamp: Mapping[str, Any] | None = None, **totals: Any) -> None:
    """Write a file of a run again with other rows, and other words in its footer."""
    table = pq.read_table(path)
    said = orjson.loads(pq.read_metadata(path).metadata[b"batcher"])
    changed = change(table)
    said["stamp"] |= stamp or {}
    _put(said["totals"], totals)
    with pq.ParquetWriter(path, changed.schema, write_page_checksum=True) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({"batcher": orjson.dumps(said | {"blake2b": UNSIGNED})})
    sign_parquet(path)


def with_value(name: str, row: int, value: Any) -> Change:
    """One value of one column is another."""

    def change(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        values[row] = value(values[row]) if callable(value) else value
        field = table.schema.field(name)
        return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))

    return change


def without_row(row: int) -> Change:
    return lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def twice(row: int) -> Change:
    return lambda table: pa.concat_tables([table.slice(0, row + 1), table.slice(row)])


def swapped(row: int) -> Change:
    return lambda table: table.take(pa.array([*range(row), row + 1, row, *range(row + 2, table.num_rows)], pa.int64()))


def say(out: Path, **changes: Any) -> None:
    """Write run.json again with other facts; `summary__totals__attempts=3` goes deep."""
    rundir = RunDir.at(out)
    document = json.loads((out / "run.json").read_bytes())
    document.pop("blake2b")
    _put(document, changes)
    rundir.write_manifest(document)


def _put(document: Any, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        *way, last = name.split("__")
        place = document
        for step in way:
            place = place[step]
        place[last] = value
