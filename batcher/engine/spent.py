"""What have earlier sessions of the run spent? The ledger and the journal know, so a kill loses no cent."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batcher.engine.charges import Charges
from batcher.engine.plan import Plan
from batcher.engine.today import models_of, published
from batcher.errors import StorageError
from batcher.money.cost import fusd
from batcher.pacing.budget import Amount
from batcher.records import Attempt, Billed
from batcher.store.bills import read_attempt
from batcher.store.blocks import BlockRow
from batcher.store.entries import CORRECTION, read_of
from batcher.store.frames import unpack_attempt
from batcher.store.journal import Journal
from batcher.store.schemas import ATTEMPTS

_AT_ONCE = 1024  # attempts, whose bodies come with them
_SUMMED = (
    *("cost_usd", "prompt_token_count", "tool_use_prompt_token_count", "candidates_token_count"),
    *("thoughts_token_count", "total_token_count"),
)


async def spent_before(plan: Plan, rows: Mapping[int, BlockRow], journal: Journal, charges: Charges) -> Amount:
    """Add up what this run has spent; what may have been billed counts with the most that it can be.

    Args:
        plan: whose run.
        rows: its blocks, as the journal has them.
        journal: where the attempts are that no ledger file has yet; after recovery.
        charges: what each counts for.

    Raises:
        StorageError: the ledger or a block's plan is damaged.
    """
    files = published(plan, rows)
    total = await asyncio.to_thread(_of_ledger, files, charges)
    after = (-1, 0)
    while attempts := await journal.call(_read_some(after)):
        lost = frozenset(attempt.task // plan.job.samples for attempt in attempts if not attempt.model)
        models = await asyncio.to_thread(models_of, plan, rows, lost) if lost else {}
        for attempt in attempts:
            named = attempt if attempt.model else attempt._replace(model=models[attempt.task // plan.job.samples])
            total = _plus(total, charges.charged(read_attempt(named, plan.terms)))
        after = (attempts[-1].task, attempts[-1].n)
    return total


def _read_some(after: tuple[int, int]) -> Callable[[sqlite3.Connection], list[Attempt]]:
    def work(connection: sqlite3.Connection) -> list[Attempt]:
        rows = connection.execute(
            "select task, n, record from attempt where (task, n) > (?, ?) order by task, n limit ?", (*after, _AT_ONCE)
        )
        return [unpack_attempt(*row) for row in rows]

    return work


def _of_ledger(files: Sequence[Path], charges: Charges) -> Amount:
    """Billed attempts that say all there is to say are summed up column by column, the others looked at one by one."""
    if not files:
        return Amount()
    plain, odd = _parted(charges)
    total = Amount()
    try:
        ledger = ds.dataset([str(path) for path in files], schema=ATTEMPTS, format="parquet")
        for batch in ledger.to_batches(columns=list(_SUMMED), filter=plain):
            total = _plus(total, _sum(batch, charges))
        for batch in ledger.to_batches(filter=odd):
            for row in batch.to_pylist():
                total = _plus(total, charges.charged(read_of(row)))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"the ledger cannot be read: {error}") from error
    return total


def _parted(charges: Charges) -> tuple[pc.Expression, pc.Expression]:
    is_correction = pc.field("role") == CORRECTION
    used_tool = pc.field("billable_searches").is_valid() | (
        pc.coalesce(pc.field("tool_use_prompt_token_count"), pc.scalar(0)) > 0
    )
    said_all = (pc.field("billed") == Billed.YES.value) & pc.field("cost_usd").is_valid() & ~used_tool
    plain = is_correction if charges.has_tool else is_correction | said_all
    return plain, ~plain & (pc.field("billed") != Billed.NO.value)


def _sum(batch: pa.RecordBatch, charges: Charges) -> Amount:
    cost = pc.sum(batch.column("cost_usd")).as_py() if charges.counts_money else None
    return Amount(fusd(cost) if cost else 0, _tokens(batch) if charges.counts_tokens else 0)


def _tokens(batch: pa.RecordBatch) -> int:
    """Billed tokens as `money/usage` has them: thoughts are beside the candidates unless the total says otherwise."""
    prompt, tool, candidates, thoughts, total = (pc.fill_null(batch.column(name), 0) for name in _SUMMED[1:])
    without = pc.add(pc.add(prompt, tool), candidates)
    billed = pc.if_else(pc.equal(without, total), without, pc.add(without, thoughts))
    return pc.sum(billed).as_py() or 0


def _plus(one: Amount, other: Amount) -> Amount:
    return Amount(one.fusd + other.fusd, one.tokens + other.tokens)
