"""Which rows go out, and why do the others stay? Every row is read once, in input order, and counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from batcher.records import Status
from batcher.store.reading import part_file

BATCH_ROWS = 512  # so that what an export holds does not depend on how many rows there are
OTHER = "outside --where"


class Selection:
    """Counts what goes by.

    Args:
        statuses: that go out.
        where: column -> text that a row must have in it; an empty text means null, too.

    Attributes:
        seen: rows with an outcome.
        written: rows that went out.
        left_out: reason -> rows, in the order of the statuses, then as met.
    """

    def __init__(self, statuses: Collection[str], where: Mapping[str, str]) -> None:
        self._statuses = frozenset(statuses)
        self._where = where
        self._left_out: Counter[str] = Counter()
        self.seen = 0
        self.written = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> rows."""
        order = [*map(str, Status), *self._left_out]
        return {reason: self._left_out[reason] for reason in dict.fromkeys(order) if self._left_out[reason]}

    def leave(self, reason: str, rows: int = 1) -> None:
        """Count rows that stay."""
        self._left_out[reason] += rows

    def wants(self, status: str) -> bool:
        """Whether a row that ended so goes out; counts it if not."""
        if status not in self._statuses:
            self._left_out[status] += 1
        return status in self._statuses

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the rows of a batch that go out, by `status` and `where`; count the others."""
        self.seen += batch.num_rows
        statuses = batch.column("status")
        kept = pc.is_in(statuses, value_set=pa.array(sorted(self._statuses), statuses.type))
        for found in pc.value_counts(statuses.filter(pc.invert(kept))).to_pylist():
            self._left_out[found["values"]] += found["counts"]
        return self.matching(batch.filter(kept))

    def matching(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the rows of a batch that `where` takes; count the others."""
        if not self._where:
            return batch
        kept = batch.filter(self._fits(batch))
        self._count_others(batch.num_rows - kept.num_rows)
        return kept

    def matching_rows(self, wanted: list[tuple[int, int]], columns: pa.RecordBatch) -> list[tuple[int, int]]:
        """Give of (row of `columns`, task) those that `where` takes; count the others."""
        if not self._where:
            return wanted
        fits = self._fits(columns).to_pylist()
        kept = [(row, task) for row, task in wanted if fits[row]]
        self._count_others(len(wanted) - len(kept))
        return kept

    def _fits(self, batch: pa.RecordBatch) -> pa.Array:
        fits = pa.array([True] * batch.num_rows, pa.bool_())
        for name, text in self._where.items():
            fits = pc.and_(fits, _says(batch.column(name), text))
        return fits

    def _count_others(self, rows: int) -> None:
        if rows:
            self._left_out[OTHER] += rows


def _says(column: pa.Array, text: str) -> pa.Array:
    said = column if pa.types.is_large_string(column.type) else column.cast(pa.large_string())
    return pc.equal(pc.fill_null(said, ""), pa.scalar(text, pa.large_string()))


def read_rows(part: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read a part in small batches.

    Raises:
        StorageError: it is damaged.
    """
    with part_file(part) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
            yield batch.select(columns)  # they come in the file's order
