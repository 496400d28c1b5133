"""What would a strict server have seen? Sliding minutes over arrivals, and clients that fill them through the gate."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from batcher.pacing.gate import Gate, Permit, Quotas
from tests.fakes import FakeClock, jitter

MINUTE_S = 60.0
LANE = "http://127.0.0.1 p gemini"


@dataclass
class StrictServer:
    """Remembers arrivals; `fullest` is the most that any window of a minute held of each quota."""

    arrivals: list[tuple[float, int]] = field(default_factory=list)

    def arrive(self, at_s: float, tokens: int) -> None:
        self.arrivals.append((at_s, tokens))

    def fullest(self) -> tuple[int, int]:
        """(requests, tokens) of the fullest minutes; an entry counts for strictly less than a minute."""
        window: deque[tuple[float, int]] = deque()
        held = most_requests = most_tokens = 0
        for at_s, tokens in sorted(self.arrivals):
            while window and window[0][0] <= at_s - MINUTE_S:
                held -= window.popleft()[1]
            window.append((at_s, tokens))
            held += tokens
            most_requests = max(most_requests, len(window))
            most_tokens = max(most_tokens, held)
        return most_requests, most_tokens


@dataclass(frozen=True)
class Load:
    """What a client sends and how the world treats it.

    `prompts` yields (estimate, actual) tokens; `travel_s` and `latency_s` are drawn for each request.
    """

    prompts: Callable[[], Iterator[tuple[int, int]]]
    latency_s: Callable[[], float]
    travel_s: Callable[[], float]
    slots: int = 400


def travel(seed: int) -> Callable[[], float]:
    """Up to 50 ms on the way; one in fifty takes up to 250 ms."""
    chance = jitter(seed)
    return lambda: 0.25 * chance() if chance() < 0.02 else 0.05 * chance()


async def fill(quotas: Quotas, load: Load, *, for_s: float) -> StrictServer:
    """One feeder asks for permits as fast as it gets them, for so long; what the server saw."""
    loop = asyncio.get_running_loop()
    server = StrictServer()
    gate = Gate(quotas, slots=load.slots, now=loop.time, wall_us=FakeClock(follow=loop.time))

    async def exchange(permit: Permit, actual: int) -> None:
        await asyncio.sleep(load.latency_s())
        gate.settle(permit, actual)
        gate.free(permit)
        gate.close()

    async def feed() -> None:
        for estimate, actual in load.prompts():
            if not gate.open_now():
                await gate.open()
            permit = gate.admit_now(LANE, estimate) or await gate.admit(LANE, estimate)
            server.arrive(loop.time() + load.travel_s(), actual)
            exchanges.create_task(exchange(permit, actual))

    async with asyncio.TaskGroup() as exchanges:
        feeder = exchanges.create_task(feed())
        await asyncio.sleep(for_s)
        feeder.cancel()
    return server
