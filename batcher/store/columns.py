"""How do outcomes become columns? Lists a column, never a dict a row (dicts cost 1.6 times as much, part of it the cyclic GC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple

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
_NO_CANDIDATE = Candidate(index=0)
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
    count = len(outcomes)
    rows = [_row(outcome, reads, earlier.get(outcome.task)) for outcome, reads in zip(outcomes, asked, strict=True)]
    row = _Row._make(zip(*rows, strict=True) if rows else [()] * len(_Row._fields))
    ended = Outcome._make(zip(*outcomes, strict=True) if rows else [()] * len(Outcome._fields))
    answers: Sequence[Answer] = row.answer  # type: ignore[assignment]  # a column of them
    firsts = [answer.candidates[0] if answer.candidates else _NO_CANDIDATE for answer in answers]
    columns: dict[str, Any] = {
        "task": pa.array(ended.task, pa.int64()),
        "ordinal": planned.column("ordinal"),
        "sample": pa.array([task % terms.samples for task in ended.task], pa.int16()),  # type: ignore[attr-defined]
        "id": planned.column("id").cast(pa.string()),
        "prompt": planned.column("prompt") if terms.store_prompt else pa.nulls(count, pa.large_string()),
        "status": pa.array(ended.status, pa.string()),
        "response": pa.array([first.text for first in firsts], pa.large_string()),
        "candidates": _candidates([answer.candidates for answer in answers]),
        "prompt_feedback": _feedback(answers),
        "usage_metadata": _usage_struct([answer.usage for answer in answers]),
        "input_tokens": pa.array(row.input_tokens, pa.int64()),
        "output_tokens": pa.array(row.output_tokens, pa.int64()),
        "cost_usd": pa.array(row.cost_usd, schemas.MONEY),
        "wasted_usd": pa.array(row.wasted_usd, schemas.MONEY),
        "finish_reason": pa.array(
            [first.finish_reason or answer.block_reason for first, answer in zip(firsts, answers, strict=True)],
            pa.string(),
        ),
        "error_kind": pa.array(ended.error_kind, pa.string()),
        "error_message": pa.array(ended.error_message, pa.string()),
        "model": planned.column("model").cast(pa.string()),
        "model_version": pa.array([answer.model_version for answer in answers], pa.string()),
        "response_id": pa.array([answer.response_id for answer in answers], pa.string()),
        "service_tier": pa.array(row.service_tier, pa.string()),
        "created": pa.array([answer.created for answer in answers], pa.int64()),
        "attempts": pa.array(ended.attempts, pa.int32()),
        "started_at": pa.array(row.started_at, pa.int64()).cast(schemas.STAMP),
        "latency_ms": pa.array(row.latency_ms, pa.float64()),
        "first_byte_ms": pa.array(row.first_byte_ms, pa.float64()),
        "finished_at": pa.array(ended.finished_at, pa.int64()).cast(schemas.STAMP),
        "request_hash": planned.column("request_hash"),
        "labels": _labels(terms.labels, count),
    }
    if terms.raw:
        columns["raw"] = pa.array(row.raw, pa.large_binary())
    user = planned.column("user")
    columns.update((field.name, user.field(number)) for number, field in enumerate(planned.schema.field("user").type))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def ledger_columns(asked: Sequence[Sequence[Read]], block: int, terms: Terms) -> pa.RecordBatch:
    """One slice of `attempts/`: a row for every attempt, in task and attempt order."""
    reads = [read for task in asked for read in task]
    count = len(reads)
    attempts = zip(*(read.attempt for read in reads), strict=True) if reads else [()] * len(Attempt._fields)
    tried = Attempt._make(attempts)
    columns: dict[str, Any] = {
        "run_id": _constant(terms.run_id, count),
        "block": pa.repeat(pa.scalar(block, pa.int32()), count),
        "task": pa.array(tried.task, pa.int64()),
        "sample": pa.array([task % terms.samples for task in tried.task], pa.int16()),  # type: ignore[attr-defined]  # a column of tasks
        "attempt": pa.array(tried.n, pa.int32()),
        "role": _constant("ask", count),
        "project": _constant(terms.project, count),
        "endpoint": _constant(terms.endpoint, count),
        "model": pa.array(tried.model, pa.string()),
        "model_version": pa.array([read.answer.model_version for read in reads], pa.string()),
        "response_id": pa.array([read.answer.response_id for read in reads], pa.string()),
        "started_at": pa.array(tried.started_at, pa.int64()).cast(schemas.STAMP),
        "latency_ms": pa.array(tried.latency_ms, pa.float64()),
        "http_status": pa.array(tried.http_status, pa.int32()),
        "verdict": pa.array(tried.verdict, pa.string()),
        "reason": pa.array(tried.reason, pa.string()),
        "quota_id": pa.array(tried.quota_id, pa.string()),
        "waited_ms": pa.array(tried.waited_ms, pa.float64()),
        "billed": pa.array(tried.billed, pa.string()),
        "billable_searches": pa.array([read.answer.web_searches for read in reads], pa.int64()),
        "service_tier": pa.array([read.priced and read.priced.service_tier for read in reads], pa.string()),
        "tier_source": pa.array([read.priced and read.priced.tier_source for read in reads], pa.string()),
        "price_id": pa.array([read.priced and read.priced.price_id for read in reads], pa.string()),
        "cost_usd": pa.array([_cost(read) for read in reads], schemas.MONEY),
        "reserve_usd": pa.array([_reserve_usd(read, terms) for read in reads], schemas.MONEY),
        "labels": _labels(terms.labels, count),
        "reserve_input_tokens": pa.array(tried.reserve_input, pa.int64()),
        "reserve_output_tokens": pa.array(tried.reserve_output, pa.int64()),
    }
    names = (*schemas.COUNTS, *schemas.DETAILS)
    columns.update(zip(names, _usage_arrays([read.usage for read in reads]), strict=True))
    return pa.RecordBatch.from_arrays([columns[name] for name in schemas.ATTEMPTS.names], schema=schemas.ATTEMPTS)


def totals_of(outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]]) -> Totals:
    """The sums of one slice, of these attempts alone; `asked` may go on with tasks that have no outcome yet."""
    statuses: dict[Status, int] = {}
    for outcome in outcomes:
        statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
    reads = [read for task in asked for read in task]
    wasted = _ZERO
    for outcome, task in zip(outcomes, asked, strict=False):
        wasted += _wasted(outcome, task)
    return Totals(
        by_status=statuses,
        attempts=len(reads),
        throttled=sum(1 for read in reads if read.attempt.http_status == 429),
        tokens=Tokens(
            input=sum(read.buckets.billed_input for read in reads),
            output=sum(read.buckets.billed_output for read in reads),
            cached=sum(read.buckets.cached_input + read.buckets.audio_cached_input for read in reads),
            thinking=sum(read.buckets.thinking for read in reads),
        ),
        cost_usd=sum((read.priced.cost_usd or _ZERO for read in reads if read.priced), _ZERO),
        wasted_usd=wasted,
        unpriced=sum(1 for read in reads if read.priced and read.priced.cost_usd is None),
        maybe_billed=sum(1 for read in reads if read.attempt.billed is Billed.MAYBE),
    )


class _Row(NamedTuple):
    answer: Answer
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    wasted_usd: Decimal | None
    service_tier: str | None
    started_at: int
    latency_ms: float | None
    first_byte_ms: float | None
    raw: bytes | None


def _row(outcome: Outcome, reads: Sequence[Read], before: Earlier | None) -> _Row:
    if before is None and len(reads) == 1 and outcome.answered:
        return _plain_row(outcome, reads[0])
    answered = next((read for read in reads if read.attempt.n == outcome.answered), None)
    last = answered or (reads[-1] if reads else None)
    cost = _sum([read.priced.cost_usd for read in reads if read.priced])
    wasted = None if cost is None else _wasted(outcome, reads)
    if before is not None:
        cost = None if cost is None or before.cost_usd is None else cost + before.cost_usd
        wasted = None if wasted is None or before.cost_usd is None else wasted + before.cost_usd
    return _Row(
        answered.answer if answered else _NO_ANSWER,
        sum(read.buckets.billed_input for read in reads) + (before.input_tokens if before else 0),
        sum(read.buckets.billed_output for read in reads) + (before.output_tokens if before else 0),
        cost,
        wasted,
        answered.priced.service_tier if answered and answered.priced else None,
        before.started_at if before else outcome.started_at,
        last.attempt.latency_ms if last else None,
        last.attempt.first_byte_ms if last else None,
        last.attempt.body if last and last.attempt.body else None,
    )


def _plain_row(outcome: Outcome, read: Read) -> _Row:
    """Nearly every row: asked once and answered."""
    attempt, priced = read.attempt, read.priced
    cost = priced.cost_usd if priced else _ZERO
    return _Row(
        read.answer,
        read.buckets.billed_input,
        read.buckets.billed_output,
        cost,
        (_ZERO if outcome.status in _USABLE else cost) if cost is not None else None,
        priced.service_tier if priced else None,
        outcome.started_at,
        attempt.latency_ms,
        attempt.first_byte_ms,
        attempt.body or None,
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
    if not attempt.body or not 200 <= (attempt.http_status or 0) < 300:  # as `gemini/refusal.py` takes them
        return _NO_ANSWER
    try:
        return read(attempt.body)
    except Unreadable:
        return _NO_ANSWER


_CANDIDATE = attrgetter(*(field.name for field in schemas.CANDIDATE))
_COUNTS = attrgetter(*schemas.COUNTS)
_DETAILS = attrgetter(*schemas.DETAILS)


def _candidates(rows: Sequence[Sequence[Candidate]]) -> pa.Array:
    flat = [candidate for row in rows for candidate in row]
    offsets = pa.array([0, *accumulate(len(row) for row in rows)], pa.int32())
    fields = list(schemas.CANDIDATE)
    columns = zip(*map(_CANDIDATE, flat), strict=True) if flat else [()] * len(fields)
    arrays = [
        _listed(column, field.type.value_type) if pa.types.is_list(field.type) else pa.array(column, field.type)
        for column, field in zip(columns, fields, strict=True)
    ]
    struct = pa.StructArray.from_arrays(arrays, fields=fields)
    return pa.ListArray.from_arrays(offsets, struct, type=pa.list_(schemas.CANDIDATE))


def _ratings(rows: Sequence[tuple[tuple[Any, ...], ...]]) -> pa.Array:
    return _listed(rows, schemas.RATING)


def _listed(rows: Sequence[tuple[tuple[Any, ...], ...]], kind: pa.StructType) -> pa.Array:
    if not any(rows):
        offsets, flat = pa.repeat(pa.scalar(0, pa.int32()), len(rows) + 1), []
    else:
        offsets, flat = pa.array([0, *accumulate(map(len, rows))], pa.int32()), [item for row in rows for item in row]
    columns = list(zip(*flat, strict=True)) if flat else [()] * kind.num_fields
    arrays = [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(kind)), type=pa.list_(kind))


def _details(rows: Sequence[Mapping[str, int]]) -> pa.Array:
    pairs = [tuple(row.items()) if row else () for row in rows]
    return _listed(pairs, schemas.MODALITY_TOKENS.value_type)


def _feedback(answers: Sequence[Answer]) -> pa.Array:
    present = [answer.block_reason is not None or bool(answer.prompt_safety_ratings) for answer in answers]
    arrays = [
        pa.array([answer.block_reason for answer in answers], pa.string()),
        _ratings([answer.prompt_safety_ratings for answer in answers]),
    ]
    return _struct(arrays, schemas.PROMPT_FEEDBACK, present)


def _usage_struct(rows: Sequence[Usage | None]) -> pa.Array:
    return _struct(_usage_arrays(rows), schemas.USAGE_METADATA, [usage is not None for usage in rows])


def _usage_arrays(rows: Sequence[Usage | None]) -> list[pa.Array]:
    """The counts, then the details, in the order of `schemas`."""
    usages = [usage or _NO_USAGE for usage in rows]
    if not usages:
        return [pa.array([], field.type) for field in schemas.USAGE_METADATA]
    counts = [pa.array(column, pa.int64()) for column in zip(*map(_COUNTS, usages), strict=True)]
    return counts + [_details(column) for column in zip(*map(_DETAILS, usages), strict=True)]


def _struct(arrays: list[pa.Array], kind: pa.StructType, present: list[bool]) -> pa.Array:
    absent = pa.array([not there for there in present], pa.bool_())
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=absent)


def _labels(labels: tuple[tuple[str, str], ...], count: int) -> pa.Array:
    return _listed([labels] * count, schemas.LABELS.value_type)


def _constant(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)
