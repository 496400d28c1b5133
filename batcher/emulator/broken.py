"""What is put on the wire of a reply that ends before its time, or lies about its length?"""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from batcher.emulator.exchange import Ending, Reply

BROKEN = frozenset({Ending.DROP, Ending.CUT, Ending.CUT_CLEAN, Ending.LENGTH_SHORT, Ending.TWO_LENGTHS})
"""The endings that aiohttp would not let out."""


class BrokenOff(web.StreamResponse):
    """As much of a reply as its ending allows; then the connection is closed."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._reply = reply

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write past aiohttp, which would keep the lengths honest; the error tells it that the client is gone."""
        transport = request.transport
        if transport is not None:
            transport.write(_bytes(self._reply))
            transport.close()
        raise ConnectionResetError


def _bytes(reply: Reply) -> bytes:
    body, half, chunked = reply.body, reply.body[: len(reply.body) // 2], bool(reply.writes)
    match reply.ending:
        case Ending.CUT:
            return _head(reply, "Transfer-Encoding: chunked") + _chunk(half) if chunked else _sized(reply, half)
        case Ending.CUT_CLEAN:
            return _head(reply) + half
        case Ending.LENGTH_SHORT:
            return _head(reply, f"Content-Length: {len(half)}") + body
        case Ending.TWO_LENGTHS:
            lengths = (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked")
            return _head(reply, *lengths) + _chunk(body) + b"0\r\n\r\n"
        case _:
            return b""


def _sized(reply: Reply, sent: bytes) -> bytes:
    return _head(reply, f"Content-Length: {len(reply.body)}") + sent


def _head(reply: Reply, *lengths: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} OK", f"Content-Type: {reply.content_type}", *lengths, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
