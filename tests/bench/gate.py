"""What does a permit cost? CPU of admitting, settling and freeing, with no to three quotas and few or many in line.

    python -m tests.bench.gate

Prints a table: µs of CPU a permit, and in brackets how often a bare `AsyncLimiter.acquire` fits into it that has as
many in line. Time is virtual, so that only work counts. Those in line wait for a slot where there is no quota, else for
quotas that let a thousand a second pass; each of them costs a turn of the loop, with the gate or without.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from aiolimiter import AsyncLimiter

from batcher.pacing.gate import Gate, Quotas
from tests.fakes import FakeClock, VirtualLoop, run_virtual

A_SECOND = 1_000
TOKENS = 250
SLOTS = 256
IN_LINE = (0, 10, 1_000, 10_000)
_LATE = 1.02  # the gate spreads a minute's quota over 60.3 s

Pass = Callable[[], Awaitable[None]]


def quotas_of(count: int) -> Quotas:
    """The first so many of requests/min, input tokens/min and requests/day."""
    return Quotas(
        requests_per_minute=60 * A_SECOND if count > 0 else None,
        input_tokens_per_minute=60 * A_SECOND * TOKENS if count > 1 else None,
        requests_per_day=10**9 if count > 2 else None,
    )


def gate_of(count: int, *, slots: int = SLOTS) -> Gate:
    """A gate on the running loop."""
    loop = asyncio.get_running_loop()
    return Gate(quotas_of(count), slots=slots, now=loop.time, wall_us=FakeClock(follow=loop.time))


async def at_once(permits: int, go: Callable[[], Awaitable[None]]) -> float:
    """µs of CPU a `go` when nothing has to wait, as it is for nearly every row of a run: they come a little late."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await go()
    loop.pass_time(1)  # the first pays for a whole second
    began = time.thread_time()
    for _ in range(permits):
        loop.pass_time(_LATE / A_SECOND)
        await go()
    return (time.thread_time() - began) * 1e6 / permits


async def gated_at_once(count: int, permits: int) -> float:
    """Of our gate."""
    gate = gate_of(count)

    async def go() -> None:
        permit = gate.admit_now("lane", TOKENS)
        assert permit is not None
        gate.settle(permit, TOKENS)
        gate.free(permit)

    return await at_once(permits, go)


async def bare_at_once(permits: int) -> float:
    """Of a limiter alone, a second's worth at once, as ours are."""
    limiter = AsyncLimiter(A_SECOND, 1)
    return await at_once(permits, partial(limiter.acquire, 1))


async def in_line(waiting: int, permits: int, go: Pass) -> float:
    """µs of CPU a `go` when so many always wait for theirs; whoever had one gets in line again."""
    passed, began_at = 0, waiting  # the first lap is not counted: it is when they come, all at once
    began = time.thread_time()
    over = asyncio.get_running_loop().create_future()

    async def again() -> None:
        nonlocal passed, began
        while True:
            await go()
            passed += 1
            if passed == began_at:
                began = time.thread_time()
            if passed == began_at + permits and not over.done():
                over.set_result(time.thread_time())

    async with asyncio.TaskGroup() as line:
        waiters = [line.create_task(again()) for _ in range(waiting)]
        ended = await over
        for waiter in waiters:
            waiter.cancel()
    return (ended - began) * 1e6 / permits


async def gated(count: int, waiting: int, permits: int) -> float:
    """Of our gate."""
    gate = gate_of(count, slots=SLOTS if count else 4)

    async def go() -> None:
        permit = await gate.admit("lane", TOKENS)
        if not count:
            await asyncio.sleep(0)  # or nobody would ever have to wait
        gate.settle(permit, TOKENS)
        gate.free(permit)

    return await in_line(waiting, permits, go)


async def bare(waiting: int, permits: int) -> float:
    """Of a limiter alone."""
    limiter = AsyncLimiter(A_SECOND, 1)
    return await in_line(waiting, permits, partial(limiter.acquire, 1))


def measure(count: int, waiting: int, permits: int) -> tuple[float, float]:
    """µs of CPU of a permit with so many quotas and so many in line, and of a bare limiter's beside it."""
    if not waiting:
        return run_virtual(gated_at_once(count, permits)), run_virtual(bare_at_once(permits))
    return run_virtual(gated(count, waiting, permits)), run_virtual(bare(waiting, permits))


def table(permits: int, lines: tuple[int, ...] = IN_LINE) -> list[str]:
    """The whole table, as lines."""
    head = "in line".rjust(10) + "".join(f"{waiting:>16,}" for waiting in lines)
    rows = [head]
    for count in range(4):
        cells = [measure(count, waiting, permits) for waiting in lines]
        said = [f"{ours:>8.2f} ({ours / bare:4.1f}x)" for ours, bare in cells]
        rows.append(f"{count} quotas".rjust(10) + "".join(said))
    return rows


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description="What a permit costs: a table of µs of CPU.")
    parser.add_argument("--permits", type=int, default=20_000, help="that are counted of each cell")
    print("\n".join(table(parser.parse_args().permits)))


if __name__ == "__main__":
    main()
