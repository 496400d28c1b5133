from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from batcher.errors import Exit
from batcher.pacing.gate import Gate, Permit, Quotas
from batcher.pacing.outage import OutageTooLong, Patience
from tests.fakes import FakeClock, run_virtual

HOURS_6 = 21_600.0
FAILURES = 20


class Desk:
    """A gate on the running virtual loop, whose requests end as the test says."""

    def __init__(
        self,
        *,
        slots: int = 40,
        quotas: Quotas = Quotas(),  # noqa: B008  frozen
        max_outage_s: float = HOURS_6,
        chance: float = 0.5,
        unserved_s: float = HOURS_6,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock = FakeClock(follow=loop.time)
        self.gate = Gate(
            quotas,
            slots=slots,
            now=loop.time,
            wall_us=self.clock,
            patience=Patience(max_outage_s=max_outage_s, unserved_s=unserved_s),
            chance=lambda: chance,
        )
        self.ends: list[OutageTooLong] = []
        self.gate.on_outage_too_long(self.end)

    def end(self, why: OutageTooLong) -> None:
        self.ends.append(why)
        self.ended_at_s = asyncio.get_running_loop().time()

    def fail(self, permit: Permit, *, hint_s: float = 0.0, said: str = "http_503: overloaded") -> bool:
        news = self.gate.origin.failed(permit, hint_s, tells=True)
        if news:
            self.gate.origin.said = said
        self.gate.free(permit)
        return news

    def answer(self, permit: Permit) -> None:
        self.gate.breaker.answers += 1
        self.gate.origin.answered(permit)
        self.gate.free(permit)

    async def break_down(self, failures: int = FAILURES) -> None:
        for _ in range(failures):
            self.fail(await self.gate.admit("a", 1))

    async def retry(self, lane: str = "a") -> Permit:
        return await self.gate.admit(lane, 1, retry=True)


def virtually(main: Coroutine[Any, Any, None]) -> None:
    run_virtual(main)


async def until_s(at_s: float) -> None:
    await asyncio.sleep(at_s - asyncio.get_running_loop().time())


def test_while_it_is_out_nothing_goes_but_a_probe_when_its_time_has_come():
    async def main() -> None:
        desk = Desk()
        gate = desk.gate
        await desk.break_down()
        assert gate.limited_by == "outage"
        assert gate.outage is not None
        assert gate.outage.probe_in_s == pytest.approx(5.0, abs=0.01)
        waiting = [asyncio.create_task(desk.retry(lane)) for lane in ("a", "a", "b")]
        await until_s(4.9)
        assert gate.is_full
        assert gate.admit_now("a", 1) is None
        assert not any(task.done() for task in waiting)
        await until_s(5.1)
        assert [task.done() for task in waiting] == [True, False, False]
        assert waiting[0].result().is_probe
        assert gate.outage is not None
        assert gate.outage.probe_in_s is None
        await until_s(3000)
        assert [task.done() for task in waiting] == [True, False, False]  # one, however long it takes
        for task in waiting:
            task.cancel()

    virtually(main())


def test_the_outage_says_since_when_and_what_was_seen_last():
    async def main() -> None:
        desk = Desk()
        await until_s(100)
        began_us = desk.clock()
        for number in range(FAILURES):
            permit = await desk.gate.admit("a", 1)
            assert desk.gate.outage is None
            assert desk.fail(permit, said=f"failure {number}") is (number == FAILURES - 1)
            await asyncio.sleep(1)
        outage = desk.gate.outage
        assert outage is not None
        assert abs(outage.since_us - began_us) < 1_000
        assert outage.probe_in_s == pytest.approx(4.0, abs=0.01)
        assert outage.said == "failure 19"

    virtually(main())


def test_a_probe_that_is_answered_ends_it_and_the_slots_come_back_with_the_answers():
    async def main() -> None:
        desk = Desk(slots=40)
        gate = desk.gate
        await desk.break_down()
        desk.answer(await desk.retry())
        assert (gate.outage, gate.limited_by) == (None, "")
        for size in (4, 8, 11, 19, 27, 35, 40, 40):  # doubled up to 0.7 of the 16 that they were
            assert gate.narrowed == (size if size < 40 else None)
            out = []
            while (permit := gate.admit_now("a", 1)) is not None:
                assert not permit.is_probe
                out.append(permit)
            assert gate.in_flight == size
            for permit in out:
                desk.answer(permit)

    virtually(main())


def test_slots_do_not_come_back_while_most_requests_fail():
    async def main() -> None:
        desk = Desk(slots=40)
        await desk.break_down()
        desk.answer(await desk.retry())
        for _ in range(10):
            for _ in range(3):
                desk.fail(await desk.retry())
            desk.answer(await desk.retry())
            await asyncio.sleep(1.01)
        assert desk.gate.outage is None
        assert [desk.gate.admit_now("a", 1) is not None for _ in range(3)].count(True) <= 2

    virtually(main())


def test_each_probe_that_fails_waits_longer_and_is_another_row():
    async def main() -> list[tuple[int, int]]:
        desk, probes = Desk(), []

        async def row(number: int) -> None:
            while True:
                permit = await desk.retry()
                probes.append((number, round(asyncio.get_running_loop().time())))
                if len(probes) == 6:
                    desk.answer(permit)
                    return
                desk.fail(permit)

        await desk.break_down()
        rows = [asyncio.create_task(row(number)) for number in range(3)]
        await asyncio.wait(rows, return_when=asyncio.FIRST_COMPLETED)
        for each in rows:
            each.cancel()
        return probes[:6]

    assert run_virtual(main()) == [(0, 5), (1, 15), (2, 35), (0, 75), (1, 155), (2, 235)]


def test_what_was_out_already_neither_ends_the_outage_nor_lets_more_go():
    async def main() -> None:
        desk = Desk(slots=40, quotas=Quotas(requests_per_minute=600_000))  # with one, all slots are open from the start
        gate = desk.gate
        early = [await gate.admit("a", 1) for _ in range(15)]
        await desk.break_down()
        waiting = [asyncio.create_task(desk.retry()) for _ in range(3)]
        for permit in early[:5]:
            desk.answer(permit)
        for permit in early[5:10]:
            assert not desk.fail(permit)
        await until_s(4)
        assert gate.outage is not None
        assert not any(task.done() for task in waiting)
        await until_s(6)
        for permit in early[10:]:
            desk.answer(permit)
        await until_s(20)
        assert [task.done() for task in waiting] == [True, False, False]
        desk.answer(waiting[0].result())
        await asyncio.gather(*waiting)
        assert gate.outage is None

    virtually(main())


def test_a_row_that_has_not_failed_is_the_better_probe():
    async def main() -> None:
        desk = Desk()
        gate, told = desk.gate, []
        gate.on_free(lambda: told.append(gate.probe_now("a", 1)))
        await desk.break_down()
        told.clear()
        assert gate.probe_now("a", 1) is None
        failed_before = asyncio.create_task(desk.retry())
        await until_s(6)
        (permit,) = told
        assert permit is not None
        assert permit.is_probe
        assert not failed_before.done()
        desk.answer(permit)
        assert not (await failed_before).is_probe

    virtually(main())


def test_a_probe_waits_for_nobody_who_never_comes():
    """Every row sleeps until later: the first that comes is the probe."""

    async def main() -> None:
        desk = Desk()
        await desk.break_down()
        await until_s(60)
        assert not desk.gate.is_full  # so that whoever has rows to send comes and asks
        permit = await desk.retry()
        assert permit.is_probe
        assert desk.gate.is_full

    virtually(main())


def test_a_probe_that_shows_nothing_is_sent_once_more():
    async def main() -> None:
        desk = Desk()
        await desk.break_down()
        permit = await desk.retry()
        desk.gate.origin.learnt_nothing(permit)
        desk.gate.free(permit)
        assert (await desk.retry()).is_probe
        assert asyncio.get_running_loop().time() < 6

    virtually(main())


def test_a_probe_that_is_given_up_in_line_goes_to_the_next():
    async def main() -> None:
        desk = Desk()
        await desk.break_down()
        first, second = (asyncio.create_task(desk.retry(lane)) for lane in "ab")
        await until_s(5 + 0.0100005)
        first.cancel()
        assert (await second).is_probe

    virtually(main())


def test_a_pause_that_comes_while_the_probe_waits_holds_it_and_lets_another_lane_probe():
    async def main() -> None:
        desk = Desk()
        await desk.break_down()
        paused, other = (asyncio.create_task(desk.retry(lane)) for lane in "ab")
        await asyncio.sleep(1)
        desk.gate.pause("a", "requests/min", 100)
        permit = await other
        assert permit.is_probe
        assert not paused.done()
        desk.answer(permit)
        assert not (await paused).is_probe
        assert asyncio.get_running_loop().time() == pytest.approx(101, abs=0.1)

    virtually(main())


@pytest.mark.parametrize(("answers", "ends_after_s"), [(0, 120), (1, HOURS_6)])
def test_an_origin_that_has_never_answered_is_not_sat_out_for_long(answers, ends_after_s):
    async def main() -> None:
        desk = Desk(unserved_s=120)
        for _ in range(answers):
            desk.answer(await desk.gate.admit("a", 1))
        await desk.break_down()
        while not desk.ends:
            waiting = asyncio.create_task(desk.retry())
            await asyncio.wait([waiting], timeout=200)
            if waiting.done():
                desk.fail(waiting.result())
            waiting.cancel()
        assert desk.ended_at_s == pytest.approx(ends_after_s, abs=0.1)

    virtually(main())


def test_after_max_outage_it_says_so_once_with_the_beginning_and_what_was_seen_last():
    async def main() -> None:
        desk = Desk()
        await until_s(60)
        began_us = desk.clock()
        await desk.break_down()
        probes = 0
        while not desk.ends:
            waiting = asyncio.create_task(desk.retry())
            await asyncio.wait([waiting], timeout=200)
            if waiting.done():
                probes += 1
                desk.fail(waiting.result())
            waiting.cancel()
        (end,) = desk.ends
        assert desk.ended_at_s - 60 == pytest.approx(HOURS_6, abs=0.1)
        assert 260 <= probes <= 290  # every 80 s in the end
        assert abs(end.since_us - began_us) < 1_000
        assert end.exit_code is Exit.STOPPED
        assert end.message == (
            "the endpoint is out since 2026-01-01 00:01 UTC, for 6 hours now; seen last: http_503: overloaded"
        )
        assert end.hint == (
            "type the same command again once it answers; retry.max_outage_s is how long a run waits for that"
        )
        await asyncio.sleep(HOURS_6)
        assert len(desk.ends) == 1

    virtually(main())


def test_a_probe_that_is_out_at_the_end_may_still_save_the_run():
    async def main() -> None:
        for saves in (True, False):
            desk = Desk(max_outage_s=60)
            await desk.break_down()
            permit = await desk.retry()
            await asyncio.sleep(100)
            assert not desk.ends
            if saves:
                desk.answer(permit)
            else:
                desk.fail(permit)
            await asyncio.sleep(1)
            assert len(desk.ends) == (not saves)

    virtually(main())


def test_a_hint_is_a_floor_of_the_wait_for_the_probe():
    async def main() -> None:
        desk = Desk()
        await desk.break_down(FAILURES - 1)
        desk.fail(await desk.gate.admit("a", 1), hint_s=30)
        await desk.retry()
        assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)

    virtually(main())


def test_few_slots_mean_few_open_rows_and_fewer_failures_are_believed():
    async def main() -> None:
        for slots, failures in ((1, 6), (3, 18), (4, 20)):
            desk = Desk(slots=slots)
            await desk.break_down(failures - 1)
            assert desk.gate.outage is None
            await desk.break_down(1)
            assert desk.gate.outage is not None

    virtually(main())


def test_quotas_hold_for_probes():
    async def main() -> None:
        desk = Desk(quotas=Quotas(requests_per_minute=60))
        at_s = []
        for _ in range(FAILURES):
            desk.fail(await desk.retry())
            at_s.append(asyncio.get_running_loop().time())
        permit = await desk.retry()
        at_s.append(asyncio.get_running_loop().time())
        assert permit.of_requests is not None
        assert at_s[-1] - at_s[-2] == pytest.approx(5, abs=0.1)

    virtually(main())
