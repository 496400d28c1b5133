from dataclasses import replace
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.ask import Turn
from batcher.engine.latency import RELATIVE_ERROR, quantile_ms
from batcher.engine.tally import Tally
from batcher.gemini.refusal import OK, judge, status_of
from batcher.gemini.reply import read
from batcher.gemini.structured import judge_json
from batcher.money.prices import RateCard
from batcher.money.totals import Tokens, Totals
from batcher.pacing.permit import Permit
from batcher.records import Billed, Kind, Status
from batcher.store.bills import Terms, read_attempt, totals_of
from tests.builders import a_reply, an_attempt, an_outcome
from tests.engine.sessions import TROUBLE
from tests.examples import a_few
from tests.strategies import replies

TERMS = Terms(
    run_id="r",
    project="",
    endpoint="http://127.0.0.1:1",
    tier=None,
    labels=(),
    rates=RateCard.bundled(),
    samples=1,
    store_prompt=True,
    raw=False,
)
PERMIT = Permit(lane="lane")


def a_turn(reply, *, misses_the_schema=False, **fields):
    answer = read(reply.body)
    verdict = judge(reply, answer)
    if misses_the_schema and verdict is OK:
        verdict = judge_json(answer, lambda _: "$: no", most=3, fenced=False)
    known = {"http_status": reply.status, "verdict": verdict.kind, "billed": verdict.billed, "body": reply.body}
    attempt = an_attempt(**(known | fields))
    return Turn(attempt=attempt, verdict=verdict, answer=answer, permit=PERMIT)


@given(st.lists(replies(), max_size=8))
def test_a_session_adds_up_to_what_its_parts_will_say(made):
    """The running sum and the record are computed apart; they must not differ by a digit."""
    tally = Tally(Totals(), TERMS)
    turns = [a_turn(reply, task=n) for n, reply in enumerate(made)]
    for turn in turns:
        tally.turn(turn)
    parts = totals_of((), [[read_attempt(turn.attempt, TERMS)] for turn in turns])
    seen = tally.totals()
    assert (seen.attempts, seen.tokens) == (parts.attempts, parts.tokens)
    assert (seen.cost_usd, seen.unpriced, seen.maybe_billed) == (parts.cost_usd, parts.unpriced, parts.maybe_billed)
    assert tally.sent == len(turns)


@a_few
@given(st.lists(st.tuples(replies(), st.booleans()), max_size=8))
def test_what_is_wasted_is_known_as_soon_as_it_is_paid(made):
    """As the parts say it later, when the task has its outcome."""
    tally = Tally(Totals(), TERMS)
    outcomes, asked = [], []
    for n, (reply, misses) in enumerate(made):
        turn = a_turn(reply, misses_the_schema=misses, task=n)
        tally.turn(turn)
        status = status_of(turn.verdict, turn.answer)
        outcomes.append(an_outcome(task=n, status=status, answered=int(status is not Status.FAILED)))
        asked.append([read_attempt(turn.attempt, TERMS)])
    assert tally.totals().wasted_usd == totals_of(outcomes, asked).wasted_usd


@pytest.mark.parametrize(
    ("reason", "wasted"), [("STOP", False), ("MAX_TOKENS", False), ("SAFETY", True), ("MALFORMED_RESPONSE", True)]
)
def test_an_answer_nobody_can_use_is_wasted(reason, wasted):
    tally = Tally(Totals(), TERMS)
    tally.turn(a_turn(a_reply(finish_reason=reason)))
    totals = tally.totals()
    assert totals.cost_usd > 0
    assert totals.wasted_usd == (totals.cost_usd if wasted else 0)


def test_a_billed_attempt_that_is_followed_by_another_is_wasted():
    tally = Tally(Totals(), TERMS)
    turn = a_turn(a_reply())
    tally.turn(turn._replace(verdict=replace(turn.verdict, kind=Kind.RETRY)))
    tally.turn(turn._replace(attempt=turn.attempt._replace(n=2)))
    assert tally.totals().wasted_usd == tally.totals().cost_usd / 2


def test_it_starts_from_what_earlier_sessions_had():
    before = Totals(
        by_status={Status.OK: 5}, attempts=6, tokens=Tokens(input=10, output=20), cost_usd=Decimal("0.5"), unpriced=1
    )
    tally = Tally(before, TERMS)
    tally.turn(a_turn(a_reply()))
    tally.outcome(an_outcome(), 0.0)
    totals = tally.totals()
    assert totals.by_status == {Status.OK: 6}
    assert (totals.attempts, totals.tokens.input, totals.tokens.output, totals.unpriced) == (7, 14, 21, 1)
    assert totals.cost_usd > Decimal("0.5")
    assert (tally.sent, tally.finished) == (1, 1)


def test_refusals_and_losses_cost_nothing_that_is_known():
    tally = Tally(Totals(), TERMS)
    tally.turn(a_turn(TROUBLE))
    throttled = a_reply(status=429)
    tally.turn(Turn(attempt=an_attempt(http_status=429, billed=Billed.NO), verdict=OK, answer=None, permit=PERMIT))
    tally.turn(
        Turn(
            attempt=an_attempt(http_status=None, verdict=Kind.RETRY, billed=Billed.MAYBE, body=b""),
            verdict=OK,
            answer=None,
            permit=PERMIT,
        )
    )
    totals = tally.totals()
    assert throttled.status == 429
    assert (totals.attempts, totals.throttled, totals.maybe_billed) == (3, 1, 1)
    assert (totals.cost_usd, totals.tokens) == (0, Tokens())


def test_a_model_without_a_price_is_counted_and_not_free():
    tally = Tally(Totals(), TERMS)
    body = orjson.loads(a_reply().body) | {"modelVersion": "gemini-0-nobody"}
    tally.turn(a_turn(a_reply(), model="gemini-0-nobody", body=orjson.dumps(body)))
    assert tally.totals().unpriced + (tally.totals().cost_usd > 0) == 1
    assert len(tally.unpriced_models) == tally.totals().unpriced


def test_of_many_models_without_a_price_a_few_are_named():
    tally = Tally(Totals(), TERMS)
    for n in range(50):
        body = orjson.loads(a_reply().body) | {"modelVersion": f"nobody-{n}"}
        reply = a_reply()._replace(body=orjson.dumps(body))
        tally.turn(a_turn(reply, task=n, model=f"nobody-{n}"))
    assert tally.totals().unpriced == 50
    assert 1 <= len(tally.unpriced_models) <= 3


def test_only_an_answer_shows_that_the_endpoint_serves_us():
    tally = Tally(Totals(), TERMS)
    tally.outcome(an_outcome(status=Status.FAILED, answered=0), 0.0)
    assert tally.answered == 0
    for status in (Status.OK, Status.BLOCKED, Status.TRUNCATED):
        tally.outcome(an_outcome(status=status), 0.0)
    assert (tally.answered, tally.finished) == (3, 4)


def test_latencies_are_those_of_answers():
    """A 429 comes back at once and a lost request says nothing: neither tells how long an answer takes."""
    tally = Tally(Totals(), TERMS)
    tally.turn(a_turn(a_reply(), latency_ms=250.0))
    tally.turn(Turn(attempt=an_attempt(http_status=429, latency_ms=2.0), verdict=OK, answer=None, permit=PERMIT))
    tally.turn(Turn(attempt=an_attempt(http_status=None, latency_ms=9e4), verdict=OK, answer=None, permit=PERMIT))
    assert sum(tally.latencies) == 1
    assert abs(quantile_ms(tally.latencies, 0.5) / 250 - 1) <= RELATIVE_ERROR


@given(began=st.floats(0, 1000), seconds=st.floats(0.2, 500), per_second=st.integers(1, 50))
def test_a_steady_pace_is_told_as_it_is_from_the_first_second_on(began, seconds, per_second):
    tally = Tally(Totals(), TERMS)
    for n in range(int(seconds * per_second)):
        tally.outcome(an_outcome(), began + (n + 1) / per_second)
    told = tally.rate_per_s(began + seconds, since_s=began)
    slack = 1.01 / min(seconds, 10)  # one task more or less in the window
    assert per_second - slack <= told <= per_second + slack


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50).map(sorted))
def test_the_rate_is_of_the_last_seconds_only(times):
    tally = Tally(Totals(), TERMS)
    for at in times:
        tally.outcome(an_outcome(), at)
    now = times[-1]
    assert 0 < tally.rate_per_s(now, since_s=0.0) <= len(times) / 0.1
    assert tally.rate_per_s(now + 60, since_s=0.0) == 0
