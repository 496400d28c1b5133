"""How is an attempt or an outcome written into the journal? crc32, the facts as JSON, then the raw body.

A frame that does not read back is damage, never a guess: `StorageError`.
"""

from __future__ import annotations

import struct
from zlib import crc32

import orjson

from batcher.errors import StorageError
from batcher.records import Attempt, Billed, Kind, Outcome, Status

_HEAD = struct.Struct("<II")  # crc32 of all that follows the first word; length of the facts


def pack_attempt(attempt: Attempt) -> bytes:
    """Frame one attempt; the body is kept uncompressed (compressing each record cost 13 to 16 µs a row)."""
    facts = orjson.dumps(
        (
            attempt.model,
            attempt.started_at,
            attempt.latency_ms,
            attempt.first_byte_ms,
            attempt.http_status,
            attempt.verdict,
            attempt.reason,
            attempt.quota_id,
            attempt.waited_ms,
            attempt.billed,
            attempt.service_tier,
            attempt.reserve_input,
            attempt.reserve_output,
        )
    )
    return _frame(facts, attempt.body)


def unpack_attempt(task: int, n: int, frame: bytes) -> Attempt:
    """Read an attempt back; the key (task, n) is the journal's."""
    facts, body = _unframe(frame, f"attempt {n} of task {task}")
    return Attempt(
        task=task,
        n=n,
        model=facts[0],
        started_at=facts[1],
        latency_ms=facts[2],
        first_byte_ms=facts[3],
        http_status=facts[4],
        verdict=Kind(facts[5]),
        reason=facts[6],
        quota_id=facts[7],
        waited_ms=facts[8],
        billed=Billed(facts[9]),
        service_tier=facts[10],
        reserve_input=facts[11],
        reserve_output=facts[12],
        body=body,
    )


def pack_outcome(outcome: Outcome) -> bytes:
    """Frame one outcome."""
    facts = (
        outcome.status,
        outcome.answered,
        outcome.attempts,
        outcome.started_at,
        outcome.finished_at,
        outcome.error_kind,
        outcome.error_message,
    )
    return _frame(orjson.dumps(facts), b"")


def unpack_outcome(task: int, frame: bytes) -> Outcome:
    """Read an outcome back."""
    facts, _ = _unframe(frame, f"outcome of task {task}")
    return Outcome(
        task=task,
        status=Status(facts[0]),
        answered=facts[1],
        attempts=facts[2],
        started_at=facts[3],
        finished_at=facts[4],
        error_kind=facts[5],
        error_message=facts[6],
    )


def _frame(facts: bytes, body: bytes) -> bytes:
    rest = b"".join((len(facts).to_bytes(4, "little"), facts, body))
    return crc32(rest).to_bytes(4, "little") + rest


def _unframe(frame: bytes, what: str) -> tuple[list, bytes]:  # type: ignore[type-arg]  # JSON
    if len(frame) < _HEAD.size:
        raise StorageError(f"journal: {what} is cut short", hint="batcher recover OUT  # asks for these rows again")
    crc, length = _HEAD.unpack_from(frame)
    if crc32(memoryview(frame)[4:]) != crc:
        raise StorageError(f"journal: {what} is damaged", hint="batcher recover OUT  # asks for these rows again")
    end = _HEAD.size + length
    return orjson.loads(frame[_HEAD.size : end]), frame[end:]
