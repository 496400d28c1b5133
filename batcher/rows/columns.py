"""Which columns does the input have, and of what type? One schema over all rows of all files.

Whole and broken numbers meet as double; whatever else does not agree (text and numbers, objects, arrays, whole numbers
beyond int64) becomes JSON text, so that nothing is lost and every reader can load it. A column that is null throughout
is text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import pyarrow as pa

from batcher.rows.features import MEDIUM, feature_of, features_in, is_medium

INT64_MAX = 2**63 - 1
# Rows that each bring keys of their own would make a column a row; what is beyond is kept together, in one JSON column.
MAX_COLUMNS = 1024
OTHER_COLUMNS = "other_columns"
REFERENCE = "reference"
_REMEMBERED = 4096

_ARROW = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.large_string()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the user's, as the output has it.

    Attributes:
        source: its name in the input.
        name: its name in the output.
        type: its Arrow type in the output.
        is_json: whether the values are written as JSON text.
        is_reference: whether it holds what the shape took from the row as its known answer, under no name of the input.
        feature: what `datasets` takes it for, e.g. a picture; None for plain values.
    """

    source: str
    name: str
    type: pa.DataType
    is_json: bool
    is_reference: bool = False
    feature: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The columns of a whole input.

    Attributes:
        found: every column of the input, those that the shape consumed included (at most `MAX_COLUMNS`).
        columns: what the output repeats, in input order.
        notes: one line for each surprise.
    """

    found: tuple[str, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


_REFERENCE_COLUMN = Column(source="", name=REFERENCE, type=pa.large_string(), is_json=False, is_reference=True)


class Census:
    """Sees every row once and remembers which types each column had."""

    def __init__(self) -> None:
        self._types: dict[str, set[pa.DataType | None]] = {}  # None: only JSON can hold it
        self._known: dict[tuple[Any, ...], tuple[str, ...]] = {}
        self._features: dict[str, Any] = {}  # None: the files do not agree
        self._overflows = False

    def see_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows of JSON values into account.

        This runs once per row of the input, so rows are sorted by their keys and types, and only a sort not met before
        is looked at column by column. What is left to check by value is the range of whole numbers.
        """
        alike: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            alike[(*row, *map(type, row.values()))].append(row)
        for signature, members in alike.items():
            numbers = self._known.get(signature)
            if numbers is None:
                numbers = self._learn(signature, members[0])
            for key in numbers:
                if max(map(itemgetter(key), members)) > INT64_MAX:
                    self._add(key, pa.uint64())

    def see_schema(self, schema: pa.Schema) -> None:
        """Take the columns of a Parquet file into account."""
        for name, feature in features_in(schema).items():
            self._features[name] = feature if self._features.get(name, feature) == feature else None
        for field in schema:
            self._add(
                field.name,
                None if pa.types.is_null(field.type) else plain(field.type),
                seen=not pa.types.is_null(field.type),
            )

    def _learn(self, signature: tuple[Any, ...], row: Mapping[str, Any]) -> tuple[str, ...]:
        for key, value in row.items():
            self._add(key, _ARROW.get(type(value)), seen=value is not None)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()  # a memory, not a record: what was learnt stays in _types
        numbers = tuple(key for key, value in row.items() if type(value) is int)
        self._known[signature] = numbers
        return numbers

    def _add(self, key: str, kind: pa.DataType | None, *, seen: bool = True) -> None:
        if key not in self._types and len(self._types) >= MAX_COLUMNS:
            self._overflows = True
            return
        types = self._types.setdefault(key, set())
        if seen:
            types.add(kind)

    def freeze(self, *, consumed: Collection[str], reserved: Collection[str], has_reference: bool = False) -> Frozen:
        """Fix the schema.

        Args:
            consumed: columns that the output does not repeat.
            reserved: names that the output has for its own.
            has_reference: whether the shape takes a known answer from each row.
        """
        reserved = {*reserved, REFERENCE} if has_reference else reserved
        kept = {key: _union(types) for key, types in self._types.items() if key not in consumed}
        if self._overflows:
            kept[OTHER_COLUMNS] = None
        names = _names(kept, reserved)
        columns = tuple(
            Column(
                source=key,
                name=names[key],
                type=kind or pa.large_string(),
                is_json=kind is None,
                feature=None if kind is None else self._features.get(key, feature_of(key, kind)),
            )
            for key, kind in kept.items()
        )
        if has_reference:
            columns = (*columns, _REFERENCE_COLUMN)
        return Frozen(found=tuple(self._types), columns=columns, notes=tuple(self._notes(columns)))

    def _notes(self, columns: Sequence[Column]) -> Iterable[str]:
        if as_json := [repr(column.source) for column in columns if column.is_json]:
            yield f"written as JSON text (objects, arrays or mixed types): {', '.join(as_json)}"
        if renamed := [f"{column.source!r} is {column.name!r}" for column in columns if column.name != column.source]:
            yield f"columns with a name of ours are renamed: {', '.join(renamed)}"
        if self._overflows:
            yield f"more than {MAX_COLUMNS} columns: the others are kept together in {OTHER_COLUMNS!r}, as JSON text"


def _names(sources: Iterable[str], reserved: Collection[str]) -> dict[str, str]:
    taken = {source for source in sources if source not in reserved}
    names = {}
    for source in sources:
        name = source
        while name in reserved or (name != source and name in taken):
            name = f"input_{name}"
        taken.add(name)
        names[source] = name
    return names


def plain(kind: pa.DataType) -> pa.DataType:
    """Give the type that every reader loads: no dictionaries, views or extensions; text is large_string."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.large_string() if pa.types.is_null(kind) else _plain_nested(kind)


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        if is_medium(kind):
            return MEDIUM  # the one type in which `datasets` knows it
        return pa.struct([field.with_type(plain(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(plain(kind.value_type))
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(plain(kind.value_type))
    return kind


def _union(types: set[pa.DataType | None]) -> pa.DataType | None:
    """Give the one type that holds all of them; None where only JSON text can."""
    if not types:
        return pa.large_string()
    if len(types) == 1:
        return next(iter(types))
    if None in types or not all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types):
        return None
    if any(map(pa.types.is_floating, types)):
        return pa.float64()
    return pa.int64() if pa.uint64() not in types else None
