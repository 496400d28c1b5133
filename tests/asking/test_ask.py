from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.asking.ask import Asker, Drained, OpenTask, World, failed_row
from batcher.errors import StorageError
from batcher.job.spec import Retry
from batcher.pacing.gate import DayQuotaReached, Gate, Quotas
from batcher.records import Billed, Kind, NoReplyKind, Problem, Reply, Request, Status
from batcher.store.blocks import read_answers
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from tests.asking.stage import (
    BUSY,
    DISCONNECTED,
    LANE,
    PER_DAY,
    PER_MINUTE,
    REFUSED,
    SECRET,
    STALE,
    Exchange,
    Stage,
    failure,
    nothing,
    open_task,
    throttled,
)
from tests.builders import a_reply, a_request
from tests.fakes import FakeClock, ScriptedTransport, run_virtual, steady
from tests.gemini.messages import ndjson

OK = a_reply("yes")
BAD_BODY = Reply(status=200, headers={}, body=b"<html>", latency_ms=2.0)


def on_stage(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a virtual loop of its own."""

    def run() -> None:
        run_virtual(test())

    run.__name__ = test.__name__
    return run


def now_s() -> float:
    return asyncio.get_running_loop().time()


def waits_s(stage: Stage) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(stage.door.sent_at_s)]


# --- answered at once


@on_stage
async def test_an_answer_is_one_request_one_commit_and_no_sleep():
    stage = Stage([OK])
    ending = await stage.ask(open_task(7))

    assert ending.outcome == stage.journal.done[7]
    assert stage.journal.events == [("attempt", 7, 1), ("done", 7, 0)]
    assert now_s() < 0.001
    assert (stage.gate.in_flight, stage.gate.open_tasks) == (0, 0)
    assert not stage.asker.in_flight


@on_stage
async def test_the_outcome_and_its_attempt_say_what_happened():
    stage = Stage([OK], latency_s=3.0)
    ending = await stage.ask(open_task())

    outcome, attempt = stage.journal.done[0], stage.journal.attempts[0, 1]
    assert ending.outcome is not None
    assert (outcome.status, outcome.answered, outcome.attempts) == (Status.OK, 1, 1)
    assert outcome.finished_at - outcome.started_at >= 3_000_000
    assert (outcome.error_kind, outcome.error_message) == (None, None)
    assert (attempt.verdict, attempt.reason, attempt.billed) == (Kind.OK, "ok", Billed.YES)
    assert (attempt.http_status, attempt.body, attempt.waited_ms) == (200, OK.body, 0.0)
    assert (attempt.reserve_input, attempt.reserve_output) == (32, 1024)
    assert attempt.started_at == outcome.started_at
    assert [turn.attempt for turn in stage.turns] == [attempt]
    assert stage.turns[0].answer is not None


@pytest.mark.parametrize(
    ("reply", "status", "answered", "error_kind"),
    [
        (a_reply(finish_reason="MAX_TOKENS"), Status.TRUNCATED, 1, None),
        (a_reply(None, finish_reason="SAFETY"), Status.BLOCKED, 1, None),
        (a_reply(None, finish_reason="MALFORMED_FUNCTION_CALL"), Status.INVALID, 0, "MALFORMED_FUNCTION_CALL"),
        (failure(400, "bad field"), Status.FAILED, 0, "bad_request"),
    ],
)
def test_what_ends_a_row_ends_it_at_once(reply, status, answered, error_kind):
    async def main() -> None:
        stage = Stage([reply])
        await stage.ask(open_task())

        outcome = stage.journal.done[0]
        assert (outcome.status, outcome.answered, outcome.attempts) == (status, answered, 1)
        assert outcome.error_kind == error_kind

    run_virtual(main())


@on_stage
async def test_the_servers_tier_is_kept_when_it_is_a_word():
    for said, kept in [("flex", "flex"), ("fl\udcffex", None), ("größe", None)]:
        stage = Stage([Reply(status=200, headers={"x-gemini-service-tier": said}, body=OK.body)])
        await stage.ask(open_task())
        assert stage.journal.attempts[0, 1].service_tier == kept


@on_stage
async def test_the_secret_is_not_in_what_a_failed_row_says():
    stage = Stage([failure(400, f"your key {SECRET}\x1b[31m is fine, your field is not")])
    await stage.ask(open_task())

    assert stage.journal.done[0].error_message == "your key [secret] [31m is fine, your field is not"


# --- asked again


@on_stage
async def test_a_busy_server_is_asked_again_after_a_growing_wait():
    stage = Stage([BUSY, BUSY, OK], chance=0.5)
    ending = await stage.ask(open_task())

    assert waits_s(stage) == pytest.approx([0.5, 1.0], abs=0.001)
    assert [attempt.n for attempt in stage.journal.tried()] == [1, 2, 3]
    assert [attempt.reason for attempt in stage.journal.tried()] == ["http_503", "http_503", "ok"]
    assert [attempt.waited_ms for attempt in stage.journal.tried()] == pytest.approx([0, 500, 1000], abs=1)
    assert ending.outcome is not None
    assert (ending.outcome.attempts, ending.outcome.answered, ending.task.counted) == (
        3,
        3,
        2 + ending.turn.verdict.counted,
    )


@on_stage
async def test_a_failed_attempt_is_safe_with_the_next_admission_before_it_is_sent():
    stage = Stage([BUSY, BUSY, OK], commit_s=0.002)
    await stage.ask(open_task())

    assert stage.journal.events == [
        ("attempt", 0, 1),
        ("admit", 0, 2),
        ("attempt", 0, 2),
        ("admit", 0, 3),
        ("attempt", 0, 3),
        ("done", 0, 0),
    ]


@on_stage
async def test_a_task_that_waits_lets_others_pass():
    stage = Stage([BUSY, OK, OK], slots=1, chance=0.999)
    first, second = open_task(0), open_task(1)
    await asyncio.gather(stage.ask(first), stage.ask(second))

    assert [request.prompt for request in stage.door.sent] == ["prompt 0", "prompt 1", "prompt 0"]
    assert stage.door.sent_at_s[1] < 0.01
    assert stage.door.most_in_flight == 1


@on_stage
async def test_a_hint_is_a_floor_and_a_throttled_request_does_not_count():
    for chance in (0.0, 0.5, 0.999):
        stage = Stage([throttled(retry_after_s=7)] * 8 + [OK], chance=chance)
        ending = await stage.ask(open_task())

        assert all(7.0 <= wait <= 7.7 + 0.001 for wait in waits_s(stage))
        assert waits_s(stage)[0] == pytest.approx(7 * (1 + 0.1 * chance), abs=0.001)
        assert ending.outcome is not None
        assert (ending.outcome.status, ending.outcome.attempts) == (Status.OK, 9)
        assert ending.task.active_s < 1


@on_stage
async def test_an_endless_hint_is_not_believed():
    stage = Stage([throttled(retry_after_s=86_000), OK], chance=0.0, max_hint_s=300)
    await stage.ask(open_task())

    assert waits_s(stage) == pytest.approx([300], abs=0.001)


@on_stage
async def test_without_a_hint_throttled_requests_back_off():
    stage = Stage([throttled(), throttled(), throttled(), OK], chance=0.5)
    await stage.ask(open_task())

    assert waits_s(stage) == pytest.approx([0.5, 1, 2], abs=0.001)


@on_stage
async def test_a_named_quota_holds_up_its_whole_lane_and_no_other():
    stage = Stage([throttled(retry_after_s=20, quota_id=PER_MINUTE), OK, OK, OK], chance=0.0)
    first = asyncio.create_task(stage.ask(open_task(0)))
    await asyncio.sleep(0.01)
    assert stage.gate.in_flight == 0
    await asyncio.gather(first, stage.ask(open_task(1)), stage.ask(open_task(2, lane="b")))

    sent = {request.prompt: at for request, at in zip(stage.door.sent, stage.door.sent_at_s, strict=True)}
    assert sent["prompt 2"] < 0.1
    assert sent["prompt 1"] >= 20
    assert sent["prompt 0"] >= 20
    assert stage.journal.attempts[0, 1].quota_id == PER_MINUTE


@on_stage
async def test_a_429_that_names_no_quota_holds_up_nobody_else():
    stage = Stage([throttled(retry_after_s=20), OK, OK])
    first = asyncio.create_task(stage.ask(open_task(0)))
    await asyncio.sleep(0.01)
    await stage.ask(open_task(1))

    assert now_s() < 1
    await first


# --- enough


@on_stage
async def test_five_counted_failures_are_a_failed_row():
    stage = Stage([BUSY] * 5)
    ending = await stage.ask(open_task())

    outcome = ending.outcome
    assert outcome is not None
    assert (outcome.status, outcome.answered, outcome.attempts) == (Status.FAILED, 0, 5)
    assert (outcome.error_kind, outcome.error_message) == ("http_503", "no")
    assert len(stage.journal.tried()) == 5
    assert stage.gate.in_flight == 0


@on_stage
async def test_attempts_of_earlier_sessions_count():
    stage = Stage([BUSY, BUSY])
    ending = await stage.ask(open_task(attempts=6, counted=3))

    assert ending.outcome is not None
    assert (ending.outcome.status, ending.outcome.attempts) == (Status.FAILED, 8)
    assert [attempt.n for attempt in stage.journal.tried()] == [7, 8]


@on_stage
async def test_some_reasons_are_given_fewer_tries():
    stage = Stage([BAD_BODY, BAD_BODY])
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.error_kind, ending.outcome.attempts) == ("bad_body", 2)


@on_stage
async def test_tries_are_counted_for_each_reason():
    stage = Stage([BAD_BODY, BUSY, BUSY, BAD_BODY])
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.error_kind, ending.outcome.attempts) == ("bad_body", 4)


def stream(*chunks: Any) -> Reply:
    return Reply(status=200, headers={}, body=ndjson(chunks), latency_ms=2.0)


BEGUN = {"candidates": [{"content": {"parts": [{"text": "y"}]}}], "usageMetadata": {"promptTokenCount": 3}}
ENDED = {"candidates": [{"content": {"parts": [{"text": "es"}]}, "finishReason": "STOP"}]}


@on_stage
async def test_a_stream_that_was_cut_is_asked_again_and_its_bytes_are_kept():
    stage = Stage([stream(BEGUN), stream(BEGUN, ENDED)], streamed=True)
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.status, ending.outcome.answered) == (Status.OK, 2)
    assert ending.turn.answer is not None
    assert ending.turn.answer.candidates[0].text == "yes"
    cut, whole = stage.journal.tried()
    assert (cut.reason, cut.billed, cut.body) == ("cut_stream", Billed.MAYBE, stream(BEGUN).body)
    assert (whole.reason, whole.billed, whole.body) == ("ok", Billed.YES, stream(BEGUN, ENDED).body)


@on_stage
async def test_a_stream_that_is_always_cut_fails_its_row_after_the_jobs_attempts():
    stage = Stage(lambda _: stream(BEGUN), streamed=True)
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.status, ending.outcome.error_kind, ending.outcome.attempts) == (
        Status.FAILED, "cut_stream", 5,
    )  # fmt: skip
    assert ending.outcome.error_message == "the stream ended too early: candidate 0 has no finish reason"


@on_stage
async def test_being_throttled_in_the_middle_of_a_stream_counts_because_it_may_be_billed():
    throttled_later = stream(BEGUN, {"error": {"code": 429, "message": "busy"}})
    stage = Stage(lambda _: throttled_later, streamed=True)
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.status, ending.outcome.attempts) == (Status.FAILED, 5)
    assert {(each.verdict, each.billed) for each in stage.journal.tried()} == {(Kind.THROTTLED, Billed.MAYBE)}


@on_stage
async def test_a_rows_active_time_ends():
    stage = Stage([BUSY] * 100, chance=0.999, attempts=100, row_deadline_s=10)
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert ending.outcome.status is Status.FAILED
    assert stage.door.sent_at_s[-1] <= 10
    assert 3 <= ending.outcome.attempts <= 6


@on_stage
async def test_time_that_the_gate_takes_is_not_the_rows():
    quotas = Quotas(requests_per_minute=1)
    stage = Stage([BUSY, BUSY, OK], quotas=quotas, chance=0.0, row_deadline_s=10)
    ending = await stage.ask(open_task())

    assert now_s() > 100
    assert ending.outcome is not None
    assert ending.outcome.status is Status.OK
    assert stage.journal.attempts[0, 2].waited_ms > 50_000


# --- no reply at all


@pytest.mark.parametrize(
    "kind", [NoReplyKind.REFUSED, NoReplyKind.DNS, NoReplyKind.CONNECT_TIMEOUT, NoReplyKind.TLS_HANDSHAKE]
)
def test_what_was_never_sent_takes_nothing_and_does_not_count(kind):
    async def main() -> None:
        stage = Stage([nothing(kind, sent=False)] * 7 + [OK], quotas=Quotas(requests_per_day=10))
        ending = await stage.ask(open_task())

        assert ending.outcome is not None
        assert (ending.outcome.status, ending.outcome.attempts) == (Status.OK, 8)
        assert stage.gate.used_today == {LANE: 1}
        assert {attempt.billed for attempt in stage.journal.tried()} == {Billed.NO, Billed.YES}
        assert all(attempt.body == b"" and attempt.http_status is None for attempt in stage.journal.tried()[:-1])
        assert all(wait > 0 for wait in waits_s(stage))

    run_virtual(main())


@pytest.mark.parametrize(
    "kind",
    [NoReplyKind.DISCONNECTED, NoReplyKind.READ_TIMEOUT, NoReplyKind.CUT, NoReplyKind.BODY_DEADLINE],
)
def test_what_may_have_been_heard_counts_and_may_be_billed(kind):
    async def main() -> None:
        stage = Stage([nothing(kind, sent=True)] * 5, quotas=Quotas(requests_per_day=10))
        ending = await stage.ask(open_task())

        assert ending.outcome is not None
        assert (ending.outcome.status, ending.outcome.error_kind) == (Status.FAILED, kind.value)
        assert stage.gate.used_today == {LANE: 5}
        assert {attempt.billed for attempt in stage.journal.tried()} == {Billed.MAYBE}

    run_virtual(main())


@on_stage
async def test_a_stale_connection_is_asked_again_at_once_and_free():
    stage = Stage([STALE, OK])
    ending = await stage.ask(open_task())

    assert now_s() < 0.001
    assert ending.outcome is not None
    assert (ending.outcome.status, ending.outcome.attempts) == (Status.OK, 2)
    assert stage.turns[0].verdict.counted is False


@on_stage
async def test_a_reply_that_is_too_large_is_asked_for_once_more_only():
    stage = Stage([nothing(NoReplyKind.TOO_LARGE, sent=True)] * 2)
    ending = await stage.ask(open_task())

    assert ending.outcome is not None
    assert (ending.outcome.error_kind, ending.outcome.attempts) == ("too_large", 2)


# --- what concerns the whole run


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (failure(401, "who are you"), Kind.FATAL, "unauthenticated"),
        (nothing(NoReplyKind.TLS_CERTIFICATE, sent=False), Kind.FATAL, "tls_certificate"),
        (throttled(quota_id=PER_DAY), Kind.PARKED, "day_quota"),
    ],
)
def test_a_verdict_on_the_run_leaves_the_task_open_and_its_slot_taken(reply, kind, reason):
    async def main() -> None:
        stage = Stage([reply])
        ending = await stage.ask(open_task())

        assert ending.outcome is None
        assert (ending.turn.verdict.kind, ending.turn.verdict.reason) == (kind, reason)
        assert stage.journal.events == [("attempt", 0, 1)]
        assert stage.gate.in_flight == 1
        stage.gate.free(ending.turn.permit)
        assert stage.gate.in_flight == 0

    run_virtual(main())


@on_stage
async def test_a_refused_row_may_be_given_up_while_the_run_goes_on():
    stage = Stage([failure(403, "not for you")])
    ending = await stage.ask(open_task())
    outcome = await stage.asker.give_up(ending)

    assert stage.journal.done[0] == outcome
    assert (outcome.status, outcome.error_kind, outcome.attempts, outcome.answered) == (
        Status.FAILED,
        "forbidden",
        1,
        0,
    )
    assert stage.journal.events == [("attempt", 0, 1), ("done", 0, 0)]


@on_stage
async def test_a_day_quota_that_runs_out_before_a_retry_ends_the_asking():
    stage = Stage([BUSY], quotas=Quotas(requests_per_day=1))

    with pytest.raises(DayQuotaReached):
        await stage.ask(open_task())
    assert stage.gate.in_flight == 0
    assert stage.journal.events == [("attempt", 0, 1), ("admit", 0, 2)]


def test_a_row_that_could_not_be_asked_is_a_failed_row():
    outcome = failed_row(5, Problem(kind="bad_input", message=f"a.jsonl:6: {SECRET}"), at_us=17, secret=SECRET)

    assert (outcome.task, outcome.status, outcome.attempts, outcome.answered) == (5, Status.FAILED, 0, 0)
    assert (outcome.error_kind, outcome.error_message) == ("bad_input", "a.jsonl:6: [secret]")
    assert (outcome.started_at, outcome.finished_at) == (17, 17)


# --- stopping


@on_stage
async def test_while_draining_an_answer_is_taken():
    stage = Stage([OK])
    stage.asker.draining = True

    assert (await stage.ask(open_task())).outcome is not None


@on_stage
async def test_while_draining_nothing_is_asked_again_but_what_failed_is_safe():
    stage = Stage([BUSY])
    stage.asker.draining = True

    with pytest.raises(Drained):
        await stage.ask(open_task())
    assert stage.journal.events[0] == ("attempt", 0, 1)
    assert len(stage.door.sent) == 1
    assert (stage.gate.in_flight, stage.gate.open_tasks) == (0, 0)


@on_stage
async def test_cancelled_in_its_backoff_a_task_leaves_nothing_taken():
    stage = Stage([BUSY], slots=1)
    task = open_task()
    asking = asyncio.create_task(stage.ask(task))
    await asyncio.sleep(0.1)
    assert task.waiting
    asking.cancel()
    await asyncio.wait([asking])

    assert asking.cancelled()
    assert (stage.gate.in_flight, stage.gate.open_tasks, stage.journal.pending) == (0, 0, 0)
    assert [attempt.n for attempt in stage.journal.tried()] == [1]


@on_stage
async def test_cancelled_at_the_gate_a_task_leaves_nothing_taken():
    stage = Stage([BUSY, OK], slots=1, chance=0.1)
    task = open_task()
    asking = asyncio.create_task(stage.ask(task))
    await asyncio.sleep(0.05)
    permit = await stage.gate.admit(LANE, 1)
    await asyncio.sleep(1)
    assert task.waiting
    asking.cancel()
    await asyncio.wait([asking])

    assert stage.gate.in_flight == 1
    stage.gate.free(permit)
    assert (stage.gate.in_flight, stage.gate.open_tasks) == (0, 0)
    assert len(stage.door.sent) == 1


@on_stage
async def test_a_task_waits_only_between_its_requests():
    seen: list[bool] = []
    task = open_task()

    def answer(_: Request) -> Exchange:
        seen.append(task.waiting)
        return BUSY if len(seen) < 3 else OK

    await Stage(answer).ask(task)
    assert seen == [False] * 3
    assert not task.waiting


@on_stage
async def test_what_is_in_flight_is_known_while_it_is():
    stage = Stage([OK], latency_s=1.0)
    task = open_task()
    asking = asyncio.create_task(stage.ask(task))
    await asyncio.sleep(0.5)
    assert stage.asker.in_flight == {task}
    assert task.attempts == 1
    await asking
    assert stage.asker.in_flight == set()


@on_stage
async def test_a_journal_that_cannot_write_ends_the_asking():
    stage = Stage([OK])
    stage.journal.broken = StorageError("full")

    with pytest.raises(StorageError, match="full"):
        await stage.ask(open_task())
    assert stage.journal.done == {}


# --- laws

exchanges = st.sampled_from(
    [
        OK,
        OK,
        BUSY,
        BUSY,
        DISCONNECTED,
        STALE,
        REFUSED,
        BAD_BODY,
        throttled(retry_after_s=2),
        throttled(),
        throttled(retry_after_s=3, quota_id=PER_MINUTE),
        failure(400),
        a_reply(None, finish_reason="SAFETY"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    script=st.lists(exchanges, max_size=40),
    tasks=st.integers(1, 8),
    slots=st.integers(1, 3),
    latency_s=st.sampled_from([0.0, 0.01, 3.0]),
    commit_s=st.sampled_from([0.0, 0.002, 1.0]),
    quotas=st.sampled_from([Quotas(), Quotas(requests_per_minute=30), Quotas(input_tokens_per_minute=100)]),
)
def test_whatever_the_server_does(script, tasks, slots, latency_s, commit_s, quotas):
    async def main() -> None:
        left = iter(script)

        def answer(_: Request) -> Exchange:
            # A slot is free only after its commit: what is out and what is not safe yet share the slots.
            assert stage.door.in_flight + stage.journal.pending <= stage.gate.in_flight <= slots
            return next(left, OK)

        stage = Stage(answer, slots=slots, quotas=quotas, latency_s=latency_s, commit_s=commit_s)
        endings = await asyncio.gather(*(stage.ask(open_task(number)) for number in range(tasks)))

        outcomes = [ending.outcome for ending in endings]
        assert all(outcome is not None for outcome in outcomes)
        assert stage.journal.done == {outcome.task: outcome for outcome in outcomes}
        assert len(stage.journal.attempts) == len(stage.door.sent) == sum(outcome.attempts for outcome in outcomes)
        assert len(stage.turns) == len(stage.door.sent)
        for outcome in outcomes:
            tried = stage.journal.tried(outcome.task)
            assert [attempt.n for attempt in tried] == list(range(1, outcome.attempts + 1))
            assert (outcome.task, outcome.attempts + 1) not in stage.journal.admitted
            assert {(outcome.task, n) for n in range(2, outcome.attempts + 1)} <= stage.journal.admitted
            assert outcome.answered in {0, outcome.attempts}
        assert stage.door.most_in_flight <= slots
        assert (stage.gate.in_flight, stage.gate.open_tasks, stage.gate.limited_by) == (0, 0, "")
        assert stage.asker.in_flight == set()

    run_virtual(main())


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(exchanges, max_size=20),
    tasks=st.integers(1, 6),
    slots=st.integers(1, 3),
    stop_s=st.floats(0, 8, allow_nan=False),
)
def test_whenever_it_is_drained_what_was_sent_is_safe(script, tasks, slots, stop_s):
    """As the session ends: no more retries, the waiting are cancelled, the others come home."""

    async def main() -> None:
        left = iter(script)
        stage = Stage(lambda _: next(left, OK), slots=slots, latency_s=0.3, commit_s=0.01)
        numbered = [open_task(number) for number in range(tasks)]
        asking = {asyncio.create_task(stage.ask(task)): task for task in numbered}
        await asyncio.sleep(stop_s)
        sent = len(stage.door.sent)
        admitted = stage.gate.in_flight
        stage.asker.draining = True
        for running, task in asking.items():
            if task.waiting or not task.attempts:
                running.cancel()
        ends = await asyncio.gather(*asking, return_exceptions=True)

        assert len(stage.door.sent) <= sent + admitted
        assert len(stage.journal.attempts) == len(stage.door.sent)
        assert (stage.gate.in_flight, stage.gate.open_tasks) == (0, 0)
        assert {task.task for end, task in zip(ends, numbered, strict=True) if not isinstance(end, BaseException)} == (
            stage.journal.done.keys()
        )

    run_virtual(main())


# --- the real journal, a real loop


async def test_with_the_real_journal_the_answer_is_on_the_disk_when_asking_returns(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    clock = FakeClock(follow=loop.time)
    journal = Journal(tmp_path / "journal.db", failpoints=FailPoints())
    gate = Gate(Quotas(), slots=8, now=loop.time, wall_us=clock)
    asked: set[str | None] = set()

    def answer(request: Request) -> Exchange:
        is_new = request.prompt not in asked
        asked.add(request.prompt)
        return BUSY if is_new and str(request.prompt).endswith(("0", "3", "6")) else OK

    asker = Asker(
        door=ScriptedTransport(answer),
        gate=gate,
        journal=journal,
        retry=Retry(),
        world=World(now_s=loop.time, wall_us=clock, chance=steady(0.001)),
        secret=SECRET,
        on_turn=lambda _: None,
    )

    async def one(task: OpenTask) -> None:
        permit = await gate.admit(LANE, 1)
        await asker.ask(task, permit)
        outcomes, _ = await journal.call(read_answers(task.task, task.task + 1))
        assert [outcome.status for outcome in outcomes] == [Status.OK]

    tasks = [OpenTask(task=number, request=a_request(f"{number}"), lane=LANE) for number in range(50)]
    await asyncio.gather(*map(one, tasks))
    outcomes, attempts = await journal.call(read_answers(0, 50))
    await journal.close()
    assert [outcome.task for outcome in outcomes] == list(range(50))
    assert [len(tried) for tried in attempts] == [outcome.attempts for outcome in outcomes]
    assert gate.in_flight == 0


@on_stage
async def test_big_replies_are_forgotten_once_they_are_on_disk() -> None:
    big = Reply(status=503, headers={}, body=b"x" * 70_000, latency_ms=2.0)
    for script, forgotten in (([OK], 0), ([big, OK], 1), ([big, a_reply("y" * 70_000)], 2)):
        stage = Stage(script)
        await stage.ask(open_task())
        assert stage.door.forgotten == forgotten
