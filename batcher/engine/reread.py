"""What does a kept reply say today? Judged, read and priced again, beside what its row has said until now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from batcher.asking.scrub import HIDDEN, scrub
from batcher.gemini.refusal import OK, Verdict, judge, status_of
from batcher.gemini.reply import Cut, Unreadable, read
from batcher.records import Answer, Attempt, Kind, Outcome, Reply, Status
from batcher.store.bills import Read, Terms, read_attempt
from batcher.store.columns import answer_columns
from batcher.store.entries import in_ledger
from batcher.store.schemas import PICTURES

DERIVED = (
    "status",
    "response",
    "parsed",
    "schema_valid",
    "candidates",
    "prompt_feedback",
    "usage_metadata",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "wasted_usd",
    "finish_reason",
    "error_kind",
    "error_message",
    "model_version",
    "response_id",
    "service_tier",
    "created",
    PICTURES,
)
"""Columns that are made of a reply; nothing else of a row is touched."""

Check = Callable[[Answer], Verdict | None]
Ended = tuple[Outcome, list[Read]]
"""What became of a task, and its attempts in order."""

_CUT_STREAM = "cut_stream"
_REDIRECTED = range(300, 400)  # judged by a header, which is not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some rows of a part, read again.

    Attributes:
        data: the rows as they are to be.
        ended: every row's task, those left alone included.
        corrected: (as the ledger has it, as it is now) of each attempt that is read otherwise.
        by_column: rows that differ, by column.
        differ: rows that differ.
        changed: (status until now, status from now on) -> rows.
        reread, without_raw, unknown: rows read again; without a kept reply; with one that no attempt accounts for.
    """

    data: pa.RecordBatch
    ended: Sequence[Ended]
    corrected: Sequence[tuple[Read, Read]]
    by_column: Counter[str] = field(default_factory=Counter)
    differ: int = 0
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    reread: int = 0
    without_raw: int = 0
    unknown: int = 0


def judged(attempt: Attempt, check: Check | None, *, was: Outcome) -> tuple[Attempt, Outcome]:
    """Judge a task's last attempt by its body, as `asking.ask` judges a reply that has just come.

    Args:
        attempt: with its body.
        check: of the job's schema, None without one.
        was: the task's outcome until now.
    """
    reply = Reply(status=attempt.http_status or 0, headers={}, body=attempt.body)
    answer = _read(attempt.body, streamed=was.error_kind == _CUT_STREAM)
    verdict = judge(reply, answer)
    known = answer if isinstance(answer, Answer) else answer.answer if isinstance(answer, Cut) else None
    if check is not None and verdict is OK and known is not None:
        verdict = check(known) or verdict
    status = status_of(verdict, known)
    told = status in (Status.FAILED, Status.INVALID)
    outcome = was._replace(
        status=status,
        answered=attempt.n if not told or verdict.kind is Kind.INVALID else 0,
        error_kind=verdict.reason if told else None,
        error_message=_message(verdict, was) if told else None,
    )
    return attempt._replace(verdict=verdict.kind, reason=verdict.reason, billed=verdict.billed), outcome


def _message(verdict: Verdict, was: Outcome) -> str:
    # The key is not here to be taken out again, should it be a short one that stays in bodies.
    if was.error_kind == verdict.reason and HIDDEN in (was.error_message or ""):
        return str(was.error_message)
    return scrub(verdict.message, "")


def _read(body: bytes, *, streamed: bool) -> Answer | Unreadable:
    try:
        return read(body, streamed=streamed)
    except Unreadable as error:
        return error


def reread(
    old: pa.RecordBatch, entries: Mapping[int, list[Read]], schema: pa.Schema, terms: Terms, check: Check | None
) -> Slice:
    """Read some rows of a part again.

    Args:
        old: all columns of the rows.
        entries: the ledger of their block, by task.
        schema: of `data/`.
        terms: of the run.
        check: of the job's schema, None without one.
    """
    facts = old.select(["task", "status", "attempts", "error_kind", "error_message"]).to_pylist()
    started, finished = (old.column(name).cast(pa.int64()).to_pylist() for name in ("started_at", "finished_at"))
    bodies = old.column("raw").to_pylist()
    ended: list[Ended] = []
    places: list[int] = []
    corrected: list[tuple[Read, Read]] = []
    without_raw = unknown = 0
    for place, (fact, body) in enumerate(zip(facts, bodies, strict=True)):
        was = _outcome_of(fact, started[place], finished[place])
        reads = entries.get(was.task, [])
        ended.append((was, reads))
        if body is None:
            without_raw += 1
        elif not reads or reads[-1].attempt.n != was.attempts or not _is_by_its_body(reads[-1].attempt):
            unknown += 1
        else:
            attempt, now = judged(reads[-1].attempt._replace(body=body), check, was=was)
            again = read_attempt(attempt, terms)
            if not in_ledger(reads[-1], again):
                corrected.append((reads[-1], again))
            ended[-1] = (now, [*reads[:-1], again])
            places.append(place)
    data, by_column, differ = _replaced(old, places, [ended[place] for place in places], schema, terms)
    changed = Counter(
        (fact["status"], str(now.status))
        for fact, (now, _) in zip(facts, ended, strict=True)
        if fact["status"] != str(now.status)
    )
    return Slice(
        data=data,
        ended=ended,
        corrected=corrected,
        by_column=by_column,
        differ=differ,
        changed=changed,
        reread=len(places),
        without_raw=without_raw,
        unknown=unknown,
    )


def _is_by_its_body(attempt: Attempt) -> bool:
    return attempt.http_status is not None and attempt.http_status not in _REDIRECTED


def _outcome_of(fact: Mapping[str, Any], started_at: int, finished_at: int) -> Outcome:
    status, attempts = Status(fact["status"]), fact["attempts"]
    return Outcome(
        task=fact["task"],
        status=status,
        answered=0 if status is Status.FAILED else attempts,
        attempts=attempts,
        started_at=started_at,
        finished_at=finished_at,
        error_kind=fact["error_kind"],
        error_message=fact["error_message"],
    )


def _replaced(
    old: pa.RecordBatch, places: Sequence[int], ended: Sequence[Ended], schema: pa.Schema, terms: Terms
) -> tuple[pa.RecordBatch, Counter[str], int]:
    """The rows with what differs replaced; how many differ in each column, and in any."""
    by_column: Counter[str] = Counter()
    if not places:
        return old, by_column, 0
    mine = old.take(pa.array(places, pa.int64()))
    outcomes, asked = zip(*ended, strict=True)
    new = answer_columns(outcomes, asked, {}, schema, terms)
    columns = dict(zip(old.schema.names, old.columns, strict=True))
    differing: set[int] = set()
    for name in DERIVED:
        if name not in columns:
            continue
        here = _differing(mine.column(name), new.column(name))
        if here:
            by_column[name] = len(here)
            differing.update(here)
            columns[name] = _with(columns[name], new.column(name), {places[at]: at for at in here})
    rows = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
    return rows, by_column, len(differing)


def _differing(old: pa.Array, new: pa.Array) -> list[int]:
    if old.equals(new):
        return []
    pairs = zip(old.to_pylist(), new.to_pylist(), strict=True)
    return [at for at, (was, now) in enumerate(pairs) if was != now]


def _with(column: pa.Array, new: pa.Array, replaced: Mapping[int, int]) -> pa.Array:
    """The column with the values at some places taken from another one."""
    count = len(column)
    where = [count + replaced[place] if place in replaced else place for place in range(count)]
    return pa.concat_arrays([column, new.cast(column.type)]).take(pa.array(where, pa.int64()))
