"""When do answers become columns? As soon as all tasks of a step have ended, while they are in the processor's cache.

A block's answers wait seconds for the last of them. Left as records until the seal, they were cold by then (17 against
12 µs a row, measured) and a hundred objects a row in the way of the collector.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from batcher.engine.plan import Plan
from batcher.money.totals import Totals
from batcher.records import Outcome
from batcher.rows.blocks import Block
from batcher.store.bills import Read, Terms, totals_of
from batcher.store.blockfile import SLICE
from batcher.store.blocks import BlockRow
from batcher.store.columns import slice_columns

TASKS_A_STEP = 128  # one step is a few ms of work on the loop; 8,192 rows at once stalled it for 153 ms


class Step(NamedTuple):
    """Tasks whose answers become columns together: whole rows of one block.

    Attributes:
        no: of the block.
        first, stop: the tasks.
    """

    no: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Finished tasks as columns.

    Attributes:
        first: the first task; one row of `answers` a task.
        answers: what `store.columns.answer_columns` makes.
        ledger: the rows of `attempts/` of these tasks.
        totals: of these tasks.
        size: bytes of memory.
    """

    first: int
    answers: pa.RecordBatch
    ledger: pa.RecordBatch
    totals: Totals
    size: int

    @property
    def stop(self) -> int:
        """One behind the last task."""
        count: int = self.answers.num_rows
        return self.first + count

    def cut(self, at: int) -> tuple[Packed, Packed]:
        """The tasks before `at` and those from it on; the totals go with the first."""
        tasks = self.ledger.column("task").to_pylist()
        row, attempt = at - self.first, bisect_left(tasks, at)
        size = self.size * row // self.answers.num_rows
        return (
            Packed(
                first=self.first,
                answers=self.answers.slice(0, row),
                ledger=self.ledger.slice(0, attempt),
                totals=self.totals,
                size=size,
            ),
            Packed(
                first=at,
                answers=self.answers.slice(row),
                ledger=self.ledger.slice(attempt),
                totals=Totals(),
                size=self.size - size,
            ),
        )


def packer_of(plan: Plan, rows: Mapping[int, BlockRow]) -> Packer | None:
    """The packer of a session that begins with these blocks; None where a row alone is too much work for the loop."""
    if plan.terms.images or plan.terms.samples > TASKS_A_STEP:
        return None
    again = frozenset(no for no, row in rows.items() if row.totals is not None)
    return Packer(plan.index.blocks, again, plan.schema, plan.terms)


class Packer:
    """Knows the steps of a run and makes the columns of one.

    Args:
        blocks: of the run, in order.
        again: numbers of those which a retry asks again: there the part before has a say in every row.
        schema: of `data/`.
    """

    def __init__(self, blocks: Sequence[Block], again: frozenset[int], schema: pa.Schema, terms: Terms) -> None:
        self._blocks = blocks
        self._again = again
        self._schema = schema
        self._terms = terms
        self._samples = terms.samples
        self._rows = TASKS_A_STEP // terms.samples
        self._firsts = [block.first_ordinal for block in blocks]

    def step_of(self, task: int) -> Step | None:
        """The step of a task, as a block file is cut into slices and a slice into steps; None where none is packed."""
        ordinal = task // self._samples
        block = self._blocks[bisect_right(self._firsts, ordinal) - 1]
        if block.no in self._again:
            return None
        in_slice = (ordinal - block.first_ordinal) % SLICE
        first = ordinal - in_slice % self._rows
        slice_end = ordinal - in_slice + SLICE
        stop = min(first + self._rows, slice_end, block.first_ordinal + block.rows)
        return Step(block.no, first * self._samples, stop * self._samples)

    def pack(self, step: Step, outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]]) -> Packed:
        """Make the columns of a step.

        Args:
            step: which.
            outcomes: of all its tasks, in order.
            asked: their attempts.
        """
        answers, ledger = slice_columns(outcomes, asked, {}, step.no, self._schema, self._terms)
        return Packed(
            first=step.first,
            answers=answers,
            ledger=ledger,
            totals=totals_of(outcomes, asked),
            size=answers.get_total_buffer_size() + ledger.get_total_buffer_size(),
        )
