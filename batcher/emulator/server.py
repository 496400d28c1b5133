"""How does the emulator hear and speak HTTP?

Google's REST surface on a local port, for tests, for the demo and as a process of its own. What it decides stands in
`service.py`. Beside it, `/_emulator/totals`, `/_emulator/journal?after=N` and `/_emulator/reset` tell another process
what it has received.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web
from multidict import CIMultiDict

from batcher.emulator.broken import BROKEN, BrokenOff
from batcher.emulator.exchange import Arrival, Ending, Reply, refusing
from batcher.emulator.journal import Journal, Received, Totals
from batcher.emulator.quotas import Instant
from batcher.emulator.refusals import too_large
from batcher.emulator.service import Service
from batcher.emulator.settings import Settings
from batcher.errors import UserError

Sleep = Callable[[float], Awaitable[None]]
_OWN = "/_emulator/"
_LINES_AT_ONCE = 1_000
_UNHEARD = Reply(status=200, body=b"", ending=Ending.DROP)
_SEND_BYTES = 1 << 17
_GONE_S = 0.05
"""How often a silent reply looks whether its client is still there."""
_CLOSING_S = 1.0
"""How long a stopping emulator lets open exchanges finish."""


class Emulator:
    """Gemini on localhost: `async with Emulator(settings) as emulator`, or `with Emulator(settings).in_thread() as it`.

    Args:
        settings: what it serves and how.
        port: 0 takes a free one.
        host: loopback unless said otherwise.
        sleep: how latencies are waited for.
        now_s: epoch seconds, for day quotas and stamps; windows use the loop's own time.

    Attributes:
        url: `http://127.0.0.1:PORT`, empty while it does not run.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        sleep: Sleep = asyncio.sleep,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or Settings()
        self.url = ""
        self._address = (host, port)
        self._sleep = sleep
        self._now_s = now_s
        self._service = Service(self.settings)
        self._runner: web.ServerRunner | None = None
        self._stale: set[web.RequestHandler] = set()

    @property
    def journal(self) -> Journal:
        """What it has received, oldest first."""
        return self._service.journal

    def totals(self) -> Totals:
        """Exact sums over everything received."""
        return self._service.journal.totals()

    def reset(self) -> None:
        """Forget everything received, quotas included."""
        self._service.reset()

    async def __aenter__(self) -> Self:
        self._service = Service(self.settings, began_s=asyncio.get_running_loop().time())
        # The bare server: no router, no middlewares, no access log. Paths are looked up and remembered in `routes.py`.
        self._runner = web.ServerRunner(
            web.Server(self._handle, request_factory=self._request, access_log=None), shutdown_timeout=_CLOSING_S
        )
        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port, backlog=4096).start()
        except OSError as error:
            await self._runner.cleanup()
            raise UserError(
                f"emulator: cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port"
            ) from error
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.url = ""

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Run on a loop of its own in a thread, for code that is not asynchronous.

        Raises:
            UserError: the port cannot be had.
        """
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(self._until_stopped(ready)), name="emulator", daemon=True)
        thread.start()
        loop, stop = ready.result()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    async def _until_stopped(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop = asyncio.Event()
        try:
            await self.__aenter__()
        except UserError as error:
            ready.set_exception(error)
            return
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await self.__aexit__(None, None, None)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop, most = asyncio.get_running_loop(), self.settings.max_body_bytes
        # aiohttp's own factory allows bodies of 1 MiB; inline media need more.
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=most)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path  # not `path_qs`: that would have yarl take it apart for every request
        if target.startswith(_OWN):
            return await self._about_itself(request)
        if self._stale and request.protocol in self._stale:
            return BrokenOff(_UNHEARD)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _response(refusing(too_large(self.settings.max_body_bytes)))
        now = Instant(steady_s=asyncio.get_running_loop().time(), epoch_s=self._now_s())
        arrival = Arrival(method=request.method, target=target, headers=request.headers, body=body, now=now)
        reply = self._service.reply(arrival)
        if reply.delay_s:
            await self._sleep(reply.delay_s)
        if reply.ending in BROKEN:
            return BrokenOff(reply)
        if reply.ending is Ending.STALE:
            # Those that the clients have closed meanwhile are forgotten.
            self._stale = {each for each in self._stale if each.transport is not None} | {request.protocol}
        return await self._stream(request, reply) if reply.writes else _response(reply)

    async def _stream(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=_headers(reply))
        with contextlib.suppress(ConnectionError):  # the client has gone
            await response.prepare(request)
            _hold_back(request)
            await self._write(request, response, reply)
        return response

    async def _write(self, request: web.BaseRequest, response: web.StreamResponse, reply: Reply) -> None:
        for number, piece in enumerate(reply.writes):
            if number and reply.every_s:
                await self._sleep(reply.every_s)
            await response.write(piece)
        while reply.ending is Ending.ENDLESS:
            await response.write(reply.writes[-1])  # until the client has gone
        while reply.ending is Ending.SILENCE and request.transport is not None:  # noqa: ASYNC110  nobody says when
            await asyncio.sleep(_GONE_S)
        await response.write_eof()

    async def _about_itself(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path.removeprefix(_OWN):
            case "GET", "totals":
                return _json_response(orjson.dumps(asdict(self.totals())))
            case "GET", "journal":
                after = request.query.get("after", "0")
                return await _journal_lines(request, self.journal.after(int(after) if after.isdigit() else 0))
            case "POST", "reset":
                self.reset()
                return _json_response(b"{}")
        return web.Response(status=404, text="known: GET totals, GET journal?after=N, POST reset\n")


async def serve(
    settings: Settings, *, host: str = "127.0.0.1", port: int = 0, on_ready: Callable[[Emulator], None] = lambda _: None
) -> None:
    """Serve until cancelled.

    Args:
        settings: what it serves and how.
        host: the address to listen on.
        port: 0 takes a free one.
        on_ready: called once with the running emulator, when it can be asked.

    Raises:
        UserError: the port cannot be had.
    """
    async with Emulator(settings, host=host, port=port) as emulator:
        on_ready(emulator)
        await asyncio.Event().wait()


def _hold_back(request: web.BaseRequest) -> None:
    """What a client does not read waits here: hundreds of endless replies would fill the kernel's memory for TCP."""
    opened = None if request.transport is None else request.transport.get_extra_info("socket")
    if opened is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def _response(reply: Reply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))


def _headers(reply: Reply) -> CIMultiDict[str]:
    headers = CIMultiDict({"Content-Type": reply.content_type})
    if reply.service_tier:
        headers["x-gemini-service-tier"] = reply.service_tier
    headers.extend(reply.headers)
    return headers


def _json_response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def _journal_lines(request: web.BaseRequest, entries: list[Received]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    # In pieces: a full journal as one text would hold up everyone else for a second.
    for start in range(0, len(entries), _LINES_AT_ONCE):
        lines = [
            orjson.dumps(asdict(each), option=orjson.OPT_APPEND_NEWLINE)
            for each in entries[start : start + _LINES_AT_ONCE]
        ]
        await response.write(b"".join(lines))
    await response.write_eof()
    return response
