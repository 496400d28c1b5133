"""What does a part know of the attempts whose ledger file is lost? The last one of each row; of those before, sums.

Each has `reason = rebuilt`; one of which only sums are known has `verdict = lost`, too. Whether that was answered, and
how, was in the lost file alone; so were waits, quotas and the reserves of requests that may have been billed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batcher.money.cost import Priced, TierSource, fusd
from batcher.money.totals import Totals
from batcher.money.usage import Buckets
from batcher.records import Answer, Attempt, Billed, Kind, Status, Usage
from batcher.store.bills import NO_USAGE, REBUILT, Earlier, Read, Terms, priced_attempt
from batcher.store.columns import ledger_columns
from batcher.store.history import Past, past_of
from batcher.store.salvage import sound_rows
from batcher.store.schemas import COUNTS, DETAILS

_THROTTLED = 429
_ANSWERED = {
    Status.OK: Kind.OK,
    Status.TRUNCATED: Kind.OK,
    Status.BLOCKED: Kind.BLOCKED,
    Status.INVALID: Kind.INVALID,
}
_COLUMNS = (
    *("task", "status", "attempts", "model", "model_version", "response_id", "usage_metadata"),
    *("input_tokens", "output_tokens", "cost_usd", "service_tier", "latency_ms", "first_byte_ms", "error_kind"),
)
_NO_PAST = Past(
    numbers=frozenset(),
    used=Earlier(attempts=0, input_tokens=0, output_tokens=0, cost_usd=Decimal(0), started_at=0),
)


def rebuilt_ledger(
    part: Path, others: Sequence[Path], *, block: int, totals: Totals, terms: Terms
) -> Iterator[pa.RecordBatch]:
    """Ledger rows for the attempts that a part counts and no ledger file of its block has.

    Args:
        part: readable, at least in parts.
        others: the ledger files of the block that are there.
        block: its number.
        totals: of the block: which of its attempts may have been billed or met a 429 nobody knows, but how many.
        terms: of the run.
    """
    left = _Left.of(totals, others)
    for batch in sound_rows(part):
        rows = _as_rows(batch)
        past = past_of(others, frozenset(row["task"] for row in rows))
        reads = [_missing(row, past.get(row["task"], _NO_PAST), terms, left) for row in rows]
        yield ledger_columns(reads, block, terms)


@dataclass(slots=True)
class _Left:
    """Attempts of a kind that the totals count and no row has yet; the first whose kind nobody knows get it."""

    maybe: int
    throttled: int

    @classmethod
    def of(cls, totals: Totals, files: Sequence[Path]) -> _Left:
        left = cls(totals.maybe_billed, totals.throttled)
        for batch in chain.from_iterable(map(sound_rows, files)):
            left.maybe -= pc.sum(pc.equal(batch.column("billed"), Billed.MAYBE.value)).as_py() or 0
            left.throttled -= pc.sum(pc.equal(batch.column("http_status"), _THROTTLED)).as_py() or 0
        return left

    def next(self) -> tuple[Billed, int | None]:
        """Whether the next one was billed, and its HTTP status."""
        if self.maybe > 0:
            self.maybe -= 1
            return Billed.MAYBE, None
        if self.throttled > 0:
            self.throttled -= 1
            return Billed.NO, _THROTTLED
        return Billed.NO, None


def _as_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batch.select(list(_COLUMNS)).to_pylist()
    for name in ("started_at", "finished_at"):
        for row, stamp in zip(rows, batch.column(name).cast(pa.int64()).to_pylist(), strict=True):
            row[name] = stamp
    return rows


def _missing(row: Mapping[str, Any], past: Past, terms: Terms, left: _Left) -> list[Read]:
    numbers = [n for n in range(1, row["attempts"] + 1) if n not in past.numbers]
    if not numbers:
        return []
    last = _last(row, terms) if numbers[-1] == row["attempts"] else None
    before = numbers[:-1] if last is not None else numbers
    return _sums(row, before, past, last, left) + ([] if last is None else [last])


def _last(row: Mapping[str, Any], terms: Terms) -> Read | None:
    """The attempt that answered, priced again by the run's own rates; None where none did."""
    verdict = _ANSWERED.get(Status(row["status"]))
    if verdict is None:
        return None
    n = row["attempts"]
    sent_at = row["started_at"] if n == 1 else row["finished_at"] - int(1000 * (row["latency_ms"] or 0))
    attempt = _attempt(row, n, verdict, Billed.YES)._replace(
        started_at=sent_at,
        latency_ms=row["latency_ms"],
        first_byte_ms=row["first_byte_ms"],
        http_status=200,
        service_tier=row["service_tier"],
    )
    usage = row["usage_metadata"] and _usage(row["usage_metadata"])
    answer = Answer(usage=usage, model_version=row["model_version"], response_id=row["response_id"])
    return priced_attempt(attempt, answer, terms)


def _sums(row: Mapping[str, Any], numbers: Sequence[int], past: Past, last: Read | None, left: _Left) -> list[Read]:
    """The attempts of which only sums are known: the first one carries what the others do not account for."""
    bill = last.buckets if last is not None else Buckets()
    used = past.used
    tokens_in = row["input_tokens"] - used.input_tokens - bill.billed_input
    tokens_out = row["output_tokens"] - used.output_tokens - bill.billed_output
    reads = []
    for number in numbers:
        if number == numbers[0] and (tokens_in > 0 or tokens_out > 0):
            attempt = _attempt(row, number, Kind.LOST, Billed.YES)
            usage = Usage(prompt_token_count=tokens_in, candidates_token_count=tokens_out)
            cost = _rest(row["cost_usd"], used.cost_usd, last)
            priced = Priced(
                None if cost is None else fusd(cost), None, row["service_tier"] or "standard", TierSource.ASKED, None
            )
            reads.append(Read(attempt, Answer(), usage, Buckets(), priced))
        else:
            billed, http_status = left.next()
            attempt = _attempt(row, number, Kind.LOST, billed)._replace(http_status=http_status)
            reads.append(Read(attempt, Answer(), NO_USAGE, Buckets(), None))
    return reads


def _rest(whole: Decimal | None, known: Decimal | None, last: Read | None) -> Decimal | None:
    answered = last.priced.cost_usd if last is not None and last.priced is not None else Decimal(0)
    return None if whole is None or known is None or answered is None else whole - known - answered


def _attempt(row: Mapping[str, Any], n: int, verdict: Kind, billed: Billed) -> Attempt:
    return Attempt(
        task=row["task"],
        n=n,
        model=row["model"] or "",
        started_at=row["started_at"],
        latency_ms=None,
        first_byte_ms=None,
        http_status=None,
        verdict=verdict,
        reason=REBUILT,
        quota_id=None,
        waited_ms=0.0,
        billed=billed,
        service_tier=None,
        reserve_input=0,
        reserve_output=0,
    )


def _usage(found: Mapping[str, Any]) -> Usage:
    counts: dict[str, Any] = {name: found[name] for name in COUNTS}
    details: dict[str, Any] = {
        name: {one["modality"]: one["token_count"] for one in found[name] or ()} for name in DETAILS
    }
    return Usage(**counts, **details)
