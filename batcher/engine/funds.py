"""How is a run kept within its budget? The purse and what fills it, and the deadline."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from batcher.asking.ask import Asker, Turn
from batcher.asking.thrifty import ThriftyAsker
from batcher.engine.charges import Charges, check_bounded
from batcher.engine.halt import Halt
from batcher.engine.plan import Plan
from batcher.engine.spent import spent_before
from batcher.errors import JobError, RunStopped
from batcher.job.budget import deadline_us
from batcher.job.spec import Job
from batcher.money.cost import fusd
from batcher.pacing.budget import Amount, Budget, Spending
from batcher.pacing.purse import Purse
from batcher.records import Request
from batcher.rows.conversion import needs_folding
from batcher.rows.slices import BlockReader
from batcher.store.bills import Read
from batcher.store.blockfile import SLICE, Planned
from batcher.store.blocks import BlockRow, is_sealed
from batcher.store.journal import Journal


def few_ahead(concurrency: int) -> int:
    """How many tasks wait ready to be sent: each holds a reserve, which a kill would charge as those that are out."""
    return min(max(concurrency // 8, 8), 64)


class Funds:
    """What a run with a cap has: reserves for its tasks, and the bill of each attempt in their place.

    Args:
        purse: gives them.
        charges: says for how much each counts.
    """

    def __init__(self, purse: Purse, charges: Charges) -> None:
        self.purse = purse
        self._charges = charges

    async def afford(self, tasks: Sequence[tuple[Planned, int]]) -> int:
        """Hold reserves for the first of these tasks, waiting for it, and as many behind it as fit; how many.

        Raises:
            BudgetReached: the first never fits into what is left.
            RunStopped: what it may cost has no bound.
        """
        return await self.purse.take([(task, self._reserve(row)) for row, task in tasks])

    def _reserve(self, row: Planned) -> Amount | None:
        if row.request is None:
            return None
        try:
            return self._charges.reserve(row.request)
        except JobError as error:
            raise RunStopped(f"row {row.ordinal}: {error.message}", hint=error.hint) from None

    def asker(self, *, on_turn: Callable[[Turn], Read], **parts: Any) -> Asker:
        """An `Asker` that takes every attempt's bill to the purse; `on_turn` makes it out."""
        billed, price = self.purse.billed, self._charges.billed

        def told(turn: Turn) -> None:
            billed(turn.attempt.task, price(on_turn(turn)))

        return ThriftyAsker(self.purse, on_turn=told, **parts)

    @property
    def spending(self) -> Spending:
        """How the budget stands."""
        return self.purse.spending


async def funds_of(
    plan: Plan, rows: Mapping[int, BlockRow], journal: Journal, *, log: Callable[[str], None], now_us: int
) -> Funds | None:
    """The funds of a run that starts or goes on; None without a cap, and then nothing is looked at.

    Args:
        plan: what there is to do.
        rows: its blocks, as the journal has them after recovery.
        journal: of the run.
        log: told when four fifths are spent.
        now_us: wall time, microseconds since the epoch.

    Raises:
        JobError: the cap cannot be held, because nobody can tell what a request costs at most.
        StorageError: the ledger or the journal is damaged.
    """
    job = plan.job
    if not job.budget.is_capped:
        return None
    if not all(is_sealed(rows.get(block.no)) for block in plan.index.blocks):  # else nothing will be sent
        check_bounded(job, plan.terms.rates, now_us=now_us)
    charges = Charges(job, plan.terms.rates, from_us=now_us)
    if not rows and ("model" in job.prompt.overrides or needs_folding(plan.index.shape)):
        await asyncio.to_thread(_check_rows, plan, charges)
    cap = job.budget.max_cost_usd
    budget = Budget(
        cap_fusd=None if cap is None else fusd(cap),
        cap_tokens=job.budget.max_tokens,
        spent=await spent_before(plan, rows, journal, charges),
    )
    purse = Purse(budget, nearly=lambda setting, spending: log(_nearly(setting, spending)), hint=_hint(job))
    return Funds(purse, charges)


def _hint(job: Job) -> str:
    """The usual reason why a request holds much more than it costs."""
    is_set = job.generation.max_output_tokens or "max_output_tokens" in job.prompt.overrides
    return "" if is_set else "generation.max_output_tokens bounds what an answer may cost, and so what is held for it"


def _check_rows(plan: Plan, charges: Charges) -> None:
    """Look through all rows of a new run, which name their own models or bring whole requests."""
    reader = BlockReader(plan.index, plan.job.input, slice_rows=SLICE, needed=plan.builder.needed)
    for block in plan.index.blocks:
        for piece in reader.read(block):
            for row in piece.rows:
                made = row.problem or plan.builder.build(row)
                if isinstance(made, Request):
                    charges.check(made, row.where)


def _nearly(setting: str, spending: Spending) -> str:
    if setting == "max_tokens":
        return f"note: {spending.spent_tokens:,} of {spending.cap_tokens:,} tokens are used (budget.max_tokens)"
    spent, cap = (f"${(amount or Decimal(0)).normalize():f}" for amount in (spending.spent_usd, spending.cap_usd))
    return f"note: {spent} of {cap} are spent (budget.max_cost_usd)"


@contextlib.contextmanager
def deadline(job: Job, halt: Halt, *, is_asking: Callable[[], bool], wall_us: Callable[[], int]) -> Iterator[None]:
    """Send nothing more after the job's deadline, while the block lasts: what is out comes home, and the run stops.

    When it passes while nothing is left to ask, the last parts are written all the same.
    """
    said = job.budget.deadline
    if said is None or not is_asking():
        yield
        return
    now_us = wall_us()
    at_us = deadline_us(said, now_us)
    passed = DeadlinePassed(at_us, said)

    def stop() -> None:
        if is_asking():
            halt.stop(passed)

    timer = asyncio.get_running_loop().call_later(max(at_us - now_us, 0) / 1e6, stop)
    if at_us <= now_us:
        stop()
    try:
        yield
    finally:
        timer.cancel()


class DeadlinePassed(RunStopped):
    """Nothing more is sent, because it is so late.

    Args:
        at_us: the deadline, microseconds since the epoch.
        said: as the job says it.
    """

    def __init__(self, at_us: int, said: str) -> None:
        at = dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC).astimezone()
        super().__init__(f"budget.deadline: {at:%Y-%m-%d %H:%M} has passed")
        self.is_over = said[:4].isdigit() and "-" in said  # an instant: the same command would stop at once
