"""How does one request reach the endpoint, and what came back? The one door to the network.

No redirect is followed (aiohttp forwards `x-goog-api-key` to another origin), no cookie is kept, the key travels as a
header only and never through an exception: aiohttp's own exceptions carry headers and URLs, so they end here as
`NoReply`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from batcher.asking.scrub import scrub_bytes
from batcher.gemini.request import auth_header, path
from batcher.job.spec import Auth, Timeouts
from batcher.records import NoReply, NoReplyKind, Reply, Request

_SWEEP_S = 0.25
_KEEP_ALIVE_S = 15.0  # shorter than servers' own, so that most idle connections are closed by us and not under us


class Transport(Protocol):
    """Where requests go: the network, or a script in tests."""

    async def post(self, request: Request) -> Reply | NoReply:
        """Send one request; never raises for what the other side does."""
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

    def __repr__(self) -> str:
        return f"Target({self.base_url!r})"


class Door:
    """One aiohttp session for one target.

    Args:
        target: whom to ask.
        timeouts: of one request.
        connections: at most so many at once; the gate allows no more requests than that.
    """

    def __init__(self, target: Target, timeouts: Timeouts, *, connections: int) -> None:
        self._target = target
        self._timeouts = timeouts
        self._connections = connections
        self._urls: dict[str, URL] = {}
        self._use_key(target.key)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._flights: dict[asyncio.Task[Any], _Flight] = {}
        connector = _Connector(
            self._flights,
            limit=self._connections,
            keepalive_timeout=_KEEP_ALIVE_S,
            ttl_dns_cache=300,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s, sock_read=None),
            trust_env=self._target.trust_env,
            headers=self._headers,  # of the session: those of a request are copied one by one
            skip_auto_headers=("User-Agent", "Accept"),
        )
        self._sweeping = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweeping.cancel()
        await self._session.close()

    def use_key(self, key: str) -> bool:
        """Send another key from now on; False when it is the same."""
        if key.encode() == self._secret:
            return False
        self._use_key(key)
        self._session.headers.update(self._headers)
        return True

    async def post(self, request: Request) -> Reply | NoReply:
        """Send one request and read its reply whole, within the deadlines and the byte cap."""
        clock = self._loop.time
        started = clock()
        task = asyncio.current_task()
        assert task is not None
        flight = self._flights[task] = _Flight(started + self._timeouts.first_byte_s)
        try:
            response = await self._session.post(self._url(request.model), data=request.body, allow_redirects=False)
            flight.head_at = clock()
            flight.due_s = min(started + self._timeouts.total_s, flight.head_at + self._timeouts.body_s)
            body = await self._body(response)
        except _TooLarge:
            return self._failed(NoReplyKind.TOO_LARGE, started, flight, "more bytes than max_body_bytes")
        except asyncio.CancelledError:
            if not flight.is_late or task.uncancel():
                raise
            kind = NoReplyKind.BODY_DEADLINE if flight.head_at else NoReplyKind.READ_TIMEOUT
            return self._failed(kind, started, flight, "TimeoutError")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind = _kind_of(error, head=bool(flight.head_at), reused=not flight.is_fresh)
            return self._failed(kind, started, flight, _detail(error))
        finally:
            del self._flights[task]
        return Reply(
            status=response.status,
            headers=response.headers,
            body=scrub_bytes(body, self._secret),
            first_byte_ms=(flight.head_at - started) * 1000,
            latency_ms=(clock() - started) * 1000,
        )

    async def _sweep(self) -> None:
        """End the exchanges that are late; one look at them all now and then costs a request nothing."""
        every_s = min(_SWEEP_S, min(self._timeouts.first_byte_s, self._timeouts.body_s, self._timeouts.total_s) / 4)
        while True:
            await asyncio.sleep(every_s)
            now = self._loop.time()
            for task, flight in self._flights.items():
                if flight.due_s <= now and not flight.is_late:
                    flight.is_late = True
                    task.cancel()

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        content, most = response.content, self._timeouts.max_body_bytes
        try:
            body = await content.readany()
            size = len(body)
            if size <= most and content.at_eof():  # nearly every reply is here as a whole
                return body
            chunks = [body]
            while size <= most and (chunk := await content.readany()):
                chunks.append(chunk)
                size += len(chunk)
            if size > most:
                raise _TooLarge  # noqa: TRY301  the connection is closed for this, too
        except BaseException:
            response.close()  # half a reply is still in the connection: it serves nobody else
            raise
        return b"".join(chunks)

    def _url(self, model: str) -> URL:
        url = self._urls.get(model)
        if url is None:
            where = path(model, api_version=self._target.api_version, verbless=self._target.verbless)
            url = self._urls[model] = URL(self._target.base_url + where, encoded=True)
        return url

    def _use_key(self, key: str) -> None:
        name, value = auth_header(self._target.auth, key)
        self._secret = key.encode()
        self._headers: Mapping[str, str] = {name: value, "Content-Type": "application/json"}

    def _failed(self, kind: NoReplyKind, started: float, flight: _Flight, detail: str) -> NoReply:
        return NoReply(
            kind=kind,
            sent=kind not in _UNSENT,
            first_byte=bool(flight.head_at),
            detail=detail,
            latency_ms=(self._loop.time() - started) * 1000,
        )


@dataclass(slots=True)
class _Flight:
    """One exchange under way.

    Attributes:
        due_s: when it must have gone further, on the loop's clock.
        head_at: when the reply's head came; 0 until then.
        is_fresh: its connection was opened for it: only a reused one can have gone stale.
        is_late: the sweeper has ended it.
    """

    due_s: float
    head_at: float = 0.0
    is_fresh: bool = False
    is_late: bool = False


class _TooLarge(Exception):  # noqa: N818  control flow inside this module
    pass


class _Connector(aiohttp.TCPConnector):
    """Tells an exchange when a connection is opened for it."""

    def __init__(self, flights: Mapping[asyncio.Task[Any], _Flight], **options: Any) -> None:
        super().__init__(**options)
        self._flights = flights

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        handler = await super()._create_connection(*args, **options)
        flight = self._flights.get(asyncio.current_task())  # type: ignore[arg-type]  # None is simply not in it
        if flight is not None:
            flight.is_fresh = True
        return handler


_UNSENT = frozenset(
    {
        NoReplyKind.DNS,
        NoReplyKind.REFUSED,
        NoReplyKind.CONNECT_TIMEOUT,
        NoReplyKind.TLS_HANDSHAKE,
        NoReplyKind.TLS_CERTIFICATE,
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
    (ssl.SSLError, NoReplyKind.TLS_HANDSHAKE),
)


def _kind_of(error: BaseException, *, head: bool, reused: bool) -> NoReplyKind:
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
