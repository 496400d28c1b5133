"""Input files for the tests of this room, and the shortest way from them to a plan and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.job.spec import Input
from batcher.records import Row
from batcher.rows.index import Index
from batcher.rows.planning import plan_rows
from batcher.rows.readers import find_inputs
from batcher.rows.slices import BlockReader

RESERVED = frozenset({"task", "ordinal", "id", "prompt", "status", "response"})


def lines_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_bytes(lines_of(rows))
    return path


def write_table(path: Path, columns: Mapping[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(dict(columns)), path, **options)
    return path


def an_input(*paths: Path | str, **settings: Any) -> Input:
    return Input(files=tuple(map(str, paths)), **settings)


def planned(spec: Input, spool: Path, *, block_rows: int = 4, has_template: bool = False, **options: Any) -> Index:
    files = find_inputs(spec, spool=spool)
    options = {"limit": None, "reserved": RESERVED} | options
    return plan_rows(files, spec, block_rows=block_rows, has_template=has_template, **options)


def read_back(
    index: Index, spec: Input, *, slice_rows: int = 3, needed: frozenset[str] | None = None
) -> tuple[list[Row], list[dict[str, Any]]]:
    """All rows of all blocks, and their output columns as Python values."""
    rows: list[Row] = []
    columns: list[dict[str, Any]] = []
    with BlockReader(index, spec, slice_rows=slice_rows, needed=needed) as reader:
        for block in index.blocks:
            found = 0
            for piece in reader.read(block):
                assert piece.first_ordinal == piece.rows[0].ordinal == len(rows)
                assert piece.columns.num_rows == len(piece.rows)
                assert piece.columns.schema == index.schema
                found += len(piece.rows)
                rows += piece.rows
                columns += piece.columns.to_pylist()
            assert found == block.rows
    return rows, columns
