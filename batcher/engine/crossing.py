"""Whom does a session ask? The one endpoint of its job, or several as one: gates, doors, what goes with each lane."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from batcher.asking.transport import Door, Target, Transport
from batcher.asking.ways import Way, way_of
from batcher.engine.detours import Detours
from batcher.engine.plan import Plan
from batcher.engine.ways import has_several_ways, place_of, routes_of
from batcher.job.key import Secret
from batcher.job.pool import limits_of, pooled
from batcher.job.spec import Auth, Endpoint, Job, Limits
from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.history import History
from batcher.pacing.junction import Junction, credit_for
from batcher.pacing.lessee import Lessee
from batcher.pacing.outage import Patience
from batcher.pacing.quota import Learnt
from batcher.pacing.slots import Slots

_MOST_UNSERVED_S = 120.0  # a mistyped host is not sat out for six hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What a session asks through.

    Attributes:
        door: of the only endpoint; of the first where there are several, and then nothing goes by it.
        ways: None where there is one.
    """

    gate: Gate | Junction
    door: Transport
    ways: Mapping[str, Way] | None
    detours: Detours | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known when a session begins.

    Attributes:
        used: lane -> requests sent today by earlier sessions.
        learnt: lane -> what replies taught of its tokens.
        lessee: holds the run's part of quotas that it shares; None when it shares none.
        on_limit: as of `Gate`.
    """

    used: Mapping[str, int]
    learnt: Mapping[str, Learnt] = field(default_factory=dict)
    lessee: Lessee | None = None
    on_limit: Callable[[str, str, int], object] = lambda *_: None


class Lanes(dict[str, Way]):
    """Lane -> its way, made when a row first takes it: a row may name any model."""

    def __init__(self, job: Job, doors: list[Transport], gates: list[Gate], secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._job = job
        self._doors = doors
        self._gates = gates
        self._secrets = secrets

    def __missing__(self, lane: str) -> Way:
        """Make the way of a lane, which ends with its model."""
        model = lane.rpartition(" ")[2]
        (route,) = (route for route in routes_of(self._job, lane) if route.lane == lane)
        endpoint = self._job.asked[route.gate]
        place = place_of(endpoint) if len(self._job.asked) > 1 else None
        door, gate, hint_s = self._doors[route.gate], self._gates[route.gate], self._job.retry.max_hint_s
        assert endpoint.dialect is not None
        way = self[lane] = way_of(door, gate, self._secrets, hint_s, place, model, endpoint.dialect)
        return way


@asynccontextmanager
async def crossing(
    plan: Plan, key: Secret, kept: Kept, wall_us: Callable[[], int], told: Callable[[str], None]
) -> AsyncIterator[Crossing]:
    """Open the doors of a plan's job, and make the gates before them.

    Args:
        plan: whose job.
        key: of its first endpoint, the others behind it.
        kept: what is known already.
        wall_us: microseconds since the epoch.
        told: takes what the user should read once.
    """
    job = plan.job
    async with AsyncExitStack() as stack:
        doors: list[Transport] = [
            await stack.enter_async_context(open_door(job, endpoint, each))
            for endpoint, each in zip(job.asked, key.all, strict=True)
        ]
        if not has_several_ways(job):
            yield Crossing(gate=gate_of(job, job.endpoint, kept, wall_us), door=doors[0], ways=None, detours=None)
            return
        yield junction_of(job, doors, tuple(each.reveal() for each in key.all), kept, wall_us, told)


def junction_of(  # noqa: PLR0913, PLR0917  as `crossing`
    job: Job,
    doors: list[Transport],
    secrets: tuple[str, ...],
    kept: Kept,
    wall_us: Callable[[], int],
    told: Callable[[str], None],
) -> Crossing:
    """Put a junction before doors that are open."""
    credit = credit_for(pooled(job).concurrency)
    history = History(wall_us)
    gates = [gate_of(job, endpoint, kept, wall_us, credit, history) for endpoint in job.asked]
    names = [" ".join(filter(None, place_of(endpoint))) for endpoint in job.asked]
    junction = Junction(gates, names, lambda lane: routes_of(job, lane), credit=credit, wall_us=wall_us, told=told)
    ways = Lanes(job, doors, gates, secrets)
    return Crossing(gate=junction, door=doors[0], ways=ways, detours=Detours(junction, ways, secrets))


def gate_of(  # noqa: PLR0913, PLR0917  as `Gate`
    job: Job,
    endpoint: Endpoint,
    kept: Kept,
    wall_us: Callable[[], int],
    credit: Slots | None = None,
    history: History | None = None,
) -> Gate:
    """The gate before one endpoint; arguments as of `Gate`."""
    limits, retry = limits_of(job, endpoint), job.retry
    gate = Gate(
        quotas_of(limits),
        slots=limits.concurrency,
        now=asyncio.get_running_loop().time,
        wall_us=wall_us,
        used_today=kept.used,
        learnt=kept.learnt,
        patience=Patience(
            max_outage_s=retry.max_outage_s, unserved_s=_MOST_UNSERVED_S, probe_after_s=retry.probe_after_s
        ),
        chance=random.random,
        lessee=kept.lessee,
        credit=credit,
        history=history,
    )
    gate.on_limit = kept.on_limit
    return gate


def quotas_of(limits: Limits) -> Quotas:
    """What the gate keeps of the limits."""
    return Quotas(
        requests_per_minute=limits.requests_per_minute,
        input_tokens_per_minute=limits.input_tokens_per_minute,
        requests_per_day=limits.requests_per_day,
    )


def open_door(job: Job, endpoint: Endpoint, key: Secret) -> Door:
    """The door to one endpoint."""
    target = Target(
        base_url=endpoint.base_url or "",
        api_version=endpoint.api_version or "v1beta",
        verbless=endpoint.verbless,
        auth=endpoint.auth or Auth.X_GOOG_API_KEY,
        key=key.reveal(),
        trust_env=endpoint.trust_env,
        stream=endpoint.stream,
    )
    return Door(target, job.timeouts, connections=limits_of(job, endpoint).concurrency)
