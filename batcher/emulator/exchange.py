"""What do the emulator's rooms hand each other about one request?"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from batcher.emulator.quotas import Instant
from batcher.emulator.refusals import Refusal
from batcher.emulator.spelling import Asked
from batcher.emulator.usage import Usage


class Ending(enum.Enum):
    """What becomes of the connection."""

    WHOLE = enum.auto()  # the whole reply, the connection lives on
    DROP = enum.auto()  # closed before any byte
    CUT = enum.auto()  # half the body under a full length, closed
    CUT_CLEAN = enum.auto()  # half the body, no length, closed
    LENGTH_SHORT = enum.auto()  # the whole body under half its length, closed
    TWO_LENGTHS = enum.auto()  # a length and chunks, closed
    SILENCE = enum.auto()  # what is to be written, then nothing while the client stays
    ENDLESS = enum.auto()  # the last write again and again while the client stays
    STALE = enum.auto()  # the whole reply; the connection dies unheard when it is used again


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One HTTP request as the door hands it over; headers are looked up by lower-case name."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    now: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to put on the wire, and when.

    Attributes:
        service_tier: for its header; empty on refusals.
        headers: beside the usual ones.
        delay_s: how long to wait before the first byte.
        writes: the body as it is written, piece by piece, where it goes out bit by bit; empty for every other reply.
        every_s: how long to wait before each further write.
    """

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    service_tier: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    ending: Ending = Ending.WHOLE
    writes: tuple[bytes, ...] = ()
    every_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A reply and what the journal says about it.

    Attributes:
        fault: the kind of fault that was made; `quota` when a quota refused.
        asked: None when the request could not be read, or held none.
        usage: what is billed; None when nothing was computed.
        response_id: None when nothing was computed.
    """

    reply: Reply
    fault: str | None = None
    asked: Asked | None = None
    usage: Usage | None = None
    response_id: str | None = None


def refusing(refusal: Refusal) -> Reply:
    """The reply that a refusal is."""
    return Reply(status=refusal.status, body=refusal.body, content_type=refusal.content_type, headers=refusal.headers)
