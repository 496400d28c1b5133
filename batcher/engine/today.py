"""How much of today's quota have earlier sessions used? The ledger and the journal know, so a kill loses no count."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batcher.engine.plan import Plan
from batcher.engine.ways import lane_of, routes_of
from batcher.errors import StorageError
from batcher.job.pool import has_day_quota
from batcher.records import Billed
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import BlockRow, State, read_sent
from batcher.store.entries import CORRECTION
from batcher.store.journal import Journal
from batcher.store.reading import CHECKED
from batcher.store.schemas import ATTEMPTS, STAMP

_PACIFIC = "America/Los_Angeles"  # where day quotas reset at midnight
_LANE = ("endpoint", "project", "model")


async def used_today(plan: Plan, rows: Mapping[int, BlockRow], journal: Journal, *, now_us: int) -> dict[str, int]:
    """Lane -> requests that this run sent since the last Pacific midnight; empty without a day quota, and nothing read.

    A lost attempt counts as sent: nobody knows, and the quota must hold. Call it after recovery.

    Args:
        plan: whose run.
        rows: its blocks, as the journal has them.
        journal: where the attempts are that no ledger file has yet.
        now_us: wall time, microseconds since the epoch.

    Raises:
        StorageError: the ledger or a block's plan is damaged.
    """
    if not has_day_quota(plan.job):
        return {}
    since_us = pacific_midnight_before(now_us)
    files = published(plan, rows)
    counts = await asyncio.to_thread(_of_ledger, files, since_us)
    sent = await journal.call(read_sent(since_us))
    samples = plan.job.samples
    lost = frozenset(task // samples for task, model, _ in sent if not model)
    models = await asyncio.to_thread(models_of, plan, rows, lost)
    of_nobody: Counter[str] = Counter()
    for task, model, place in sent:
        if place is not None:
            counts[lane_of(*place, model)] += 1
        elif model or not plan.terms.several:
            counts[plan.lane(model or models[task // samples])] += 1
        else:
            of_nobody[models[task // samples]] += 1
    for model in [lane for lane in counts if " " not in lane]:
        of_nobody[model] += counts.pop(model)
    for model, count in of_nobody.items():  # whoever was asked: no quota may be broken by what was lost
        counts.update({route.lane: count for route in routes_of(plan.job, plan.lane(model))})
    return dict(counts)


def pacific_midnight_before(wall_us: int) -> int:
    """When day quotas were reset last; in and out are microseconds since the epoch."""
    zone = ZoneInfo(_PACIFIC)
    today = dt.datetime.fromtimestamp(wall_us // 1_000_000, zone).date()
    return int(dt.datetime.combine(today, dt.time.min, zone).timestamp()) * 1_000_000


def published(plan: Plan, rows: Mapping[int, BlockRow]) -> list[Path]:
    """The ledger files whose attempts are no longer in the journal: a kill may have left one of a block that is."""
    open_ones = (row for row in rows.values() if row.state is not State.SEALED)
    twice = {plan.rundir.ledger(row.no, row.generation) for row in open_ones}
    return [path for path in plan.rundir.ledgers() if path not in twice]


def _of_ledger(files: list[Path], since_us: int) -> Counter[str]:
    reached = pc.field("http_status").is_valid() | (pc.field("billed") != Billed.NO.value)
    today = pc.field("started_at") >= pa.scalar(since_us, pa.int64()).cast(STAMP)
    try:
        ledger = ds.dataset([str(path) for path in files], schema=ATTEMPTS, format=CHECKED)
        sent = ledger.to_table(columns=list(_LANE), filter=today & reached & (pc.field("role") != CORRECTION))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"the ledger of today cannot be read: {error}") from error
    lanes = sent.group_by(list(_LANE)).aggregate([([], "count_all")])
    # A lost attempt of a run with several endpoints has none: its lane is a model alone.
    return Counter({lane_of(*(row[name] or "" for name in _LANE)): row["count_all"] for row in lanes.to_pylist()})


def models_of(plan: Plan, rows: Mapping[int, BlockRow], ordinals: frozenset[int]) -> dict[int, str]:
    """Ordinal -> model for the blocks of lost attempts: only the block's plan knows whom those asked."""
    models: dict[int, str] = {}
    for block in plan.index.blocks:
        if ordinals.isdisjoint(range(block.first_ordinal, block.first_ordinal + block.rows)):
            continue
        file = BlockFile(plan.rundir.block_file(block.no), digest=rows[block.no].digest)
        try:
            for batch in file.batches():
                models |= zip(batch.column("ordinal").to_pylist(), batch.column("model").to_pylist(), strict=True)
        finally:
            file.close()
    return models
