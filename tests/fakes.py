"""What do tests put in the place of time, chance and the endpoint? Fakes that walk through the same doors."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from batcher.records import NoReply, Reply, Request

T = TypeVar("T")

SELECT_ADVANCES_S = 1e-6
"""Time passes with every turn of the loop: when only a rounding error is missing, aiolimiter sets a timer for "now"
and would spin."""


class VirtualSelector(selectors.DefaultSelector):
    """A selector that never sleeps: a wait for `timeout` seconds moves the clock by that much and is over.

    Real file descriptors are looked at without waiting. Only when no timer is left does it wait in earnest, briefly,
    for another thread to call back; if none does, nothing can ever happen again, and it says so.

    Attributes:
        turns: of the loop, so far.
        most_turns: more than that is a livelock, and it says so.
    """

    PATIENCE_S = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0
        self.most_turns = math.inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > self.most_turns:
            msg = f"livelock at {self.now_s:.6f} s of virtual time: {self.turns} turns of the loop"
            raise RuntimeError(msg)
        if timeout is not None:
            self.now_s += max(timeout, SELECT_ADVANCES_S)
            return super().select(0)
        self.now_s += SELECT_ADVANCES_S
        ready = super().select(0) or super().select(self.PATIENCE_S)
        if not ready:
            msg = f"deadlock at {self.now_s:.6f} s of virtual time: every task waits and no timer is set"
            raise RuntimeError(msg)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on virtual time: hours pass in the time that their work takes."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    def pass_time(self, seconds: float) -> None:
        """Let time pass in the middle of a turn, as it does while code runs."""
        self._virtual.now_s += seconds

    @property
    def turns(self) -> int:
        return self._virtual.turns

    def bound(self, most_turns: float) -> None:
        """Have more turns than that raise RuntimeError, instead of spinning without end."""
        self._virtual.most_turns = most_turns


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual loop of its own, and return what it returned."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class UnhurriedSelector(VirtualSelector):
    """For runs that write to a real disk: no time passes as long as a thread works that was begun under this loop."""

    PATIENCE_S = 20.0  # until it is a deadlock: such a thread may be waiting for the disk

    def __init__(self) -> None:
        super().__init__()
        self._others = set(sys._current_frames())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 1 and (ready := selectors.DefaultSelector.select(self, 0.005)):
            return ready  # whoever was just woken shows no sign of it yet
        while timeout is not None and timeout > 0 and self._is_a_thread_busy():
            if ready := selectors.DefaultSelector.select(self, 0.002):
                return ready
        return super().select(timeout)

    def _is_a_thread_busy(self) -> bool:
        working = (
            frame.f_code.co_name
            for thread, frame in sys._current_frames().items()
            if thread != threading.get_ident() and thread not in self._others
        )
        return any(name not in {"_serve", "_worker"} for name in working)  # these are the journal's and the pool's rest


class UnhurriedLoop(VirtualLoop):
    """A virtual loop whose hours wait for the disk."""

    def __init__(self) -> None:
        self._virtual = UnhurriedSelector()
        asyncio.SelectorEventLoop.__init__(self, self._virtual)


def run_unhurried(main: Coroutine[Any, Any, T]) -> T:
    """As `run_virtual`, for what writes to a real disk."""
    with asyncio.Runner(loop_factory=UnhurriedLoop) as runner:
        return runner.run(main)


class FakeClock:
    """Wall time in microseconds since the epoch: stands still unless told, or follows a loop's `time`."""

    def __init__(self, at_us: int = 1_767_225_600_000_000, *, follow: Callable[[], float] | None = None) -> None:
        self._at_us = at_us  # 2026-01-01T00:00:00Z unless given
        self._follow = follow

    def __call__(self) -> int:
        return self._at_us + (round(self._follow() * 1e6) if self._follow else 0)

    def advance(self, seconds: float) -> None:
        self._at_us += round(seconds * 1e6)


def jitter(seed: int = 0) -> Callable[[], float]:
    """A source of chance in [0, 1): one seed, one sequence."""
    return random.Random(seed).random


def steady(value: float) -> Callable[[], float]:
    """A source of chance that always says the same."""
    return lambda: value


Exchange = Reply | NoReply


class ScriptedTransport:
    """The transport's door with a script behind it.

    Args:
        script: what each request in turn gets, or a function of the request.
        latency_s: loop time an exchange takes, or a function of the request.

    Attributes:
        sent: the requests, in order.
        sent_at_s: loop time of each.
        most_in_flight: exchanges open at once, at most.
        forgotten: big replies that were said to be on disk.
    """

    def __init__(
        self,
        script: Sequence[Exchange] | Callable[[Request], Exchange],
        *,
        latency_s: float | Callable[[Request], float] = 0.0,
    ) -> None:
        self._answer = script if callable(script) else _in_turn(script)
        self._latency_s = latency_s if callable(latency_s) else steady_for(latency_s)
        self.sent: list[Request] = []
        self.sent_at_s: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.forgotten = 0

    async def post(self, request: Request) -> Exchange:
        self.sent.append(request)
        self.sent_at_s.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self._answer(request)  # on arrival: the script goes by the order of sending, whatever the latency
            await asyncio.sleep(self._latency_s(request))
        finally:
            self.in_flight -= 1
        return answer

    def forget(self) -> None:
        self.forgotten += 1


def steady_for(latency_s: float) -> Callable[[Request], float]:
    """The same latency for every request."""
    return lambda _request: latency_s


def _in_turn(script: Iterable[Exchange]) -> Callable[[Request], Exchange]:
    left = iter(script)

    def answer(_request: Request) -> Exchange:
        for exchange in left:
            return exchange
        msg = "the script has ended: one request more than it has replies"
        raise AssertionError(msg)

    return answer
