"""Does a big prompt get its turn, whatever else wants to go? And is every reply settled once, whatever it says?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.pacing.gate import Gate, Permit, Quotas
from batcher.pacing.quota import MINUTE_S, SKEW_S
from tests.fakes import FakeClock, run_virtual
from tests.pacing.server import LANE, StrictServer

HOLD_S = MINUTE_S + SKEW_S
QUOTA = 6_000
SMALL = 20
WARM_UP_S = 90


@dataclass(frozen=True)
class Waited:
    """How a big prompt fared among small ones that never end."""

    big_s: float
    later_ones_before_it: int
    tokens_of_fullest_minute: int


class Crowd:
    """Everybody who wants to go through one gate."""

    def __init__(self, replies: asyncio.TaskGroup, latency_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        clock = FakeClock(follow=self._loop.time)
        self._gate = Gate(Quotas(input_tokens_per_minute=QUOTA), slots=1000, now=self._loop.time, wall_us=clock)
        self._replies = replies
        self._latency_s = latency_s
        self.server = StrictServer()
        self.served: list[str] = []

    async def one(self, name: str, tokens: int = SMALL, *, retry: bool = False) -> None:
        permit = await self._gate.admit(LANE, tokens, retry=retry)
        self.server.arrive(self._loop.time(), tokens)
        self.served.append(name)
        self._replies.create_task(self._answered(permit, tokens))

    async def _answered(self, permit: Permit, tokens: int) -> None:
        await asyncio.sleep(self._latency_s)
        self._gate.settle(permit, tokens)
        self._gate.free(permit)

    async def keep_coming(self, name: str) -> None:
        while True:
            await self.one(name)

    async def keep_retrying(self, a_second: float) -> None:
        while a_second:
            await asyncio.sleep(1 / a_second)
            self._replies.create_task(self.one("retry", retry=True))


async def big_among_small(big: int, *, retries_per_s: float, latency_s: float) -> Waited:
    """Small rows fill the quota; then a big one comes, behind it more small ones, and retries past them all."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as everybody:
        crowd = Crowd(everybody, latency_s)
        for _ in range(10):
            everybody.create_task(crowd.keep_coming("earlier"))
        everybody.create_task(crowd.keep_retrying(retries_per_s))
        await asyncio.sleep(WARM_UP_S)
        came_s, before = loop.time(), len(crowd.served)
        waiting = everybody.create_task(crowd.one("big", big))
        await asyncio.sleep(0)
        for _ in range(10):
            everybody.create_task(crowd.keep_coming("later"))
        await waiting
        big_s, before_it = loop.time() - came_s, crowd.served[before : crowd.served.index("big")]
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
    return Waited(big_s, before_it.count("later"), crowd.server.fullest()[1])


@settings(max_examples=12, deadline=None)
@given(
    big=st.one_of(st.integers(QUOTA // 100, QUOTA), st.integers(QUOTA, 3 * QUOTA)),
    retries_per_s=st.sampled_from([0.0, 0.5, 1.0]),
    latency_s=st.sampled_from([0.0, 2.0, 20.0]),
)
def test_a_big_prompt_goes_within_bounded_time(big, retries_per_s, latency_s):
    """Nothing that came later goes first; when it leads, the minute empties for it, and that takes a minute at most.

    Retries may overtake it in line, and their budget lets one a second do so: here that is a fifth of the quota.
    """
    waited = run_virtual(big_among_small(big, retries_per_s=retries_per_s, latency_s=latency_s))

    assert waited.later_ones_before_it == 0
    assert waited.big_s <= 2 * HOLD_S + MINUTE_S * max(0, big / QUOTA - 1)
    assert waited.tokens_of_fullest_minute <= max(QUOTA, big)


# --- settled once


@dataclass(frozen=True)
class Sent:
    """One request, and what its reply says of its tokens: None nothing; unsent says that it never went."""

    estimate: int
    says: int | None
    unsent: bool


sent = st.builds(
    Sent,
    estimate=st.integers(1, 500),
    says=st.none() | st.integers(0, 5_000),
    unsent=st.sampled_from([False, False, True]),
)


@settings(max_examples=100, deadline=None)
@given(requests=st.lists(sent, min_size=1, max_size=40), chance=st.randoms(use_true_random=False))
def test_every_reply_is_settled_once_be_it_a_refund_a_debt_or_unknown(requests, chance):
    """The window holds what was said, or the estimate where nothing was; the pace has been charged the same."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = Gate(Quotas(input_tokens_per_minute=1e7), slots=1000, now=loop.time, wall_us=FakeClock())
        permits = [(request, await gate.admit(LANE, request.estimate)) for request in requests]
        tokens = gate._lanes[LANE]._tokens
        owed = tokens.account.owed
        taken = sum(permit.tokens for _, permit in permits)
        assert tokens.window.held == taken
        expected = 0
        for request, permit in chance.sample(permits, len(permits)):
            if request.unsent:
                gate.unsent(permit)
            else:
                gate.settle(permit, request.says)
                expected += permit.tokens if request.says is None else request.says
            gate.free(permit)
        assert tokens.window.held == expected
        assert tokens.account.owed - owed == expected - taken
        assert gate.in_flight == 0

    run_virtual(main())
