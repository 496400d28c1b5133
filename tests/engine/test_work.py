import asyncio
import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.engine.work import LOOK_AHEAD, WorkList
from batcher.errors import PlanChanged, StorageError
from batcher.records import Kind, Status
from batcher.store.blockfile import BlockFile
from batcher.store.blocks import BlockRow, State, put_block, reopen_block
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal
from tests.builders import an_attempt, an_outcome
from tests.engine.sessions import KEY, echo, job_over, plan_of, planned, prompts, rigged
from tests.fakes import FakeClock, ScriptedTransport
from tests.media import a_picture

BAD = "{broken"


class Opened:
    """A plan's first block, with a journal and a work list over it."""

    def __init__(self, plan):
        self.plan = plan
        self.block = plan.index.blocks[0]

    async def __aenter__(self):
        self.journal = Journal(self.plan.rundir.journal, failpoints=FailPoints())
        self.work_list = WorkList(self.plan, self.journal, wall_us=FakeClock(), secret=KEY, failpoints=FailPoints())
        return self

    async def __aexit__(self, *_):
        await self.journal.close()

    async def chunks(self, row=None):
        work = await self.work_list.open(self.block, row)
        found = [chunk async for chunk in self.work_list.chunks(work)]
        if found:
            await asyncio.wait([chunk.committed for chunk in found])
        return work, found


def open_row(digest, *, generation=1, totals=None):
    return BlockRow(no=1, state=State.OPEN, generation=generation, digest=digest, totals=totals)


def numbers(chunks):
    return [task.task for chunk in chunks for task in chunk.tasks]


def ended(chunks):
    return [outcome.task for chunk in chunks for outcome in chunk.ended]


async def test_a_fresh_block_yields_every_task_in_order_in_short_chunks(tmp_path):
    async with Opened(planned(tmp_path, prompts(100), samples=2)) as opened:
        work, chunks = await opened.chunks()
        assert numbers(chunks) == list(range(200))
        assert all(len(chunk.tasks) <= LOOK_AHEAD for chunk in chunks)
        assert (work.remaining, work.asked, work.generation) == (200, None, 1)


async def test_every_task_is_admitted_before_its_chunk_is_committed(tmp_path):
    async with Opened(planned(tmp_path, prompts(70))) as opened:
        await opened.chunks()
        rows = await opened.journal.call(lambda c: c.execute("select task, n, reserve_input from admitted").fetchall())
        assert [(task, n) for task, n, _ in rows] == [(task, 1) for task in range(70)]
        assert all(reserve > 0 for *_, reserve in rows)


async def test_rows_with_a_problem_end_without_a_request(tmp_path):
    rows = [{"prompt": "one"}, BAD, {"prompt": None}, {"prompt": "  "}, {"prompt": "two"}]
    async with Opened(planned(tmp_path, rows, samples=2)) as opened:
        _, chunks = await opened.chunks()
        assert numbers(chunks) == [0, 1, 8, 9]
        outcomes = [outcome for chunk in chunks for outcome in chunk.ended]
        assert [outcome.task for outcome in outcomes] == [2, 3, 4, 5, 6, 7]
        assert {(o.status, o.error_kind, o.attempts, o.answered) for o in outcomes} == {
            (Status.FAILED, "bad_input", 0, 0)
        }
        assert "rows.jsonl:2" in outcomes[0].error_message


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), samples=st.integers(1, 4), rows=st.integers(1, 90), with_bad=st.booleans())
def test_every_unfinished_task_comes_exactly_once(data, samples, rows, with_bad):
    """Whatever is done already, and whether all tasks are asked or a retry asks some of them."""
    bad = {0, rows // 2} if with_bad and rows > 2 else set()  # an input of which no row can be read is refused
    tasks = range(rows * samples)
    asked = data.draw(st.none() | st.frozensets(st.sampled_from(tasks), min_size=1))
    open_tasks = tasks if asked is None else sorted(asked)
    done = data.draw(st.sets(st.sampled_from(open_tasks)))
    wanted = [task for task in open_tasks if task not in done]

    async def check(folder):
        lines = [BAD if n in bad else row for n, row in enumerate(prompts(rows))]
        plan = planned(folder, lines, samples=samples)
        async with Opened(plan) as opened:
            digest = await opened.work_list.write(opened.block)
            row = open_row(digest)
            await opened.journal.call(put_block(1, State.OPEN, 1, digest))
            if asked is not None:
                await sealed_part(plan)
                await opened.journal.call(reopen_block(1, 2, digest, asked))
                row = open_row(digest, generation=2)
            for task in done:
                await opened.journal.finish(task, pack_outcome(an_outcome(task=task)))
            work, chunks = await opened.chunks(row)
            assert sorted(numbers(chunks) + ended(chunks)) == wanted
            assert numbers(chunks) == sorted(numbers(chunks))
            assert {task // samples for task in ended(chunks)} <= bad
            assert work.remaining == len(wanted)
            assert all(chunk.committed.done() for chunk in chunks)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


async def sealed_part(plan):
    """Run the plan elsewhere and take its part: what a retry looks at."""
    scratch = Path(tempfile.mkdtemp(dir=plan.rundir.out.parent))
    (scratch / "rows.jsonl").write_bytes((plan.rundir.out.parent / "rows.jsonl").read_bytes())
    twin = planned(scratch, [], samples=plan.job.samples)
    async with rigged(twin, ScriptedTransport(echo)) as rig:
        await rig.finish()
    twin.rundir.part(1, 1).rename(plan.rundir.part(1, 1))


async def test_an_unfinished_task_goes_on_counting(tmp_path):
    async with Opened(planned(tmp_path, prompts(3))) as opened:
        digest = await opened.work_list.write(opened.block)
        for n, kind in ((1, Kind.RETRY), (2, Kind.THROTTLED), (3, Kind.RETRY), (4, Kind.INVALID)):
            attempt = an_attempt(task=1, n=n, verdict=kind, http_status=503, body=b"")
            await opened.journal.attempted(1, n, pack_attempt(attempt))
        await opened.journal.call(put_block(1, State.OPEN, 1, digest))
        _, chunks = await opened.chunks(open_row(digest))
        tasks = {task.task: task for chunk in chunks for task in chunk.tasks}
        assert (tasks[1].attempts, tasks[1].counted, tasks[1].tries) == (4, 2, {Kind.INVALID: 1})
        assert (tasks[0].attempts, tasks[0].counted) == (0, 0)
        rows = await opened.journal.call(lambda c: c.execute("select task, n from admitted order by 1").fetchall())
        assert rows == [(0, 1), (1, 5), (2, 1)]


async def test_an_input_changed_under_the_plan_is_found_before_the_block_is_asked(tmp_path):
    """One byte, same size, same mtime: only the digest of the block's bytes can tell."""
    plan = planned(tmp_path, prompts(5))
    path = tmp_path / "rows.jsonl"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"prompt 3", b"prompt 4"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    async with Opened(plan) as opened:
        with pytest.raises(PlanChanged, match=r"rows\.jsonl"):
            await opened.chunks()


async def test_a_damaged_block_file_is_not_asked(tmp_path):
    async with Opened(planned(tmp_path, prompts(5))) as opened:
        digest = await opened.work_list.write(opened.block)
    path = opened.plan.rundir.block_file(1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    async with Opened(opened.plan) as opened:
        with pytest.raises(StorageError, match="damaged"):
            await opened.chunks(open_row(digest))


async def test_a_disk_that_refuses_a_block_file_is_a_storage_error(tmp_path):
    plan = planned(tmp_path, prompts(5))
    plan.rundir.blocks.rmdir()
    plan.rundir.blocks.write_bytes(b"in the way")
    async with Opened(plan) as opened:
        with pytest.raises(StorageError, match="cannot be written"):
            await opened.chunks()


async def test_lanes_are_of_the_rows_own_model(tmp_path):
    rows = [{"prompt": "one", "m": "gemini-2.5-pro"}, {"prompt": "two", "m": None}]
    plan = planned(tmp_path, rows, **{"prompt.overrides": {"model": "m"}})
    async with Opened(plan) as opened:
        _, chunks = await opened.chunks()
        tasks = list(itertools.chain.from_iterable(chunk.tasks for chunk in chunks))
        assert [task.lane for task in tasks] == [plan.lane("gemini-2.5-pro"), plan.lane("gemini-2.5-flash")]


async def test_a_slice_with_media_is_closed_by_its_bytes(tmp_path):
    for n in range(7):
        (tmp_path / f"{n}.png").write_bytes(a_picture().ljust(3_000_000, b"\0"))
    rows = [{"prompt": f"{n}?", "image": f"{n}.png"} for n in range(8)]
    plan = planned(tmp_path, rows)
    async with Opened(plan) as opened:
        work, chunks = await opened.chunks()
    file = BlockFile(plan.rundir.block_file(1), digest=work.digest)
    slices = [file.planned(number) for number in range(file.slices)]
    file.close()

    assert [[row.ordinal for row in one] for one in slices] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert numbers(chunks) == list(range(7))
    assert ended(chunks) == [7]  # its picture is not there
    assert slices[2][1].problem.message.endswith(
        f"'7.png': no such file beneath {tmp_path} (input.media_root); prompt.media = [] if it is none"
    )


def test_blocks_whose_rows_name_files_are_short(tmp_path):
    rows = [{"prompt": f"{n}?", "photo": f"{n}.png"} for n in range(600)]
    by_text = planned(tmp_path, rows)
    by_file = plan_of(job_over(tmp_path / "rows.jsonl", **{"prompt.media": ("photo",)}), tmp_path / "other")

    assert [block.rows for block in by_text.index.blocks] == [600]
    assert [block.rows for block in by_file.index.blocks] == [256, 256, 88]
