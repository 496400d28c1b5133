"""How do nested values become Arrow arrays? Flattened once, with offsets; never a dict a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any

import pyarrow as pa

from batcher.records import Answer, Candidate, Usage
from batcher.store import schemas
from batcher.store.bills import NO_USAGE

_CANDIDATE = attrgetter(*(field.name for field in schemas.CANDIDATE))
_COUNTS = attrgetter(*schemas.COUNTS)
_DETAILS = attrgetter(*schemas.DETAILS)


def candidates(rows: Sequence[Sequence[Candidate]]) -> pa.Array:
    """The column `candidates`."""
    flat = [candidate for row in rows for candidate in row]
    offsets = pa.array([0, *accumulate(len(row) for row in rows)], pa.int32())
    fields = list(schemas.CANDIDATE)
    columns = zip(*map(_CANDIDATE, flat), strict=True) if flat else [()] * len(fields)
    arrays = [
        _listed(column, field.type.value_type) if pa.types.is_list(field.type) else pa.array(column, field.type)
        for column, field in zip(columns, fields, strict=True)
    ]
    struct = pa.StructArray.from_arrays(arrays, fields=fields)
    return pa.ListArray.from_arrays(offsets, struct, type=pa.list_(schemas.CANDIDATE))


def prompt_feedback(answers: Sequence[Answer]) -> pa.Array:
    """The column `prompt_feedback`; null where the endpoint gave none."""
    present = [answer.block_reason is not None or bool(answer.prompt_safety_ratings) for answer in answers]
    arrays = [
        pa.array([answer.block_reason for answer in answers], pa.string()),
        _ratings([answer.prompt_safety_ratings for answer in answers]),
    ]
    return _struct(arrays, schemas.PROMPT_FEEDBACK, present)


def usage_metadata(rows: Sequence[Usage | None]) -> pa.Array:
    """The column `usage_metadata`; null where the endpoint gave none."""
    return _struct(usage_arrays(rows), schemas.USAGE_METADATA, [usage is not None for usage in rows])


def usage_arrays(rows: Sequence[Usage | None]) -> list[pa.Array]:
    """The counts, then the details, in the order of `schemas`."""
    usages = [usage or NO_USAGE for usage in rows]
    if not usages:
        return [pa.array([], field.type) for field in schemas.USAGE_METADATA]
    counts = [pa.array(column, pa.int64()) for column in zip(*map(_COUNTS, usages), strict=True)]
    return counts + [_details(column) for column in zip(*map(_DETAILS, usages), strict=True)]


def labels_column(labels: tuple[tuple[str, str], ...], count: int) -> pa.Array:
    """The column `labels`, the same on every row."""
    return _listed([labels] * count, schemas.LABELS.value_type)


def constant(value: str, count: int) -> pa.Array:
    """A column of one text."""
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _ratings(rows: Sequence[tuple[tuple[Any, ...], ...]]) -> pa.Array:
    return _listed(rows, schemas.RATING)


def _details(rows: Sequence[Mapping[str, int]]) -> pa.Array:
    pairs = [tuple(row.items()) if row else () for row in rows]
    return _listed(pairs, schemas.MODALITY_TOKENS.value_type)


def _listed(rows: Sequence[tuple[tuple[Any, ...], ...]], kind: pa.StructType) -> pa.Array:
    if not any(rows):
        offsets, flat = pa.repeat(pa.scalar(0, pa.int32()), len(rows) + 1), []
    else:
        offsets, flat = pa.array([0, *accumulate(map(len, rows))], pa.int32()), [item for row in rows for item in row]
    columns = list(zip(*flat, strict=True)) if flat else [()] * kind.num_fields
    arrays = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(kind)), type=pa.list_(kind))


def _struct(arrays: list[pa.Array], kind: pa.StructType, present: list[bool]) -> pa.Array:
    absent = pa.array([not there for there in present], pa.bool_())
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=absent)
