"""How does one request reach the endpoint, and what came back? The one door to the network.

No redirect is followed (a session of aiohttp's forwards `x-goog-api-key` to another origin), no cookie is kept, the key
travels as a header only and never through an exception: aiohttp's own exceptions carry headers and URLs, so they end
here as `NoReply`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from yarl import URL

from batcher.asking.resolving import ForbiddenAddress
from batcher.asking.room import SMALL_BYTES, Place, Room
from batcher.asking.scrub import scrub_bytes
from batcher.asking.wire import Flight, Rest, Wire
from batcher.gemini.request import auth_header, path
from batcher.job.spec import Auth, Stream, Timeouts
from batcher.records import NoReply, NoReplyKind, Reply, Request

_SWEEP_S = 0.25
_BUFFERED_BYTES = 64 << 10  # of a stream; aiohttp's buffer takes twice as much before it stops reading


class Transport(Protocol):
    """Where requests go: the network, or a script in tests."""

    async def post(self, request: Request) -> Reply | NoReply:
        """Send one request; never raises for what the other side does."""
        ...

    def forget(self) -> None:
        """The last reply of the running task, longer than `SMALL_BYTES`, is on disk and in memory no longer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask and how.

    Attributes:
        base_url: scheme, host and path prefix without a trailing slash.
        key: the secret itself; kept out of repr.
    """

    base_url: str
    api_version: str
    verbless: bool
    auth: Auth
    key: str
    trust_env: bool = False
    stream: Stream = Stream.OFF

    def __repr__(self) -> str:
        return f"Target({self.base_url!r})"


class Door:
    """The connections to one target.

    Args:
        target: whom to ask.
        timeouts: of one request.
        connections: at most so many at once; the gate allows no more requests than that.
        names: looks the endpoint's name up; the system unless given.
    """

    def __init__(
        self, target: Target, timeouts: Timeouts, *, connections: int, names: AbstractResolver | None = None
    ) -> None:
        self._target = target
        self._origin = URL(target.base_url, encoded=True).origin()
        self._names = names
        self._timeouts = timeouts
        self._connections = connections
        self._secret = target.key.encode()
        self._urls: dict[str, str] = {}
        self._streams = target.stream is not Stream.OFF
        self._room = Room(timeouts.max_body_bytes)
        self._places: dict[asyncio.Task[Any], Place] = {}  # of big replies that are read and not yet forgotten

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._flights: dict[asyncio.Task[Any], Flight] = {}
        self._wire = Wire(
            self._flights,
            headers=self._headers(self._target.key),
            connections=self._connections,
            connect_s=self._timeouts.connect_s,
            trust_env=self._target.trust_env,
            names=self._names,
        )
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweeping.cancel()
        await self._wire.close()

    def use_key(self, key: str) -> bool:
        """Send another key from now on; False when it is the same."""
        if key.encode() == self._secret:
            return False
        self._secret = key.encode()
        self._wire.use_headers(self._headers(key))
        return True

    async def post(self, request: Request) -> Reply | NoReply:
        """Send one request and read its reply whole, within the deadlines and the byte cap."""
        clock = self._loop.time
        started = clock()
        task = asyncio.current_task()
        assert task is not None
        flight = self._flights[task] = Flight(started + self._timeouts.first_byte_s)
        secret = self._secret  # that this request is sent with, whatever key the next ones get
        try:
            message, content = await self._wire.send(flight, self._url(request.model), request.body)
            flight.head_at = clock()
            flight.due_s = min(started + self._timeouts.total_s, flight.head_at + self._timeouts.body_s)
            body = await (
                self._streamed(content, flight, started) if self._streams else self._body(content, flight, started)
            )
        except _TooLarge:
            return self._failed(NoReplyKind.TOO_LARGE, started, flight, "more bytes than max_body_bytes")
        except asyncio.CancelledError:
            if not flight.is_late or task.uncancel():
                raise
            kind = NoReplyKind.BODY_DEADLINE if flight.head_at else NoReplyKind.READ_TIMEOUT
            return self._failed(kind, started, flight, "TimeoutError")
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            kind = _kind_of(error, head=bool(flight.head_at), reused=not flight.is_fresh)
            return self._failed(kind, started, flight, _detail(error))
        else:
            self._wire.keep(flight)
            if flight.place is not None:
                self._places[task], flight.place = flight.place, None
        finally:
            del self._flights[task]
            flight.close()
            if flight.place is not None:
                self._room.leave(flight.place)
        return Reply(
            message.code,
            message.headers,
            scrub_bytes(body, secret),
            (flight.head_at - started) * 1000,
            (clock() - started) * 1000,
        )

    def forget(self) -> None:
        """The last reply of the running task is on disk: its place is another's."""
        task = asyncio.current_task()
        assert task is not None
        if (place := self._places.pop(task, None)) is not None:
            self._room.leave(place)

    async def _sweep(self) -> None:
        """End the exchanges that are late; one look at them all now and then costs a request nothing."""
        every_s = min(_SWEEP_S, min(self._timeouts.first_byte_s, self._timeouts.body_s, self._timeouts.total_s) / 4)
        while True:
            await asyncio.sleep(every_s)
            now = self._loop.time()
            self._look(now)
            self._wire.drop_idle(now)

    def _look(self, now: float) -> None:
        for task, flight in self._flights.items():
            if flight.rest is not None and _is_full(flight, flight.rest, now):
                flight.is_full, flight.rest = True, None
                task.cancel()
            elif flight.due_s <= now and not flight.is_late:
                flight.is_late = True
                task.cancel()

    async def _body(self, content: StreamReader, flight: Flight, started: float) -> bytes:
        most = self._timeouts.max_body_bytes
        body = await content.readany()
        size = len(body)
        if size <= most and content.at_eof():  # nearly every reply is here as a whole
            return body
        chunks = [body]
        while size <= most and (chunk := await content.readany()):
            chunks.append(chunk)
            size += len(chunk)
            if SMALL_BYTES < size <= most:
                await self._seat(flight, size, started)
        if size > most:
            raise _TooLarge
        return b"".join(chunks)

    async def _streamed(self, content: StreamReader, flight: Flight, started: float) -> bytes:
        """Read a stream, each of its silences bounded; its head says nothing of when the first word came."""
        timeouts, pieces, size = self._timeouts, list[bytes](), 0
        last_s = started + timeouts.total_s
        flight.due_s = min(last_s, started + timeouts.first_byte_s)
        while piece := await content.readany():
            now = self._loop.time()
            flight.head_at = flight.head_at if pieces else now
            flight.due_s = min(last_s, now + timeouts.body_s)
            pieces.append(piece)
            size += len(piece)
            if size > timeouts.max_body_bytes:
                raise _TooLarge
            if size > SMALL_BYTES:
                await self._seat(flight, size, started)
            elif size <= _BUFFERED_BYTES and not content.is_eof():
                flight.rest = Rest(content, size, timeouts.body_s, last_s)
                await self._ended(content, flight)
        return b"".join(pieces)

    async def _ended(self, content: StreamReader, flight: Flight) -> None:
        """Sleep until a stream has ended or its buffer is full; to wake for each piece costs 6 µs apiece."""
        try:
            await content.wait_eof()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not flight.is_full or task.uncancel():
                raise
        finally:
            flight.rest = None

    async def _seat(self, flight: Flight, size: int, started: float) -> None:
        """Have room for a big reply; what has to be waited for is no delay of the server's."""
        place = flight.place = flight.place or Place()
        if self._room.fits(place, size):
            return
        left_s = flight.due_s - self._loop.time()
        flight.due_s = started + self._timeouts.total_s
        await self._room.wait(place)
        flight.due_s = min(flight.due_s, self._loop.time() + left_s)

    def _url(self, model: str) -> str:
        url = self._urls.get(model)
        if url is None:
            target = self._target
            where = path(model, api_version=target.api_version, verbless=target.verbless, stream=target.stream)
            url = self._urls[model] = self._target.base_url + where
            assert URL(url, encoded=True).origin() == self._origin  # a row may name the model, never the endpoint
        return url

    def _headers(self, key: str) -> Mapping[str, str]:
        name, value = auth_header(self._target.auth, key)
        return {name: value, "Content-Type": "application/json"}

    def _failed(self, kind: NoReplyKind, started: float, flight: Flight, detail: str) -> NoReply:
        return NoReply(
            kind=kind,
            sent=kind not in _UNSENT,
            first_byte=bool(flight.head_at),
            detail=detail,
            latency_ms=(self._loop.time() - started) * 1000,
        )


def _is_full(flight: Flight, rest: Rest, now: float) -> bool:
    """Look after a stream that nobody reads: whether it has been silent for too long shows in `due_s`."""
    came = rest.content.total_bytes
    if came != rest.came:
        rest.came, flight.due_s = came, min(rest.last_s, now + rest.silence_s)
    return came > _BUFFERED_BYTES


class _TooLarge(Exception):  # noqa: N818  control flow inside this module
    pass


_UNSENT = frozenset(
    {
        NoReplyKind.DNS,
        NoReplyKind.REFUSED,
        NoReplyKind.CONNECT_TIMEOUT,
        NoReplyKind.TLS_HANDSHAKE,
        NoReplyKind.TLS_CERTIFICATE,
        NoReplyKind.FORBIDDEN_ADDRESS,
    }
)

# Most specific first: aiohttp's connector errors are OSErrors, its server errors are not always.
_KINDS: tuple[tuple[type[BaseException], NoReplyKind], ...] = (
    (aiohttp.ClientConnectorCertificateError, NoReplyKind.TLS_CERTIFICATE),
    (aiohttp.ClientConnectorSSLError, NoReplyKind.TLS_HANDSHAKE),
    (aiohttp.ClientConnectorDNSError, NoReplyKind.DNS),
    (aiohttp.ConnectionTimeoutError, NoReplyKind.CONNECT_TIMEOUT),
    (aiohttp.ClientConnectorError, NoReplyKind.REFUSED),
    (aiohttp.ClientPayloadError, NoReplyKind.CUT),
    (aiohttp.ClientResponseError, NoReplyKind.BAD_HTTP),
    (HttpProcessingError, NoReplyKind.BAD_HTTP),
    (ssl.SSLError, NoReplyKind.TLS_HANDSHAKE),
)


def _kind_of(error: BaseException, *, head: bool, reused: bool) -> NoReplyKind:
    if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, ForbiddenAddress):
        return NoReplyKind.FORBIDDEN_ADDRESS
    for kind_of_error, kind in _KINDS:
        if isinstance(error, kind_of_error):
            return kind
    if head:
        return NoReplyKind.CUT
    return NoReplyKind.STALE if reused else NoReplyKind.DISCONNECTED


def _detail(error: BaseException) -> str:
    # Never str(error): aiohttp puts headers and URLs into it.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
