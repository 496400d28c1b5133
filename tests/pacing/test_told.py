"""A 429 that names a quota: it is paused, as large as the server says, and named again and again it goes slower."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.ask import OpenTask
from batcher.pacing.gate import Gate, Permit, Quotas
from batcher.pacing.minute import MinuteQuota
from batcher.pacing.quota import MINUTE_S, SKEW_S, Window
from batcher.records import Reply, Request
from tests.asking.stage import PER_MINUTE, Stage, as_a_session, failure, open_task
from tests.builders import a_reply
from tests.fakes import FakeClock, run_virtual
from tests.pacing.rated import failed_rows
from tests.pacing.server import LANE

OK = a_reply("yes")
REQUESTS, TOKENS = "requests/min", "input_tokens/min"


def a_gate(quotas: Quotas = Quotas(), *, slots: int = 1000) -> Gate:  # noqa: B008  frozen
    loop = asyncio.get_running_loop()
    return Gate(quotas, slots=slots, now=loop.time, wall_us=FakeClock(follow=loop.time))


async def sent_in(gate: Gate, seconds: float) -> int:
    """How many go in that time, each answered at once."""

    async def go() -> None:
        while True:
            permit = await gate.admit(LANE, 1)
            went.append(permit)
            gate.breaker.answers += 1
            gate.settle(permit, 1)
            gate.free(permit)
            await asyncio.sleep(0)

    went: list[Permit] = []
    going = asyncio.ensure_future(go())
    await asyncio.sleep(seconds)
    going.cancel()
    return len(went)


# --- the window that is only assumed


@given(limit=st.floats(1, 5e6), first_s=st.floats(0.1, 90), now_s=st.floats(0, 1e6))
def test_a_full_window_empties_evenly_from_the_hint_to_a_minute_from_now(limit, first_s, now_s):
    window = Window(limit)
    window.assume_full(now_s, first_s)
    assert window.held == int(limit)
    hold_s, first_s = MINUTE_S + SKEW_S, min(first_s, MINUTE_S + SKEW_S)
    assert window.room(now_s + 0.999 * first_s) < 1
    middle_s = (first_s + hold_s) / 2
    assert window.room(now_s + 0.999 * middle_s) <= 0.5 * limit + 2 * limit / 60 + 2
    assert window.room(now_s + hold_s + 1e-3) == pytest.approx(limit)


def test_a_limit_that_changes_keeps_the_record_and_lets_go_who_waits():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        quota = MinuteQuota(REQUESTS, 60)
        for _ in range(3):
            quota.window.add(loop.time(), 1)
            await quota.pay(1)
        waiting = asyncio.ensure_future(quota.pay(1))
        await asyncio.sleep(0.1)
        quota.change(6000)
        began_s = loop.time()
        await waiting
        for _ in range(50):
            await quota.pay(1)
        assert loop.time() - began_s < 2.0
        assert quota.window.held == 3
        quota.change(3)
        assert not quota.window.fits(loop.time(), 1)

    run_virtual(main())


# --- what the server says is the limit


@pytest.mark.parametrize(
    ("set_", "told", "holds"),
    [(None, 300, 300), (600, 300, 300), (600, 900, 600), (60, 300, 60)],
    ids=["a lane gains it", "a bigger one shrinks", "never beyond what was set", "a smaller one is kept"],
)
@pytest.mark.parametrize("quota", [REQUESTS, TOKENS])
def test_what_the_server_tells_is_the_limit_unless_a_smaller_one_was_set(quota, set_, told, holds):
    async def main() -> int:
        name = "requests_per_minute" if quota == REQUESTS else "input_tokens_per_minute"
        gate = a_gate(Quotas(**{name: set_}) if set_ else Quotas())
        gate.refused(LANE, quota, told, 1.0, "rate_limit")
        await asyncio.sleep(2 * MINUTE_S)
        return await sent_in(gate, 2 * MINUTE_S)

    assert run_virtual(main()) == pytest.approx(2 * holds, rel=0.02)


def test_a_limit_may_be_told_larger_again():
    async def main() -> tuple[int, int]:
        gate = a_gate(Quotas(requests_per_minute=600))
        gate.refused(LANE, REQUESTS, 60, 1.0, "rate_limit")
        few = await sent_in(gate, MINUTE_S)
        gate.refused(LANE, REQUESTS, 600, 1.0, "rate_limit")
        await asyncio.sleep(MINUTE_S)
        return few, await sent_in(gate, MINUTE_S)

    few, many = run_virtual(main())
    assert few <= 60
    assert many == pytest.approx(600, rel=0.03)


def test_a_limit_that_comes_while_requests_wait_holds_for_them():
    """One waits for its slot, others behind it: tokens are counted from the next one on, whatever they came for."""

    async def main() -> None:
        gate = a_gate(slots=1)
        busy = await gate.admit("other", 1)
        waiting = [asyncio.ensure_future(gate.admit(LANE, 100)) for _ in range(3)]
        await asyncio.sleep(1.0)
        gate.refused(LANE, TOKENS, 150, 2.0, "rate_limit")
        gate.free(busy)
        await asyncio.sleep(1.0)
        assert not any(each.done() for each in waiting)  # paused
        permits = []
        for each in waiting:
            permits.append(await each)
            assert permits[-1].of_tokens is not None
            gate.free(permits[-1])
        assert asyncio.get_running_loop().time() > 2 * MINUTE_S  # one a minute, and the first minute was full

    run_virtual(main())


@pytest.mark.parametrize("quotas", [Quotas(), Quotas(requests_per_minute=600)])
@pytest.mark.parametrize("value", [None, 300])
def test_sending_resumes_when_the_hint_is_over(quotas, value):
    async def main() -> None:
        gate = a_gate(quotas)
        await gate.admit(LANE, 1)
        gate.refused(LANE, REQUESTS, value, 2.0, "rate_limit")
        await gate.admit(LANE, 1)
        assert 2.0 <= asyncio.get_running_loop().time() <= 2.3

    run_virtual(main())


def test_only_the_lane_that_was_refused_stands():
    async def main() -> None:
        gate = a_gate()
        gate.refused(LANE, REQUESTS, 10, 2.0, "rate_limit")
        assert gate.admit_now(LANE, 1) is None
        assert all(gate.admit_now("other", 1) for _ in range(10))

    run_virtual(main())


@pytest.mark.parametrize("value", [None, 600])
def test_a_quota_that_should_have_room_and_is_named_again_goes_slower_and_recovers(value):
    async def main() -> list[int]:
        gate = a_gate(Quotas(requests_per_minute=600))
        went = [await sent_in(gate, 60.0)]
        for _ in range(3):  # one refusal is bad luck
            gate.refused(LANE, REQUESTS, value, 0.01, "rate_limit")
            went.append(await sent_in(gate, 6.0))
        await sent_in(gate, 200.0)
        went.append(await sent_in(gate, 60.0))
        assert gate.history.cuts == {"pace": 2}
        return went

    before, first, second, third, after = run_virtual(main())
    assert before == pytest.approx(597, abs=6)
    assert first == pytest.approx(60, abs=4)
    assert second < 0.85 * first
    assert third < second
    assert after == pytest.approx(before, abs=10)


def test_refusals_that_were_on_their_way_when_the_pause_began_are_one_refusal():
    async def main() -> None:
        gate = a_gate(Quotas(requests_per_minute=600))
        await sent_in(gate, 10.0)
        for _ in range(50):
            gate.refused(LANE, REQUESTS, None, 30.0, "rate_limit")
        assert not gate.history.cuts

    run_virtual(main())


# --- a strict server that says what it allows


@dataclass
class StrictMinute:
    """So many requests in any minute; a 429 says how many, and when the next one fits."""

    allowed: int
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._window: deque[float] = deque()

    def answer(self, _: Request) -> Reply:
        now_s, window = asyncio.get_running_loop().time(), self._window
        while window and window[0] <= now_s - MINUTE_S:
            window.popleft()
        if len(window) < self.allowed:
            window.append(now_s)
            self.accepted.append(now_s)
            return OK
        self.refused.append(now_s)
        violation = {"quotaId": PER_MINUTE, "quotaValue": str(self.allowed)}
        wait = {"retryDelay": f"{window[0] + MINUTE_S - now_s:.3f}s"}
        return failure(429, "slow down", details=[{"violations": [violation]}, wait])


@pytest.mark.parametrize("allowed", [60, 600])
def test_a_quota_that_nobody_set_is_learnt_by_one_refusal_and_used(allowed):
    """The first burst fills the minute; after it hardly anything is refused, and nearly all is used."""
    server, minutes = StrictMinute(allowed), 6

    async def main() -> int:
        stage = Stage(server.answer, slots=32, latency_s=0.2)

        def rows() -> Iterator[OpenTask]:
            number = 0
            while asyncio.get_running_loop().time() < minutes * MINUTE_S:
                yield open_task(number)
                number += 1

        return failed_rows(await as_a_session(stage, rows()))

    assert run_virtual(main()) == 0
    later = [at_s for at_s in server.refused if at_s > 2.0 + allowed / 100]
    used = sum(at_s < minutes * MINUTE_S for at_s in server.accepted)
    print(f"{used / (allowed * minutes):.1%} used, {len(server.refused)} refused, {len(later)} of them later")
    assert len(server.refused) <= 32 + 4
    assert len(later) <= 2
    assert used >= 0.96 * allowed * minutes
