"""What does an endpoint do that turns away what is too much and does not say what its quota is? On virtual time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from batcher.asking.ask import Ending, OpenTask
from batcher.records import Request, Status
from tests.asking.stage import BUSY, Exchange, Stage, as_a_session, open_task, throttled
from tests.builders import a_reply
from tests.fakes import jitter

OK = a_reply("yes")


@dataclass
class RatedServer:
    """So many requests in any second; the others are turned away at once, by a 429 that names nothing.

    Attributes:
        per_second: what it allows, by loop time.
        latency_s: of an answer, half of it to one and a half.
        out_s: from when until when it says 503 to everything.
        turned_away: this part of what it could serve, whatever is asked.
        answered, refused, failed: loop time of each, on arrival.
    """

    per_second: Callable[[float], float]
    latency_s: float = 0.5
    out_s: tuple[float, float] = (-1.0, -1.0)
    turned_away: float = 0.0
    seed: int = 1
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = jitter(self.seed)
        self._window: deque[float] = deque()
        self._latency_s: dict[int, float] = {}

    def answer(self, request: Request) -> Exchange:
        """Judge one request on its arrival."""
        now_s, window = asyncio.get_running_loop().time(), self._window
        self._latency_s[id(request)] = 0.05
        if self.out_s[0] <= now_s < self.out_s[1]:
            self.failed.append(now_s)
            return BUSY
        while window and window[0] <= now_s - 1.0:
            window.popleft()
        if len(window) >= self.per_second(now_s) or self._chance() < self.turned_away:
            self.refused.append(now_s)
            return throttled()
        window.append(now_s)
        self.answered.append(now_s)
        self._latency_s[id(request)] = self.latency_s * (0.5 + self._chance())
        return OK

    async def asked_for(self, seconds: float, *, slots: int) -> tuple[Stage, list[Ending]]:
        """Ask it new rows for so long, as fast as they go, then wait for the last of them."""
        loop, chance = asyncio.get_running_loop(), jitter(self.seed)
        stage = Stage(self.answer, slots=slots, latency_s=lambda request: self._latency_s[id(request)], chance=chance)

        def rows() -> Iterator[OpenTask]:
            number = 0
            while loop.time() < seconds:
                yield open_task(number)
                number += 1

        return stage, await as_a_session(stage, rows())


def failed_rows(endings: list[Ending]) -> int:
    return sum(ending.outcome is None or ending.outcome.status is not Status.OK for ending in endings)


def share(of: list[float], among: list[float], from_s: float, until_s: float) -> float:
    """`of` as a part of both, between two moments."""
    these, those = (sum(from_s <= at_s < until_s for at_s in times) for times in (of, among))
    return these / (these + those)
