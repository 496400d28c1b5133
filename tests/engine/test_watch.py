import asyncio
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from batcher.engine.latency import RELATIVE_ERROR
from batcher.engine.progress import Phase
from batcher.engine.watch import Lookout, snapshot_of_planning
from batcher.errors import RunStopped
from batcher.pacing.outage import Outage
from batcher.pacing.permit import Parked
from tests.builders import a_reply, an_outcome
from tests.engine.sessions import echo, planned, prompts, rigged, until
from tests.engine.test_stragglers import Hanging
from tests.engine.test_tally import a_turn
from tests.fakes import ScriptedTransport


def lookout(rig, shown, done_before=0, log=lambda _: None):
    return Lookout(
        rig.plan,
        rig.session,
        rig.tally,
        rig.halt,
        done_before=done_before,
        show=shown.append,
        command="batcher run x",
        log=log,
    )


async def test_it_shows_the_beginning_and_the_end(tmp_path):
    shown = []
    async with rigged(planned(tmp_path, prompts(5)), ScriptedTransport(echo)) as rig:
        watch = lookout(rig, shown)
        await watch.over(rig.session.run())
    assert [(shown[at].totals.done, shown[at].in_flight) for at in (0, -1)] == [(0, 0), (5, 0)]
    assert (shown[0].phase, shown[0].tasks, shown[0].done_before) == (Phase.ASKING, 5, 0)
    assert (shown[-1].eta_s or 0, watch.limited_by) == (0, "")
    assert 0 < shown[-1].elapsed_s <= watch.elapsed_s


async def test_a_session_that_drains_says_so(tmp_path):
    shown = []
    async with rigged(planned(tmp_path, prompts(5)), ScriptedTransport(echo, latency_s=0.02)) as rig:
        watch = lookout(rig, shown)
        running = asyncio.ensure_future(watch.over(rig.session.run()))
        await until(lambda: rig.session.in_flight == 5)
        assert (watch.snapshot().in_flight, watch.snapshot().waiting) == (5, 0)
        rig.halt.stop(RunStopped("enough"))
        await running
    assert shown[-1].phase is Phase.DRAINING
    assert (shown[-1].totals.done, shown[-1].in_flight) == (5, 0)


@dataclass
class Busy:
    """A session that says what it is told to say."""

    limited_by: str = ""
    in_flight: int = 0
    open_tasks: int = 0
    is_asking: bool = True
    outage: Outage | None = None
    gate: Any = field(default_factory=lambda: SimpleNamespace(pace_per_s=None, narrowed=None))
    parked: tuple[Parked, ...] = ()


class Watched:
    """A lookout whose clock stands still until it is told; nobody asks anything."""

    def __init__(self, rig, *, shown=None, log=lambda _: None):
        self.tally = rig.tally
        self.now_s = 0.0
        self.lookout = lookout(rig, [] if shown is None else shown, log=log)
        self.lookout._now = lambda: self.now_s
        self.lookout._began_s = 0.0
        self.lookout._marks = deque([self.lookout._mark()], maxlen=self.lookout._marks.maxlen)

    def answers(self, seconds, *, latency_ms, per_s=1):
        """Look four times a second while answers of this latency come in."""
        for _ in range(seconds):
            for _ in range(per_s):
                self.tally.turn(a_turn(a_reply(), latency_ms=latency_ms))
                self.tally.outcome(an_outcome(), self.now_s)
            for _ in range(4):
                self.now_s += 0.25
                self.lookout._look()

    @property
    def seen(self):
        return self.lookout.snapshot()


@pytest.fixture
async def watched(tmp_path):
    async with rigged(planned(tmp_path, prompts(1_000)), ScriptedTransport(echo)) as rig:
        yield Watched(rig)


async def test_latencies_and_the_time_left_are_told_by_the_last_minute(watched):
    watched.answers(100, latency_ms=100.0, per_s=2)
    assert watched.seen.p50_ms == pytest.approx(100, rel=RELATIVE_ERROR)
    watched.answers(30, latency_ms=400.0)
    assert watched.seen.p50_ms == pytest.approx(100, rel=RELATIVE_ERROR)
    assert watched.seen.p95_ms == pytest.approx(400, rel=RELATIVE_ERROR)
    watched.answers(31, latency_ms=400.0)
    assert watched.seen.p50_ms == pytest.approx(400, rel=RELATIVE_ERROR)
    assert watched.seen.eta_s == pytest.approx(1_000 - 261, rel=0.03)


async def test_a_minute_without_answers_has_no_latency_and_no_end(watched):
    watched.answers(10, latency_ms=100.0)
    watched.answers(61, latency_ms=100.0, per_s=0)
    assert (watched.seen.p50_ms, watched.seen.p95_ms, watched.seen.eta_s) == (None, None, None)


async def test_what_a_run_will_cost_is_said_once_a_few_rows_are_known(watched):
    watched.answers(19, latency_ms=100.0)
    assert watched.seen.projected_usd is None
    watched.answers(1, latency_ms=100.0)
    assert watched.seen.projected_usd == watched.seen.totals.cost_usd * 50 > 0


async def test_what_a_run_of_unknown_price_will_cost_is_not_said(watched):
    watched.answers(20, latency_ms=100.0)
    watched.tally._unpriced = 1
    assert watched.seen.projected_usd is None


async def test_what_limits_a_run_is_what_limited_it_most_of_the_last_seconds(watched):
    """A moment in which a slot is free is not worth a flicker."""
    lookout = watched.lookout
    lookout._session = session = Busy()
    for limited_by in ["concurrency", "", "concurrency", "", "concurrency"] * 4:
        session.limited_by = limited_by
        lookout._look()
    assert (watched.seen.limited_by, lookout.limited_by) == ("concurrency", "concurrency")
    session.limited_by = ""
    for _ in range(11):
        lookout._look()
    assert (watched.seen.limited_by, lookout.limited_by) == ("", "concurrency")


async def test_an_outage_is_told_as_long_as_it_lasts_and_counts_as_what_limited_the_run(watched):
    lookout = watched.lookout
    lookout._session = session = Busy(limited_by="requests/min")
    lookout._look()
    session.limited_by, session.outage = "outage", Outage(since_us=1, probe_in_s=7.0, said="http_503")
    for _ in range(3):
        lookout._look()
    assert (watched.seen.limited_by, watched.seen.outage) == ("outage", session.outage)
    session.limited_by, session.outage = "", None
    assert (watched.seen.limited_by, watched.seen.outage, lookout.limited_by) == ("requests/min", None, "outage")


async def test_the_rows_that_hold_a_block_open_are_looked_for_at_each_look(tmp_path):
    door = Hanging(echo, held="prompt 3")
    shown, said = [], []
    async with rigged(planned(tmp_path, prompts(5)), door) as rig:
        watched = Watched(rig, shown=shown, log=said.append)
        running = asyncio.ensure_future(rig.session.run())
        await until(lambda: rig.tally.finished == 4)
        for watched.now_s in (0.0, 9.0, 12.0, 80.0):
            watched.lookout._look()
        door.let_go.set()
        await running
    assert [(seen.straggling, [each.id for each in seen.stragglers]) for seen in shown] == [
        (0, []),
        (0, []),
        (1, ["q3"]),
        (1, ["q3"]),
    ]
    assert [line.partition(":")[0] for line in said] == ["slow row q3"]


async def test_status_finds_what_it_wrote(tmp_path):
    plan = planned(tmp_path, prompts(5))
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        await lookout(rig, []).over(rig.session.run())
    said = orjson.loads(plan.rundir.status.read_bytes())
    assert (said["command"], said["phase"]) == ("batcher run x", "asking")


async def test_what_a_session_raises_comes_through_after_a_last_look(tmp_path):
    shown = []
    async with rigged(planned(tmp_path, prompts(5)), ScriptedTransport([])) as rig:
        try:
            await lookout(rig, shown).over(rig.session.run())
        except AssertionError as error:
            assert "the script has ended" in str(error)  # noqa: PT017  the last look is the point
    assert len(shown) >= 2


def test_while_planning_nobody_knows_the_end():
    snapshot = snapshot_of_planning(500, 2.0)
    assert (snapshot.phase, snapshot.tasks, snapshot.rate_per_s, snapshot.eta_s) == (Phase.PLANNING, 500, 250.0, None)
    assert snapshot_of_planning(0, 0.0).rate_per_s == 0
