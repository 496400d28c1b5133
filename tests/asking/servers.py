"""Endpoints on loopback that misbehave in one way each, down to the byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """What a server was sent, connection by connection."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def header(self, name: str) -> list[str]:
        """The values of one header of the last request."""
        lines = self.requests[-1].split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        pairs = [line.split(": ", 1) for line in lines]
        return [value for found, value in pairs if found.lower() == name.lower()]


async def until(settled: Callable[[], object]) -> None:
    """Wait for something that no event tells."""
    async with asyncio.timeout(20):
        while not settled():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body; empty when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head + await reader.readexactly(length)


@contextlib.asynccontextmanager
async def raw_server(*answers: bytes | Handler | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Heard]:
    """A server that answers the n-th request of all with `answers[n]`, the last one for ever.

    Bytes are sent and the connection stays open; None closes it; a function does as it likes and then it is closed.
    """
    heard = Heard()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while request := await read_request(reader):
                heard.requests.append(request)
                answer = answers[min(len(heard.requests), len(answers)) - 1]
                if not isinstance(answer, bytes):
                    if answer is not None:
                        await answer(reader, writer)
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    heard.port = server.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        server.close()


def reply(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> bytes:
    """A whole reply with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def sending(*pieces: bytes, every_s: float = 0.0) -> Handler:
    """Send these pieces and close."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    return send


def silence(*before: bytes) -> Handler:
    """Send that much and then nothing more, for as long as the client stays."""

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in before:
            writer.write(piece)
        await reader.read()

    return stay


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Drop the connection without a goodbye."""
    writer.transport.abort()
