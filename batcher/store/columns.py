"""How do outcomes become columns? Lists a column, never a dict a row (dicts cost 1.6 times as much, part of it the cyclic GC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any

import pyarrow as pa

from batcher.gemini.reply import Unreadable, read
from batcher.money.cost import Priced, price, upper_bound_usd
from batcher.money.prices import RateCard
from batcher.money.totals import Tokens, Totals
from batcher.money.usage import Buckets
from batcher.records import Answer, Attempt, Billed, Candidate, Outcome, Status, Usage
from batcher.store import schemas

_NO_ANSWER = Answer()
_NO_USAGE = Usage()
_NO_BUCKETS = Buckets()
_USABLE = frozenset({Status.OK, Status.TRUNCATED})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for every row of a run.

    Attributes:
        run_id, project, endpoint: as the ledger names them.
        tier: the service tier the job asks for, None for the endpoint's default.
        rates: the run's frozen rate card.
    """

    run_id: str
    project: str
    endpoint: str
    tier: str | None
    labels: tuple[tuple[str, str], ...]
    rates: RateCard
    samples: int
    store_prompt: bool
    raw: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a row that is asked again had used before."""

    attempts: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    started_at: int


@dataclass(slots=True)
class Read:
    """An attempt with its body read and its bill made out; `priced` is None unless it was billed for sure."""

    attempt: Attempt
    answer: Answer
    usage: Usage
    buckets: Buckets
    priced: Priced | None


def read_attempt(attempt: Attempt, terms: Terms) -> Read:
    """Read an attempt's body and price it when it was billed."""
    return priced_attempt(attempt, _answer_of(attempt), terms)


def priced_attempt(attempt: Attempt, answer: Answer, terms: Terms) -> Read:
    """Make out the bill of an attempt whose body has been read."""
    usage = answer.usage or _NO_USAGE
    if attempt.billed is not Billed.YES:
        return Read(attempt, answer, usage, _NO_BUCKETS, None)
    priced = price(
        terms.rates.rates,
        usage=answer.usage,
        model=attempt.model,
        model_version=answer.model_version,
        header_tier=attempt.service_tier,
        asked_tier=terms.tier,
        at_us=attempt.started_at,
    )
    return Read(attempt, answer, usage, priced.buckets or _NO_BUCKETS, priced)


def data_columns(  # noqa: PLR0913  the parts of one slice
    planned: pa.RecordBatch,
    outcomes: Sequence[Outcome],
    asked: Sequence[Sequence[Read]],
    earlier: Mapping[int, Earlier],
    schema: pa.Schema,
    terms: Terms,
) -> pa.RecordBatch:
    """One slice of `data/`.

    Args:
        planned: the block file's rows, one a task (repeated for samples), in task order.
        outcomes, asked: for the same tasks, the outcome and its attempts in order.
        earlier: for tasks asked again by a retry, what they had used before.
        schema: the run's frozen schema of `data/`.
        terms: what is the same for every row.
    """
    rows = [_row(outcome, reads, earlier.get(outcome.task)) for outcome, reads in zip(outcomes, asked, strict=True)]
    answers = [row.answer for row in rows]
    columns: dict[str, Any] = {
        "task": pa.array([outcome.task for outcome in outcomes], pa.int64()),
        "ordinal": planned.column("ordinal"),
        "sample": pa.array([outcome.task % terms.samples for outcome in outcomes], pa.int16()),
        "id": planned.column("id").cast(pa.string()),
        "prompt": planned.column("prompt") if terms.store_prompt else pa.nulls(len(rows), pa.large_string()),
        "status": pa.array([outcome.status for outcome in outcomes], pa.string()),
        "response": pa.array([a.candidates[0].text if a.candidates else None for a in answers], pa.large_string()),
        "candidates": _candidates([a.candidates for a in answers]),
        "prompt_feedback": _feedback(answers),
        "usage_metadata": _usage_struct([a.usage for a in answers]),
        "input_tokens": pa.array([row.input_tokens for row in rows], pa.int64()),
        "output_tokens": pa.array([row.output_tokens for row in rows], pa.int64()),
        "cost_usd": pa.array([row.cost_usd for row in rows], schemas.MONEY),
        "wasted_usd": pa.array([row.wasted_usd for row in rows], schemas.MONEY),
        "finish_reason": pa.array(
            [a.candidates[0].finish_reason if a.candidates else a.block_reason for a in answers], pa.string()
        ),
        "error_kind": pa.array([outcome.error_kind for outcome in outcomes], pa.string()),
        "error_message": pa.array([outcome.error_message for outcome in outcomes], pa.string()),
        "model": planned.column("model").cast(pa.string()),
        "model_version": pa.array([a.model_version for a in answers], pa.string()),
        "response_id": pa.array([a.response_id for a in answers], pa.string()),
        "service_tier": pa.array([row.service_tier for row in rows], pa.string()),
        "created": pa.array([a.created for a in answers], pa.int64()),
        "attempts": pa.array([row.attempts for row in rows], pa.int32()),
        "started_at": pa.array([row.started_at for row in rows], pa.int64()).cast(schemas.STAMP),
        "latency_ms": pa.array([row.latency_ms for row in rows], pa.float64()),
        "first_byte_ms": pa.array([row.first_byte_ms for row in rows], pa.float64()),
        "finished_at": pa.array([outcome.finished_at for outcome in outcomes], pa.int64()).cast(schemas.STAMP),
        "request_hash": planned.column("request_hash"),
        "labels": _labels(terms.labels, len(rows)),
    }
    if terms.raw:
        columns["raw"] = pa.array([row.raw for row in rows], pa.large_binary())
    user = planned.column("user")
    columns.update((field.name, user.field(number)) for number, field in enumerate(planned.schema.field("user").type))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def ledger_columns(asked: Sequence[Sequence[Read]], block: int, terms: Terms) -> pa.RecordBatch:
    """One slice of `attempts/`: a row for every attempt, in task and attempt order."""
    reads = [read for task in asked for read in task]
    attempts = [read.attempt for read in reads]
    count = len(reads)
    columns: dict[str, Any] = {
        "run_id": _constant(terms.run_id, count),
        "block": pa.array([block] * count, pa.int32()),
        "task": pa.array([a.task for a in attempts], pa.int64()),
        "sample": pa.array([a.task % terms.samples for a in attempts], pa.int16()),
        "attempt": pa.array([a.n for a in attempts], pa.int32()),
        "role": _constant("ask", count),
        "project": _constant(terms.project, count),
        "endpoint": _constant(terms.endpoint, count),
        "model": pa.array([a.model for a in attempts], pa.string()),
        "model_version": pa.array([read.answer.model_version for read in reads], pa.string()),
        "response_id": pa.array([read.answer.response_id for read in reads], pa.string()),
        "started_at": pa.array([a.started_at for a in attempts], pa.int64()).cast(schemas.STAMP),
        "latency_ms": pa.array([a.latency_ms for a in attempts], pa.float64()),
        "http_status": pa.array([a.http_status for a in attempts], pa.int32()),
        "verdict": pa.array([a.verdict for a in attempts], pa.string()),
        "reason": pa.array([a.reason for a in attempts], pa.string()),
        "quota_id": pa.array([a.quota_id for a in attempts], pa.string()),
        "waited_ms": pa.array([a.waited_ms for a in attempts], pa.float64()),
        "billed": pa.array([a.billed for a in attempts], pa.string()),
        "billable_searches": pa.array([read.answer.web_searches for read in reads], pa.int64()),
        "service_tier": pa.array([read.priced and read.priced.service_tier for read in reads], pa.string()),
        "tier_source": pa.array([read.priced and read.priced.tier_source for read in reads], pa.string()),
        "price_id": pa.array([read.priced and read.priced.price_id for read in reads], pa.string()),
        "cost_usd": pa.array([_cost(read) for read in reads], schemas.MONEY),
        "reserve_usd": pa.array([_reserve_usd(read, terms) for read in reads], schemas.MONEY),
        "labels": _labels(terms.labels, count),
        "reserve_input_tokens": pa.array([a.reserve_input for a in attempts], pa.int64()),
        "reserve_output_tokens": pa.array([a.reserve_output for a in attempts], pa.int64()),
    }
    usage = [read.usage for read in reads]
    for name in schemas.COUNTS:
        columns[name] = pa.array([getattr(u, name) for u in usage], pa.int64())
    for name in schemas.DETAILS:
        columns[name] = _details([getattr(u, name) for u in usage])
    return pa.RecordBatch.from_arrays([columns[name] for name in schemas.ATTEMPTS.names], schema=schemas.ATTEMPTS)


def totals_of(outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]]) -> Totals:
    """The sums of one slice, of these attempts alone."""
    statuses: dict[Status, int] = {}
    for outcome in outcomes:
        statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
    reads = [read for task in asked for read in task]
    wasted = _ZERO
    for outcome, task in zip(outcomes, asked, strict=True):
        wasted += _wasted(outcome, task)
    return Totals(
        by_status=statuses,
        attempts=len(reads),
        throttled=sum(1 for read in reads if read.attempt.http_status == 429),
        tokens=Tokens(
            input=sum(read.buckets.billed_input for read in reads),
            output=sum(read.buckets.billed_output for read in reads),
            cached=sum(read.usage.cached_content_token_count or 0 for read in reads if read.priced),
            thinking=sum(read.usage.thoughts_token_count or 0 for read in reads if read.priced),
        ),
        cost_usd=sum((read.priced.cost_usd or _ZERO for read in reads if read.priced), _ZERO),
        wasted_usd=wasted,
        unpriced=sum(1 for read in reads if read.priced and read.priced.cost_usd is None),
        maybe_billed=sum(1 for read in reads if read.attempt.billed is Billed.MAYBE),
    )


@dataclass(slots=True)
class _Row:
    answer: Answer
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    wasted_usd: Decimal | None
    service_tier: str | None
    attempts: int
    started_at: int
    latency_ms: float | None
    first_byte_ms: float | None
    raw: bytes | None


def _row(outcome: Outcome, reads: Sequence[Read], before: Earlier | None) -> _Row:
    answered = next((read for read in reads if read.attempt.n == outcome.answered), None)
    last = answered or (reads[-1] if reads else None)
    cost = _sum([read.priced.cost_usd for read in reads if read.priced])
    wasted = None if cost is None else _wasted(outcome, reads)
    if before is not None:
        cost = None if cost is None or before.cost_usd is None else cost + before.cost_usd
        wasted = None if wasted is None or before.cost_usd is None else wasted + before.cost_usd
    return _Row(
        answer=answered.answer if answered else _NO_ANSWER,
        input_tokens=sum(read.buckets.billed_input for read in reads) + (before.input_tokens if before else 0),
        output_tokens=sum(read.buckets.billed_output for read in reads) + (before.output_tokens if before else 0),
        cost_usd=cost,
        wasted_usd=wasted,
        service_tier=answered.priced.service_tier if answered and answered.priced else None,
        attempts=outcome.attempts,
        started_at=before.started_at if before else outcome.started_at,
        latency_ms=last.attempt.latency_ms if last else None,
        first_byte_ms=last.attempt.first_byte_ms if last else None,
        raw=last.attempt.body if last and last.attempt.body else None,
    )


def _wasted(outcome: Outcome, reads: Sequence[Read]) -> Decimal:
    kept = outcome.answered if outcome.status in _USABLE else 0
    return sum(
        (read.priced.cost_usd or _ZERO for read in reads if read.priced and read.attempt.n != kept),
        _ZERO,
    )


def _sum(costs: list[Decimal | None]) -> Decimal | None:
    total = _ZERO
    for cost in costs:
        if cost is None:
            return None  # one unknown price makes the row's cost unknown: null, never too little
        total += cost
    return total


def _cost(read: Read) -> Decimal | None:
    if read.priced:
        return read.priced.cost_usd
    return _ZERO if read.attempt.billed is Billed.NO else None


def _reserve_usd(read: Read, terms: Terms) -> Decimal | None:
    attempt = read.attempt
    if attempt.billed is not Billed.MAYBE:
        return None
    tier = terms.tier or "standard"
    rates = terms.rates.rates(attempt.model, tier, attempt.started_at, attempt.reserve_input)
    return None if rates is None else upper_bound_usd(rates, attempt.reserve_input, attempt.reserve_output)


def _answer_of(attempt: Attempt) -> Answer:
    if not attempt.body or attempt.http_status != 200:
        return _NO_ANSWER
    try:
        return read(attempt.body)
    except Unreadable:
        return _NO_ANSWER


def _candidates(rows: Sequence[Sequence[Candidate]]) -> pa.Array:
    flat = [candidate for row in rows for candidate in row]
    offsets = pa.array([0, *accumulate(len(row) for row in rows)], pa.int32())
    values = {
        "safety_ratings": _ratings([c.safety_ratings for c in flat]),
        "citation_sources": _citations([c.citation_sources for c in flat]),
    }
    arrays = [
        values[field.name] if field.name in values else pa.array([getattr(c, field.name) for c in flat], field.type)
        for field in schemas.CANDIDATE
    ]
    struct = pa.StructArray.from_arrays(arrays, fields=list(schemas.CANDIDATE))
    return pa.ListArray.from_arrays(offsets, struct, type=pa.list_(schemas.CANDIDATE))


def _ratings(rows: Sequence[tuple[tuple[Any, ...], ...]]) -> pa.Array:
    return _listed(rows, schemas.RATING)


def _citations(rows: Sequence[tuple[tuple[Any, ...], ...]]) -> pa.Array:
    return _listed(rows, schemas.CITATION)


def _listed(rows: Sequence[tuple[tuple[Any, ...], ...]], kind: pa.StructType) -> pa.Array:
    flat = [item for row in rows for item in row]
    offsets = pa.array([0, *accumulate(map(len, rows))], pa.int32())
    columns = list(zip(*flat, strict=True)) if flat else [()] * kind.num_fields
    arrays = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(kind)), type=pa.list_(kind))


def _details(rows: Sequence[Mapping[str, int]]) -> pa.Array:
    return _listed([tuple(row.items()) for row in rows], schemas.MODALITY_TOKENS.value_type)


def _feedback(answers: Sequence[Answer]) -> pa.Array:
    present = [answer.block_reason is not None or bool(answer.prompt_safety_ratings) for answer in answers]
    arrays = [
        pa.array([answer.block_reason for answer in answers], pa.string()),
        _ratings([answer.prompt_safety_ratings for answer in answers]),
    ]
    return _struct(arrays, schemas.PROMPT_FEEDBACK, present)


def _usage_struct(rows: Sequence[Usage | None]) -> pa.Array:
    usages = [usage or _NO_USAGE for usage in rows]
    arrays = [pa.array([getattr(usage, name) for usage in usages], pa.int64()) for name in schemas.COUNTS]
    arrays += [_details([getattr(usage, name) for usage in usages]) for name in schemas.DETAILS]
    return _struct(arrays, schemas.USAGE_METADATA, [usage is not None for usage in rows])


def _struct(arrays: list[pa.Array], kind: pa.StructType, present: list[bool]) -> pa.Array:
    absent = pa.array([not there for there in present])
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=absent)


def _labels(labels: tuple[tuple[str, str], ...], count: int) -> pa.Array:
    return _listed([labels] * count, schemas.LABELS.value_type)


def _constant(value: str, count: int) -> pa.Array:
    return pa.array([value] * count, pa.string())
