from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from batcher.asking.ask import OpenTask
from batcher.engine.latency import bucket_of, no_latencies
from batcher.engine.plan import Plan
from batcher.engine.stragglers import MOST_NAMED, SAY_EVERY_S, Stragglers
from batcher.engine.work import Work
from batcher.pacing.outage import Outage
from batcher.pacing.permit import Quotas
from tests.builders import a_request
from tests.engine.sessions import TROUBLE, echo, planned, prompts, rigged, text_of, until
from tests.fakes import ScriptedTransport


@dataclass
class Asking:
    """A session of which only what is open is known."""

    open: list[OpenTask] = field(default_factory=list)
    blocks: list[Work] = field(default_factory=list)
    undecided: list[Work] = field(default_factory=list)
    outage: Outage | None = None
    waits: str = "in flight"

    def waits_for(self, _task: OpenTask) -> str:
        return self.waits


def a_work(no: int = 0, *, first: int = 0, tasks: int = 10, left: int) -> Work:
    return Work(
        no=no,
        first_task=first,
        tasks=tasks,
        generation=1,
        digest="",
        asked=None,
        before=None,
        remaining=left,
    )


def a_task(number: int, **given: object) -> OpenTask:
    return OpenTask(task=number, request=a_request(), lane="lane", **({"attempts": 1} | given))


class Watched:
    """Stragglers of a plan of ten rows, and a clock that goes when it is told."""

    def __init__(self, plan: Plan, *, answers_s: float | None = 1.0) -> None:
        self.session = Asking()
        self.latencies = no_latencies()
        self.said: list[str] = []
        self.now_s = 0.0
        if answers_s is not None:
            self.latencies[bucket_of(answers_s * 1000)] += 100
        self.stragglers = Stragglers(plan, self.session, self.latencies, log=self.said.append)

    def hold(self, *tasks: OpenTask, left: int | None = None) -> None:
        self.session.open = list(tasks)
        self.session.blocks = [a_work(left=len(tasks) if left is None else left)]

    def pass_s(self, seconds: float, *, step_s: float = 1.0) -> None:
        for _ in range(round(seconds / step_s)):
            self.stragglers.look(self.now_s)
            self.now_s += step_s
        self.stragglers.look(self.now_s)

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.stragglers.named]


@pytest.fixture
def plan(tmp_path):
    return planned(tmp_path, prompts(10))


@pytest.fixture
def watched(plan):
    return Watched(plan)


def test_the_last_row_of_a_block_is_named_after_ten_seconds(watched):
    watched.hold(a_task(3))
    watched.pass_s(9)
    assert watched.ids == []
    watched.pass_s(1)
    (named,) = watched.stragglers.named
    assert (named.task, named.block, named.open_s, named.attempts, named.waits_for) == (3, 0, 10.0, 1, "in flight")
    assert named.sample is None


@pytest.mark.parametrize(("answers_s", "late_s"), [(1.0, 10), (3.0, 10), (20.0, 60)])
def test_it_is_late_after_three_times_what_nearly_all_answers_took(plan, answers_s, late_s):
    watched = Watched(plan, answers_s=answers_s)
    watched.hold(a_task(3))
    watched.pass_s(round(late_s * 0.97) - 1)
    assert watched.ids == []
    watched.pass_s(round(late_s * 0.06) + 2)
    assert watched.ids == ["row-3"]


def test_before_any_answer_nobody_is_late(plan):
    watched = Watched(plan, answers_s=None)
    watched.hold(a_task(3))
    watched.pass_s(120)
    assert (watched.ids, watched.said) == ([], [])


def test_a_row_holds_nothing_up_while_others_of_its_block_are_still_to_be_sent(watched):
    watched.hold(a_task(3), left=2)
    watched.pass_s(30)
    assert watched.ids == []
    watched.session.undecided = list(watched.session.blocks)  # the other one was refused, and is not sent again soon
    watched.pass_s(1)
    assert watched.ids == ["row-3"]


def test_each_block_is_looked_at_alone(watched):
    watched.session.open = [a_task(2), a_task(5), a_task(6)]
    watched.session.blocks = [a_work(1, first=5, tasks=5, left=2), a_work(0, tasks=5, left=3)]
    watched.pass_s(12)
    assert [(each.id, each.block) for each in watched.stragglers.named] == [("row-5", 1), ("row-6", 1)]


def test_the_oldest_are_named_and_all_are_counted(watched):
    tasks = [a_task(number) for number in range(9)]
    watched.hold(*tasks[4:])
    watched.pass_s(5)
    watched.hold(*tasks)
    watched.pass_s(12)
    assert watched.ids == [f"row-{number}" for number in (4, 5, 6, 7, 8)]
    assert (watched.stragglers.count, len(watched.stragglers.named)) == (9, MOST_NAMED)
    watched.hold(*tasks[:4])
    watched.pass_s(1)
    assert (watched.ids, watched.stragglers.count) == ([f"row-{number}" for number in range(4)], 4)
    watched.hold()
    watched.pass_s(1)
    assert (watched.ids, watched.stragglers.count) == ([], 0)


def test_an_outage_is_told_already_and_makes_nobody_older(watched):
    watched.hold(a_task(3))
    watched.pass_s(5)
    watched.session.outage = Outage(since_us=1, probe_in_s=7.0, said="http_503")
    watched.pass_s(600)
    assert (watched.ids, watched.said) == ([], [])
    watched.session.outage = None
    watched.pass_s(3)
    assert watched.ids == []
    watched.pass_s(3)
    assert 10 <= watched.stragglers.named[0].open_s <= 12


def test_it_looks_once_a_second_however_often_it_is_asked(watched):
    watched.hold(a_task(3))
    watched.pass_s(9.75, step_s=0.25)
    assert watched.ids == []
    watched.pass_s(1.25, step_s=0.25)
    assert watched.ids == ["row-3"]


def test_a_row_that_is_asked_for_a_minute_is_told_of_once(watched):
    watched.hold(a_task(3), left=10)
    watched.pass_s(59)
    assert watched.said == []
    watched.pass_s(600)
    assert watched.said == [
        "slow row row-3: asked for 60 s so far (try 1, in flight); 99 % of the answers took 1.0 s or less"
    ]


def test_half_of_the_rows_deadline_is_told_again(plan):
    watched = Watched(plan, answers_s=None)
    watched.hold(task := a_task(3, attempts=7, active_s=850.0), left=10)
    watched.pass_s(51)
    assert watched.said == [
        "slow row row-3: asked for 900 s so far (try 7, in flight); retry.row_deadline_s is 1,800 s"
    ]
    task.attempts, task.active_s = 8, 1700.0
    watched.pass_s(300)
    assert len(watched.said) == 1


def test_what_the_gate_makes_a_row_wait_is_no_time_of_asking(watched):
    watched.session.waits = "requests/min"
    watched.hold(a_task(3, active_s=2.0))
    watched.pass_s(3600)
    assert watched.said == []
    assert watched.stragglers.named[0].waits_for == "requests/min"


def test_of_many_slow_rows_one_line_tells(watched):
    watched.hold(*(a_task(number) for number in range(3)), left=10)
    watched.pass_s(61)
    watched.hold(*watched.session.open, a_task(5, active_s=500.0), a_task(6, active_s=400.0), left=10)
    watched.pass_s(SAY_EVERY_S + 2)
    assert [line.partition(":")[0] for line in watched.said] == ["slow row row-0", "slow row row-5"]
    assert "; so are 2 more; " in watched.said[0]
    assert "; so are 1 more; " in watched.said[1]


def test_a_sample_is_told_from_its_row(tmp_path):
    watched = Watched(planned(tmp_path, prompts(10), samples=2))
    watched.hold(a_task(3))
    watched.pass_s(61)
    (named,) = watched.stragglers.named
    assert (named.id, named.sample) == ("row-1", 1)
    assert watched.said[0].startswith("slow row row-1 (sample 1): ")


def test_an_id_is_one_short_line_whatever_it_is(tmp_path):
    rows = [{"id": f"line\n{'x' * 100}", "prompt": "hi"}]
    watched = Watched(planned(tmp_path, rows))
    watched.stragglers._read_id = lambda _: rows[0]["id"]
    watched.hold(a_task(0))
    watched.pass_s(11)
    assert watched.ids == [f"line {'x' * 54}…"]


class Hanging(ScriptedTransport):
    """Answers, but keeps the ones it is told to until it is told otherwise."""

    def __init__(self, answer: Callable, *, held: str) -> None:
        super().__init__(answer)
        self.held = held
        self.let_go = asyncio.Event()

    async def post(self, request):
        if text_of(request) == self.held:
            await self.let_go.wait()
        return await super().post(request)


async def test_a_running_session_names_the_row_that_is_out(tmp_path):
    door = Hanging(echo, held="prompt 3")
    async with rigged(planned(tmp_path, prompts(5)), door) as rig:
        running = asyncio.ensure_future(rig.session.run())
        await until(lambda: rig.tally.finished == 4)
        seen = Stragglers(rig.plan, rig.session, rig.tally.latencies, log=lambda _: None)
        seen.look(0.0)
        seen.look(20.0)
        assert [(each.id, each.attempts, each.waits_for) for each in seen.named] == [("q3", 1, "in flight")]
        door.let_go.set()
        await running
        seen.look(40.0)
    assert (seen.count, seen.named, len(rig.session.blocks)) == (0, (), 0)


async def test_a_running_session_names_the_row_that_waits_for_its_next_try(tmp_path):
    def answer(request):
        return TROUBLE if text_of(request) == "prompt 3" else echo(request)

    plan = planned(tmp_path, prompts(5), **{"retry.max_backoff_s": 3_600.0})
    async with rigged(plan, ScriptedTransport(answer)) as rig:
        running = asyncio.ensure_future(rig.session.run())
        await until(lambda: rig.tally.finished == 4 and rig.session.open and all(t.waiting for t in rig.session.open))
        seen = Stragglers(rig.plan, rig.session, rig.tally.latencies, log=lambda _: None)
        seen.look(0.0)
        seen.look(20.0)
        await until(lambda: {rig.session.waits_for(task) for task in rig.session.open} == {"backoff"})
        assert [each.id for each in seen.named] == ["q3"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_row_at_the_gate_waits_for_what_the_gate_says(tmp_path):
    def answer(request):
        return TROUBLE if text_of(request) == "prompt 0" else echo(request)

    quotas = Quotas(requests_per_minute=1)
    async with rigged(planned(tmp_path, prompts(1)), ScriptedTransport(answer), quotas=quotas) as rig:
        running = asyncio.ensure_future(rig.session.run())
        await until(lambda: {rig.session.waits_for(task) for task in rig.session.open} == {"requests/min"})
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
