"""`async for outcome in batcher.stream`: each once, as its row says it, no faster than it is read."""

import asyncio
import gc
import signal
import subprocess
import sys
import textwrap

import orjson
import pytest

import batcher
from batcher.engine.outcomes import COLUMNS, outcome_of_row
from batcher.errors import Exit, JobError
from batcher.records import Status
from tests.api.runs import LATENCY_S, ROWS, an_emulator, slow_rows, to
from tests.whole.runs import call, data, environment, sums, write_lines

MIXED = [
    {"id": "a", "prompt": "What is 6 * 7?"},
    {"id": "b", "prompt": "[blocked] one"},
    {"id": "c", "prompt": "[maxtokens] Tell me a long story about a ship and its crew."},
    {"id": "d", "prompt": "[503] two"},
    {"id": "e"},
    {"prompt": "[once-cut] What is 2 + 2?"},
    {"id": "a", "prompt": "What is 6 * 7?"},
]


@pytest.fixture(scope="module")
def shared():
    with an_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared):
    shared.reset()
    return shared


@pytest.fixture
def slow():
    with an_emulator(LATENCY_S) as emulator:
        yield emulator


def as_the_rows_say(out, samples=1):
    table = data(out).select(COLUMNS)
    return [outcome_of_row(row, samples=samples) for row in table.to_pylist()]


def in_order(outcomes):
    return sorted(outcomes, key=lambda outcome: outcome.task)


async def streamed(*args, **given):
    return in_order([outcome async for outcome in batcher.stream(*args, **given)])


@pytest.mark.parametrize("samples", [1, 3])
async def test_every_outcome_comes_once_and_says_what_its_row_says(emulator, tmp_path, samples):
    stream = batcher.stream(MIXED, samples=samples, **to(emulator, tmp_path / "out"))
    outcomes = in_order([outcome async for outcome in stream])

    assert outcomes == as_the_rows_say(tmp_path / "out", samples)
    assert [outcome.id for outcome in outcomes][::samples] == ["a", "b", "c", "d", "e", "row-5", "a"]
    assert [outcome.sample for outcome in outcomes] == [*range(samples)] * len(MIXED)
    assert {outcome.status for outcome in outcomes} == {Status.OK, Status.BLOCKED, Status.TRUNCATED, Status.FAILED}
    assert outcomes[0].usage.prompt_token_count == 4
    assert stream.run.summary.totals.done == len(outcomes)
    assert sum(outcome.cost_usd for outcome in outcomes) == stream.run.summary.totals.cost_usd
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_finished_run_is_told_from_disk_and_sends_nothing(emulator, tmp_path):
    first = await streamed(sums(700), **to(emulator, tmp_path / "out"))
    sent = emulator.totals().requests

    again = await streamed(sums(700), **to(emulator, tmp_path / "out"), buffer=1)

    assert again == first == as_the_rows_say(tmp_path / "out")
    assert emulator.totals().requests == sent == 700


async def test_a_run_that_was_left_is_told_whole(slow, tmp_path):
    """Some rows from the journal, some asked now; those whose first attempt was in the session before, too."""
    rows = [*MIXED, *slow_rows(60)]
    out = tmp_path / "out"
    async with batcher.stream(rows, **to(slow, out, set={"retry.max_backoff_s": 5.0})) as stream:
        async for _ in stream:
            if slow.totals().requests >= 20:
                break
    assert stream.run.summary.exit_code is Exit.STOPPED
    assert 0 < stream.run.summary.totals.done < len(rows)

    assert await streamed(rows, **to(slow, out)) == as_the_rows_say(out)


async def test_a_retry_that_was_killed_is_told_whole(emulator, tmp_path):
    """The part's good rows, and the rows asked again with what they had cost before."""
    out = tmp_path / "out"
    rows = write_lines(tmp_path / "rows.jsonl", [*MIXED, {"id": "z", "prompt": "[5x503] What is 3 + 3?"}])
    await streamed(rows, **to(emulator, out))
    argv = ("retry", out, "--status", "truncated", "--status", "failed")
    killed = await asyncio.to_thread(call, *argv, BATCHER_FAILPOINT="reopened")
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    outcomes = await streamed(rows, **to(emulator, out))

    assert outcomes == as_the_rows_say(out)
    assert (outcomes[2].attempts, outcomes[7].status) == (2, Status.OK)


async def test_a_reader_who_stands_still_stops_the_asking(emulator, tmp_path):
    bound = 10 + 4 * 8 + 4 * 64
    stream = batcher.stream(sums(800), **to(emulator, tmp_path / "out"), buffer=10)
    await anext(stream)
    before = -1
    while emulator.totals().requests != before:
        before = emulator.totals().requests
        await asyncio.sleep(0.1)

    assert 0 < before <= bound + 1
    assert len([outcome async for outcome in stream]) == 799


@pytest.mark.parametrize("closed", [True, False])
async def test_breaking_out_stops_and_the_next_call_waits_for_that(slow, tmp_path, closed):
    out = tmp_path / "out"
    stream = batcher.stream(slow_rows(), **to(slow, out))
    async for _ in stream:
        break
    if closed:
        await stream.aclose()
        assert stream.run.summary.verdict.startswith("stopped by its caller; ")
    del stream
    gc.collect()

    run = await batcher.arun(slow_rows(), **to(slow, out))

    assert run.summary.totals.done == ROWS
    assert slow.totals().requests == ROWS


def test_a_program_that_breaks_out_and_ends_leaves_a_clean_run(slow, tmp_path):
    program = f"""
        import asyncio, sys
        sys.path.insert(0, {str(sys.path[0])!r})
        import batcher
        async def main():
            where = dict(base_url={slow.url!r}, out="out")
            async for outcome in batcher.stream("rows.jsonl", model="gemini-2.5-flash", **where):
                print(outcome.id)
                break
        asyncio.run(main())
    """
    write_lines(tmp_path / "rows.jsonl", slow_rows())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    summary = orjson.loads((tmp_path / "out" / "run.json").read_bytes())["summary"]
    assert summary["verdict"].startswith("stopped by its caller; ")
    assert summary["totals"]["maybe_billed"] == 0
    assert sum(summary["totals"]["by_status"].values()) == slow.totals().requests


async def test_what_is_wrong_is_raised_by_the_first_step(emulator, tmp_path):
    stream = batcher.stream(sums(1), **to(emulator, tmp_path / "out", model=None))

    with pytest.raises(JobError, match="no model"):
        await anext(stream)


async def test_a_stream_that_nobody_reads_never_starts(emulator, tmp_path):
    async with batcher.stream(sums(1), **to(emulator, tmp_path / "out")):
        pass

    assert list(tmp_path.iterdir()) == []
    assert emulator.totals().requests == 0
