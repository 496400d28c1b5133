"""What an outage of the origin, and the budget of retries, cost a task: waits, and neither attempts nor its time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from batcher.asking.ask import Ending
from batcher.records import Reply, Request, Status
from tests.asking.stage import (
    BUSY,
    DISCONNECTED,
    REFUSED,
    SECRET,
    STALE,
    Exchange,
    Stage,
    as_a_session,
    failure,
    open_task,
    throttled,
)
from tests.builders import a_reply
from tests.fakes import run_virtual

OK = a_reply("yes")
INTERNAL = failure(500)


def gone(exchange: Exchange, *, until_s: float) -> Callable[[Request], Exchange]:
    return lambda _: exchange if asyncio.get_running_loop().time() < until_s else OK


def number_of(request: Request) -> int:
    return int(str(request.prompt).split()[1])


def outcomes(endings: list[Ending]) -> list[Status]:
    return [ending.outcome.status for ending in endings if ending.outcome is not None]


@pytest.mark.parametrize("exchange", [BUSY, REFUSED])
def test_hours_in_which_the_endpoint_is_down_use_up_neither_attempts_nor_the_rows_time(exchange):
    async def main() -> None:
        stage = Stage(gone(exchange, until_s=5 * 3600), slots=4, row_deadline_s=60)
        tasks = [open_task(number) for number in range(16)]
        endings = await as_a_session(stage, tasks)

        assert outcomes(endings) == [Status.OK] * 16
        assert max(len(stage.journal.tried(number)) for number in range(16)) > 10
        assert max(task.counted for task in tasks) <= 5
        assert max(task.active_s for task in tasks) < 60

    run_virtual(main())


def test_between_two_probes_nothing_is_sent():
    async def main() -> None:
        stage = Stage(gone(BUSY, until_s=300), slots=4, chance=0.5)
        await as_a_session(stage, [open_task(number) for number in range(30)])
        sent = [at_s for at_s in stage.door.sent_at_s if at_s < 300]
        gaps = [later - earlier for earlier, later in itertools.pairwise(sent)][-6:]
        assert gaps == pytest.approx([5, 10, 20, 40, 80, 80], abs=0.1)

    run_virtual(main())


def test_what_may_be_the_rows_own_fault_counts_for_probes_too():
    """Rows that always end in 500 come to an end, though nothing else is there to ask."""

    async def main() -> None:
        stage = Stage(lambda _: INTERNAL, slots=8)
        endings = await as_a_session(stage, [open_task(number) for number in range(32)])
        assert stage.gate.outage is not None
        assert outcomes(endings) == [Status.FAILED] * 32
        assert len(stage.door.sent) == 32 * 5

    run_virtual(main())


def test_rows_that_have_failed_before_are_no_outage():
    """`retry` asks nothing else: that they fail again tells of them, not of the endpoint."""

    async def main() -> None:
        stage = Stage(lambda _: INTERNAL, slots=8)
        endings = await as_a_session(stage, [open_task(number, attempts=5) for number in range(32)])
        assert stage.gate.outage is None
        assert outcomes(endings) == [Status.FAILED] * 32

        stage = Stage(gone(BUSY, until_s=300), slots=8)
        endings = await as_a_session(stage, [open_task(number, attempts=5) for number in range(32)])
        assert outcomes(endings) == [Status.OK] * 32  # a 503 tells of the endpoint, whoever gets it

    run_virtual(main())


@pytest.mark.parametrize("exchange", [BUSY, INTERNAL])
def test_rows_that_were_throttled_before_tell_of_an_outage_as_well(exchange):
    async def main() -> None:
        def answer(request: Request) -> Exchange:
            seen.append(request)
            return throttled() if len(seen) <= 40 else gone(exchange, until_s=300)(request)

        seen: list[Request] = []
        stage = Stage(answer, slots=8)
        asking = asyncio.create_task(as_a_session(stage, [open_task(number) for number in range(32)]))
        await asyncio.sleep(200)
        assert len(seen) > 60
        assert stage.gate.outage is not None
        assert outcomes(await asking) == [Status.OK] * 32

    run_virtual(main())


def test_a_few_rows_that_always_fail_are_no_outage():
    async def main() -> None:
        stage = Stage(lambda request: BUSY if number_of(request) < 9 else OK, slots=8, latency_s=0.1)
        endings = await as_a_session(stage, [open_task(number) for number in range(9)])
        assert outcomes(endings) == [Status.FAILED] * 9
        assert stage.gate.outage is None

    run_virtual(main())


@pytest.mark.parametrize(("bad", "within_s"), [(25, 60), (70, 50 * 80)])
def test_a_heap_of_bad_rows_is_passed_by_rows_that_have_not_failed(bad, within_s):
    """They fail at once and look like an outage; a probe is a new row, even when all that may be open have failed."""

    async def main() -> None:
        stage = Stage(
            lambda request: INTERNAL if number_of(request) < bad else OK,
            slots=16,
            latency_s=lambda request: 0.05 if number_of(request) < bad else 2.0,
        )
        endings = await as_a_session(stage, [open_task(number) for number in range(200)])
        assert outcomes(endings) == [Status.FAILED] * bad + [Status.OK] * (200 - bad)
        assert asyncio.get_running_loop().time() < within_s
        assert (stage.gate.open_tasks, stage.gate.in_flight) == (0, 0)

    run_virtual(main())


def test_a_429_a_refused_request_and_a_dead_connection_are_no_outage():
    for exchange in (throttled(), failure(400), STALE):

        async def main(exchange: Exchange = exchange) -> None:
            seen = itertools.count()
            stage = Stage(lambda _: exchange if next(seen) < 60 else OK, slots=8)
            await as_a_session(stage, [open_task(number) for number in range(80)])
            assert stage.gate.breaker.failures == 0
            assert stage.gate.outage is None

        run_virtual(main())


def test_a_page_in_the_place_of_answers_is_sat_out_once_there_were_answers():
    page = Reply(status=200, headers={}, body=b"<html>back at nine", latency_ms=2.0)

    async def main() -> list[Status]:
        seen = itertools.count()

        def answer(_: Request) -> Exchange:
            before = asyncio.get_running_loop().time() > 120 or next(seen) < 20
            return OK if before else page

        stage = Stage(answer, slots=8)
        endings = await as_a_session(stage, [open_task(number) for number in range(400)])
        return outcomes(endings)

    ended = run_virtual(main())
    assert ended.count(Status.FAILED) < 20
    assert ended.count(Status.OK) == 400 - ended.count(Status.FAILED)


def test_what_is_said_of_an_outage_is_scrubbed():
    async def main() -> None:
        stage = Stage(lambda _: failure(503, f"key {SECRET} is\x1b fine"), slots=8)
        asking = asyncio.create_task(as_a_session(stage, [open_task(number) for number in range(40)]))
        await asyncio.sleep(3)
        assert stage.gate.outage is not None
        assert stage.gate.outage.said == "http_503: key [secret] is  fine"
        asking.cancel()

    run_virtual(main())


def test_a_random_few_percent_of_failures_are_asked_again_as_if_there_were_no_breaker():
    """As the bench has it: 5 % 429, 3 % 503, 1 % dropped."""

    async def main() -> None:
        faults = itertools.cycle([*[OK] * 18, throttled(), *[OK] * 12, BUSY, *[OK] * 40, DISCONNECTED])
        stage = Stage(lambda _: next(faults), slots=16, latency_s=0.01)
        endings = await as_a_session(stage, [open_task(number) for number in range(2_000)])
        assert outcomes(endings) == [Status.OK] * 2_000
        assert stage.gate.breaker.failures > 50
        assert stage.gate.outage is None
        assert max(attempt.waited_ms for attempt in stage.journal.attempts.values()) < 2_000  # the backoff alone

    run_virtual(main())


def test_retries_beyond_the_budget_wait_without_a_slot_and_say_how_long():
    async def main() -> None:
        stage = Stage([BUSY, OK], slots=1, chance=0.0)
        for _ in range(500):
            await stage.gate.afford_retry()
        ending = await stage.ask(open_task())
        assert ending.outcome is not None
        assert ending.outcome.status is Status.OK
        assert stage.door.sent_at_s == pytest.approx([0, 1], abs=0.01)
        assert stage.journal.attempts[0, 2].waited_ms == pytest.approx(1_000, abs=10)
        assert ending.task.active_s < 0.1

    run_virtual(main())


@pytest.mark.parametrize("exchange", [STALE, throttled()])
def test_a_429_and_a_dead_connection_cost_no_retry(exchange):
    async def main() -> None:
        stage = Stage([exchange, OK], slots=1, chance=0.0)
        for _ in range(500):
            await stage.gate.afford_retry()
        await stage.ask(open_task())
        assert stage.door.sent_at_s == pytest.approx([0, 0], abs=0.01)

    run_virtual(main())


def test_drained_while_it_waits_for_the_budget_a_task_leaves_nothing_taken():
    async def main() -> None:
        stage = Stage([BUSY], slots=1)
        for _ in range(500):
            await stage.gate.afford_retry()
        task = open_task()
        asking = asyncio.create_task(stage.ask(task))
        await asyncio.sleep(0.1)
        assert task.waiting
        asking.cancel()
        await asyncio.wait([asking])
        assert (stage.gate.in_flight, stage.gate.open_tasks, stage.gate.limited_by) == (0, 0, "")

    run_virtual(main())
