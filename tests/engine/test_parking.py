"""A run that waits for its day quota: how many requests a day sees, who waits, who goes on."""

import asyncio
import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

import pytest

from batcher.engine.parking import Parking
from batcher.errors import Exit, Interrupted
from batcher.pacing.gate import Quotas
from batcher.pacing.park import FOR_GOOD_US
from batcher.records import Status
from batcher.store.blocks import withdraw_unsent
from tests.asking.stage import open_task
from tests.engine.sessions import DAY_QUOTA, echo, planned, prompts, refusal, rigged, until
from tests.fakes import FakeClock, ScriptedTransport, run_unhurried

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
WAIT = {"limits.on_day_quota": "wait", "limits.concurrency": 8}
A_DAY = refusal(
    429,
    "You exceeded your current quota",
    status="RESOURCE_EXHAUSTED",
    details=[{"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}],
)
SPENT = refusal(429, "Your project has hit a spend-based rate limit", status="RESOURCE_EXHAUSTED")


def at(text: str) -> int:
    there = dt.datetime.fromisoformat(text).replace(tzinfo=LOS_ANGELES)
    return int(there.timestamp()) * 1_000_000


class ByTheDay:
    """A server that allows so many requests a Pacific day, by a clock that may be behind ours."""

    def __init__(self, most: int, *, behind_s: float = 0.0) -> None:
        self.most = most
        self.behind_s = behind_s
        self.clock = FakeClock()
        self.days: Counter[str] = Counter()
        self.refused = 0

    def __call__(self, request):
        day = f"{dt.datetime.fromtimestamp(self.clock() / 1e6 - self.behind_s, LOS_ANGELES):%m-%d}"
        if self.days[day] >= self.most:
            self.refused += 1
            return A_DAY
        self.days[day] += 1
        return echo(request)


async def a_session(plan, server, wall_us, *, quotas=None, until_done=None):
    """One start of the run on the running loop's clock; returns its summary and the time at its end."""
    loop = asyncio.get_running_loop()
    clock = server.clock = FakeClock(wall_us - round(loop.time() * 1e6), follow=loop.time)
    async with rigged(plan, ScriptedTransport(server, latency_s=0.5), quotas=quotas, clock=clock) as rig:
        running = asyncio.ensure_future(rig.session.run())
        if until_done is not None:
            while rig.tally.finished < until_done:  # noqa: ASYNC110  a run has no event for it
                await asyncio.sleep(0.25)
            rig.halt.stop(Interrupted("stopped", signal_number=2))
        await running
        assert (rig.gate.in_flight, rig.gate.open_tasks) == (0, 0)
        rig.journal.forget_gathered()
        await rig.journal.call(withdraw_unsent(frozenset()))
        return await rig.close(), clock()


@pytest.mark.parametrize(
    ("start", "days"),
    [
        ("2026-03-07T12:00", {"03-07": 1000, "03-08": 1000, "03-09": 500}),  # the 8th has 23 hours
        ("2026-10-31T12:00", {"10-31": 1000, "11-01": 1000, "11-02": 500}),  # the 1st has 25
    ],
)
def test_every_pacific_day_sees_its_quota_across_a_restart_and_a_change_of_the_clocks(tmp_path, start, days):
    settings = WAIT | {"limits.requests_per_day": 1000, "limits.concurrency": 64}
    plan, server, quotas = planned(tmp_path, prompts(2500), **settings), ByTheDay(1000), Quotas(requests_per_day=1000)

    async def first():
        return await a_session(plan, server, at(start), quotas=quotas, until_done=1300)

    summary, wall_us = run_unhurried(first())
    assert summary.exit_code == Exit.INTERRUPT
    assert 1300 <= summary.totals.done < 1500

    async def second():
        return await a_session(plan, server, wall_us + 3_600_000_000, quotas=quotas)

    summary, wall_us = run_unhurried(second())
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 2500})
    assert (dict(server.days), server.refused) == (days, 0)


def test_a_day_quota_that_only_the_server_knows_is_waited_for_and_no_row_pays_for_it(tmp_path):
    plan, server = planned(tmp_path, prompts(250), **WAIT | {"retry.attempts": 1}), ByTheDay(100)
    summary, wall_us = run_unhurried(a_session(plan, server, at("2026-11-26T15:00")))
    assert summary.totals.by_status == {Status.OK: 250}
    assert dict(server.days) == {"11-26": 100, "11-27": 100, "11-28": 50}
    # What was on its way when each day ended, and once more: soon after midnight, it may have been the old one's end.
    assert server.refused <= 3 * plan.job.limits.concurrency
    assert at("2026-11-28T00:00") <= wall_us < at("2026-11-28T00:02")


def test_a_server_whose_clock_is_behind_costs_minutes_and_not_a_day(tmp_path):
    plan, server = planned(tmp_path, prompts(15), **WAIT), ByTheDay(10, behind_s=30.0)
    summary, wall_us = run_unhurried(a_session(plan, server, at("2026-11-26T15:00")))
    assert summary.totals.by_status == {Status.OK: 15}
    assert at("2026-11-27T00:05") <= wall_us < at("2026-11-27T00:07")


def test_a_longer_delay_that_the_server_names_is_believed(tmp_path):
    said = iter([DAY_QUOTA])  # 68,468 s
    plan, start = planned(tmp_path, prompts(1), **WAIT), at("2026-11-26T15:00")
    server = ByTheDay(10)
    answer = server.__call__
    script = type("Once", (), {"__call__": lambda _, request: next(said, None) or answer(request)})()
    summary, wall_us = run_unhurried(a_session(plan, script, start))
    assert summary.totals.by_status == {Status.OK: 1}
    assert 68_468 <= (wall_us - start) / 1e6 < 68_480


def test_spend_is_waited_for_as_long_as_it_needs(tmp_path):
    said = iter([SPENT])
    plan, start = planned(tmp_path, prompts(1), **WAIT), at("2026-11-26T15:00")
    script = type("Once", (), {"__call__": lambda _, request: next(said, None) or echo(request)})()
    summary, wall_us = run_unhurried(a_session(plan, script, start))
    assert summary.totals.by_status == {Status.OK: 1}
    assert 60 <= (wall_us - start) / 1e6 < 62


def test_rows_of_a_parked_model_do_not_delay_those_of_another(tmp_path):
    """The first 500 rows are of a model without a quota left; the others are all answered on the first day."""
    rows = [{"prompt": f"p{n}", "m": "gemini-2.5-pro" if n < 500 else None} for n in range(1000)]
    plan = planned(tmp_path, rows, **WAIT | {"prompt.overrides": {"model": "m"}})
    start, answered = at("2026-11-26T12:00"), []

    class OneIsOut(ByTheDay):
        def __call__(self, request):
            is_today = self.clock() < at("2026-11-27T00:00")
            if is_today and request.model == "gemini-2.5-pro":
                return A_DAY
            answered.append((request.model, self.clock()))
            return echo(request)

    async def main():
        return await a_session(plan, OneIsOut(0), start)

    summary, _ = run_unhurried(main())
    assert summary.totals.by_status == {Status.OK: 1000}
    assert [model for model, _ in answered] == ["gemini-2.5-flash"] * 500 + ["gemini-2.5-pro"] * 500
    assert answered[499][1] < at("2026-11-27T00:00") <= answered[500][1]


async def test_who_waits_says_until_when_and_counts_nothing_as_sent(tmp_path):
    plan, clock = planned(tmp_path, prompts(30), **WAIT | {"limits.requests_per_day": 10}), FakeClock()
    async with rigged(plan, ScriptedTransport(echo), quotas=Quotas(requests_per_day=10), clock=clock) as rig:
        running = asyncio.ensure_future(rig.session.run())
        await until(lambda: rig.session.limited_by == "parked" and rig.session.parked)
        (parked,) = rig.session.parked
        assert (parked.lane, parked.until_us) == (plan.lane("gemini-2.5-flash"), at("2026-01-01T00:00"))
        await until(lambda: rig.session.parked[0].rows == 20)
        assert await rig.journal.call(lambda c: c.execute("select count(*) from admitted").fetchone()[0]) == 10
        rig.halt.stop(Interrupted("stopped", signal_number=2))
        await running
        summary = await rig.close()
    assert (summary.exit_code, summary.totals.done) == (Exit.INTERRUPT, 10)


class Said:
    """A gate that says when a lane opens, and a work list that remembers whom it admitted."""

    def __init__(self, opens_us: int) -> None:
        self.at_us = opens_us
        self.admitted: list[int] = []

    def opens_us(self, lane: str) -> int:
        return self.at_us

    async def admit(self, tasks) -> None:
        self.admitted += [task.task for task in tasks]


@pytest.mark.parametrize(
    ("waits", "opens_us", "goes"),
    [(True, 0, True), (True, 3600_000_000, False), (True, FOR_GOOD_US, True), (False, 3600_000_000, True)],
)
async def test_nothing_stays_on_the_shelf_that_nothing_can_come_of(waits, opens_us, goes):
    """A lane that closes behind a shelved row is for the gate to tell, which ends the run; it must not hang."""
    said = Said(opens_us)
    parking = Parking(said, said, lambda: 0, waits=waits)
    await parking.shelve(open_task(7), None)
    back = parking.back(64)
    taking = asyncio.ensure_future(anext(back))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (taking.done(), said.admitted, parking.rows) == ((True, [7], 0) if goes else (False, [], 1))
    parking.over()
    await asyncio.gather(taking, return_exceptions=True)
