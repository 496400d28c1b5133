"""What had tasks used, as far as the ledger files of their block can be read?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.money.usage import buckets
from batcher.records import Billed, Usage
from batcher.store.bills import Earlier
from batcher.store.salvage import sound_rows
from batcher.store.schemas import COUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the ledger has of one task.

    Attributes:
        numbers: of its attempts that have a row.
        used: their sums; `attempts` is the highest number, so that the next gets the next one.
    """

    numbers: frozenset[int]
    used: Earlier


def past_of(files: Iterable[Path], tasks: frozenset[int]) -> dict[int, Past]:
    """What these ledger files have of some tasks; those without a row are left out."""
    found: dict[int, Past] = {}
    for row, started_at in _rows(files, tasks):
        found[row["task"]] = _and_also(found.get(row["task"]), row, started_at)
    return found


def _rows(files: Iterable[Path], tasks: frozenset[int]) -> Iterator[tuple[Mapping[str, Any], int]]:
    wanted = pa.array(sorted(tasks), pa.int64())
    for path in files:
        for batch in sound_rows(path):
            found = batch.filter(pc.is_in(batch.column("task"), value_set=wanted))
            columns = found.select(["task", "attempt", "billed", "cost_usd", *COUNTS]).to_pylist()
            yield from zip(columns, found.column("started_at").cast(pa.int64()).to_pylist(), strict=True)


def _and_also(past: Past | None, row: Mapping[str, Any], started_at: int) -> Past:
    before = past or Past(numbers=frozenset(), used=_nothing(started_at))
    number: int = row["attempt"]
    used = replace(
        before.used,
        attempts=max(before.used.attempts, number),
        started_at=min(before.used.started_at, started_at),
    )
    if row["billed"] == Billed.YES:
        billed = buckets(Usage(**{name: row[name] for name in COUNTS}))
        used = replace(
            used,
            input_tokens=used.input_tokens + billed.billed_input,
            output_tokens=used.output_tokens + billed.billed_output,
            cost_usd=_sum(used.cost_usd, row["cost_usd"]),
        )
    return Past(numbers=before.numbers | {number}, used=used)


def _nothing(started_at: int) -> Earlier:
    return Earlier(attempts=0, input_tokens=0, output_tokens=0, cost_usd=Decimal(0), started_at=started_at)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
