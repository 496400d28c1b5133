import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.closing import _exit_code, open_totals
from batcher.engine.status import read_last, read_status
from batcher.errors import Exit, RunStopped, StorageError
from batcher.money.totals import Totals
from batcher.records import Status
from tests.builders import a_job
from tests.engine.sessions import BAD_REQUEST, CUT, TROUBLE, echo, planned, prompts, rigged, text_of
from tests.fakes import ScriptedTransport


def failing(count):
    odd = {f"prompt {n}" for n in range(count)}
    return ScriptedTransport(lambda request: BAD_REQUEST if text_of(request) in odd else echo(request))


def written(plan):
    return orjson.loads(plan.rundir.manifest.read_bytes())


@pytest.mark.parametrize(
    ("failed", "done", "max_failed", "exit_code"),
    [
        (0, 100, 0, Exit.DONE),
        (1, 100, 0, Exit.ROWS_FAILED),
        (1, 100, 1, Exit.DONE),
        (1, 100, "1%", Exit.DONE),
        (2, 100, "1%", Exit.ROWS_FAILED),
        (1, 99, "1%", Exit.ROWS_FAILED),
        (100, 100, "100%", Exit.DONE),
        (0, 0, "0%", Exit.DONE),
    ],
)
def test_how_many_rows_may_fail(failed, done, max_failed, exit_code):
    totals = Totals(by_status={Status.FAILED: failed, Status.OK: done - failed})
    assert _exit_code(a_job(run__max_failed=max_failed), totals) is exit_code


@given(failed=st.integers(0, 50), invalid=st.integers(0, 50), good=st.integers(0, 50), most=st.integers(0, 100))
def test_failed_and_invalid_rows_count_alike(failed, invalid, good, most):
    totals = Totals(by_status={Status.FAILED: failed, Status.INVALID: invalid, Status.BLOCKED: good})
    expected = Exit.DONE if failed + invalid <= most else Exit.ROWS_FAILED
    assert _exit_code(a_job(run__max_failed=most), totals) is expected


async def test_what_is_written_printed_and_returned_is_one_value(tmp_path):
    plan = planned(tmp_path, prompts(10), run__max_failed="20%")
    async with rigged(plan, failing(2)) as rig:
        summary = await rig.finish()
    said = written(plan)["summary"]
    assert summary.verdict == said["verdict"] == "done: 8 of 10 ok, 2 failed"
    assert (summary.exit_code, said["exit_code"]) == (Exit.DONE, 0)
    assert Totals.from_json(said["totals"]) == summary.totals
    assert summary.next_command == said["next_command"] == f"batcher retry {plan.rundir.out}"
    assert said["sent"] == summary.sent == 10
    assert {name: value for name, value in written(plan).items() if name in plan.manifest} == (plan.manifest)


async def test_a_run_without_failures_leads_to_its_rows(tmp_path):
    plan = planned(tmp_path, prompts(3))
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert (summary.verdict, summary.next_command) == ("done: 3 of 3 ok", f"batcher show {plan.rundir.out}")


async def test_a_retry_that_cannot_help_is_not_offered(tmp_path):
    """Rows that were never sent fail again; one that was sent is worth another try."""
    out = tmp_path / "out"
    plan = planned(tmp_path, ["{broken", *prompts(3)])
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert (summary.totals.by_status, summary.next_command) == (
        {Status.OK: 3, Status.FAILED: 1},
        f"batcher show {out} --failed",
    )
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert (await rig.finish()).next_command == summary.next_command


async def test_one_row_worth_asking_among_hopeless_ones_is_enough(tmp_path):
    plan = planned(tmp_path, ["{broken", *prompts(3)])
    async with rigged(plan, failing(1)) as rig:
        summary = await rig.finish()
    assert summary.next_command == f"batcher retry {plan.rundir.out}"


async def test_a_model_without_a_price_is_named(tmp_path):
    def answer(request):
        reply = echo(request)
        return reply._replace(body=orjson.dumps(orjson.loads(reply.body) | {"modelVersion": "nobody-9"}))

    plan = planned(tmp_path, prompts(3), model="nobody-9")
    async with rigged(plan, ScriptedTransport(answer)) as rig:
        summary = await rig.finish()
    said = "price unknown for nobody-9 (3 answers): cost_usd is null there, the total is a lower bound"
    assert said in summary.notes
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert said in (await rig.finish()).notes


async def test_what_may_have_been_billed_is_said(tmp_path):
    seen = []

    def answer(request):
        seen.append(request)
        return CUT if len(seen) == 1 else echo(request)

    async with rigged(planned(tmp_path, prompts(3)), ScriptedTransport(answer)) as rig:
        summary = await rig.finish()
    (note,) = summary.notes
    assert note.startswith("1 request may have been billed though no answer arrived: not in the cost")


async def test_the_reason_to_stop_ends_without_a_full_stop(tmp_path):
    async with rigged(planned(tmp_path, prompts(3)), ScriptedTransport(echo)) as rig:
        rig.halt.stop(RunStopped("the quota is used up."))
        summary = await rig.finish()
    assert summary.verdict.startswith("the quota is used up; ")


async def test_the_card_tells_how_it_ended(tmp_path):
    plan = planned(tmp_path, prompts(3))
    assert "under way" in plan.rundir.readme.read_text()
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    card = plan.rundir.readme.read_text()
    assert summary.verdict in card
    assert f"| cost | ${summary.totals.cost_usd:f}".rstrip("0") in card


async def test_a_stopped_run_shows_the_answers_that_no_part_has_yet(tmp_path):
    plan = planned(tmp_path, prompts(6), **{"limits.concurrency": 1})
    seen = []

    async with rigged(plan, ScriptedTransport(lambda request: seen.append(request) or echo(request))) as rig:

        def stop_after_four(turn):
            rig.tally.turn(turn)
            if rig.tally.sent == 4:
                rig.halt.stop(RunStopped("enough"))

        rig.asker._on_turn = stop_after_four
        summary = await rig.finish()
    out = plan.rundir.out
    assert [row["prompt"] for row in read_last(out, 2)] == ["prompt 2", "prompt 3"]
    status = read_status(out)
    assert (status.verdict, status.totals, status.phase) == (summary.verdict, summary.totals, None)
    assert status.next_command == "batcher run job.toml"


async def test_only_a_finished_run_is_a_success(tmp_path):
    plan = planned(tmp_path, prompts(300), **{"limits.concurrency": 8})
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        rig.halt.stop(RunStopped("enough for today", hint="come back tomorrow"))
        summary = await rig.finish()
    assert not plan.rundir.success.exists()
    assert (summary.exit_code, summary.next_command) == (Exit.STOPPED, "batcher run job.toml")
    assert "come back tomorrow" in summary.notes
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert plan.rundir.success.exists()
    assert summary.exit_code is Exit.DONE
    assert not plan.rundir.status.exists()


async def test_a_finished_run_stays_as_it_was_written(tmp_path):
    plan = planned(tmp_path, prompts(5))
    async with rigged(plan, failing(1)) as rig:
        first = await rig.finish()
    files = (plan.rundir.manifest, plan.rundir.success, *plan.rundir.parts())
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]

    async with rigged(plan, ScriptedTransport([])) as rig:
        again = await rig.finish()

    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    assert (again.sent, again.totals, again.exit_code) == (0, first.totals, first.exit_code)
    assert again.verdict == first.verdict


async def test_a_stopped_session_counts_what_open_tasks_have_used(tmp_path):
    """Attempts of tasks that have no outcome yet are in the totals, and are not counted twice when these end."""
    plan = planned(tmp_path, prompts(6), **{"retry.max_backoff_s": 3600.0, "limits.concurrency": 6})
    odd = {"prompt 1", "prompt 4"}
    door = ScriptedTransport(lambda request: TROUBLE if text_of(request) in odd else echo(request))
    async with rigged(plan, door) as rig:

        def stop_when_settled(turn):
            rig.tally.turn(turn)
            if rig.tally.sent == 6:
                rig.halt.stop(RunStopped("enough"))

        rig.asker._on_turn = stop_when_settled
        stopped = await rig.finish()
    assert (stopped.totals.done, stopped.totals.attempts) == (4, 6)
    assert stopped.totals.cost_usd > 0

    async with rigged(plan, ScriptedTransport(echo)) as rig:
        assert rig.tally.totals().done == 4
        summary = await rig.finish()
    assert (summary.totals.attempts, summary.totals.by_status) == (8, {Status.OK: 6})


async def test_a_retry_starts_from_the_rows_that_stand(tmp_path):
    plan = planned(tmp_path, prompts(30))
    async with rigged(plan, failing(6)) as rig:
        first = await rig.finish()
    async with rigged(plan, ScriptedTransport(echo), again=frozenset({Status.FAILED})) as rig:
        before = await open_totals(rig.rows, rig.journal)
        rig.halt.stop(RunStopped("enough"))
        stopped = await rig.finish()
    assert before.by_status == {Status.OK: 24}
    assert (before.attempts, before.cost_usd) == (first.totals.attempts, first.totals.cost_usd)
    assert stopped.totals.done <= 30

    async with rigged(plan, ScriptedTransport(echo)) as rig:
        assert (await open_totals(rig.rows, rig.journal)).done == stopped.totals.done
        summary = await rig.finish()
    assert (summary.totals.by_status, summary.totals.attempts) == ({Status.OK: 30}, 36)


async def test_an_end_that_cannot_be_written_is_a_storage_error(tmp_path):
    plan = planned(tmp_path, prompts(2))
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        await rig.session.run()
        (plan.rundir.out / ".run.json.new").mkdir()  # in the way of the new manifest
        with pytest.raises(StorageError, match="cannot be written"):
            await rig.close()
    assert not plan.rundir.success.exists()
