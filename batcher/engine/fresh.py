"""Which answers are still in memory, read and priced? A seal takes them from here and spares the journal the reading.

Only what is committed gets an outcome, so nothing is sealed that a kill could lose. The memory is bounded: beyond it,
after a resume and for rows that a retry asks again, the journal is read instead.
"""

from __future__ import annotations

import pyarrow as pa

from batcher.engine.packing import Packed, Packer, Step
from batcher.records import Outcome
from batcher.store.bills import Read

MOST_BYTES = 64 << 20  # four seconds' answers at 7,000 a second: so long a block waits for rows that are asked again
_OBJECTS_BYTES = 1_500  # of an answer's records, beside its text


class Fresh:
    """Answers of this session that no part holds yet.

    Args:
        most_bytes: about so much is kept.
        packer: makes columns of a step whose tasks have all ended; without it they stay as they are.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, packer: Packer | None = None) -> None:
        self._most_bytes = most_bytes
        self._packer = packer
        self._reads: dict[int, list[Read]] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._sizes: dict[int, int] = {}
        self._size = 0
        self._step: Step | None = None
        self._left: dict[int, int] = {}  # first task of a step -> tasks of it that have not ended
        self._packed: dict[int, Packed] = {}

    def read(self, read: Read) -> None:
        """One request was judged and priced."""
        attempt = read.attempt
        task, size = attempt.task, len(attempt.body) + _OBJECTS_BYTES
        if self._size + size > self._most_bytes:
            self._forget(task)
            return
        self._size += size
        self._sizes[task] = self._sizes.get(task, 0) + size
        self._reads.setdefault(task, []).append(read)

    def outcome(self, outcome: Outcome) -> None:
        """One task ended, and the journal has it."""
        task = outcome.task
        if len(self._reads.get(task, ())) != outcome.attempts:
            self._forget(task)  # an earlier session, or the bound, has had a part of it
            return
        self._outcomes[task] = outcome
        step = self._step_of(task)
        if step is None:
            return
        left = self._left.pop(step.first, step.stop - step.first) - 1
        if left:
            self._left[step.first] = left
        else:
            self._pack(step)

    async def spared(self, rows: pa.RecordBatch) -> None:
        """Rows were sealed that were never asked; nothing of them is kept here."""

    def packed(self, first: int, most: int) -> Packed | None:
        """The columns of up to `most` tasks from `first` on, and no longer kept; None when these are not columns."""
        packed = self._packed.pop(first, None)
        if packed is None:
            return None
        if packed.stop > first + most:
            packed, rest = packed.cut(first + most)
            self._packed[rest.first] = rest
        self._size -= packed.size
        return packed

    def apart(self, first: int, most: int) -> int:
        """How many tasks from `first` on, up to `most`, are kept in the same way: to the end of their step."""
        step = self._step_of(first)
        return most if step is None else min(most, step.stop - first)

    def take(self, first: int, count: int) -> dict[int, tuple[Outcome, list[Read]]]:
        """What is known of the tasks from `first`, whole tasks only, and no longer kept."""
        taken = {}
        for task in range(first, first + count):
            outcome = self._outcomes.get(task)
            if outcome is not None:
                taken[task] = (outcome, self._reads.get(task, []))
            self._forget(task)
        self._left.pop(first, None)
        return taken

    def _step_of(self, task: int) -> Step | None:
        step = self._step
        if self._packer is not None and (step is None or not step.first <= task < step.stop):
            step = self._step = self._packer.step_of(task)
        return step

    def _pack(self, step: Step) -> None:
        assert self._packer is not None
        tasks = range(step.first, step.stop)
        if not all(task in self._outcomes for task in tasks):
            return  # the bound has had one
        outcomes = [self._outcomes.pop(task) for task in tasks]
        asked = [self._reads.pop(task, []) for task in tasks]
        packed = self._packed[step.first] = self._packer.pack(step, outcomes, asked)
        self._size += packed.size - sum([self._sizes.pop(task, 0) for task in tasks])

    def _forget(self, task: int) -> None:
        self._size -= self._sizes.pop(task, 0)
        self._reads.pop(task, None)
        self._outcomes.pop(task, None)
