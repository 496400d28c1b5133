"""What does the ledger have of a block's tasks? Its rows, read back as the attempts that they were made of.

A ledger file is never changed. What was read wrongly and is read again stands in a later file as a correction: a row
with role `correction`, whose tokens and cost are the difference, so that every sum is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.errors import StorageError
from batcher.money.cost import Priced, TierSource, fusd
from batcher.money.usage import Buckets, buckets
from batcher.records import Answer, Attempt, Billed, Kind, Usage
from batcher.store import schemas
from batcher.store.bills import Read, Terms, cost_fusd_of, reserve_usd
from batcher.store.columns import ledger_columns
from batcher.store.rundir import RunDir

CORRECTION = "correction"
_ZERO = Decimal(0)


def read_entries(rundir: RunDir, block: int) -> dict[int, list[Read]]:
    """The attempts of a block's tasks in order, over all generations, corrections counted in; their bodies are gone.

    Raises:
        StorageError: a ledger file is damaged.
    """
    found: dict[tuple[int, int], Read] = {}
    files = [path for path in rundir.ledgers() if path.name.startswith(f"attempts-{block:05d}-g")]
    for path in sorted(files, key=lambda path: int(path.stem.rpartition("-g")[2])):
        try:
            rows = pq.read_table(path, page_checksum_verification=True).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: not a whole file of the ledger: {error}") from error
        for row in rows:
            key, read = (row["task"], row["attempt"]), read_of(row)
            found[key] = read if row["role"] != CORRECTION or key not in found else _corrected(found[key], read)
    tasks: dict[int, list[Read]] = {}
    for (task, _), read in sorted(found.items()):
        tasks.setdefault(task, []).append(read)
    return tasks


def corrections(pairs: Sequence[tuple[Read, Read]], block: int, terms: Terms) -> pa.RecordBatch:
    """One slice of the ledger: what makes of each first read the second one."""
    batch = ledger_columns([[_difference(old, new)] for old, new in pairs], block, terms)
    own: Mapping[str, pa.Array] = {
        "role": pa.repeat(pa.scalar(CORRECTION, pa.string()), len(pairs)),
        "reserve_usd": pa.array([_reserve_difference(old, new, terms) for old, new in pairs], schemas.MONEY),
        "reserve_input_tokens": pa.nulls(len(pairs), pa.int64()),
        "reserve_output_tokens": pa.nulls(len(pairs), pa.int64()),
    }
    columns = [own.get(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def in_ledger(old: Read, new: Read) -> bool:
    """Whether the ledger says of both the same."""
    return _facts(old) == _facts(new)


def _facts(read: Read) -> tuple[Any, ...]:
    attempt = read.attempt
    usage = replace(read.usage, service_tier=None)
    said = (read.answer.model_version, read.answer.response_id)
    return attempt.verdict, attempt.reason, attempt.billed, usage, cost_fusd_of(read), *said


def read_of(row: Mapping[str, Any]) -> Read:
    """Read one row of the ledger back as the attempt that it was made of."""
    source = row["tier_source"]
    told: dict[str, Any] = {name: row[name] for name in schemas.COUNTS}
    told |= {name: {each["modality"]: each["token_count"] for each in row[name] or ()} for name in schemas.DETAILS}
    usage = Usage(**told, service_tier=row["service_tier"] if source == TierSource.USAGE else None)
    attempt = Attempt(
        task=row["task"],
        n=row["attempt"],
        model=row["model"],
        started_at=_microseconds(row["started_at"]),
        latency_ms=row["latency_ms"],
        first_byte_ms=None,
        http_status=row["http_status"],
        verdict=Kind(row["verdict"]),
        reason=row["reason"],
        quota_id=row["quota_id"],
        waited_ms=row["waited_ms"],
        billed=Billed(row["billed"]),
        service_tier=row["service_tier"] if source == TierSource.HEADER else None,
        reserve_input=row["reserve_input_tokens"] or 0,
        reserve_output=row["reserve_output_tokens"] or 0,
    )
    answer = Answer(
        usage=usage,
        model_version=row["model_version"],
        response_id=row["response_id"],
        web_searches=row["billable_searches"],
    )
    return _priced(attempt, answer, usage, row["cost_usd"], row)


def _priced(attempt: Attempt, answer: Answer, usage: Usage, cost: Decimal | None, row: Mapping[str, Any]) -> Read:
    if attempt.billed is not Billed.YES and row["role"] != CORRECTION:
        return Read(attempt, answer, usage, Buckets(), None)
    tokens = buckets(usage)
    tier, source = row["service_tier"] or "", TierSource(row["tier_source"] or TierSource.DEFAULT)
    return Read(
        attempt,
        answer,
        usage,
        tokens,
        Priced(None if cost is None else fusd(cost), row["price_id"], tier, source, tokens),
    )


def _corrected(old: Read, by: Read) -> Read:
    """An attempt with a correction counted in."""
    usage = _combined(old.usage, by.usage, sign=1)
    was = old.attempt
    attempt = by.attempt._replace(
        latency_ms=was.latency_ms,
        http_status=was.http_status,
        quota_id=was.quota_id,
        waited_ms=was.waited_ms,
        service_tier=was.service_tier,
        reserve_input=was.reserve_input,
        reserve_output=was.reserve_output,
    )
    if attempt.billed is not Billed.YES or by.priced is None:
        return Read(attempt, replace(by.answer, usage=usage), usage, Buckets(), None)
    tokens = buckets(usage)
    priced = by.priced._replace(cost_fusd=(cost_fusd_of(old) or 0) + (by.priced.cost_fusd or 0), buckets=tokens)
    return Read(attempt, replace(by.answer, usage=usage), usage, tokens, priced)


def _difference(old: Read, new: Read) -> Read:
    usage = _combined(new.usage, old.usage, sign=-1)
    cost = (cost_fusd_of(new) or 0) - (cost_fusd_of(old) or 0)
    priced = (new.priced or Priced(None, None, "", TierSource.DEFAULT, None))._replace(cost_fusd=cost)
    attempt = new.attempt._replace(latency_ms=None, http_status=None, quota_id=None, waited_ms=0.0, body=b"")
    searches = _sum(new.answer.web_searches, old.answer.web_searches, sign=-1)
    return Read(attempt, replace(new.answer, web_searches=searches), usage, Buckets(), priced)


def _reserve_difference(old: Read, new: Read, terms: Terms) -> Decimal | None:
    before, now = reserve_usd(old, terms), reserve_usd(new, terms)
    return None if before is None and now is None else (now or _ZERO) - (before or _ZERO)


def _combined(one: Usage, other: Usage, *, sign: int) -> Usage:
    told: dict[str, Any] = {name: _sum(getattr(one, name), getattr(other, name), sign=sign) for name in schemas.COUNTS}
    for name in schemas.DETAILS:
        told[name] = _details(getattr(one, name), getattr(other, name), sign=sign)
    return Usage(**told, service_tier=one.service_tier)


def _sum(one: int | None, other: int | None, *, sign: int) -> int | None:
    return None if one is None and other is None else (one or 0) + sign * (other or 0)


def _details(one: Mapping[str, int], other: Mapping[str, int], *, sign: int) -> dict[str, int]:
    names: Iterable[str] = dict.fromkeys([*one, *other])
    summed = {name: one.get(name, 0) + sign * other.get(name, 0) for name in names}
    return {name: tokens for name, tokens in summed.items() if tokens or name in one}


def _microseconds(stamp: Any) -> int:
    whole = int(stamp.timestamp() // 1)
    return whole * 1_000_000 + int(stamp.microsecond)
