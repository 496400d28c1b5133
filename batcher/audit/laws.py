"""What must hold in every row of a file, and which rows break it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.findings import Findings


@dataclass(frozen=True, slots=True)
class Law:
    """What must hold in every row of a file.

    Attributes:
        wanted: in words.
        broken: true where it does not hold; null counts as holding.
        found: the values that a finding shows, one or more columns beside each other.
    """

    kind: str
    wanted: str
    broken: Any
    found: Mapping[str, Any]


def judge(laws: list[Law], tasks: Any, where: Path, findings: Findings) -> None:
    """Hold rows against laws: one finding a law, with its first row and how many there are."""
    for law in laws:
        rows = pc.indices_nonzero(pc.fill_null(law.broken, fill_value=False))
        if not len(rows):
            continue
        first = rows[0].as_py()
        said = ", ".join(f"{name} {_spelt(values[first])}" for name, values in law.found.items())
        findings.add(law.kind, where, said, law.wanted, task=tasks[first].as_py(), times=len(rows))


def _spelt(value: pa.Scalar) -> str:
    plain = value.as_py()
    if isinstance(plain, bytes):
        return plain.hex()
    text = "null" if plain is None else f"{plain:f}" if isinstance(plain, Decimal) else str(plain)
    return text if len(text) <= 80 else f"{text[:79]}…"


def differ(left: Any, right: Any) -> Any:
    """Whether two columns are not the same, row by row; null is a value."""
    unlike = pc.fill_null(pc.not_equal(left, right), fill_value=False)
    return pc.or_(unlike, pc.not_equal(pc.is_null(left), pc.is_null(right)))


def not_in(values: Any, words: tuple[str, ...]) -> Any:
    """Whether a text is none of these words; null is none of them."""
    return pc.invert(pc.is_in(values, value_set=pa.array(words)))
