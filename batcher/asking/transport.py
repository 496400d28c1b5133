"""How does one request reach the endpoint, and what came back? The one door to the network.

No redirect is followed (aiohttp forwards `x-goog-api-key` to another origin), no cookie is kept, the key travels as a header only and
never through an exception: aiohttp's own exceptions carry headers and URLs, so they end here as `NoReply`.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Callable, Mapping
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
        self._connector = _Connector(
            limit=self._connections, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=300, happy_eyeballs_delay=0.25
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s, sock_read=None),
            trust_env=self._target.trust_env,
            skip_auto_headers=("User-Agent", "Accept"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def use_key(self, key: str) -> bool:
        """Send another key from now on; False when it is the same."""
        if key.encode() == self._secret:
            return False
        self._use_key(key)
        return True

    async def post(self, request: Request) -> Reply | NoReply:
        """Send one request and read its reply whole, within the deadlines and the byte cap."""
        clock = self._loop.time
        started = clock()
        head_at = 0.0
        self._connector.forget_fresh()
        try:
            # One timer for all three deadlines: until the head comes, then for the body.
            async with asyncio.timeout_at(started + self._timeouts.first_byte_s) as deadline:
                async with self._session.post(
                    self._url(request.model), data=request.body, headers=self._headers, allow_redirects=False
                ) as response:
                    head_at = clock()
                    if not response.content.is_eof():
                        deadline.reschedule(min(started + self._timeouts.total_s, head_at + self._timeouts.body_s))
                    body = await self._body(response)
        except _TooLarge:
            return self._failed(NoReplyKind.TOO_LARGE, started, head_at, "more bytes than max_body_bytes")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind = _kind_of(error, head=bool(head_at), reused=not self._connector.is_fresh())
            return self._failed(kind, started, head_at, _detail(error))
        done = clock()
        return Reply(
            status=response.status,
            headers=response.headers,
            body=scrub_bytes(body, self._secret),
            first_byte_ms=(head_at - started) * 1000,
            latency_ms=(done - started) * 1000,
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        content = response.content
        body = await content.readany()
        if content.at_eof() and len(body) <= self._timeouts.max_body_bytes:
            return body
        chunks, size = [body], len(body)
        while chunk := await content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._timeouts.max_body_bytes:
                raise _TooLarge
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

    def _failed(self, kind: NoReplyKind, started: float, head_at: float, detail: str) -> NoReply:
        return NoReply(
            kind=kind,
            sent=kind not in _UNSENT,
            first_byte=bool(head_at),
            detail=detail,
            latency_ms=(self._loop.time() - started) * 1000,
        )


class _TooLarge(Exception):  # noqa: N818  control flow inside this module
    pass


class _Connector(aiohttp.TCPConnector):
    """Remembers whose connection was opened for it: only a reused one can have gone stale."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fresh: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        handler = await super()._create_connection(*args, **options)
        task = asyncio.current_task()
        if task is not None:
            self._fresh.add(task)
        return handler

    def is_fresh(self) -> bool:
        return asyncio.current_task() in self._fresh

    def forget_fresh(self) -> None:
        if self._fresh:
            self._fresh.discard(asyncio.current_task())  # type: ignore[arg-type]  # None is simply not in it


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
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return NoReplyKind.BODY_DEADLINE if head else NoReplyKind.READ_TIMEOUT
    if head:
        return NoReplyKind.CUT
    return NoReplyKind.STALE if reused else NoReplyKind.DISCONNECTED


def _detail(error: BaseException) -> str:
    # Never str(error): aiohttp puts headers and URLs into it.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


KeySource = Callable[[], str]
"""Reads the key again (a rotated file, a command)."""
