"""With whom does a run share its quotas, and how are they called among those who do?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from batcher.engine.plan import Plan
from batcher.engine.ways import lane_of, place_of
from batcher.errors import StorageError
from batcher.job.key import Secret
from batcher.job.pool import limits_of
from batcher.job.spec import Limits
from batcher.pacing.learntlimits import Learnt, LearntLimits
from batcher.pacing.lessee import Lessee
from batcher.pacing.shared import Sharing, alone
from batcher.pacing.statefolder import StateFolder

Named = Callable[[str], str]


@contextlib.asynccontextmanager
async def shared_quotas(
    plan: Plan, key: Secret, state: Path | None, *, wall_us: Callable[[], int], log: Callable[[str], None]
) -> AsyncIterator[Lessee | None]:
    """Share the run's quotas with the other runs of this user on this host, while the block lasts.

    Args:
        plan: of the run.
        key: marks the owner of its quotas where no project is named; of several endpoints each its own.
        state: the user's state folder; None shares nothing.
        wall_us: microseconds since the epoch.
        log: told why nothing can be shared.

    Returns:
        What holds the run's part; None when there is nothing to share.
    """
    if state is None or not any(has_shared_quotas(limits_of(plan.job, each)) for each in plan.job.asked):
        yield None
        return
    folder = StateFolder(state)
    try:
        folder.make()
        named = owner_names(plan, key, folder)
    except OSError as error:
        log(alone(state, error))
        yield None
        return
    now = asyncio.get_running_loop().time
    run = str(plan.manifest["run_id"])
    async with Sharing(folder, run=run, named=named, now=now, wall_us=wall_us, log=log) as sharing:
        yield sharing.lessee


def told_limits(
    plan: Plan, key: Secret, state: Path | None, wall_us: Callable[[], int]
) -> Callable[[str, str, int], None]:
    """What keeps the limits that 429s tell for the runs to come; a folder that refuses costs nobody the run.

    Args:
        plan: of the run.
        key: as of `owner_names`.
        state: the user's state folder; None keeps nothing.
        wall_us: microseconds since the epoch.
    """

    def keep(lane: str, quota: str, value: int) -> None:
        if state is None:
            return
        folder = StateFolder(state)
        with contextlib.suppress(OSError, StorageError):
            folder.make()
            owner = owner_names(plan, key, folder)(lane)
            run = str(plan.rundir.out)
            LearntLimits(folder).put(Learnt(owner=owner, quota=quota, value=value, at_us=wall_us(), run=run))

    return keep


def has_shared_quotas(limits: Limits) -> bool:
    """Whether a job has quotas that are to be shared."""
    quotas = (limits.requests_per_minute, limits.input_tokens_per_minute, limits.requests_per_day)
    return limits.shared and any(quota is not None for quota in quotas)


def owner_names(plan: Plan, key: Secret, folder: StateFolder) -> Named:
    """How the owners of quotas are called: the lane, and the key's mark where no project says whose they are.

    Raises:
        OSError: the folder cannot be written.
    """
    asked = zip(plan.job.asked, key.all, strict=True)
    marks = {lane_of(*place_of(each), ""): folder.mark(its.reveal()) for each, its in asked if not each.project}

    def named(lane: str) -> str:
        mark = marks.get(lane.rpartition(" ")[0])
        return lane if mark is None else f"{lane} {mark}"

    return named
