from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.money.totals import Tokens, Totals
from batcher.records import Attempt, Billed, Kind, Outcome, Status
from batcher.store.bills import Earlier, Terms, totals_of
from batcher.store.columns import data_columns, ledger_columns
from batcher.store.schemas import ATTEMPTS, data_schema
from tests.builders import an_attempt, an_outcome
from tests.gemini.messages import FORMATS
from tests.store.builders import AT_US, SCHEMA, asked, body, planned, terms, usd

ZERO = Decimal(0)
Task = tuple[Outcome, list[Attempt]]


def tried(n: int = 1, *, task: int = 0, **fields: Any) -> Attempt:
    return an_attempt(**({"task": task, "n": n, "started_at": AT_US, "body": body()} | fields))


def busy(n: int, *, task: int = 0) -> Attempt:
    return tried(n, task=task, http_status=503, verdict=Kind.RETRY, reason="http_503", billed=Billed.NO, body=b"{}")


def cut(n: int, *, task: int = 0) -> Attempt:
    return tried(
        n,
        task=task,
        http_status=None,
        first_byte_ms=None,
        verdict=Kind.RETRY,
        reason="cut_body",
        billed=Billed.MAYBE,
        body=b"",
    )


def failed(task: int = 0, **fields: Any) -> Outcome:
    defaults = {"status": Status.FAILED, "answered": 0, "error_kind": "http_503", "error_message": "no"}
    return an_outcome(task=task, **(defaults | fields))


def data_of(*tasks: Task, at: Terms | None = None, **options: Any) -> list[dict[str, Any]]:
    """The rows of `data/` that these tasks become; the tasks are 0, 1, 2 …"""
    at = at or terms()
    batch = data_columns(
        options.pop("rows", None) or planned(len(tasks), **options),
        [outcome for outcome, _ in tasks],
        asked(*(attempts for _, attempts in tasks), at=at),
        {},
        data_schema([], raw=at.raw),
        at,
    )
    batch.validate(full=True)
    return batch.to_pylist()


def ledger_of(*tasks: Sequence[Attempt], at: Terms | None = None) -> list[dict[str, Any]]:
    batch = ledger_columns(asked(*tasks, at=at), 3, at or terms())
    batch.validate(full=True)
    assert batch.schema == ATTEMPTS
    return batch.to_pylist()


# --- a row of data/


def test_an_answered_row():
    attempt = tried(latency_ms=12.5, first_byte_ms=3.0, body=body("yes", tokens=(100, 20), createTime="x"))
    (row,) = data_of((an_outcome(started_at=AT_US, finished_at=AT_US + 1), [attempt]))

    assert row["candidates"][0] | {"text": "yes"} == row["candidates"][0]
    assert row["usage_metadata"]["prompt_token_count"] == 100
    assert row["usage_metadata"]["thoughts_token_count"] is None
    stamps = {name: row.pop(name) for name in ("started_at", "finished_at")}
    assert stamps["started_at"] == dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    assert stamps["finished_at"] - stamps["started_at"] == dt.timedelta(microseconds=1)
    del row["candidates"], row["usage_metadata"]
    assert row == {
        "task": 0,
        "ordinal": 0,
        "sample": 0,
        "id": "row-0",
        "prompt": "prompt 0",
        "status": "ok",
        "response": "yes",
        "prompt_feedback": None,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": usd(100, 20),
        "wasted_usd": ZERO,
        "finish_reason": "STOP",
        "error_kind": None,
        "error_message": None,
        "model": "gemini-2.5-flash",
        "model_version": "gemini-2.5-flash",
        "response_id": "r-1",
        "service_tier": "standard",
        "created": None,
        "attempts": 1,
        "latency_ms": 12.5,
        "first_byte_ms": 3.0,
        "request_hash": b"0123456789abcdef",
        "labels": [{"key": "team", "value": "x"}],
    }


def test_every_candidate_is_kept_with_all_it_says():
    candidates = [
        {
            "index": 1,
            "content": {"role": "model", "parts": [{"text": "b"}, {"inlineData": {"mimeType": "image/png"}}]},
            "finishReason": "MAX_TOKENS",
            "tokenCount": 7,
            "avgLogprobs": -0.5,
            "safetyRatings": [{"category": "C", "probability": "LOW", "blocked": False}],
            "citationMetadata": {"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "u", "license": "l"}]},
        },
        {"index": 0, "content": {"parts": [{"text": "a"}, {"text": "hm", "thought": True}]}},
    ]
    (row,) = data_of((an_outcome(), [tried(body=body(candidates=candidates))]))
    first, second = row["candidates"]

    assert row["response"] == first["text"] == "a"
    assert first["thoughts"] == "hm"
    assert (second["index"], second["token_count"], second["avg_logprobs"]) == (1, 7, -0.5)
    assert second["safety_ratings"] == [{"category": "C", "probability": "LOW", "blocked": False}]
    assert second["citation_sources"] == [{"start_index": 1, "end_index": 2, "uri": "u", "license": "l"}]
    assert "image/png" in second["parts"]
    assert first["safety_ratings"] == []


def test_a_blocked_prompt_is_paid_for_and_all_of_it_wasted():
    said = body(
        candidates=[],
        promptFeedback={"blockReason": "SAFETY", "safetyRatings": [{"category": "C", "probability": "HIGH"}]},
        tokens=(100, 0),
    )
    attempt = tried(verdict=Kind.BLOCKED, reason="SAFETY", body=said)
    (row,) = data_of((an_outcome(status=Status.BLOCKED), [attempt]))

    assert (row["status"], row["response"], row["candidates"], row["finish_reason"]) == ("blocked", None, [], "SAFETY")
    assert row["prompt_feedback"] == {
        "block_reason": "SAFETY",
        "safety_ratings": [{"category": "C", "probability": "HIGH", "blocked": None}],
    }
    assert (row["cost_usd"], row["wasted_usd"]) == (usd(100, 0), usd(100, 0))


def test_a_truncated_answer_is_one_that_can_be_used():
    (row,) = data_of((an_outcome(status=Status.TRUNCATED), [tried(reason="MAX_TOKENS")]))

    assert (row["status"], row["response"], row["wasted_usd"]) == ("truncated", "yes", ZERO)


def test_an_invalid_answer_was_paid_for_in_vain():
    outcome = failed(status=Status.INVALID, error_kind="MALFORMED_FUNCTION_CALL")
    (row,) = data_of((outcome, [tried(reason="MALFORMED_FUNCTION_CALL")]))

    assert (row["status"], row["response"], row["error_kind"]) == ("invalid", None, "MALFORMED_FUNCTION_CALL")
    assert row["cost_usd"] == row["wasted_usd"] == usd(4, 1)


def test_a_row_that_failed_after_retries_says_why_and_shows_the_last_try():
    attempts = [busy(1), cut(2), tried(3, http_status=503, billed=Billed.NO, latency_ms=9.0, body=b"{}")]
    (row,) = data_of((failed(attempts=3), attempts))

    assert (row["status"], row["response"], row["candidates"]) == ("failed", None, [])
    assert (row["error_kind"], row["error_message"], row["attempts"]) == ("http_503", "no", 3)
    assert (row["cost_usd"], row["wasted_usd"], row["input_tokens"]) == (ZERO, ZERO, 0)
    assert row["latency_ms"] == 9.0
    assert row["usage_metadata"] is None


def test_a_row_that_was_never_sent():
    outcome = failed(attempts=0, error_kind="bad_input")
    (row,) = data_of((outcome, []), problems=[0])

    assert (row["model"], row["prompt"], row["request_hash"]) == (None, None, None)
    assert (row["attempts"], row["latency_ms"], row["service_tier"]) == (0, None, None)
    assert (row["cost_usd"], row["wasted_usd"]) == (ZERO, ZERO)


def test_an_answer_after_a_paid_one_that_was_of_no_use():
    empty = tried(1, verdict=Kind.RETRY, reason="empty", body=body(candidates=[], tokens=(50, 0)))
    good = tried(2, body=body("at last", tokens=(50, 10)))
    (row,) = data_of((an_outcome(answered=2, attempts=2), [empty, good]))

    assert row["response"] == "at last"
    assert (row["input_tokens"], row["output_tokens"]) == (100, 10)
    assert (row["cost_usd"], row["wasted_usd"]) == (usd(100, 10), usd(50, 0))
    assert row["usage_metadata"]["prompt_token_count"] == 50


def test_an_answer_after_a_lost_one():
    gone = tried(1, http_status=None, verdict=Kind.LOST, reason="lost", billed=Billed.MAYBE, body=b"")
    (row,) = data_of((an_outcome(answered=2, attempts=2), [gone, tried(2)]))

    assert (row["response"], row["cost_usd"], row["wasted_usd"]) == ("yes", usd(4, 1), ZERO)


@pytest.mark.parametrize(
    "attempt",
    [
        tried(model="gemini-0-unheard-of", body=body(modelVersion="gemini-0-unheard-of")),
        tried(body=body(tokens=None)),
        tried(service_tier="platinum"),
    ],
    ids=["model", "usage", "tier"],
)
def test_a_price_that_is_not_known_is_null_and_never_0(attempt):
    (row,) = data_of((an_outcome(), [attempt]))
    (entry,) = ledger_of([attempt])

    assert (row["cost_usd"], row["wasted_usd"]) == (None, None)
    assert (entry["cost_usd"], entry["price_id"], entry["billed"]) == (None, None, "yes")
    assert totals_of([an_outcome()], asked([attempt])).unpriced == 1


def test_one_unknown_price_makes_the_rows_cost_unknown():
    unknown = tried(1, verdict=Kind.RETRY, reason="empty", body=body(tokens=None))
    (row,) = data_of((an_outcome(answered=2, attempts=2), [unknown, tried(2)]))

    assert (row["cost_usd"], row["wasted_usd"]) == (None, None)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_success_is_an_answer(status):
    (row,) = data_of((an_outcome(), [tried(http_status=status)]))

    assert (row["response"], row["cost_usd"]) == ("yes", usd(4, 1))


def test_the_tier_that_was_served_prices_it():
    attempt = tried(service_tier="PRIORITY", started_at=AT_US + 10**14)
    (row,) = data_of((an_outcome(), [attempt]))
    (entry,) = ledger_of([attempt])

    assert row["service_tier"] == entry["service_tier"] == "priority"
    assert entry["tier_source"] == "header"
    assert entry["price_id"].startswith("gemini-2.5-flash/priority@")
    assert row["cost_usd"] == entry["cost_usd"] > usd(4, 1)


def test_samples_and_terms():
    at = terms(samples=3, store_prompt=False, raw=True, labels=())
    rows = planned(1).take(pa.array([0, 0, 0]))
    batch = data_of(*[(an_outcome(task=task), [tried(task=task)]) for task in range(3)], at=at, rows=rows)

    assert [(row["task"], row["ordinal"], row["sample"]) for row in batch] == [(0, 0, 0), (1, 0, 1), (2, 0, 2)]
    assert {row["prompt"] for row in batch} == {None}
    assert {row["raw"] for row in batch} == {body()}
    assert [row["labels"] for row in batch] == [[], [], []]


def test_the_raw_body_of_a_failed_row_is_the_last_one():
    at = terms(raw=True)
    rows = data_of((failed(), [busy(1)]), (failed(task=1), [cut(1, task=1)]), (failed(task=2), []), at=at)

    assert [row["raw"] for row in rows] == [b"{}", None, None]


def test_the_users_columns_stand_between_id_and_prompt():
    user = pa.RecordBatch.from_pylist([{"lang": "de", "meta": {"a": 1}}, {"lang": None, "meta": None}])
    schema = data_schema(user.schema, raw=False)
    batch = data_columns(
        planned(2, user=user), [an_outcome(), failed(task=1)], asked([tried()], []), {}, schema, terms()
    )

    assert batch.schema.names[:7] == ["task", "ordinal", "sample", "id", "lang", "meta", "prompt"]
    assert batch.column("lang").to_pylist() == ["de", None]
    assert batch.column("meta").to_pylist() == [{"a": 1}, None]


def test_no_rows_are_no_rows():
    batch = data_columns(planned(1).slice(0, 0), [], [], {}, SCHEMA, terms())

    assert (batch.num_rows, batch.schema) == (0, SCHEMA)
    assert ledger_of() == ledger_of([], []) == []
    assert totals_of([], []) == Totals()


# --- a row that is asked again


def test_a_row_that_is_asked_again_carries_what_it_had_used():
    before = Earlier(attempts=5, input_tokens=7, output_tokens=8, cost_usd=Decimal("0.5"), started_at=AT_US - 5)
    outcome = an_outcome(answered=6, attempts=6, started_at=AT_US)
    batch = data_columns(planned(1), [outcome], asked([tried(6)]), {0: before}, SCHEMA, terms())
    (row,) = batch.to_pylist()

    assert (row["status"], row["attempts"]) == ("ok", 6)
    assert (row["input_tokens"], row["output_tokens"]) == (11, 9)
    assert (row["cost_usd"], row["wasted_usd"]) == (Decimal("0.5") + usd(4, 1), Decimal("0.5"))
    assert row["started_at"] < row["finished_at"]
    assert batch.column("started_at").cast(pa.int64()).to_pylist() == [AT_US - 5]


def test_an_unknown_cost_stays_unknown_after_a_retry():
    before = Earlier(attempts=1, input_tokens=7, output_tokens=8, cost_usd=None, started_at=AT_US)
    batch = data_columns(planned(1), [an_outcome(answered=2)], asked([tried(2)]), {0: before}, SCHEMA, terms())

    assert batch.column("cost_usd").to_pylist() == batch.column("wasted_usd").to_pylist() == [None]


# --- the ledger


def test_every_attempt_is_a_row_of_the_ledger_in_order():
    entries = ledger_of([busy(1), cut(2), tried(3)], [], [tried(1, task=2)])

    assert [(entry["task"], entry["attempt"]) for entry in entries] == [(0, 1), (0, 2), (0, 3), (2, 1)]
    assert {(e["run_id"], e["block"], e["role"], e["project"], e["endpoint"]) for e in entries} == {
        ("run-1", 3, "ask", "p", "https://example.org")
    }
    assert [entry["billed"] for entry in entries] == ["no", "maybe", "yes", "yes"]
    assert [entry["verdict"] for entry in entries] == ["retry", "retry", "ok", "ok"]
    assert [entry["http_status"] for entry in entries] == [503, None, 200, 200]


def test_the_ledger_knows_what_each_attempt_cost_or_may_have_cost():
    free, maybe, paid = ledger_of([busy(1), cut(2), tried(3, body=body(tokens=(100, 20)))])

    assert (free["cost_usd"], free["reserve_usd"]) == (ZERO, None)
    assert (maybe["cost_usd"], maybe["service_tier"]) == (None, None)
    assert maybe["reserve_usd"] == 32 * Decimal("0.000001") + 1024 * Decimal("0.0000025")  # audio is the dearest input
    assert (paid["cost_usd"], paid["reserve_usd"]) == (usd(100, 20), None)
    assert (paid["prompt_token_count"], paid["total_token_count"]) == (100, 120)
    assert (maybe["reserve_input_tokens"], maybe["reserve_output_tokens"]) == (32, 1024)


def test_the_ledger_keeps_the_details_of_the_usage():
    usage = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 2,
        "toolUsePromptTokenCount": 1,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}, {"modality": "AUDIO", "tokenCount": 3}],
    }
    (entry,) = ledger_of([tried(body=body(usageMetadata=usage))])

    assert entry["prompt_tokens_details"] == [
        {"modality": "TEXT", "token_count": 7},
        {"modality": "AUDIO", "token_count": 3},
    ]
    assert (entry["cached_content_token_count"], entry["thoughts_token_count"]) == (4, 2)
    assert entry["tool_use_prompt_token_count"] == 1
    assert entry["cache_tokens_details"] == []


def test_a_body_that_is_no_reply_leaves_the_ledger_row_empty_not_absent():
    (entry,) = ledger_of([tried(billed=Billed.MAYBE, verdict=Kind.RETRY, reason="bad_body", body=b"<html>")])

    assert (entry["reason"], entry["prompt_token_count"], entry["model_version"]) == ("bad_body", None, None)


# --- sums


BEGUN = {"candidates": [{"content": {"parts": [{"text": "y"}]}}], "usageMetadata": {"promptTokenCount": 3}}
ENDED = {
    "candidates": [{"content": {"parts": [{"text": "es"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_stream_is_read_from_the_journal_as_it_came(form):
    write = FORMATS[form]
    lost = tried(1, reason="cut_stream", verdict=Kind.RETRY, billed=Billed.MAYBE, body=write([BEGUN, ENDED])[:-9])
    (row,) = data_of((an_outcome(answered=2, attempts=2), [lost, tried(2, body=write([BEGUN, ENDED]))]))
    assert (row["response"], row["finish_reason"]) == ("yes", "STOP")
    assert row["usage_metadata"]["candidates_token_count"] == 2

    first, second = ledger_of([lost, tried(2, body=write([BEGUN, ENDED]))])
    assert (first["prompt_token_count"], first["candidates_token_count"], first["cost_usd"]) == (3, None, None)
    assert first["reserve_usd"] > 0
    assert (second["prompt_token_count"], second["candidates_token_count"]) == (3, 2)


def test_the_totals_of_a_slice():
    usage = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}
    throttled = tried(1, http_status=429, verdict=Kind.THROTTLED, billed=Billed.NO, body=b"{}")
    tasks: list[Task] = [
        (an_outcome(answered=2), [throttled, tried(2, body=body(usageMetadata=usage))]),
        (failed(task=1), [cut(1, task=1)]),
    ]
    sums = totals_of([outcome for outcome, _ in tasks], asked(*(attempts for _, attempts in tasks)))

    assert sums == Totals(
        by_status={Status.OK: 1, Status.FAILED: 1},
        attempts=3,
        throttled=1,
        tokens=Tokens(input=10, output=7, cached=4, thinking=2),
        cost_usd=6 * Decimal("0.0000003") + 4 * Decimal("0.00000003") + 7 * Decimal("0.0000025"),
        wasted_usd=ZERO,
        unpriced=0,
        maybe_billed=1,
    )


counts = st.none() | st.integers(0, 10**9)
usages = st.fixed_dictionaries(
    {},
    optional={
        "promptTokenCount": counts,
        "candidatesTokenCount": counts,
        "totalTokenCount": counts,
        "cachedContentTokenCount": counts,
        "thoughtsTokenCount": counts,
        "toolUsePromptTokenCount": counts,
        "promptTokensDetails": st.just([{"modality": "AUDIO", "tokenCount": 3}]),
    },
)
models = st.sampled_from(["gemini-2.5-flash", "gemini-2.5-pro", "gemini-0-unheard-of"])


@st.composite
def one_attempt(draw: st.DrawFn, task: int, n: int) -> Attempt:
    model, billed = draw(models), draw(st.sampled_from(Billed))
    said = body(draw(st.none() | st.text(max_size=5)), usageMetadata=draw(usages), modelVersion=model)
    return tried(
        n,
        task=task,
        model=model,
        billed=billed,
        verdict=draw(st.sampled_from([Kind.OK, Kind.RETRY, Kind.LOST])),
        http_status=draw(st.sampled_from([200, 429, 503, None])) if billed is not Billed.YES else 200,
        service_tier=draw(st.sampled_from([None, "standard", "priority", "nonsense"])),
        body=draw(st.just(said) | st.just(b"") | st.just(b"<html>")) if billed is not Billed.YES else said,
    )


@st.composite
def slices(draw: st.DrawFn) -> list[Task]:
    tasks: list[Task] = []
    for number in range(draw(st.integers(0, 5))):
        attempts = [draw(one_attempt(number, n)) for n in range(1, 1 + draw(st.integers(0, 3)))]
        status = draw(st.sampled_from(Status)) if attempts else Status.FAILED
        answered = len(attempts) if status in (Status.OK, Status.TRUNCATED, Status.BLOCKED) else 0
        tasks.append((an_outcome(task=number, status=status, answered=answered, attempts=len(attempts)), attempts))
    return tasks


@settings(max_examples=100, deadline=None)
@given(tasks=slices())
def test_everything_adds_up(tasks: list[Task]) -> None:
    """The rows, the ledger and the totals tell the same story about tokens and money, to the last digit."""
    outcomes, attempts = [outcome for outcome, _ in tasks], [tried_for for _, tried_for in tasks]
    reads = asked(*attempts)
    rows = data_columns(planned(len(tasks)), outcomes, reads, {}, SCHEMA, terms()).to_pylist()
    ledger = ledger_of(*attempts)
    sums = totals_of(outcomes, reads)

    billed = [entry for entry in ledger if entry["billed"] == "yes"]
    assert len(ledger) == sums.attempts == sum(row["attempts"] for row in rows)
    assert sums.cost_usd == sum((entry["cost_usd"] or ZERO for entry in billed), ZERO)
    assert sums.unpriced == sum(entry["cost_usd"] is None for entry in billed)
    assert sums.maybe_billed == sum(entry["billed"] == "maybe" for entry in ledger)
    assert sums.throttled == sum(entry["http_status"] == 429 for entry in ledger)
    assert sums.tokens.input == sum(row["input_tokens"] for row in rows)
    assert sums.tokens.output == sum(row["output_tokens"] for row in rows)
    assert sums.done == len(rows)
    assert 0 <= sums.wasted_usd <= sums.cost_usd
    for row in rows:
        of_row = [entry["cost_usd"] for entry in billed if entry["task"] == row["task"]]
        assert row["cost_usd"] == (None if None in of_row else sum(of_row, ZERO))
        assert (row["wasted_usd"] is None) == (row["cost_usd"] is None)
        assert row["wasted_usd"] is None or 0 <= row["wasted_usd"] <= row["cost_usd"]
    if sums.unpriced == 0:
        assert sums.cost_usd == sum((row["cost_usd"] for row in rows), ZERO)
        assert sums.wasted_usd == sum((row["wasted_usd"] for row in rows), ZERO)


@settings(max_examples=50, deadline=None)
@given(tasks=slices())
@example(
    tasks=[(an_outcome(), [tried(body=body(usageMetadata={"promptTokenCount": 1, "cachedContentTokenCount": 5}))])]
)
@example(
    tasks=[
        (
            an_outcome(),
            [
                tried(
                    body=body(
                        usageMetadata={
                            "promptTokenCount": 1,
                            "candidatesTokenCount": 3,
                            "totalTokenCount": 4,
                            "thoughtsTokenCount": 9,
                        }
                    )
                )
            ],
        )
    ]
)
def test_cached_tokens_are_a_part_of_the_input_and_thoughts_of_the_output(tasks: list[Task]) -> None:
    sums = totals_of([outcome for outcome, _ in tasks], asked(*(attempts for _, attempts in tasks)))

    assert 0 <= sums.tokens.cached <= sums.tokens.input
    assert 0 <= sums.tokens.thinking <= sums.tokens.output


@settings(max_examples=30, deadline=None)
@given(tasks=slices(), place=st.integers(0, 5))
def test_totals_of_slices_add_up_to_the_totals_of_all(tasks: list[Task], place: int) -> None:
    def sums(some: list[Task]) -> Totals:
        return totals_of([outcome for outcome, _ in some], asked(*(attempts for _, attempts in some)))

    assert sums(tasks[:place]) + sums(tasks[place:]) == sums(tasks) + Totals()


@settings(max_examples=30, deadline=None)
@given(tasks=slices())
def test_totals_come_back_from_json(tasks: list[Task]) -> None:
    sums = totals_of([outcome for outcome, _ in tasks], asked(*(attempts for _, attempts in tasks)))

    assert Totals.from_json(sums.as_json()) == sums


@settings(max_examples=30, deadline=None)
@given(tasks=slices(), place=st.integers(0, 5))
def test_rows_do_not_depend_on_their_neighbours(tasks: list[Task], place: int) -> None:
    if not tasks:
        return
    place %= len(tasks)
    alone = data_columns(
        planned(1, first=place), [tasks[place][0]], asked(tasks[place][1]), {}, SCHEMA, terms()
    ).to_pylist()

    assert [data_of(*tasks)[place]] == alone
