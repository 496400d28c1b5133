"""How does an answer that somebody else paid for become a row? It is copied, costs 0, and says who paid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.errors import StorageError
from batcher.store import schemas
from batcher.store.bills import Terms
from batcher.store.columns import beside

_FREE: Mapping[str, pa.DataType] = {
    "input_tokens": pa.int64(),
    "output_tokens": pa.int64(),
    "cost_usd": schemas.MONEY,
    "wasted_usd": schemas.MONEY,
    "attempts": pa.int32(),
}
_ITS_OWN = frozenset({"task", "ordinal", "sample", "id", "prompt", "request_hash", "labels", *_FREE})
"""What a row with another's answer has of itself; the rest of our columns are the answer's."""
_BATCH_ROWS = 256
_BATCHES_AT_HAND = 8


class Loan(NamedTuple):
    """Where the answer of one task stands: which part of whose run, and which row of it."""

    task: int
    part: Path
    run_id: str
    row: int


class _Place(NamedTuple):
    """Where the scratch file has it."""

    batch: int
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """Answers of finished parts, for some tasks in order.

    Attributes:
        columns: the answer's columns, `request_hash`, and who paid.
    """

    tasks: Sequence[int]
    columns: pa.Table


class LentRows:
    """Fetches the answers of a block from other parts into one scratch file, then gives them step by step.

    Each row group that holds one is read once; what is in memory is one batch of rows and the places of the tasks.
    Methods block.

    Args:
        loans: of the block, in any order.
        schema: of the run's `data/`.
        user: how many columns of it are the user's own.
        scratch: a file that may be written, and is left to whoever clears its folder.

    Raises:
        StorageError: a part is gone or damaged.
    """

    def __init__(self, loans: Sequence[Loan], schema: pa.Schema, user: Sequence[str], scratch: Path) -> None:
        self._wanted = [name for name in schema.names if name not in _ITS_OWN and name not in user]
        kinds = [schema.field(name) for name in self._wanted]
        self._schema = pa.schema([*kinds, pa.field("request_hash", pa.binary(16))])
        self._places: dict[int, _Place] = {}
        batches = 0
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            in_place = sorted(loans, key=lambda loan: (str(loan.part), loan.row))
            for part, group in groupby(in_place, lambda loan: loan.part):
                for tasks, batch in self._fetched(part, list(group)):
                    writer.write_batch(batch)
                    for row, sharing in enumerate(tasks):
                        self._places |= dict.fromkeys(sharing, _Place(batches, row))
                    batches += 1
        self._source = pa.OSFile(str(scratch), "rb")
        self._reader = pa.ipc.open_file(self._source)
        self._at_hand: deque[tuple[int, pa.RecordBatch]] = deque(maxlen=_BATCHES_AT_HAND)

    def take(self, first: int, count: int) -> Lent:
        """What there is of `count` tasks from `first`."""
        tasks = [task for task in range(first, first + count) if task in self._places]
        pieces = [self._batch(self._places[task].batch).slice(self._places[task].row, 1) for task in tasks]
        return Lent(tasks=tasks, columns=pa.Table.from_batches(pieces, schema=self._schema))

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def _batch(self, number: int) -> pa.RecordBatch:
        found = next((batch for at, batch in self._at_hand if at == number), None)
        if found is None:
            found = self._reader.get_batch(number)
            self._at_hand.append((number, found))
        return found

    def _fetched(self, part: Path, loans: list[Loan]) -> Iterator[tuple[list[list[int]], pa.RecordBatch]]:
        """The rows of one part that are wanted, each with the tasks that share it."""
        rows = [(row, [loan.task for loan in sharing]) for row, sharing in groupby(loans, lambda loan: loan.row)]
        try:
            with pq.ParquetFile(part, page_checksum_verification=True) as file:
                for first, batch in _batches(file, self._names_in(file), [row for row, _ in rows]):
                    here = [(row - first, tasks) for row, tasks in rows if first <= row < first + batch.num_rows]
                    if here:
                        taken = batch.take(pa.array([row for row, _ in here], pa.int64()))
                        yield [tasks for _, tasks in here], self._as_lent(taken, loans[0].run_id)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(
                f"{part}: its answers are to be used again, and it cannot be read: {error}",
                hint="put it back and run the same command again, or name another folder with -o",
            ) from error

    def _names_in(self, file: pq.ParquetFile) -> list[str]:
        there = set(file.schema_arrow.names)
        return [name for name in (*self._wanted, "task", "request_hash") if name in there]

    def _as_lent(self, rows: pa.RecordBatch, run_id: str) -> pa.RecordBatch:
        """In this run's schema; who paid for the row it is taken from has paid for this one, too."""
        there = set(rows.schema.names)
        columns = {name: rows.column(name) for name in self._schema.names if name in there}
        payers = columns.get(schemas.PAID_BY_RUN, pa.nulls(rows.num_rows, pa.string()))
        bills = columns.get(schemas.PAID_BY_TASK, pa.nulls(rows.num_rows, pa.int64()))
        columns[schemas.PAID_BY_RUN] = pc.fill_null(payers, run_id)
        columns[schemas.PAID_BY_TASK] = pc.coalesce(bills, rows.column("task"))
        arrays = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows.num_rows, field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _batches(file: pq.ParquetFile, names: list[str], rows: list[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The row groups that hold one of `rows`, in batches, each with the number of its first row."""
    first = 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if any(first <= row < first + size for row in rows):
            at = first
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=names):
                yield at, batch
                at += batch.num_rows
        first += size


def lent_columns(planned: pa.RecordBatch, lent: Lent, schema: pa.Schema, terms: Terms) -> pa.RecordBatch:
    """A slice of `data/` whose answers somebody else paid for.

    Args:
        planned: the block file's rows of the same tasks.
        lent: their answers.
        schema: of the run's `data/`.
        terms: what is the same for every row.

    Raises:
        StorageError: an answer is not of the request that was planned.
    """
    count = len(lent.tasks)
    answers = lent.columns.combine_chunks()
    if not pc.all(pc.equal(planned.column("request_hash"), answers.column("request_hash"))).as_py():
        raise StorageError(
            "the run whose answers are used again has changed since this one was planned",
            hint="name another folder with -o",
        )
    columns = {name: _one(answers.column(name)) for name in answers.column_names if name != "request_hash"}
    columns |= {
        "task": pa.array(lent.tasks, pa.int64()),
        "sample": pa.array([task % terms.samples for task in lent.tasks], pa.int16()),
        **_free(count),
    }
    named = pa.schema([schema.field(name) for name in columns])
    return beside(planned, pa.RecordBatch.from_arrays(list(columns.values()), schema=named), schema, terms)


def shared_columns(data: pa.RecordBatch, originals: Sequence[int], run_id: str) -> pa.RecordBatch:
    """A slice of `data/` as its rows would be had they been asked, at the cost of the rows that were."""
    count = data.num_rows
    columns = {name: data.column(name) for name in data.schema.names} | _free(count)
    columns[schemas.PAID_BY_RUN] = pa.repeat(pa.scalar(run_id), count)
    columns[schemas.PAID_BY_TASK] = pa.array(originals, pa.int64())
    return pa.RecordBatch.from_arrays([columns[name] for name in data.schema.names], schema=data.schema)


def _free(count: int) -> dict[str, pa.Array]:
    return {name: pa.array([0] * count).cast(kind) for name, kind in _FREE.items()}


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
