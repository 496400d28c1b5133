import asyncio

import orjson

from batcher.engine.progress import Phase
from batcher.engine.watch import Lookout, snapshot_of_planning
from batcher.errors import RunStopped
from tests.engine.sessions import echo, planned, prompts, rigged, until
from tests.fakes import ScriptedTransport


def lookout(rig, shown, done_before=0):
    return Lookout(
        rig.plan, rig.session, rig.tally, rig.halt, done_before=done_before, show=shown.append, command="batcher run x"
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
