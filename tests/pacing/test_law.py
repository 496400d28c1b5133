"""Does the server ever see more than it allows, and do we use what it offers? The real gate against a strict server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.pacing.gate import Gate, Quotas
from tests.fakes import FakeClock, run_virtual
from tests.pacing.server import LANE, Load, StrictServer, fill, travel

# --- what a limited job gets


def prompts(low: int, high: int, *, ratio: float = 1.0, noise: float = 0.0, seed: int = 7):
    """Estimates between the bounds; the truth is `ratio` times as much, give or take `noise` of it."""

    def draw() -> Iterator[tuple[int, int]]:
        chance = random.Random(seed)
        while True:
            estimate = chance.randint(low, high)
            yield estimate, max(1, round(estimate * ratio * chance.uniform(1 - noise, 1 + noise)))

    return draw


def seconds(low: float, high: float, seed: int = 3) -> Callable[[], float]:
    chance = random.Random(seed)
    return lambda: chance.uniform(low, high)


def run(quotas: Quotas, minutes: float, draw: Callable[[], Iterator[tuple[int, int]]], seed: int = 1) -> StrictServer:
    load = Load(prompts=draw, latency_s=seconds(2, 8), travel_s=travel(seed))
    return run_virtual(fill(quotas, load, for_s=60 * minutes))


@pytest.mark.parametrize(
    ("per_minute", "minutes", "share"),
    [(3000, 3, 0.985), (600, 5, 0.985), (60, 5, 0.968), (15, 8, 0.918), (5, 12, 0.785)],
)
def test_requests_a_minute_hold_and_are_used(per_minute, minutes, share):
    server = run(Quotas(requests_per_minute=per_minute), minutes, prompts(10, 2000))

    assert server.fullest()[0] <= per_minute
    assert len(server.arrivals) >= share * per_minute * minutes


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("ratio", "noise"),
    [(1.0, 0.0), (0.5, 0.0), (1.6, 0.0), (1.0, 0.2), (0.6, 0.2), (2.5, 0.2)],
)
def test_tokens_a_minute_hold_and_are_used_whatever_an_estimate_is_worth(ratio, noise, seed):
    draw = prompts(10, round(2000 / (ratio * (1 + noise))), ratio=ratio, noise=noise, seed=seed)
    server = run(Quotas(input_tokens_per_minute=400_000), 5, draw, seed)

    assert server.fullest()[1] <= 400_000
    assert sum(tokens for _, tokens in server.arrivals) >= 0.985 * 400_000 * 5


def test_big_prompts_use_a_small_quota_up_to_the_largest_of_them():
    server = run(Quotas(input_tokens_per_minute=10_000), 10, prompts(500, 2500))

    assert server.fullest()[1] <= 10_000
    assert sum(tokens for _, tokens in server.arrivals) >= (0.75 - 0.015) * 10_000 * 10


def test_of_two_quotas_both_hold_and_the_tighter_is_used():
    quotas = Quotas(requests_per_minute=600, input_tokens_per_minute=400_000)
    by_tokens = run(quotas, 5, prompts(10, 1600, ratio=1.2))
    by_requests = run(quotas, 5, prompts(10, 900, ratio=1.2))

    for server in (by_tokens, by_requests):
        requests, tokens = server.fullest()
        assert requests <= 600
        assert tokens <= 400_000
    assert sum(tokens for _, tokens in by_tokens.arrivals) >= 0.985 * 400_000 * 5
    assert len(by_requests.arrivals) >= 0.985 * 600 * 5


def test_the_first_minute_has_no_burst():
    server = run(Quotas(requests_per_minute=3000), 1, prompts(10, 20))

    for second in range(59):
        assert sum(1 for at_s, _ in server.arrivals if second <= at_s < second + 1) <= 65


def test_few_slots_are_used_fully_under_a_wide_quota():
    load = Load(prompts=prompts(10, 20), latency_s=lambda: 1.0, travel_s=lambda: 0.0, slots=8)

    server = run_virtual(fill(Quotas(requests_per_minute=6000), load, for_s=30))

    assert len(server.arrivals) == pytest.approx(8 * 30, abs=10)


# --- any schedule


@dataclass(frozen=True)
class Ask:
    """One request of a schedule: when it comes after the one before, and what becomes of it."""

    gap_s: float
    tokens: int
    travel_s: float
    latency_s: float
    fate: str  # answered, unknown, unsent, cancelled
    retry: bool


MOST_TOKENS = 60

asks = st.builds(
    Ask,
    gap_s=st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 90)),
    tokens=st.integers(1, MOST_TOKENS),
    travel_s=st.one_of(st.just(0.0), st.just(0.25), st.floats(0, 0.25)),
    latency_s=st.floats(0, 90),
    fate=st.sampled_from(["answered", "answered", "answered", "unknown", "unsent", "cancelled"]),
    retry=st.booleans(),
)
quotas = st.builds(
    Quotas,
    requests_per_minute=st.one_of(st.none(), st.integers(1, 20)),
    input_tokens_per_minute=st.one_of(st.none(), st.integers(MOST_TOKENS, 400)),
    requests_per_day=st.one_of(st.none(), st.just(10_000)),
)


@settings(max_examples=60, deadline=None)
@given(quotas=quotas, slots=st.integers(1, 6), schedule=st.lists(asks, min_size=1, max_size=60))
def test_no_schedule_overfills_a_window_or_loses_anything(quotas, slots, schedule):
    """No minute of the server holds too much; each kind of asker is served in order; in the end all is given back."""

    async def main() -> tuple[StrictServer, list[int], Gate]:
        loop = asyncio.get_running_loop()
        gate = Gate(quotas, slots=slots, now=loop.time, wall_us=FakeClock(follow=loop.time))
        server, served = StrictServer(), []

        async def one(number: int, ask: Ask) -> None:
            permit = await gate.admit(LANE, ask.tokens, retry=ask.retry)
            served.append(number)
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
        return server, served, gate

    server, served, gate = run_virtual(main())
    requests, tokens = server.fullest()
    assert requests <= (quotas.requests_per_minute or len(schedule))
    assert tokens <= (quotas.input_tokens_per_minute or MOST_TOKENS * len(schedule))
    for kind in (True, False):
        numbers = [number for number in served if schedule[number].retry is kind]
        assert numbers == sorted(numbers)
    assert gate.in_flight == 0
    if quotas.requests_per_day is not None:
        assert sum(gate.used_today.values()) == len(server.arrivals)
