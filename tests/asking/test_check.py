"""An answer that misses the job's schema: asked again at once, on a budget of its own."""

from __future__ import annotations

import pytest

from batcher.gemini.structured import judge_json
from batcher.records import Answer, Billed, Kind, Status
from tests.asking.stage import BUSY, SECRET, Stage, failure, open_task
from tests.builders import a_reply
from tests.fakes import run_virtual

GOOD, BAD, OTHER = a_reply("[1]"), a_reply("[1"), a_reply("{}")


def wants_a_list(answer: Answer):
    return judge_json(answer, lambda value: None if isinstance(value, list) else f"$: {SECRET}", most=3, fenced=False)


def asked(script, *, check=wants_a_list, task=None, **retry):
    async def main():
        stage = Stage(script, check=check, **retry)
        await stage.ask(task or open_task())
        return stage

    return run_virtual(main())


def test_an_answer_that_misses_is_asked_again_at_once():
    stage = asked([BAD, OTHER, GOOD])

    outcome = stage.journal.done[0]
    assert (outcome.status, outcome.answered, outcome.attempts) == (Status.OK, 3, 3)
    assert [(each.verdict, each.reason, each.billed) for each in stage.journal.tried()] == [
        (Kind.INVALID, "invalid_json", Billed.YES),
        (Kind.INVALID, "schema_mismatch", Billed.YES),
        (Kind.OK, "ok", Billed.YES),
    ]
    assert sum(each.waited_ms for each in stage.journal.tried()) == pytest.approx(0, abs=1)
    assert (stage.gate.in_flight, stage.gate.open_tasks) == (0, 0)


def test_both_ways_to_miss_share_one_budget_and_the_last_answer_is_kept():
    stage = asked([BAD, OTHER, BAD, GOOD])

    outcome = stage.journal.done[0]
    assert (outcome.status, outcome.answered, outcome.attempts) == (Status.INVALID, 3, 3)
    assert outcome.error_kind == "invalid_json"
    assert outcome.error_message == "not JSON: unexpected end of data: line 1 column 3 (char 2)"


def test_what_was_wrong_is_told_without_the_secret():
    assert asked([OTHER] * 3).journal.done[0].error_message == "$: [secret]"


def test_trouble_and_misses_do_not_use_up_each_others_budget():
    stage = asked([BUSY, BAD, BUSY, OTHER, BUSY, BUSY, GOOD])
    assert stage.journal.done[0].status is Status.OK

    stage = asked([BUSY, BAD, BUSY, OTHER, BUSY, BUSY, BAD])
    assert stage.journal.done[0].status is Status.INVALID

    stage = asked([BAD, BUSY, BUSY, OTHER, BUSY, BUSY, BUSY])
    assert (stage.journal.done[0].status, stage.journal.done[0].answered) == (Status.FAILED, 0)


def test_misses_of_an_earlier_session_count():
    task = open_task(attempts=2)
    task.tries[Kind.INVALID] = 2

    stage = asked([BAD, GOOD], task=task)

    assert (stage.journal.done[0].status, stage.journal.done[0].attempts) == (Status.INVALID, 3)


def test_a_rows_time_ends_its_misses_too():
    stage = asked([BAD, GOOD], row_deadline_s=0.000_001)

    assert (stage.journal.done[0].status, stage.journal.done[0].attempts) == (Status.INVALID, 1)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (a_reply("[1", finish_reason="MAX_TOKENS"), Status.TRUNCATED),
        (a_reply(None, finish_reason="SAFETY"), Status.BLOCKED),
        (a_reply(None, finish_reason="MALFORMED_RESPONSE"), Status.INVALID),
        (failure(400), Status.FAILED),
    ],
)
def test_only_an_answer_that_is_otherwise_in_order_is_checked(reply, status):
    def never(answer: Answer):
        raise AssertionError

    assert asked([reply], check=never).journal.done[0].status is status


def test_an_answer_without_text_is_no_json():
    assert asked([a_reply(None)] * 3).journal.done[0].error_message == "no JSON: the answer has no text"
