"""Do many clients together stay below a quota and use it, whoever dies, freezes or comes late? Real gates, leasing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.pacing.gate import DayQuotaReached, Gate, Quotas
from tests.fakes import jitter, run_virtual
from tests.pacing.host import Client, Host, living
from tests.pacing.server import LANE, Load, StrictServer, travel
from tests.pacing.test_law import Ask, asks, prompts, quotas, seconds

# --- what limited jobs get


def loads(low: int, high: int, *, ratio: float = 1.0, noise: float = 0.0) -> Load:
    draw = prompts(low, high, ratio=ratio, noise=noise)
    return Load(prompts=draw, latency_s=seconds(2, 8), travel_s=travel(1))


def used(host: Host, quotas: Quotas, minutes: float) -> float:
    requests, tokens = host.server.fullest()
    assert requests <= (quotas.requests_per_minute or requests)
    assert tokens <= (quotas.input_tokens_per_minute or tokens)
    if quotas.requests_per_minute is not None:
        return len(host.server.arrivals) / (quotas.requests_per_minute * minutes)
    assert quotas.input_tokens_per_minute is not None
    return sum(tokens for _, tokens in host.server.arrivals) / (quotas.input_tokens_per_minute * minutes)


async def all_fill(host: Host, load: Load, clients: int, minutes: float) -> list[Client]:
    async with contextlib.AsyncExitStack() as stack:
        found = [await stack.enter_async_context(living(Client(host), load)) for _ in range(clients)]
        await asyncio.sleep(60 * minutes)
        return found


@pytest.mark.parametrize("clients", [1, 2, 5])
@pytest.mark.parametrize(("per_minute", "minutes", "share"), [(1200, 2, 0.985), (60, 4, 0.968), (5, 8, 0.785)])
def test_requests_a_minute_hold_over_all_and_are_used(per_minute, minutes, share, clients):
    limits = Quotas(requests_per_minute=per_minute)

    found = run_virtual(_filled(limits, loads(10, 20), clients, minutes))

    assert used(found[0].host, limits, minutes) >= share
    sent = [client.sent for client in found]
    assert max(sent) - min(sent) <= 0.05 * max(sent) + 1  # each has as much as the next


@pytest.mark.parametrize(
    ("clients", "load", "share"),
    [
        (1, loads(10, 1200, ratio=1.6, noise=0.2), 0.98),
        (2, loads(10, 2000), 0.98),
        (5, loads(10, 1200, ratio=0.6), 0.97),
    ],
)
def test_tokens_a_minute_hold_over_all_and_are_used(clients, load, share):
    limits = Quotas(input_tokens_per_minute=400_000)

    found = run_virtual(_filled(limits, load, clients, 3))

    assert used(found[0].host, limits, 3) >= share


def test_big_prompts_of_many_clients_take_turns():
    """Hands that are half full would hold the quota, and nobody could send."""
    limits = Quotas(input_tokens_per_minute=10_000)

    found = run_virtual(_filled(limits, loads(500, 2500), 4, 8))

    assert used(found[0].host, limits, 8) >= 0.75 - 0.015
    assert min(client.sent for client in found) >= 0.6 * max(client.sent for client in found)


def test_a_big_prompt_is_not_starved_by_small_ones():
    limits = Quotas(input_tokens_per_minute=10_000)

    async def main() -> tuple[Host, Client, Client]:
        host = Host(limits)
        async with living(Client(host), loads(20, 60)) as small, living(Client(host), loads(4000, 5000)) as big:
            await asyncio.sleep(10 * 60)
            return host, small, big

    host, small, big = run_virtual(main())
    share = used(host, limits, 10)
    assert share >= 0.5
    assert big.sent * 4500 >= 0.2 * 10_000 * 10
    assert small.sent * 40 >= 0.2 * 10_000 * 10


async def _filled(limits: Quotas, load: Load, clients: int, minutes: float) -> list[Client]:
    return await all_fill(Host(limits), load, clients, minutes)


def test_late_words_cost_little():
    chance = jitter(5)

    async def main() -> Host:
        host = Host(Quotas(requests_per_minute=600), delay_s=lambda: 0.2 * chance())
        await all_fill(host, loads(10, 20), 3, 3)
        return host

    assert used(run_virtual(main()), Quotas(requests_per_minute=600), 3) >= 0.97


def test_what_one_does_not_want_others_have():
    limits = Quotas(requests_per_minute=600)
    slow = Load(prompts=prompts(10, 20), latency_s=lambda: 1.0, travel_s=lambda: 0.0)

    async def main() -> tuple[Host, Client, Client]:
        host = Host(limits)
        async with living(Client(host, slots=2), slow) as few, living(Client(host), loads(10, 20)) as many:
            await asyncio.sleep(180)
            return host, few, many

    host, few, many = run_virtual(main())
    assert used(host, limits, 3) >= 0.985
    assert few.sent == pytest.approx(2 * 180, rel=0.12)  # as if it were alone
    assert many.sent >= 0.985 * 600 * 3 - 2 * 180


@pytest.mark.parametrize("owner", [True, False])
def test_the_survivor_has_the_whole_quota_half_a_minute_after_a_death(owner):
    limits = Quotas(requests_per_minute=600)

    async def main() -> tuple[Host, int]:
        host = Host(limits)
        async with living(Client(host), loads(10, 20)) as survivor:
            async with living(Client(host), loads(10, 20)):
                await asyncio.sleep(100)
                if owner:
                    await host.broker_dies(for_s=0.3)
            await asyncio.sleep(30)
            before = survivor.sent
            await asyncio.sleep(60)
            return host, survivor.sent - before

    host, sent = run_virtual(main())
    assert host.server.fullest()[0] <= 600
    assert sent >= 0.96 * 600


def test_a_day_is_counted_over_all_and_over_starts():
    """The dead run's day stands as it may have been; told by its ledger at its next start, as it was."""

    async def main() -> tuple[Host, list[int]]:
        host = Host(Quotas(requests_per_day=300))
        load = Load(prompts=prompts(10, 20), latency_s=lambda: 1.0, travel_s=lambda: 0.0, slots=4)
        first = Client(host, slots=4, run="first")
        async with living(first, load), living(Client(host, slots=4, run="second"), load):
            await asyncio.sleep(20)
        async with contextlib.AsyncExitStack() as stack:
            again = await stack.enter_async_context(living(Client(host, run="first", used_today=first.sent)))
            third = await stack.enter_async_context(living(Client(host, run="third")))
            ends = await asyncio.gather(*(_until_the_day_is_over(client) for client in (again, third)))
        return host, ends

    host, ends = run_virtual(main())
    assert all(count > 20 for count in ends)
    assert 300 - 8 <= len(host.server.arrivals) <= 300  # of the one that never came back, what it held counts


async def _until_the_day_is_over(client: Client) -> int:
    count = 0
    with contextlib.suppress(DayQuotaReached):
        while True:
            permit = await client.gate.admit(LANE, 10)
            client.host.server.arrive(client.host.now_s(), 10)
            count += 1
            client.gate.free(permit)
            await asyncio.sleep(0.2)
    return count


# --- any schedule


@dataclass(frozen=True)
class Life:
    """One client: when it comes, what it sends, and when it dies, if it does."""

    begins_s: float
    schedule: list[Ask]
    dies_s: float | None
    is_seen: bool  # whether the broker sees it go, or the lease has to expire


lives = st.builds(
    Life,
    begins_s=st.floats(0, 40),
    schedule=st.lists(asks, min_size=1, max_size=15),
    dies_s=st.one_of(st.none(), st.floats(0, 120)),
    is_seen=st.booleans(),
)
pauses = st.lists(st.tuples(st.floats(0, 120), st.floats(0, 5)), max_size=2)


AT_ONCE = Ask(gap_s=0.0, tokens=1, travel_s=0.0, latency_s=0.0, fate="answered", retry=False)


@settings(max_examples=40)
@example(  # the broker dies within a second of the quota's first unit
    limits=Quotas(requests_per_minute=1),
    everyone=[Life(begins_s=0.0, schedule=[AT_ONCE], dies_s=None, is_seen=False)] * 2,
    brokers=[(1.0, 0.0)],
    late=0.0,
)
@given(limits=quotas, everyone=st.lists(lives, min_size=1, max_size=4), brokers=pauses, late=st.floats(0, 1.5))
def test_no_schedule_of_leases_and_deaths_overfills_a_window(limits, everyone, brokers, late):
    """No minute of the server holds too much over all clients; whoever lives is served to the end."""
    chance = jitter(len(everyone))

    async def main() -> tuple[StrictServer, list[tuple[Life, int]]]:
        host = Host(limits, delay_s=lambda: late * chance())
        mourning = asyncio.ensure_future(_brokers_die(host, brokers))
        ends = await asyncio.gather(*(_live(host, life, number) for number, life in enumerate(everyone)))
        mourning.cancel()
        return host.server, list(zip(everyone, ends, strict=True))

    server, ends = run_virtual(main())
    requests, tokens = server.fullest()
    assert requests <= (limits.requests_per_minute or requests)
    assert tokens <= (limits.input_tokens_per_minute or tokens)
    for life, served in ends:
        if life.dies_s is None:
            assert served >= sum(ask.fate != "cancelled" for ask in life.schedule)


async def _brokers_die(host: Host, pauses: list[tuple[float, float]]) -> None:
    for after_s, for_s in pauses:
        await asyncio.sleep(after_s)
        await host.broker_dies(for_s=for_s)


async def _live(host: Host, life: Life, number: int) -> int:
    await asyncio.sleep(life.begins_s)
    client = Client(host, slots=4, run=f"r{number}", is_seen=life.is_seen)
    served: list[int] = []
    work = asyncio.ensure_future(_send(client.gate, host.server, life.schedule, served.append))
    async with living(client):
        if life.dies_s is None:
            await work
        else:
            await asyncio.wait([work], timeout=life.dies_s)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    return len(served)


async def _send(gate: Gate, server: StrictServer, schedule: list[Ask], served: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()

    async def one(number: int, ask: Ask) -> None:
        permit = await gate.admit(LANE, ask.tokens, retry=ask.retry)
        served(number)
        try:
            if ask.fate == "unsent":
                gate.unsent(permit)
                return
            server.arrive(loop.time() + ask.travel_s, ask.tokens)
            await asyncio.sleep(ask.travel_s + ask.latency_s)
            gate.settle(permit, None if ask.fate == "unknown" else ask.tokens)
        finally:
            gate.free(permit)

    async with asyncio.TaskGroup() as open_tasks:
        for number, ask in enumerate(schedule):
            await asyncio.sleep(ask.gap_s)
            task = open_tasks.create_task(one(number, ask))
            if ask.fate == "cancelled":
                loop.call_later(ask.latency_s / 90, task.cancel)
