"""How is an attempt or an outcome written into the journal? crc32, the facts as JSON, then the raw body.

The crc begins with the key, so that a record never answers for another task. A frame that does not read back is
damage, never a guess: `StorageError`.
"""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

import orjson

from batcher.errors import StorageError
from batcher.records import Attempt, Billed, Kind, Outcome, Place, Status

_HEAD = struct.Struct("<II")  # crc32 of all that follows the first word; length of the facts
_PRIME, _WORD = 0x9E3779B1, 0xFFFFFFFF  # (task, n) -> where the crc begins; odd, so that each bit of n counts

_ELSEWHERE = "name another folder with -o; the finished parts are whole"
_KINDS = {kind.value: kind for kind in Kind}  # a look-up costs an eighth of calling the enum
_BILLED = {billed.value: billed for billed in Billed}
_STATUSES = {status.value: status for status in Status}
_VERDICT = Attempt._fields.index("verdict")
_BILL = Attempt._fields.index("billed")
_FACTS = len(Attempt._fields) - len(("task", "n", "body"))
"""With the place; most runs have one endpoint and write none."""


def pack_attempt(attempt: Attempt) -> bytes:
    """Frame one attempt; the body is kept uncompressed (compressing each record cost 13 to 16 µs a row)."""
    facts = attempt[2:-2] if attempt.place is None else (*attempt[2:-2], tuple(attempt.place))
    return _frame(orjson.dumps(facts), attempt.body, attempt.task + attempt.n * _PRIME)


def unpack_attempt(task: int, n: int, frame: bytes) -> Attempt:
    """Read an attempt back; the key (task, n) is the journal's."""
    facts, body = _unframe(frame, "attempt", task, task + n * _PRIME)
    place = Place(*facts.pop()) if len(facts) == _FACTS else None
    values = [task, n, *facts, place, body]
    values[_VERDICT] = _KINDS[values[_VERDICT]]
    values[_BILL] = _BILLED[values[_BILL]]
    return Attempt._make(values)


def pack_outcome(outcome: Outcome) -> bytes:
    """Frame one outcome."""
    return _frame(orjson.dumps(outcome[1:]), b"", outcome.task)


def unpack_outcome(task: int, frame: bytes) -> Outcome:
    """Read an outcome back."""
    facts, _ = _unframe(frame, "outcome", task, task)
    return Outcome(task, _STATUSES[facts[0]], *facts[1:])


def checked(content: bytes, key: str) -> bytes:
    """A small value with a crc32 over it and its key behind it: ` 1a2b3c4d`."""
    return content + b" %08x" % crc32(content, crc32(key.encode()))


def unchecked(content: bytes, key: str, what: str) -> bytes:
    """The value that `checked` was given; one of an older version, without a crc, is taken as it is.

    Raises:
        StorageError: it is damaged.
    """
    value, blank, _ = content.rpartition(b" ")
    if not blank:
        return content
    if checked(value, key) != content:
        raise StorageError(f"journal: the {what} is damaged", hint=_ELSEWHERE)
    return value


def _frame(facts: bytes, body: bytes, key: int) -> bytes:
    length = len(facts).to_bytes(4, "little")
    crc = crc32(body, crc32(facts, crc32(length, key & _WORD)))  # piece by piece: the body is copied once
    return b"".join((crc.to_bytes(4, "little"), length, facts, body))


def _unframe(frame: bytes, what: str, task: int, key: int) -> tuple[list[Any], bytes]:
    view = memoryview(frame)
    if len(frame) < _HEAD.size:
        raise _damaged(what, task)
    crc, length = _HEAD.unpack_from(frame)
    if crc32(view[4:], key & _WORD) != crc:
        raise _damaged(what, task)
    end = _HEAD.size + length
    return orjson.loads(view[_HEAD.size : end]), frame[end:]


def _damaged(what: str, task: int) -> StorageError:
    return StorageError(
        f"journal: the {what} of task {task} is damaged",
        hint=_ELSEWHERE,
    )
