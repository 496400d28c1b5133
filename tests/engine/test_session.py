import asyncio
import sqlite3

import pyarrow.parquet as pq
import pytest

from batcher.engine.ahead import MOST_FROZEN
from batcher.engine.halt import Halt
from batcher.engine.refusals import FIRST, MOST_REFUSED
from batcher.errors import EndpointRefused, Exit, Interrupted, RunStopped, StorageError
from batcher.money.totals import Totals
from batcher.pacing.gate import Quotas
from batcher.pacing.outage import OutageTooLong
from batcher.pacing.permit import DayQuotaReached
from batcher.records import Status
from tests.builders import a_reply
from tests.engine.sessions import (
    BAD_KEY,
    BAD_REQUEST,
    DAY_QUOTA,
    TROUBLE,
    UNKNOWN_MODEL,
    echo,
    planned,
    prompts,
    rigged,
    text_of,
    until,
)
from tests.fakes import ScriptedTransport


def answers_but(odd, reply):
    """A script that answers, but `reply` to the prompts in `odd`."""
    return lambda request: reply if text_of(request) in odd else echo(request)


async def test_every_task_is_asked_once_in_its_order(tmp_path):
    door = ScriptedTransport(echo)
    async with rigged(planned(tmp_path, prompts(50), samples=2, **{"limits.concurrency": 1}), door) as rig:
        summary = await rig.finish()
    assert [text_of(request) for request in door.sent] == [f"prompt {n}" for n in range(50) for _ in range(2)]
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 100})


@pytest.mark.parametrize("concurrency", [1, 3, 16])
async def test_no_more_requests_are_out_than_allowed(tmp_path, concurrency):
    door = ScriptedTransport(echo, latency_s=0.001)
    async with rigged(planned(tmp_path, prompts(60), **{"limits.concurrency": concurrency}), door) as rig:
        await rig.finish()
    assert door.most_in_flight == concurrency


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_who_has_an_answer_on_disk_goes_on_with_the_next_task(tmp_path, concurrency):
    """A new task for each row, and a turn of the loop to start it, would leave its slot idle meanwhile."""
    askers = set()

    def answer(request):
        askers.add(asyncio.current_task())
        return echo(request)

    door = ScriptedTransport(answer, latency_s=0.001)
    rows = 200  # several chunks: the feeder goes on fetching
    async with rigged(planned(tmp_path, prompts(rows), **{"limits.concurrency": concurrency}), door) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: rows}
    assert len(askers) < rows / 4


async def test_a_row_that_waits_to_be_asked_again_leaves_its_slot_to_the_next(tmp_path):
    refused = []

    def trouble_once(request):
        if text_of(request) == "prompt 0" and not refused:
            refused.append(request)
            return TROUBLE
        return echo(request)

    door = ScriptedTransport(trouble_once)
    plan = planned(tmp_path, prompts(8), **{"limits.concurrency": 1, "retry.max_backoff_s": 0.05})
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    asked = [text_of(request) for request in door.sent]
    assert asked[:2] == ["prompt 0", "prompt 1"]
    assert sorted(asked[1:]) == [f"prompt {n}" for n in range(8)]
    assert summary.totals.by_status == {Status.OK: 8}


async def test_the_next_block_is_open_before_this_one_is_asked(tmp_path):
    """Its rows are read and rendered while the slots are busy, not while they wait for it."""
    door = ScriptedTransport(echo, latency_s=0.001)
    plan = planned(tmp_path, prompts(3), samples=256, **{"limits.concurrency": 2})
    assert plan.blocks == 3
    async with rigged(plan, door) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: plan.rundir.block_file(2).exists())
        assert rig.session.totals_of_blocks == {}
        assert {text_of(request) for request in door.sent} <= {"prompt 0"}
        summary = await running
    assert summary.totals.by_status == {Status.OK: 768}


class Weighed(ScriptedTransport):
    """Knows how many bytes are out at once, at most."""

    bytes_out = most_bytes = 0

    async def post(self, request):
        self.bytes_out += len(request.body)
        self.most_bytes = max(self.most_bytes, self.bytes_out)
        try:
            return await super().post(request)
        finally:
            self.bytes_out -= len(request.body)


@pytest.mark.parametrize(("most_held_bytes", "least_out"), [(1, 1), (15_000, 9), (1 << 20, 17)])
async def test_rows_are_fetched_while_there_is_room_for_their_bodies(tmp_path, most_held_bytes, least_out):
    rows = [{"prompt": f"{n:03} " + "x" * 996} for n in range(80)]
    door = Weighed(echo, latency_s=0.05)
    plan = planned(tmp_path, rows, **{"limits.concurrency": 64, "limits.requests_per_day": 1_000})  # 8 at a time
    async with rigged(plan, door, most_held_bytes=most_held_bytes) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: 80}
    assert door.most_in_flight >= least_out
    assert door.most_bytes < most_held_bytes + 8 * 1_100


async def test_who_waits_for_memory_says_so(tmp_path):
    door = ScriptedTransport(echo, latency_s=0.05)
    plan = planned(tmp_path, prompts(16), **{"limits.concurrency": 64, "limits.requests_per_day": 1_000})
    async with rigged(plan, door, most_held_bytes=1) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: rig.session.limited_by == "memory")
        await running
        assert rig.session.limited_by == ""


async def test_of_big_answers_only_what_is_shown_is_kept(tmp_path):
    rows = [{"prompt": "x" * 70_000}, {"prompt": "short"}]
    async with rigged(planned(tmp_path, rows), ScriptedTransport(echo)) as rig:
        await rig.finish()
        big, short = sorted(rig.session.last, key=lambda ending: -len(text_of(ending.task.request)))
    assert (big.task.request.body, big.turn.attempt.body) == (b"", b"")
    assert short.task.request.body
    assert big.turn.answer.candidates[0].text == big.task.request.prompt == "x" * 70_000


@pytest.mark.parametrize("concurrency", [1, 2, 3, 8])
async def test_a_wrong_key_costs_no_more_requests_than_slots(tmp_path, concurrency):
    door = ScriptedTransport(lambda _: BAD_KEY, latency_s=0.001)
    async with rigged(planned(tmp_path, prompts(100), **{"limits.concurrency": concurrency}), door) as rig:
        summary = await rig.finish()
        assert isinstance(rig.halt.why, EndpointRefused)
    assert len(door.sent) <= concurrency
    assert summary.exit_code is Exit.REFUSED
    assert "API key not valid" in summary.verdict
    assert (summary.totals.done, summary.totals.attempts) == (0, len(door.sent))


async def test_one_refused_row_among_served_ones_becomes_a_failed_row(tmp_path):
    door = ScriptedTransport(answers_but({"prompt 7"}, UNKNOWN_MODEL))
    async with rigged(planned(tmp_path, prompts(30), **{"limits.concurrency": 2}), door) as rig:
        summary = await rig.finish()
        assert rig.halt.why is None
    assert summary.totals.by_status == {Status.OK: 29, Status.FAILED: 1}
    assert summary.exit_code is Exit.ROWS_FAILED


async def test_refusals_with_answers_in_between_do_not_agree(tmp_path):
    odd = {f"prompt {n}" for n in range(1, 40, 5)}
    door = ScriptedTransport(answers_but(odd, UNKNOWN_MODEL))
    async with rigged(planned(tmp_path, prompts(40), **{"limits.concurrency": 1}), door) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: 32, Status.FAILED: 8}


async def test_rows_that_name_a_wrong_model_themselves_fail_alone(tmp_path):
    """However many come in a row: the others are served."""
    rows = [{"prompt": f"prompt {n}", "m": "gemini-9-nobody" if 5 <= n < 25 else None} for n in range(30)]
    door = ScriptedTransport(lambda r: UNKNOWN_MODEL if r.model == "gemini-9-nobody" else echo(r))
    plan = planned(tmp_path, rows, **{"prompt.overrides": {"model": "m"}, "limits.concurrency": 2})
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: 10, Status.FAILED: 20}
    assert len(door.sent) == 30


async def test_however_many_rows_are_refused_few_are_kept_in_memory(tmp_path):
    """And what is kept has neither prompt nor reply."""
    odd = {f"prompt {n}" for n in range(1, 1000, 2)}
    door = ScriptedTransport(answers_but(odd, UNKNOWN_MODEL))
    most = 0
    async with rigged(planned(tmp_path, prompts(300), **{"limits.concurrency": 1}), door) as rig:
        running = asyncio.ensure_future(rig.finish())
        while not running.done():
            await asyncio.sleep(0)
            most = max(most, len(rig.session._refusals.rows))
            if rig.session._refusals.rows:
                ending, _ = rig.session._refusals.rows[-1]
                assert (ending.task.request.body, ending.turn.attempt.body, ending.turn.answer) == (b"", b"", None)
        summary = await running
    assert MOST_REFUSED <= most <= MOST_REFUSED + 1
    assert summary.totals.by_status == {Status.OK: 150, Status.FAILED: 150}
    kinds = pq.read_table(rig.plan.rundir.data, columns=["error_kind"]).column(0).to_pylist()
    assert kinds == [None, "not_found"] * 150


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_twenty_rows_that_are_no_answers_and_none_that_is_end_a_run(tmp_path, concurrency):
    """They stay open: what was wrong may be put right, and the same command asks them again."""
    door = ScriptedTransport(lambda _: BAD_REQUEST, latency_s=0.001)
    async with rigged(planned(tmp_path, prompts(100), **{"limits.concurrency": concurrency}), door) as rig:
        summary = await rig.finish()
        assert isinstance(rig.halt.why, EndpointRefused)
    assert FIRST <= len(door.sent) < FIRST + concurrency
    assert (summary.totals.done, summary.totals.attempts) == (0, len(door.sent))
    assert "not one of the first 20 rows has one, the last: bad_request (HTTP 400): wrong field" in summary.verdict


async def test_the_first_answer_settles_what_became_of_the_rows_before_it(tmp_path):
    door = ScriptedTransport(answers_but({f"prompt {n}" for n in range(19)}, BAD_REQUEST))
    async with rigged(planned(tmp_path, prompts(40), **{"limits.concurrency": 1}), door) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: bool(rig.tally.answered))
        await until(lambda: not rig.session._refusals.rows)
        assert rig.session.is_asking
        summary = await running
    assert summary.totals.by_status == {Status.OK: 21, Status.FAILED: 19}
    assert len(door.sent) == 40


async def test_a_refused_key_after_a_few_rows_without_answers_is_what_ends_the_run(tmp_path):
    door = ScriptedTransport(lambda r: BAD_REQUEST if text_of(r) in {"prompt 0", "prompt 1"} else BAD_KEY)
    async with rigged(planned(tmp_path, prompts(4), **{"limits.concurrency": 1}), door) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.REFUSED
    assert summary.verdict.startswith("the endpoint refuses us: bad_key")


async def test_three_refusals_in_a_row_end_a_run_that_was_served_before(tmp_path):
    late = {f"prompt {n}" for n in range(20, 1000)}
    door = ScriptedTransport(answers_but(late, BAD_KEY))
    async with rigged(planned(tmp_path, prompts(100), **{"limits.concurrency": 1}), door) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.REFUSED
    assert len(door.sent) == 23
    assert summary.totals.by_status == {Status.OK: 20}  # the refused ones stay open: they are asked again


async def test_what_was_refused_is_asked_again_by_the_next_session(tmp_path):
    plan = planned(tmp_path, prompts(40), **{"limits.concurrency": 4})
    async with rigged(plan, ScriptedTransport(lambda _: BAD_KEY)) as rig:
        refused = await rig.finish()
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 40})
    assert summary.totals.attempts == 40 + refused.sent
    assert summary.totals.maybe_billed == 0


async def test_a_bad_request_fails_its_row_only(tmp_path):
    door = ScriptedTransport(answers_but({"prompt 0", "prompt 1", "prompt 2", "prompt 3"}, BAD_REQUEST))
    async with rigged(planned(tmp_path, prompts(10), **{"limits.concurrency": 1}), door) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: 6, Status.FAILED: 4}


async def test_a_row_that_always_meets_trouble_fails_after_its_attempts(tmp_path):
    door = ScriptedTransport(answers_but({"prompt 3"}, TROUBLE))
    async with rigged(planned(tmp_path, prompts(10)), door) as rig:
        summary = await rig.finish()
    assert (summary.totals.by_status, len(door.sent)) == ({Status.OK: 9, Status.FAILED: 1}, 14)


async def test_a_day_quota_told_by_the_server_parks_the_run(tmp_path):
    seen = []

    def script(request):
        seen.append(request)
        return DAY_QUOTA if len(seen) > 5 else echo(request)

    async with rigged(planned(tmp_path, prompts(30), **{"limits.concurrency": 2}), ScriptedTransport(script)) as rig:
        summary = await rig.finish()
        assert isinstance(rig.halt.why, RunStopped)
    assert summary.exit_code is Exit.STOPPED
    assert (summary.totals.by_status, len(seen) <= 7) == ({Status.OK: 5}, True)
    assert "5 of 30 answers are safe" in summary.verdict
    assert summary.next_command == "batcher run job.toml"
    hint = "the quota has reset by then: type the same command again after 2026-01-01 19:02 UTC"
    assert hint in summary.notes  # 68,468 s from midnight on, and the minute that has begun


async def test_our_own_day_quota_stops_the_run(tmp_path):
    door = ScriptedTransport(echo)
    async with rigged(planned(tmp_path, prompts(30)), door, quotas=Quotas(requests_per_day=10)) as rig:
        summary = await rig.finish()
        assert isinstance(rig.halt.why, DayQuotaReached)
    assert (summary.exit_code, len(door.sent), summary.totals.done) == (Exit.STOPPED, 10, 10)


@pytest.mark.parametrize("concurrency", [1, 2, 16])
async def test_a_session_sits_an_outage_out(concurrency, tmp_path):
    """More rows are there than may be open: all that are have failed, and the rest wait."""
    seen, probes = [], []

    def script(request):
        seen.append(request)
        if rig.session.outage is not None:
            probes.append(request)
        return TROUBLE if len(seen) > 10 and len(probes) < 6 else echo(request)

    settings = {"limits.concurrency": concurrency, "retry.probe_after_s": 0.001, "retry.attempts": 100}
    settings["retry.max_backoff_s"] = 0.05
    async with rigged(planned(tmp_path, prompts(200), **settings), ScriptedTransport(script)) as rig:
        summary = await rig.finish()
        assert (rig.session.outage, rig.gate.open_tasks, rig.gate.in_flight) == (None, 0, 0)
    assert len(probes) == 6
    assert summary.totals.by_status == {Status.OK: 200}


async def test_an_outage_that_lasts_too_long_stops_the_run_and_it_goes_on_later(tmp_path):
    plan = planned(tmp_path, prompts(50), **{"retry.probe_after_s": 0.01, "retry.max_outage_s": 0.1})
    async with rigged(plan, ScriptedTransport(lambda _: TROUBLE)) as rig:
        summary = await rig.finish()
        assert isinstance(rig.halt.why, OutageTooLong)
        left = await rig.journal.call(lambda c: c.execute("select count(*) from admitted").fetchone()[0])
    assert (summary.exit_code, summary.totals.done) == (Exit.STOPPED, 0)
    assert summary.totals.attempts == left >= 20  # nothing is admitted that was not sent
    assert "seen last: http_503: overloaded; 0 of 50 answers are safe on disk" in summary.verdict
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert (summary.totals.by_status, summary.totals.maybe_billed) == ({Status.OK: 50}, 0)


async def test_a_journal_that_breaks_ends_the_run_and_keeps_what_was_committed(tmp_path):
    plan = planned(tmp_path, prompts(200), **{"limits.concurrency": 4})
    async with rigged(plan, ScriptedTransport(echo, latency_s=0.001)) as rig:

        async def break_it():
            await until(lambda: rig.tally.finished >= 20)
            # The next write is refused, as on a full disk.
            await rig.journal.call(lambda c: c.executescript("pragma max_page_count = 1; pragma query_only = on"))

        breaking = asyncio.ensure_future(break_it())
        summary = await rig.finish()
        await breaking
        assert isinstance(rig.halt.why, StorageError)
    assert summary.exit_code is Exit.STORAGE
    assert 20 <= summary.totals.done < 200
    with sqlite3.connect(plan.rundir.journal) as connection:
        (kept,) = connection.execute("select count(*) from done").fetchone()
    connection.close()
    assert kept == summary.totals.done


async def test_halting_drains_what_is_out_and_sends_nothing_more(tmp_path):
    door = ScriptedTransport(echo, latency_s=0.03)
    async with rigged(planned(tmp_path, prompts(100), **{"limits.concurrency": 5}), door) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: door.in_flight)
        rig.halt.stop(Interrupted("stopped by SIGINT", signal_number=2))
        sent = len(door.sent)
        summary = await running
        left = await rig.journal.call(lambda c: c.execute("select count(*) from admitted").fetchone()[0])
    assert sent == 5
    assert len(door.sent) == sent
    assert (summary.exit_code, summary.totals.by_status) == (Exit.INTERRUPT, {Status.OK: 5})
    assert left == 5  # what was admitted ahead and never sent is forgotten: it is no loss
    assert summary.verdict == "stopped by SIGINT; 5 of 100 answers are safe on disk"


async def test_a_task_that_waits_for_its_next_attempt_is_let_go(tmp_path):
    """Hours of backoff do not hold up a drain, and its failed attempt is kept."""
    door = ScriptedTransport(lambda _: TROUBLE)
    plan = planned(tmp_path, prompts(3), **{"retry.max_backoff_s": 3600.0})
    async with rigged(plan, door) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: sum(task.waiting for task in rig.session._open.values()) == 3)
        rig.halt.stop(Interrupted("stopped by SIGTERM", signal_number=15), drain_s=5)
        summary = await running
    assert (summary.exit_code, summary.totals.attempts, summary.totals.done) == (Exit.TERMINATED, 3, 0)


async def test_hurrying_leaves_what_is_out_behind_as_maybe_billed(tmp_path):
    door = ScriptedTransport(echo, latency_s=60.0)
    plan = planned(tmp_path, prompts(20), **{"limits.concurrency": 4})
    async with rigged(plan, door) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: door.in_flight == 4)
        rig.halt.stop(Interrupted("stopped by SIGINT", signal_number=2))
        rig.halt.hurry_up()
        await running
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        summary = await rig.finish()
    assert (summary.totals.by_status, summary.totals.maybe_billed) == ({Status.OK: 20}, 4)
    assert summary.totals.attempts == 24


async def test_the_time_to_drain_is_limited(tmp_path):
    plan = planned(tmp_path, prompts(20), **{"limits.concurrency": 4})
    async with rigged(plan, ScriptedTransport(echo, latency_s=60.0)) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: rig.session.in_flight == 4)
        rig.halt.stop(Interrupted("stopped by SIGTERM", signal_number=15), drain_s=0.02)
        summary = await running
    assert (summary.exit_code, summary.totals.done) == (Exit.TERMINATED, 0)


class HeldSealer:
    """Seals nothing until it is let."""

    def __init__(self):
        self.may = asyncio.Event()
        self.sealed = []

    async def seal(self, block):
        await self.may.wait()
        self.sealed.append(block.no)
        return Totals(by_status={Status.FAILED: block.tasks})


async def test_frozen_blocks_hold_the_feeder(tmp_path):
    """Rows that ask nothing end at once: only the sealer can slow the feeder down."""
    sealer = HeldSealer()
    plan = planned(tmp_path, [{"prompt": ""}] * 12, samples=256, **{"limits.concurrency": 1})
    assert plan.blocks == 12
    async with rigged(plan, ScriptedTransport([]), sealer=sealer) as rig:
        running = asyncio.ensure_future(rig.finish())
        await until(lambda: rig.session.limited_by == "sealing")
        await asyncio.sleep(0.02)
        opened = len(list(plan.rundir.blocks.iterdir()))
        assert MOST_FROZEN < opened <= MOST_FROZEN + 6  # one with the sealer, and those on their way to the feeder
        sealer.may.set()
        summary = await running
    assert sealer.sealed == list(range(1, 13))
    assert (summary.totals.done, summary.exit_code) == (12 * 256, Exit.ROWS_FAILED)


class BrokenSealer:
    async def seal(self, block):
        raise ZeroDivisionError(f"a bug at block {block.no}")


async def test_a_bug_in_the_sealer_is_raised_and_not_waited_for(tmp_path):
    async with rigged(planned(tmp_path, prompts(3)), ScriptedTransport(echo), sealer=BrokenSealer()) as rig:
        with pytest.raises(ZeroDivisionError, match="block 1"):
            await asyncio.wait_for(rig.session.run(), timeout=10)


async def test_a_bug_while_asking_is_raised_and_not_waited_for(tmp_path):
    def broken(request):
        if text_of(request) == "prompt 5":
            raise ZeroDivisionError("a bug at prompt 5")
        return echo(request)

    async with rigged(planned(tmp_path, prompts(50)), ScriptedTransport(broken)) as rig:
        with pytest.raises(ZeroDivisionError, match="prompt 5"):
            await asyncio.wait_for(rig.session.run(), timeout=10)


async def test_an_empty_input_is_done_at_once(tmp_path):
    async with rigged(planned(tmp_path, []), ScriptedTransport([])) as rig:
        summary = await rig.finish()
    assert (summary.exit_code, summary.tasks, summary.verdict) == (Exit.DONE, 0, "done: 0 of 0 ok")
    assert rig.plan.rundir.success.exists()


async def test_it_remembers_the_last_twenty_answers(tmp_path):
    async with rigged(planned(tmp_path, prompts(50)), ScriptedTransport(lambda _: a_reply("yes"))) as rig:
        await rig.finish()
        assert [ending.task.task for ending in rig.session.last] == list(range(30, 50))


def test_the_first_reason_to_stop_stays():
    async def stopped():
        halt = Halt()
        first, second = RunStopped("first"), RunStopped("second")
        halt.stop(first, 3.0)
        halt.stop(second, None)
        return halt, first

    halt, first = asyncio.run(stopped())
    assert (halt.why, halt.drain_s, halt.asked.is_set(), halt.hurry.is_set()) == (first, 3.0, True, False)
