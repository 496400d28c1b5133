"""How do outcomes become columns? Lists, never a dict a row: dicts cost 1.6 times as much, part of it the GC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.money.cost import Priced
from batcher.records import Answer, Attempt, Candidate, Kind, Outcome, Place, Status
from batcher.store import schemas
from batcher.store.bills import REBUILT, Earlier, Read, Terms, cost_fusd_of, is_plain, reserve_usd, row_bills
from batcher.store.nested import (
    candidates,
    constant,
    labels_column,
    money,
    prompt_feedback,
    usage_arrays,
    usage_metadata,
)
from batcher.store.parsed import parsed, schema_valid
from batcher.store.pictures import images_column, pictures_apart

_NO_CANDIDATE = Candidate(index=0)
_UNPRICED: Any = (None,) * len(Priced._fields)  # of an attempt that was not billed for sure


def data_columns(  # noqa: PLR0913, PLR0917  the parts of one slice
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
        outcomes: of the same tasks.
        asked: the attempts of the same tasks, in order.
        earlier: for tasks asked again by a retry, what they had used before.
        schema: the run's frozen schema of `data/`.
        terms: what is the same for every row.
    """
    return beside(planned, answer_columns(outcomes, asked, earlier, schema, terms), schema, terms)


def beside(planned: pa.RecordBatch, answers: pa.RecordBatch, schema: pa.Schema, terms: Terms) -> pa.RecordBatch:
    """The plan of some tasks and, beside it, what `answer_columns` made of their answers: a slice of `data/`."""
    count = planned.num_rows
    columns: dict[str, Any] = {
        "ordinal": planned.column("ordinal"),
        "id": planned.column("id").cast(pa.string()),
        "prompt": planned.column("prompt") if terms.store_prompt else pa.nulls(count, pa.large_string()),
        "model": planned.column("model").cast(pa.string()),
        "request_hash": planned.column("request_hash"),
        "labels": labels_column(terms.labels, count),
    }
    named = columns["model"]
    columns.update(zip(answers.schema.names, answers.columns, strict=True))
    if terms.fallbacks:  # rows that nobody was asked about have no other
        columns["model"] = pc.coalesce(columns["model"], named)
    user = planned.column("user")
    columns.update((field.name, user.field(number)) for number, field in enumerate(planned.schema.field("user").type))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def slice_columns(  # noqa: PLR0913, PLR0917  as `data_columns` and `ledger_columns`
    outcomes: Sequence[Outcome],
    asked: Sequence[Sequence[Read]],
    earlier: Mapping[int, Earlier],
    block: int,
    schema: pa.Schema,
    terms: Terms,
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """What `answer_columns` and `ledger_columns` make, for less: an answer's token counts are those of its attempt."""
    usage = usage_arrays([read.usage for reads in asked for read in reads])
    return (
        answer_columns(outcomes, asked, earlier, schema, terms, _of_answers(usage, outcomes, asked)),
        ledger_columns(asked, block, terms, usage),
    )


def _of_answers(
    usage: Sequence[pa.Array], outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]]
) -> Sequence[pa.Array]:
    """Of what there is for every attempt, what belongs to the one that answered each task."""
    places: list[int | None] = []
    first = 0
    for outcome, reads in zip(outcomes, asked, strict=True):
        if is_plain(outcome, reads):
            places.append(first)
        else:
            places.append(next((first + n for n, each in enumerate(reads) if each.attempt.n == outcome.answered), None))
        first += len(reads)
    if first == len(outcomes) and None not in places:
        return usage
    taken = pa.array(places, pa.int64())
    return [array.take(taken) for array in usage]


def answer_columns(  # noqa: PLR0913, PLR0917  as `data_columns`
    outcomes: Sequence[Outcome],
    asked: Sequence[Sequence[Read]],
    earlier: Mapping[int, Earlier],
    schema: pa.Schema,
    terms: Terms,
    usage: Sequence[pa.Array] | None = None,
) -> pa.RecordBatch:
    """The columns of `data/` that outcomes and attempts decide.

    As of `data_columns`; `usage`: what `usage_arrays` makes of the answers, where somebody has it.
    """
    row = row_bills(outcomes, asked, earlier)
    ended = Outcome._make(zip(*outcomes, strict=True) if outcomes else [()] * len(Outcome._fields))
    answers: Sequence[Answer] = row.answer  # type: ignore[assignment]  # a column of them
    if terms.images:
        answers, pictures = pictures_apart(answers)
    firsts = [answer.candidates[0] if answer.candidates else _NO_CANDIDATE for answer in answers]
    statuses: Sequence[Status] = ended.status  # type: ignore[assignment]  # a column of them
    said = candidates([answer.candidates for answer in answers])
    is_single = len(said.values) == len(answers) and all(answer.candidates for answer in answers)
    columns: dict[str, Any] = {
        "task": pa.array(ended.task, pa.int64()),
        "sample": pa.array([task % terms.samples for task in ended.task], pa.int16()),  # type: ignore[attr-defined]
        "status": pa.array(statuses, pa.string()),
        # Of one candidate in each row, these are the same bytes: held once.
        "response": said.values.field("text")
        if is_single
        else pa.array([first.text for first in firsts], pa.large_string()),
        "candidates": said,
        "prompt_feedback": prompt_feedback(answers),
        "usage_metadata": usage_metadata([answer.usage for answer in answers], usage),
        "input_tokens": pa.array(row.input_tokens, pa.int64()),
        "output_tokens": pa.array(row.output_tokens, pa.int64()),
        "cost_usd": money(row.cost_fusd),  # type: ignore[arg-type]  # a column of them, and so below
        "wasted_usd": money(row.wasted_fusd),  # type: ignore[arg-type]
        "finish_reason": pa.array(
            [first.finish_reason or answer.block_reason for first, answer in zip(firsts, answers, strict=True)],
            pa.string(),
        ),
        "error_kind": pa.array(ended.error_kind, pa.string()),
        "error_message": pa.array(ended.error_message, pa.string()),
        "model_version": pa.array([answer.model_version for answer in answers], pa.string()),
        "response_id": pa.array([answer.response_id for answer in answers], pa.string()),
        "service_tier": pa.array(row.service_tier, pa.string()),
        "created": pa.array([answer.created for answer in answers], pa.int64()),
        "attempts": pa.array(ended.attempts, pa.int32()),
        "started_at": pa.array(row.started_at, pa.int64()).cast(schemas.STAMP),
        "latency_ms": pa.array(row.latency_ms, pa.float64()),
        "first_byte_ms": pa.array(row.first_byte_ms, pa.float64()),
        "finished_at": pa.array(ended.finished_at, pa.int64()).cast(schemas.STAMP),
    }
    if terms.fallbacks:
        columns["model"] = pa.array(list(map(_model_of, outcomes, asked)), pa.string())
    if schema.get_field_index("parsed") >= 0:
        columns["parsed"] = parsed(statuses, [first.text for first in firsts])
        columns["schema_valid"] = schema_valid(statuses)
    if terms.raw:
        columns["raw"] = pa.array(row.raw, pa.large_binary())
    if terms.images:
        columns[schemas.PICTURES] = images_column(pictures)
    if terms.spares:
        columns |= {name: pa.nulls(len(outcomes), kind) for name, kind in schemas.PAID_BY}
    return pa.RecordBatch.from_arrays(
        list(columns.values()), schema=pa.schema([schema.field(name) for name in columns])
    )


def ledger_columns(
    asked: Sequence[Sequence[Read]], block: int, terms: Terms, usage: Sequence[pa.Array] | None = None
) -> pa.RecordBatch:
    """One slice of `attempts/`: a row for every attempt, in task and attempt order. `usage`: its `usage_arrays`."""
    reads = [read for task in asked for read in task]
    count = len(reads)
    attempts = zip(*(read.attempt for read in reads), strict=True) if reads else [()] * len(Attempt._fields)
    tried = Attempt._make(attempts)
    bills = Priced._make(
        zip(*(read.priced or _UNPRICED for read in reads), strict=True) if reads else [()] * len(Priced._fields)
    )
    columns: dict[str, Any] = {
        "run_id": constant(terms.run_id, count),
        "block": pa.repeat(pa.scalar(block, pa.int32()), count),
        "task": pa.array(tried.task, pa.int64()),
        "sample": pa.array([task % terms.samples for task in tried.task], pa.int16()),  # type: ignore[attr-defined]  # a column of tasks
        "attempt": pa.array(tried.n, pa.int32()),
        "role": constant("ask", count),
        **_places(tried, terms),
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
        "service_tier": pa.array(bills.service_tier, pa.string()),
        "tier_source": pa.array(bills.tier_source, pa.string()),
        "price_id": pa.array(bills.price_id, pa.string()),
        "cost_usd": money([cost_fusd_of(read) for read in reads]),
        "reserve_usd": pa.array([reserve_usd(read, terms) for read in reads], schemas.MONEY),
        "labels": labels_column(terms.labels, count),
        "reserve_input_tokens": pa.array(tried.reserve_input, pa.int64()),
        "reserve_output_tokens": pa.array(tried.reserve_output, pa.int64()),
    }
    names = (*schemas.COUNTS, *schemas.DETAILS)
    columns.update(zip(names, usage or usage_arrays([read.usage for read in reads]), strict=True))
    return pa.RecordBatch.from_arrays([columns[name] for name in schemas.ATTEMPTS.names], schema=schemas.ATTEMPTS)


def _places(tried: Attempt, terms: Terms) -> dict[str, pa.Array]:
    """Whom each attempt asked, `tried` by column: the run's one endpoint, or as it says itself; null: nobody knows."""
    columns: Any = tried
    count = len(columns.task)
    if not terms.several and not any(columns.place):
        return {"project": constant(terms.project, count), "endpoint": constant(terms.endpoint, count)}
    planned = Place(terms.endpoint, terms.project)
    places = [
        place or (None if terms.several and (verdict is Kind.LOST or reason == REBUILT) else planned)
        for place, verdict, reason in zip(columns.place, columns.verdict, columns.reason, strict=True)
    ]
    return {
        "project": pa.array([place and place.project for place in places], pa.string()),
        "endpoint": pa.array([place and place.endpoint for place in places], pa.string()),
    }


def _model_of(outcome: Outcome, reads: Sequence[Read]) -> str | None:
    """The model that answered, else the last that was asked; None where none was."""
    return next((read.attempt.model for read in reads if read.attempt.n == outcome.answered), None) or (
        reads[-1].attempt.model if reads else None
    )
