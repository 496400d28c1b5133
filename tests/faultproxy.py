"""What goes wrong below HTTP? A proxy on loopback that delays, slices, cuts, resets, half-closes or swallows bytes.

It knows nothing of HTTP: it hands bytes on and counts them. What it does to a connection is decided when that opens:
the n-th one meets `faults[n]`, the last of them for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

_AT_ONCE = 1 << 16
_LINGER_0 = struct.pack("ii", 1, 0)  # closing then sends RST in place of FIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """What becomes of one connection; all counts are of bytes from the server.

    Attributes:
        latency_s: how long each piece is held back.
        slice_bytes: pieces are handed on in slices of so many, each in a packet of its own.
        reset_after: the client's side is reset once so many were handed on; 0 before any.
        close_after: both sides are closed in good order once so many were handed on.
        half_close_after: only the sending is ended then: the client is still listened to.
        blackhole: the client is heard and never answered, the server never asked.
    """

    latency_s: float = 0.0
    slice_bytes: int = 0
    reset_after: int | None = None
    close_after: int | None = None
    half_close_after: int | None = None
    blackhole: bool = False

    @property
    def last_byte(self) -> int | None:
        """How many are handed on before it ends."""
        return next((n for n in (self.reset_after, self.close_after, self.half_close_after) if n is not None), None)


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        upstream: (host, port) of the real server.
        faults: of the first connection, the second, …; the last one stays.
        port: where it listens on loopback.
        connections: so far.
        passed: bytes from the server that were handed on, connection by connection.
    """

    upstream: tuple[str, int]
    faults: tuple[Toxic, ...] = (Toxic(),)
    port: int = 0
    connections: int = 0
    passed: list[int] = field(default_factory=list)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        toxic = self.faults[min(self.connections, len(self.faults) - 1)]
        number, self.connections = self.connections, self.connections + 1
        self.passed.append(0)
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        try:
            with contextlib.suppress(ConnectionError):
                if not toxic.blackhole:
                    await self._between(number, toxic, reader, writer)
                if toxic.blackhole or toxic.half_close_after is not None:
                    await _swallow(reader)
        finally:
            self._serving.discard(serving)
            writer.close()

    async def close(self) -> None:
        """End what is still open."""
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _between(
        self, number: int, toxic: Toxic, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        asking = asyncio.create_task(_pass_on(reader, server_writer))
        try:
            await self._answer(number, toxic, server_reader, writer)
        finally:
            asking.cancel()
            server_writer.close()

    async def _answer(
        self, number: int, toxic: Toxic, server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        last = toxic.last_byte
        while piece := await server.read(_AT_ONCE):
            await asyncio.sleep(toxic.latency_s)
            for part in _slices(piece if last is None else piece[: last - self.passed[number]], toxic.slice_bytes):
                client.write(part)
                await client.drain()
                self.passed[number] += len(part)
                await asyncio.sleep(0)
            if self.passed[number] == last:
                break
        if toxic.reset_after is not None:
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            client.transport.abort()
        elif toxic.half_close_after is not None:
            client.write_eof()


def _slices(piece: bytes, size: int) -> Iterator[bytes]:
    step = size or len(piece) or 1
    return (piece[start : start + step] for start in range(0, len(piece), step))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_AT_ONCE):
            writer.write(piece)
            await writer.drain()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(_AT_ONCE):
        pass


@contextlib.asynccontextmanager
async def fault_proxy(url: str, *faults: Toxic) -> AsyncIterator[FaultProxy]:
    """Stand in front of the server at `url`."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    proxy = FaultProxy((host, int(port)), faults or (Toxic(),))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


@contextlib.contextmanager
def fault_proxy_in_thread(url: str, *faults: Toxic) -> Iterator[FaultProxy]:
    """The same on a loop of its own, for code that is not asynchronous."""
    ready: Future[tuple[FaultProxy, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def stand() -> None:
        stop = asyncio.Event()
        async with fault_proxy(url, *faults) as proxy:
            ready.set_result((proxy, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(stand()), name="fault proxy", daemon=True)
    thread.start()
    proxy, loop, stop = ready.result()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
