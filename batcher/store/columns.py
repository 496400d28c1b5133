"""How do outcomes become columns? Lists, never a dict a row: dicts cost 1.6 times as much, part of it the GC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from batcher.records import Answer, Attempt, Candidate, Outcome, Status
from batcher.store import schemas
from batcher.store.bills import Earlier, Read, RowBill, Terms, cost_of, reserve_usd, row_bill
from batcher.store.nested import candidates, constant, labels_column, prompt_feedback, usage_arrays, usage_metadata
from batcher.store.parsed import parsed, schema_valid
from batcher.store.pictures import images_column, pictures_apart

_NO_CANDIDATE = Candidate(index=0)


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
    count = len(outcomes)
    rows = [row_bill(outcome, reads, earlier.get(outcome.task)) for outcome, reads in zip(outcomes, asked, strict=True)]
    row = RowBill._make(zip(*rows, strict=True) if rows else [()] * len(RowBill._fields))
    ended = Outcome._make(zip(*outcomes, strict=True) if rows else [()] * len(Outcome._fields))
    answers: Sequence[Answer] = row.answer  # type: ignore[assignment]  # a column of them
    if terms.images:
        answers, pictures = pictures_apart(answers)
    firsts = [answer.candidates[0] if answer.candidates else _NO_CANDIDATE for answer in answers]
    statuses: Sequence[Status] = ended.status  # type: ignore[assignment]  # a column of them
    columns: dict[str, Any] = {
        "task": pa.array(ended.task, pa.int64()),
        "ordinal": planned.column("ordinal"),
        "sample": pa.array([task % terms.samples for task in ended.task], pa.int16()),  # type: ignore[attr-defined]
        "id": planned.column("id").cast(pa.string()),
        "prompt": planned.column("prompt") if terms.store_prompt else pa.nulls(count, pa.large_string()),
        "status": pa.array(statuses, pa.string()),
        "response": pa.array([first.text for first in firsts], pa.large_string()),
        "candidates": candidates([answer.candidates for answer in answers]),
        "prompt_feedback": prompt_feedback(answers),
        "usage_metadata": usage_metadata([answer.usage for answer in answers]),
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
        "labels": labels_column(terms.labels, count),
    }
    if schema.get_field_index("parsed") >= 0:
        columns["parsed"] = parsed(statuses, [first.text for first in firsts])
        columns["schema_valid"] = schema_valid(statuses)
    if terms.raw:
        columns["raw"] = pa.array(row.raw, pa.large_binary())
    if terms.images:
        columns[schemas.PICTURES] = images_column(pictures)
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
        "run_id": constant(terms.run_id, count),
        "block": pa.repeat(pa.scalar(block, pa.int32()), count),
        "task": pa.array(tried.task, pa.int64()),
        "sample": pa.array([task % terms.samples for task in tried.task], pa.int16()),  # type: ignore[attr-defined]  # a column of tasks
        "attempt": pa.array(tried.n, pa.int32()),
        "role": constant("ask", count),
        "project": constant(terms.project, count),
        "endpoint": constant(terms.endpoint, count),
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
        "cost_usd": pa.array([cost_of(read) for read in reads], schemas.MONEY),
        "reserve_usd": pa.array([reserve_usd(read, terms) for read in reads], schemas.MONEY),
        "labels": labels_column(terms.labels, count),
        "reserve_input_tokens": pa.array(tried.reserve_input, pa.int64()),
        "reserve_output_tokens": pa.array(tried.reserve_output, pa.int64()),
    }
    names = (*schemas.COUNTS, *schemas.DETAILS)
    columns.update(zip(names, usage_arrays([read.usage for read in reads]), strict=True))
    return pa.RecordBatch.from_arrays([columns[name] for name in schemas.ATTEMPTS.names], schema=schemas.ATTEMPTS)
