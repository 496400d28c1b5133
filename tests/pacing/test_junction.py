"""Several gates as one, on virtual time."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import EndpointRefused
from batcher.pacing.gate import DayQuotaReached, Gate, Quotas
from batcher.pacing.junction import Junction, credit_for
from batcher.pacing.routes import Route
from tests.fakes import FakeClock, run_virtual

LINE = "line"


class Crossroads:
    """A junction over gates with these quotas; one line has a way through each, as ranked."""

    def __init__(self, quotas: Sequence[Quotas], *, slots: int = 4, ranks: Sequence[int] = (0,) * 9) -> None:
        loop = asyncio.get_running_loop()
        clock = FakeClock(follow=loop.time)
        credit = credit_for(slots * len(quotas))
        self.gates = [Gate(each, slots=slots, now=loop.time, wall_us=clock, credit=credit) for each in quotas]
        self.routes = [Route(f"at {n}", n, ranks[n]) for n in range(len(quotas))]
        self.told: list[str] = []
        names = [f"endpoint {n}" for n in range(len(quotas))]
        self.junction = Junction(
            self.gates, names, lambda _: self.routes, credit=credit, wall_us=clock, told=self.told.append
        )
        self.sent: list[tuple[str, float]] = []

    async def send(self, *, latency_s: float = 0.0) -> None:
        permit = await self.junction.admit(LINE, 1)
        self.sent.append((permit.lane, asyncio.get_running_loop().time()))
        try:
            await asyncio.sleep(latency_s)
        finally:
            self.junction.free(permit)


def rpm(count: float) -> Quotas:
    return Quotas(requests_per_minute=count)


def test_a_paused_quota_resumes_on_time_and_the_other_endpoint_never_pauses():
    """One 429 names a quota of the first endpoint with a hint of 2 s."""

    async def main() -> Crossroads:
        roads = Crossroads([rpm(6000), rpm(6000)])
        roads.junction.admit_now(LINE, 1)
        roads.gates[0].pause("at 0", "requests/min", 2.0)
        until_s = asyncio.get_running_loop().time() + 4.0
        while asyncio.get_running_loop().time() < until_s:
            await roads.send()
        return roads

    roads = run_virtual(main())
    first = [at_s for lane, at_s in roads.sent if lane == "at 0"]
    second = [at_s for lane, at_s in roads.sent if lane == "at 1"]
    assert 2.0 <= first[0] <= 2.5
    gaps = [later - earlier for earlier, later in itertools.pairwise(second)]
    assert max(gaps) <= 0.05


def test_both_quotas_are_used_to_the_full():
    async def main() -> Crossroads:
        roads = Crossroads([rpm(600), rpm(300)], slots=16)
        senders = [asyncio.ensure_future(_for(roads, 120.0)) for _ in range(8)]
        await asyncio.gather(*senders)
        return roads

    async def _for(roads: Crossroads, seconds: float) -> None:
        while asyncio.get_running_loop().time() < seconds:
            await roads.send(latency_s=0.05)

    roads = run_virtual(main())
    for lane, quota in (("at 0", 600), ("at 1", 300)):
        stamps = [at_s for each, at_s in roads.sent if each == lane and at_s >= 60]
        assert 0.97 * quota <= len(stamps) <= quota + 8
    assert [gate.in_flight for gate in roads.gates] == [0, 0]
    assert roads.junction.open_tasks == 0


@given(st.lists(st.booleans(), min_size=2, max_size=4).filter(lambda parked: not all(parked)), st.integers(1, 20))
def test_a_parked_lane_never_delays_another(parked, count):
    async def main() -> Crossroads:
        roads = Crossroads([rpm(60_000)] * len(parked))
        for gate, route, is_parked in zip(roads.gates, roads.routes, parked, strict=True):
            if is_parked:
                gate.park(route.lane, 3600.0)
        await asyncio.gather(*(roads.send() for _ in range(count)))
        return roads

    roads = run_virtual(main())
    lanes = {lane for lane, _ in roads.sent}
    open_ones = {route.lane for route, is_parked in zip(roads.routes, parked, strict=True) if not is_parked}
    assert lanes <= open_ones
    assert max(at_s for _, at_s in roads.sent) < 1.0


def test_when_all_are_parked_the_first_to_open_says_when():
    async def main() -> Any:
        roads = Crossroads([Quotas(), Quotas()])
        roads.gates[0].park("at 0", 7200.0)
        roads.gates[1].park("at 1", 3600.0)
        with pytest.raises(DayQuotaReached) as caught:
            await roads.junction.admit(LINE, 1)
        opens_us = roads.junction.opens_us(LINE)
        assert caught.value.resets_at_us == opens_us
        await asyncio.sleep(3601)
        assert roads.junction.opens_us(LINE) == 0
        await roads.send()
        return roads.sent[-1][0]

    assert run_virtual(main()) == "at 1"


def test_the_fallback_is_asked_while_the_first_is_parked_and_no_longer():
    async def main() -> list[str]:
        roads = Crossroads([rpm(600), rpm(600)], ranks=(0, 1))
        await roads.send()
        roads.gates[0].park("at 0", 60.0)
        await roads.send()
        await asyncio.sleep(61)
        await roads.send()
        return [lane for lane, _ in roads.sent]

    assert run_virtual(main()) == ["at 0", "at 1", "at 0"]


def test_who_waits_at_one_endpoint_goes_to_another_when_that_leaves():
    async def main() -> Crossroads:
        roads = Crossroads([rpm(1), rpm(60)])
        for _ in range(2):
            await roads.send()
        waiting = asyncio.ensure_future(roads.send())
        await asyncio.sleep(0.1)
        roads.junction.leave(0, "bad_key")
        roads.junction.leave(0, "bad_key")
        await waiting
        return roads

    roads = run_virtual(main())
    assert roads.sent[-1][0] == "at 1"
    assert roads.told == ["endpoint 0 leaves the run: bad_key"]


def test_nobody_left_is_a_refusal():
    async def main() -> None:
        roads = Crossroads([Quotas(), Quotas()])
        roads.junction.leave(0, "bad_key")
        roads.junction.admit_now(LINE, 1)
        roads.junction.shut("at 1", "not_found")
        assert not roads.junction.others(LINE, ())
        await roads.junction.admit(LINE, 1)

    with pytest.raises(EndpointRefused, match="no endpoint is left that serves line; the last: not_found"):
        run_virtual(main())


def test_a_line_can_do_without_one_of_its_ways():
    async def main() -> set[str]:
        roads = Crossroads([Quotas(), Quotas(), Quotas()])
        name = roads.junction.without(LINE, "at 1")
        permits = [roads.junction.admit_now(name, 1) for _ in range(6)]
        assert not roads.junction.others(name, {"at 0", "at 2"})
        return {permit.lane for permit in permits if permit is not None}

    assert run_virtual(main()) == {"at 0", "at 2"}


@given(st.integers(0, 6), st.floats(0.0, 3.0))
def test_a_cancelled_wait_leaves_nothing_taken(waiting, after_s):
    async def main() -> tuple[list[int], int]:
        roads = Crossroads([rpm(30), rpm(30)], slots=2)
        tasks = [asyncio.ensure_future(roads.send()) for _ in range(waiting)]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        held = [gate.in_flight for gate in roads.gates]
        await asyncio.sleep(61)
        assert roads.junction.admit_now(LINE, 1) is not None
        return held, roads.junction.open_tasks

    assert run_virtual(main()) == ([0, 0], 0)
