"""Which tasks of a block need no asking, and where are their answers? As the index of the plan says it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batcher.engine.plan import Plan
from batcher.rows.blocks import Block
from batcher.store.lent import Loan
from batcher.store.rundir import RunDir
from batcher.store.spares import Spare, read_spares


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """The tasks of one block that need no asking.

    Attributes:
        loans: those whose answer stands in a finished part, of this run or another.
        shared: task -> the earlier task of the same block that is asked for both.
        needs: blocks that must have their part before this one can get its own.
    """

    loans: Sequence[Loan] = ()
    shared: dict[int, int]
    needs: frozenset[int] = frozenset()

    @property
    def tasks(self) -> set[int]:
        """All of them."""
        return {loan.task for loan in self.loans} | self.shared.keys()


class Spares:
    """Reads the index of a plan, block by block; methods block.

    Args:
        plan: one that has such an index.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._samples = plan.job.samples
        self._firsts = [block.first_ordinal for block in plan.index.blocks]
        self._sources = [
            (RunDir.at(Path(source["path"])), source["run_id"], source["is_preview"])
            for source in plan.manifest["spares"]["reuse"]
        ]

    def of(self, block: Block, asked: frozenset[int] | None) -> Spared:
        """What a block has of them.

        Args:
            block: of the plan.
            asked: the tasks that a retry asks again. What had been taken over is asked now; a row that shared an
                answer shares the next one. None: all of its tasks.

        Raises:
            StorageError: the index is gone or damaged.
        """
        first, stop = block.first_ordinal * self._samples, (block.first_ordinal + block.rows) * self._samples
        spares = read_spares(self._plan.rundir.spares, first, stop)
        loans: list[Loan] = []
        shared: dict[int, int] = {}
        needs: set[int] = set()
        for spare in spares:
            if asked is not None and (spare.original is None or spare.task not in asked):
                continue
            if spare.source is not None and asked is None:
                loans += self._of_source(spare)
                continue
            assert spare.original is not None
            owner = self._owner(spare.original)
            if owner.no != block.no:
                needs.add(owner.no)
            if owner.no == block.no and (asked is None or spare.original in asked):
                shared[spare.task] = spare.original
            else:
                loans.append(self._of_own(spare, owner))
        return Spared(loans=loans, shared=shared, needs=frozenset(needs))

    def _of_source(self, spare: Spare) -> list[Loan]:
        assert spare.source is not None
        rundir, run_id, is_preview = self._sources[spare.source]
        if not spare.part:
            return [Loan(spare.task, self._plan.rundir.leftovers(spare.source), run_id, spare.row)]
        path = next(rundir.data.glob(f"train-{spare.part:05d}-of-*.parquet"), rundir.data / f"train-{spare.part:05d}")
        if is_preview and not path.exists():
            return []  # nobody named it: whoever removes it does not expect that this run needs it
        return [Loan(spare.task, path, run_id, spare.row)]

    def _of_own(self, spare: Spare, owner: Block) -> Loan:
        assert spare.original is not None
        part = self._plan.rundir.part(owner.no, self._plan.blocks)
        row = spare.original - owner.first_ordinal * self._samples
        return Loan(spare.task, part, self._plan.terms.run_id, row)

    def _owner(self, task: int) -> Block:
        return self._plan.index.blocks[bisect_right(self._firsts, task // self._samples) - 1]
