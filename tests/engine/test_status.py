import datetime as dt
from decimal import Decimal

import orjson
import pyarrow.parquet as pq
import pytest

from batcher.engine.progress import Phase, Snapshot, Straggler
from batcher.engine.status import read_job, read_last, read_status, write_status
from batcher.errors import PlanChanged, RunStopped, StorageError
from batcher.money.totals import Totals
from batcher.pacing.outage import Outage
from batcher.records import Status
from batcher.store.rundir import Lock
from tests.engine.sessions import BAD_REQUEST, NOW, echo, planned, prompts, rigged, text_of
from tests.fakes import ScriptedTransport

ODD = {f"prompt {n}" for n in (3, 280, 290)}


def some_fail(request):
    return BAD_REQUEST if text_of(request) in ODD else echo(request)


def a_snapshot(**fields):
    defaults = {
        "phase": Phase.ASKING,
        "tasks": 300,
        "done_before": 0,
        "totals": Totals(by_status={Status.OK: 7}, attempts=8),
        "in_flight": 1,
        "waiting": 0,
        "limited_by": "",
        "elapsed_s": 1.0,
        "rate_per_s": 7.0,
        "eta_s": None,
    }
    return Snapshot(**(defaults | fields))


@pytest.fixture
async def plan(tmp_path):
    """Planned; a command stands for what was typed."""
    return planned(tmp_path, prompts(300), **{"limits.concurrency": 8})


@pytest.fixture
async def endings(plan):
    """The last answers of a session that finished the plan."""
    async with rigged(plan, ScriptedTransport(some_fail)) as rig:
        await rig.finish()
        return list(rig.session.last)


@pytest.fixture
def owned(plan):
    lock = Lock(plan.rundir.lock, now=NOW)
    yield
    lock.release()


def test_a_planned_run_that_nobody_runs(plan):
    status = read_status(plan.rundir.out)
    assert (status.phase, status.verdict, status.pid, status.tasks, status.totals) == (None, None, None, 300, Totals())
    assert status.next_command == "the command that started it, to go on"


def test_a_finished_run_with_failures_leads_to_retry(plan, endings):
    status = read_status(plan.rundir.out)
    assert (status.phase, status.verdict) == (None, "done: 297 of 300 ok, 3 failed")
    assert status.next_command == f"batcher retry {plan.rundir.out}"
    assert status.totals.attempts == 300
    assert status.last_activity <= dt.datetime.now(dt.UTC)


async def test_a_stopped_run_goes_on_by_what_was_typed(plan):
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        rig.halt.stop(RunStopped("enough"))
        await rig.finish()
    status = read_status(plan.rundir.out)
    assert status.next_command == "batcher run job.toml"
    assert status.verdict.startswith("enough; ")


def test_a_running_one_says_what_it_does(plan, owned):
    write_status(plan.rundir, a_snapshot(), [], "batcher run job.toml")
    status = read_status(plan.rundir.out)
    assert (status.phase, status.totals.done, status.verdict) == (Phase.ASKING, 7, None)
    assert status.pid is not None
    assert status.host
    assert status.next_command == f"batcher show {plan.rundir.out}"


def test_a_running_one_says_how_it_goes_now(plan, owned):
    said = a_snapshot(
        eta_s=12.5,
        p50_ms=310.0,
        p95_ms=900.0,
        projected_usd=Decimal("0.123456789"),
        limited_by="x",
        outage=Outage(since_us=17, probe_in_s=None, said="http_503"),
    )
    write_status(plan.rundir, said, [], "")
    assert read_status(plan.rundir.out).now == said


def test_a_running_one_names_the_rows_that_hold_it_up(plan, owned):
    slow = Straggler(task=7, id="q7", sample=None, block=0, open_s=95.25, attempts=3, waits_for="backoff")
    write_status(plan.rundir, a_snapshot(straggling=4, stragglers=(slow,)), [], "batcher run x")
    now = read_status(plan.rundir.out).now
    assert (now.straggling, now.stragglers) == (4, (slow,))


def test_what_one_before_it_said_is_not_how_it_goes_now(plan, owned):
    """Killed, and started again by a process of the same number, as in a container."""
    write_status(plan.rundir, a_snapshot(), [], "")
    told = orjson.loads(plan.rundir.status.read_bytes())
    plan.rundir.status.write_bytes(orjson.dumps(told | {"at": (NOW - dt.timedelta(seconds=1)).isoformat()}))
    assert read_status(plan.rundir.out).now is None
    plan.rundir.status.write_bytes(orjson.dumps(told | {"pid": told["pid"] + 1}))
    assert read_status(plan.rundir.out).now is None


def test_nobody_says_how_a_run_goes_that_nobody_runs(plan):
    write_status(plan.rundir, a_snapshot(), [], "")
    assert read_status(plan.rundir.out).now is None


def test_one_that_has_just_begun_is_running_too(plan, owned):
    status = read_status(plan.rundir.out)
    assert (status.phase, status.totals) == (Phase.PLANNING, Totals())


def test_a_killed_one_says_what_it_said_last(plan, endings):
    """A retry that was killed: run.json still tells of the session before."""
    plan.rundir.success.unlink()
    write_status(plan.rundir, a_snapshot(), [], "batcher retry out")
    status = read_status(plan.rundir.out)
    assert (status.phase, status.verdict, status.totals.done) == (None, None, 7)
    assert status.next_command == "batcher retry out"


def test_news_that_cannot_be_written_harm_nothing(plan):
    plan.rundir.status.mkdir()
    write_status(plan.rundir, a_snapshot(), [], "")


def test_the_last_rows(plan, endings):
    rows = read_last(plan.rundir.out, 50)
    assert [row["task"] for row in rows] == list(range(250, 300))  # over the border of two parts
    assert (rows[-1]["prompt"], rows[-1]["response"], rows[-1]["status"]) == ("prompt 299", "992 tpmorp", "ok")


def test_more_rows_than_there_are(plan, endings):
    assert [row["task"] for row in read_last(plan.rundir.out, 10_000)] == list(range(300))


@pytest.mark.parametrize(("n", "tasks"), [(1, [290]), (2, [280, 290]), (3, [3, 280, 290]), (99, [3, 280, 290])])
def test_failed_rows_are_looked_for_in_all_parts(plan, endings, n, tasks):
    rows = read_last(plan.rundir.out, n, failed=True)
    assert [row["task"] for row in rows] == tasks
    assert {row["status"] for row in rows} == {"failed"}
    assert all(row["error_message"] for row in rows)


def test_a_running_one_tells_its_last_answers_and_then_its_parts(plan, endings, owned):
    write_status(plan.rundir, a_snapshot(), endings, "")
    assert [row["task"] for row in read_last(plan.rundir.out, 5)] == [295, 296, 297, 298, 299]
    assert [row["task"] for row in read_last(plan.rundir.out, 40)] == list(range(260, 300))
    assert [row["task"] for row in read_last(plan.rundir.out, 9, failed=True)] == [3, 280, 290]


def test_a_run_without_parts_has_no_rows(plan):
    assert read_last(plan.rundir.out, 5) == []


def test_a_damaged_part_is_told(plan, endings):
    part = plan.rundir.parts()[-1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StorageError, match=part.name):
        read_last(plan.rundir.out, 5)


def test_the_job_comes_back(plan):
    assert read_job(plan.rundir.out) == plan.job


@pytest.mark.parametrize("read", [read_status, read_job, lambda out: read_last(out, 1)])
def test_a_folder_that_is_no_run(tmp_path, read):
    with pytest.raises(PlanChanged, match="not a run directory"):
        read(tmp_path)


def test_every_shown_column_is_one_of_the_data(plan, endings):
    schema = pq.read_schema(plan.rundir.parts()[0])
    assert set(read_last(plan.rundir.out, 1)[0]) <= set(schema.names)
