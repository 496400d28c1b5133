"""How do nested values become Arrow arrays? Flattened once, with offsets; never a dict a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import lru_cache
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import pyarrow as pa

from batcher.money.cost import usd
from batcher.records import Answer, Candidate, Usage
from batcher.store import schemas
from batcher.store.bills import NO_USAGE

_KINDS_OF_SLICES = 64
_DIGITS = pa.decimal128(38, 0)
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
    if not any(present):
        return _no_feedback(len(present))
    arrays = [
        pa.array([answer.block_reason for answer in answers], pa.string()),
        _ratings([answer.prompt_safety_ratings for answer in answers]),
    ]
    return _struct(arrays, schemas.PROMPT_FEEDBACK, present)


@lru_cache(_KINDS_OF_SLICES)
def _no_feedback(count: int) -> pa.Array:
    return pa.nulls(count, schemas.PROMPT_FEEDBACK)


def usage_metadata(rows: Sequence[Usage | None], arrays: Sequence[pa.Array] | None = None) -> pa.Array:
    """The column `usage_metadata`; null where the endpoint gave none. `arrays` are its `usage_arrays`."""
    return _struct(arrays or usage_arrays(rows), schemas.USAGE_METADATA, [usage is not None for usage in rows])


def usage_arrays(rows: Sequence[Usage | None]) -> list[pa.Array]:
    """The counts, then the details, in the order of `schemas`."""
    usages = [usage or NO_USAGE for usage in rows]
    if not usages:
        return [pa.array([], field.type) for field in schemas.USAGE_METADATA]
    counts = [pa.array(column, pa.int64()) for column in zip(*map(_COUNTS, usages), strict=True)]
    return counts + [_details(column) for column in zip(*map(_DETAILS, usages), strict=True)]


def money(femtodollars: Sequence[int | None]) -> pa.Array:
    """A column of US dollars from whole femtodollars: they are the digits that the column stores."""
    try:
        digits = pa.array(femtodollars, pa.int64()).cast(_DIGITS)
    except OverflowError:  # more than $9,223 in one row
        return pa.array([None if each is None else usd(each) for each in femtodollars], schemas.MONEY)
    return pa.Array.from_buffers(schemas.MONEY, len(digits), digits.buffers(), digits.null_count)


# What is the same on every row of nearly every slice is made once for each length: an array never changes.
@lru_cache(_KINDS_OF_SLICES)
def labels_column(labels: tuple[tuple[str, str], ...], count: int) -> pa.Array:
    """The column `labels`, the same on every row."""
    return _listed([labels] * count, schemas.LABELS.value_type)


@lru_cache(_KINDS_OF_SLICES)
def constant(value: str, count: int) -> pa.Array:
    """A column of one text."""
    return pa.repeat(pa.scalar(value, pa.string()), count)


@lru_cache(_KINDS_OF_SLICES)
def _empty_lists(kind: pa.StructType, count: int) -> pa.Array:
    nothing = pa.StructArray.from_arrays([pa.array([], field.type) for field in kind], fields=list(kind))
    return pa.ListArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count + 1), nothing, type=pa.list_(kind))


def _ratings(rows: Sequence[tuple[tuple[Any, ...], ...]]) -> pa.Array:
    return _listed(rows, schemas.RATING)


def _details(rows: Sequence[Mapping[str, int]]) -> pa.Array:
    kind = schemas.MODALITY_TOKENS.value_type
    if not any(rows):
        return _empty_lists(kind, len(rows))
    columns = list(chain.from_iterable(rows)), [tokens for row in rows for tokens in row.values()]
    return _lists(rows, columns, kind)


def _listed(rows: Sequence[tuple[tuple[Any, ...], ...]], kind: pa.StructType) -> pa.Array:
    if not any(rows):
        return _empty_lists(kind, len(rows))
    return _lists(rows, tuple(zip(*chain.from_iterable(rows), strict=True)), kind)


def _lists(rows: Sequence[Sized], columns: Sequence[Sequence[Any]], kind: pa.StructType) -> pa.Array:
    """Lists of structs: as many in each row as it is long; `columns` are the structs' fields, over all rows."""
    offsets = pa.array([0, *accumulate(map(len, rows))], pa.int32())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(kind)), type=pa.list_(kind))


def _struct(arrays: Sequence[pa.Array], kind: pa.StructType, present: list[bool]) -> pa.Array:
    absent = pa.array([not there for there in present], pa.bool_())
    return pa.StructArray.from_arrays(list(arrays), fields=list(kind), mask=absent)
