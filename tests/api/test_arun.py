"""`await batcher.arun`: beside the caller's loop, which goes on; cancelling leaves a run that goes on."""

import asyncio
import threading

import pytest

import batcher
from batcher.errors import Exit, InputError, JobError
from tests.api.runs import LATENCY_S, ROWS, STUCK_S, an_emulator, asked, slow_rows, to
from tests.whole.runs import column, sums


@pytest.fixture(scope="module")
def slow():
    with an_emulator(LATENCY_S) as emulator:
        yield emulator


async def test_the_callers_loop_goes_on_while_it_runs(slow, tmp_path):
    turns = 0

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    run = await batcher.arun(sums(20), **to(slow, tmp_path / "out"))
    turning.cancel()

    assert run.summary.verdict == "done: 20 of 20 ok"
    assert turns > 100


async def test_two_at_once_share_nothing(slow, tmp_path):
    runs = await asyncio.gather(*(batcher.arun(sums(20), **to(slow, tmp_path / name)) for name in "abc"))

    assert [run.summary.totals.done for run in runs] == [20, 20, 20]


async def test_progress_is_told_on_the_callers_thread(slow, tmp_path):
    told = []

    await batcher.arun(
        sums(20), **to(slow, tmp_path / "out", progress=lambda _: told.append(threading.current_thread()))
    )

    assert set(told) == {threading.current_thread()}


async def test_what_is_wrong_is_raised_where_it_is_awaited(slow, tmp_path):
    with pytest.raises(JobError, match="no model"):
        await batcher.arun(sums(1), **to(slow, tmp_path / "out", model=None))
    with pytest.raises(InputError, match="row 1 is str"):
        await batcher.arun(["What is 2 + 2?"], **to(slow, tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


async def test_cancelling_drains_and_the_same_call_completes(slow, tmp_path):
    slow.reset()
    out = tmp_path / "out"
    running = asyncio.ensure_future(batcher.arun(slow_rows(), **to(slow, out)))
    await asked(slow, 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    stopped = batcher.open_run(out)
    sent = slow.totals().requests
    assert stopped.summary.verdict == f"stopped by its caller; {sent} of {ROWS} answers are safe on disk"
    assert (stopped.summary.exit_code, stopped.summary.totals.maybe_billed) == (Exit.STOPPED, 0)

    run = await batcher.arun(slow_rows(), **to(slow, out))
    assert (run.summary.sent, column(out, "task")) == (ROWS - sent, list(range(ROWS)))
    assert slow.totals().requests == ROWS


async def test_cancelling_twice_leaves_at_once(tmp_path):
    out = tmp_path / "out"
    with an_emulator(STUCK_S) as stuck:
        running = asyncio.ensure_future(batcher.arun(sums(20), **to(stuck, out)))
        await asked(stuck, 8)
        running.cancel()
        await asyncio.wait([running], timeout=0.05)
        assert not running.done()  # it waits for what is in flight, and that hangs
        running.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await running

    assert batcher.open_run(out).summary.verdict == "stopped by its caller; 0 of 20 answers are safe on disk"


async def test_a_timeout_is_a_cancellation(slow, tmp_path):
    slow.reset()

    async def runs_out(limit):
        await asked(slow, 8)
        limit.reschedule(asyncio.get_running_loop().time())

    async def limited():
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            group.create_task(runs_out(limit))
            await batcher.arun(slow_rows(2_000), **to(slow, tmp_path / "out"))

    with pytest.raises(TimeoutError):
        await limited()

    assert batcher.open_run(tmp_path / "out").summary.exit_code is Exit.STOPPED


async def test_stopped_while_the_rows_are_still_coming_leaves_nothing(slow, tmp_path):
    slow.reset()
    coming = threading.Event()

    def endless():
        while True:
            coming.set()
            yield {"prompt": "What is 2 + 2?"}

    running = asyncio.ensure_future(batcher.arun(endless(), **to(slow, tmp_path / "out")))
    await asyncio.to_thread(coming.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert list(tmp_path.iterdir()) == []
    assert slow.totals().requests == 0
