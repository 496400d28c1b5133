import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.today import pacific_midnight_before, used_today
from batcher.errors import Exit
from batcher.job.spec import EndpointLimits
from batcher.pacing.gate import Quotas
from batcher.pacing.quota import pacific_midnight_after
from batcher.records import Place, Status
from batcher.store.blocks import State, put_block
from batcher.store.frames import pack_attempt
from tests.builders import an_attempt
from tests.engine.sessions import TROUBLE, echo, planned, prompts, rigged, text_of
from tests.fakes import FakeClock, ScriptedTransport

A_DAY_US = 86_400_000_000
TEN = Quotas(requests_per_day=10)
LIMITED = {"limits.requests_per_day": 10, "limits.concurrency": 3}
MODEL = "gemini-2.5-flash"


@given(st.integers(1_600_000_000_000_000, 2_000_000_000_000_000))
def test_now_is_between_the_last_reset_and_the_next(now_us):
    last, following = pacific_midnight_before(now_us), pacific_midnight_after(now_us)
    assert last <= now_us < following
    assert following - last in {A_DAY_US + hours * 3_600_000_000 for hours in (-1, 0, 1)}  # the clocks change
    assert pacific_midnight_after(last) == following


@pytest.mark.parametrize("moment", ["2026-03-08T01:59", "2026-03-08T12:00", "2026-11-01T01:30", "2026-07-01T00:00"])
def test_midnight_is_los_angeles_own(moment):
    there = dt.datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("America/Los_Angeles"))
    found = dt.datetime.fromtimestamp(pacific_midnight_before(int(there.timestamp()) * 1_000_000) / 1e6, there.tzinfo)
    assert (found.date(), found.hour, found.minute) == (there.date(), 0, 0)


async def session(plan, clock, script=echo):
    door = ScriptedTransport(script)
    async with rigged(plan, door, quotas=TEN, clock=clock) as rig:
        return await rig.finish(), len(door.sent)


async def test_a_day_sees_no_more_than_its_quota_however_often_we_start(tmp_path):
    plan, clock = planned(tmp_path, prompts(25), **LIMITED), FakeClock()
    sent = []
    for _ in range(3):  # days
        today = 0
        for _ in range(3):  # starts
            summary, asked = await session(plan, clock)
            today += asked
            clock.advance(60)
        sent.append(today)
        clock.advance(86_400)
    assert sent == [10, 10, 5]
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 25})


async def test_a_run_without_quota_left_sends_nothing_and_says_when_to_come_back(tmp_path):
    plan, clock = planned(tmp_path, prompts(25), **LIMITED), FakeClock()  # 2026-01-01 00:00 UTC
    await session(plan, clock)
    summary, asked = await session(plan, clock)
    assert (summary.exit_code, asked, summary.totals.done) == (Exit.STOPPED, 0, 10)
    assert f"http://127.0.0.1:1 {MODEL}: today's quota is used up; 10 of 25 answers are safe" in summary.verdict
    assert "type the same command again after 2026-01-01 08:00 UTC" in summary.notes


async def test_attempts_in_parts_and_in_the_journal_add_up(tmp_path):
    """A row a block: the first is sealed, the second half done, and one task of it was asked twice."""
    plan, clock = planned(tmp_path, prompts(3), samples=256, **LIMITED), FakeClock()
    seen = []

    def script(request):
        seen.append(text_of(request))
        return TROUBLE if len(seen) == 300 else echo(request)

    door = ScriptedTransport(script)
    async with rigged(plan, door, quotas=Quotas(requests_per_day=400), clock=clock) as rig:
        await rig.finish()
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        assert len(plan.rundir.ledgers()) == 1
        used = await used_today(plan, rig.rows, rig.journal, now_us=clock())
        assert used == {plan.lane(MODEL): 400}
        clock.advance(86_400)
        assert await used_today(plan, rig.rows, rig.journal, now_us=clock()) == {}


async def test_a_ledger_that_was_published_before_its_part_counts_once(tmp_path):
    plan, clock = planned(tmp_path, prompts(8), **LIMITED), FakeClock()
    await session(plan, clock)
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        (row,) = rig.rows.values()
        assert await used_today(plan, rig.rows, rig.journal, now_us=clock()) == {plan.lane(MODEL): 8}
        await rig.journal.call(put_block(row.no, State.FROZEN, row.generation, row.digest))
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:  # the journal has them, or the file: never both
        assert await used_today(plan, rig.rows, rig.journal, now_us=clock()) == {}


async def test_lost_attempts_count_for_the_model_that_their_row_named(tmp_path):
    rows = [{"prompt": f"p{n}", "m": "gemini-2.5-pro" if n % 2 else None} for n in range(6)]
    plan, clock = planned(tmp_path, rows, **LIMITED | {"prompt.overrides": {"model": "m"}}), FakeClock()
    async with rigged(plan, ScriptedTransport(echo), clock=clock) as rig:
        work = rig.worklist
        async for chunk in work.chunks(await work.open(plan.index.blocks[0], None)):
            await chunk.committed  # admitted, and then the process dies
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        used = await used_today(plan, rig.rows, rig.journal, now_us=clock())
    assert used == {plan.lane(MODEL): 3, plan.lane("gemini-2.5-pro"): 3}


async def test_without_a_day_quota_nothing_is_read(tmp_path):
    plan = planned(tmp_path, prompts(3))
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        await rig.finish()
    for path in plan.rundir.ledgers():
        path.write_bytes(b"no parquet")
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert await used_today(plan, rig.rows, rig.journal, now_us=0) == {}


def two_endpoints(plan):
    """The plan, as it goes on with a second endpoint that has a day quota of its own."""
    job = plan.job
    other = job.endpoint.model_copy(
        update={"base_url": "http://127.0.0.1:2", "limits": EndpointLimits(requests_per_day=5)}
    )
    job = job.model_copy(update={"endpoints": (job.endpoint, other)})
    return replace(plan, job=job, terms=replace(plan.terms, several=True))


async def test_each_endpoint_has_its_own_count_and_what_was_lost_counts_at_all_of_them(tmp_path):
    """Three rows were asked while there was one endpoint; then two at the second, and two were lost."""
    plan, clock = planned(tmp_path, prompts(7)), FakeClock()
    there = Place("http://127.0.0.1:2", "")
    tried = [an_attempt(task=n, started_at=clock(), place=None if n < 3 else there) for n in range(5)]
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        await rig.worklist.open(plan.index.blocks[0], None)
        for attempt in tried:
            await rig.journal.attempted(attempt.task, 1, pack_attempt(attempt))
        await rig.journal.admit([(n, 1, 10, 10, clock()) for n in (5, 6)])
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        used = await used_today(two_endpoints(plan), rig.rows, rig.journal, now_us=clock())
    assert used == {plan.lane(MODEL): 3 + 2, f"http://127.0.0.1:2 {MODEL}": 2 + 2}
