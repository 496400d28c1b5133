"""Is a record of the journal what was written for its task? crc32, its facts as JSON, the raw body."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import orjson

_PRIME, _WORD = 0x9E3779B1, 0xFFFFFFFF  # a record's crc begins at (task + n * prime): it answers for no other key
OUTCOME_FACTS, ATTEMPT_FACTS = 7, 13


def facts_of(record: object, task: int, n: int) -> list[Any] | None:
    """The facts of a record; None when it is not the record of (task, n). An outcome's `n` is 0."""
    if not isinstance(record, bytes) or len(record) < 8:
        return None
    if crc32(memoryview(record)[4:], (task + n * _PRIME) & _WORD) != int.from_bytes(record[:4], "little"):
        return None
    try:
        facts = orjson.loads(record[8 : 8 + int.from_bytes(record[4:8], "little")])
    except ValueError:
        return None
    wanted = ATTEMPT_FACTS if n else OUTCOME_FACTS
    return facts if isinstance(facts, list) and len(facts) == wanted else None


def value_of(kept: object, key: str) -> bytes | None:
    """A small value that is kept with a crc32 over it and its key behind it; None when they do not fit."""
    if not isinstance(kept, bytes):
        return None
    value, _, _ = kept.rpartition(b" ")
    return value if kept == value + b" %08x" % crc32(value, crc32(key.encode())) else None
