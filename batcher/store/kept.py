"""What does a retry keep of the part that it replaces? The good rows as they are, and what the others had used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.money.totals import Totals
from batcher.records import Status
from batcher.store.bills import Earlier
from batcher.store.schemas import PAID_BY_RUN

_USED = ("task", "attempts", "input_tokens", "output_tokens", "cost_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """Of one step: the rows to keep, and what the rows asked again had used, by task."""

    rows: pa.RecordBatch
    earlier: Mapping[int, Earlier]


class KeptRows:
    """Reads the old part step by step, beside the new one.

    Args:
        part: the part to be replaced.
        asked: the tasks that were asked again.
        batch_rows: rows read at once.
    """

    def __init__(self, part: Path, asked: frozenset[int], batch_rows: int) -> None:
        self._asked = asked
        # Checked, or a byte that rotted in the old part would get a good checksum in the new one.
        self._file = pq.ParquetFile(part, page_checksum_verification=True)
        self._batches = self._file.iter_batches(batch_size=batch_rows)
        self._ahead = self._file.schema_arrow.empty_table()
        self._statuses: dict[Status, int] = {}
        self._wasted = Decimal(0)
        self._spared = 0

    def take(self, first: int, count: int) -> Old:
        """The old rows of `count` tasks from `first`."""
        while self._ahead.num_rows < count:
            self._ahead = pa.concat_tables([self._ahead, pa.Table.from_batches([next(self._batches)])])
        step, self._ahead = self._ahead.slice(0, count), self._ahead.slice(count)
        assert step.column("task")[0].as_py() == first  # parts are dense and in order
        again = pa.array([task in self._asked for task in step.column("task").to_pylist()])
        return Old(rows=_one_batch(step.filter(pc.invert(again))), earlier=_earlier(step.filter(again)))

    def count(self, data: pa.RecordBatch) -> None:
        """Count a finished step: its statuses and waste stand for those of the generations before."""
        for status in data.column("status").to_pylist():
            self._statuses[Status(status)] = self._statuses.get(Status(status), 0) + 1
        self._wasted += pc.sum(data.column("wasted_usd")).as_py() or Decimal(0)
        if PAID_BY_RUN in data.schema.names:
            self._spared += data.num_rows - data.column(PAID_BY_RUN).null_count

    def replaced(self, before: Totals, again: Totals) -> Totals:
        """The block's totals: what both generations used, and what became of the rows in the end."""
        return replace(before + again, by_status=self._statuses, wasted_usd=self._wasted, spared=self._spared)


def woven(new: pa.RecordBatch, kept: pa.RecordBatch) -> pa.RecordBatch:
    """Both in task order."""
    return _one_batch(pa.Table.from_batches([new, kept.cast(new.schema)]).sort_by("task"))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _earlier(rows: pa.Table) -> dict[int, Earlier]:
    columns = [rows.column(name) for name in _USED] + [rows.column("started_at").cast(pa.int64())]
    return {
        task: Earlier(attempts=tried, input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost, started_at=began)
        for task, tried, tokens_in, tokens_out, cost, began in zip(
            *(column.to_pylist() for column in columns), strict=True
        )
    }


def earlier_of(part: Path, asked: frozenset[int]) -> dict[int, Earlier]:
    """What the tasks asked again had used before, by task."""
    table = pq.read_table(part, columns=[*_USED, "started_at"], page_checksum_verification=True)
    return _earlier(table.filter(pc.is_in(table.column("task"), value_set=pa.array(sorted(asked), pa.int64()))))


def used_before(part: Path, asked: frozenset[int]) -> dict[int, int]:
    """Attempts that the tasks asked again had already, so that the next gets the next number."""
    table = pq.read_table(part, columns=["task", "attempts"], page_checksum_verification=True)
    pairs = zip(table.column("task").to_pylist(), table.column("attempts").to_pylist(), strict=True)
    return {task: attempts for task, attempts in pairs if task in asked}
