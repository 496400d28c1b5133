"""What arrives of an answer that was computed? Less, more, late, or something that is no HTTP."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import replace

from batcher.emulator.exchange import Ending, Reply
from batcher.emulator.faults import Fault, FaultKind

_PIECE = b" " * 65_536  # JSON may have as much space as it likes
_LONG_HEADER = "x" * 100_000
_MANY_HEADERS = tuple((f"x-header-{number}", "x") for number in range(5_000))
_HUGE_MB = 100.0
_BOMB_MB = 300.0
_TRICKLE_S = 1.0


def damaged(reply: Reply, fault: Fault) -> Reply:
    """The reply as the fault lets it out; unchanged where the fault is of another sort.

    Args:
        reply: whole; of a stream with its writes, which have the body in them.
        fault: what goes wrong.
    """
    if fault.kind in _ENDINGS:
        return replace(reply, ending=_ENDINGS[fault.kind])
    damage = _DAMAGES.get(fault.kind)
    return reply if damage is None else damage(reply, fault)


def _trickling(reply: Reply, fault: Fault) -> Reply:
    every_s = _TRICKLE_S if fault.seconds is None else fault.seconds
    return replace(reply, writes=tuple(reply.body[at : at + 1] for at in range(len(reply.body))), every_s=every_s)


def _huge(reply: Reply, fault: Fault) -> Reply:
    return replace(reply, writes=(reply.body, *[_PIECE] * _pieces(fault.size_mb or _HUGE_MB)), every_s=0.0)


def _bomb(reply: Reply, fault: Fault) -> Reply:
    packed = _packed(_pieces(fault.size_mb or _BOMB_MB))
    return replace(reply, body=packed, writes=(), headers=(*reply.headers, ("Content-Encoding", "gzip")))


def _no_text(reply: Reply, _: Fault) -> Reply:
    """The first string ends in a byte that UTF-8 never has, and so does what is written of it."""
    return replace(reply, body=_spoilt(reply.body), writes=tuple(_spoilt(piece) for piece in reply.writes))


def _spoilt(body: bytes) -> bytes:
    return body.replace(b'"text":"', b'"text":"\xff', 1)


def _endless(reply: Reply, _: Fault) -> Reply:
    beginning = reply.writes[0].rstrip() if reply.writes else reply.body
    return replace(reply, writes=(beginning[: len(beginning) // 2], _PIECE), every_s=0.0, ending=Ending.ENDLESS)


def _silent(reply: Reply, _: Fault) -> Reply:
    return replace(reply, writes=(b"",), every_s=0.0, ending=Ending.SILENCE)


def _with_headers(*headers: tuple[str, str]) -> Callable[[Reply, Fault], Reply]:
    return lambda reply, _: replace(reply, headers=(*reply.headers, *headers))


_ENDINGS = {
    FaultKind.DROP: Ending.DROP,
    FaultKind.DROP_PAID: Ending.DROP,
    FaultKind.CUT: Ending.CUT,
    FaultKind.CUT_CLEAN: Ending.CUT_CLEAN,
    FaultKind.LENGTH_SHORT: Ending.LENGTH_SHORT,
    FaultKind.TWO_LENGTHS: Ending.TWO_LENGTHS,
    FaultKind.STALE: Ending.STALE,
}
_DAMAGES: dict[FaultKind, Callable[[Reply, Fault], Reply]] = {
    FaultKind.TRICKLE: _trickling,
    FaultKind.HUGE: _huge,
    FaultKind.GZIP_BOMB: _bomb,
    FaultKind.BAD_UTF8: _no_text,
    FaultKind.ENDLESS: _endless,
    FaultKind.SILENCE: _silent,
    FaultKind.LONG_HEADER: _with_headers(("x-header", _LONG_HEADER)),
    FaultKind.MANY_HEADERS: _with_headers(*_MANY_HEADERS),
}


def _pieces(size_mb: float) -> int:
    return max(1, round(size_mb * 1_000_000 / len(_PIECE)))


@functools.lru_cache(maxsize=4)
def _packed(pieces: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(_PIECE) for _ in range(pieces)), packer.flush()])
