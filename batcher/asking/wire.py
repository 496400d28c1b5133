"""How does a request get onto a connection, and its reply off it? By aiohttp's pool, TLS and parser.

A session of aiohttp's makes a request, a response, a header map, a writer and a task for every exchange: 95 µs of CPU
on loopback, of which its pool and its parser take 40 (paired runs, 256 connections). What is the same in every request
to a URL is made once, here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.helpers import BasicAuth, basicauth_from_netrc, get_env_proxy_for_url, netrc_from_env
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from batcher.asking.resolving import CheckedResolver
from batcher.asking.room import Place

_KEEP_ALIVE_S = 15.0  # shorter than servers' own, so that most idle connections are closed by us and not under us
_JOINED_BYTES = 1 << 16  # a longer body is not copied behind its head; a shorter one leaves in the same packet
_SKIPPED = ("User-Agent", "Accept")


@dataclass(slots=True)
class Rest:
    """A stream that gathers in its buffer.

    Attributes:
        content: where.
        came: bytes that had come at the last look.
        silence_s: the longest that nothing may come.
        last_s: when all must be there, on the loop's clock.
    """

    content: StreamReader
    came: int
    silence_s: float
    last_s: float


@dataclass(slots=True)
class Flight:
    """One exchange under way.

    Attributes:
        due_s: when it must have gone further, on the loop's clock.
        head_at: when the reply's head came; 0 until then.
        is_fresh: its connection was opened for it: only a reused one can have gone stale.
        is_late: the sweeper has ended it.
        is_full: the sweeper has woken it because its stream does not fit the buffer.
        rest: what is to come of a stream that nobody reads until its end.
        connection: held until the reply is read.
        place: of a big reply.
    """

    due_s: float
    head_at: float = 0.0
    is_fresh: bool = False
    is_late: bool = False
    is_full: bool = False
    rest: Rest | None = None
    connection: Connection | None = None
    place: Place | None = None

    def close(self) -> None:
        """End a connection that is not released: half a reply may still be in it, and serves nobody else."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@dataclass(slots=True)
class _Address:
    """One URL: what the pool knows it by, and the head of every request to it, up to the length of the body."""

    request: ClientRequest
    head: bytes = b""


class Wire:
    """Pooled connections.

    Args:
        flights: the exchanges under way, by their task: one is told when a connection is opened for it.
        headers: sent with every request.
        connections: at most so many at once.
        connect_s: for a connection to be made, TLS included.
        trust_env: take proxies and netrc from the environment.
        names: looks names up; the system unless given.
    """

    def __init__(  # noqa: PLR0913  the edges of the world, each handed in
        self,
        flights: Mapping[asyncio.Task[Any], Flight],
        *,
        headers: Mapping[str, str],
        connections: int,
        connect_s: float,
        trust_env: bool,
        names: AbstractResolver | None = None,
    ) -> None:
        self._resolver = CheckedResolver(names)
        self._connector = _Connector(
            flights,
            limit=connections,
            keepalive_timeout=_KEEP_ALIVE_S,
            ttl_dns_cache=300,
            resolver=self._resolver,
        )
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=None)
        self._loop = asyncio.get_running_loop()
        self._trust_env = trust_env
        self._headers = headers
        self._addresses: dict[str, _Address] = {}
        self._origin: URL | None = None  # of the first request, and so of all
        self._connecting = 0
        self._idle: list[tuple[float, Connection]] = []  # the last that served goes first

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop()[1].close()
        await self._connector.close()
        await self._resolver.close()

    def keep(self, flight: Flight) -> None:
        """The reply is read whole: its connection may serve the next request.

        All requests go to one origin, so that this need not be the pool's business: there, it took 5 µs a request.
        """
        connection, flight.connection = flight.connection, None
        if connection is not None and self._connecting:
            connection.release()  # somebody may wait for it there
        elif connection is not None:
            self._idle.append((self._loop.time(), connection))

    def drop_idle(self, now: float) -> None:
        """Close the connections that have served nobody for so long that the other side may have closed them."""
        while self._idle and now - self._idle[0][0] > _KEEP_ALIVE_S:
            self._idle.pop(0)[1].close()

    def use_headers(self, headers: Mapping[str, str]) -> None:
        """Send others from the next request on."""
        self._headers = headers
        self._addresses.clear()

    async def send(self, flight: Flight, url: str, body: bytes) -> tuple[RawResponseMessage, StreamReader]:
        """Post `body`, and wait for the head of the reply; the connection is then the flight's to release or close.

        Raises:
            aiohttp.ClientError, HttpProcessingError, OSError, ValueError: no connection, or no HTTP in it.
        """
        address = self._addresses.get(url) or await self._address(url)
        protocol = await self._connected(flight, address.request)
        assert protocol.transport is not None  # nothing was awaited since it was alive
        head = b"%b%d\r\n\r\n" % (address.head or self._head(address), len(body))
        if len(body) <= _JOINED_BYTES:
            protocol.transport.write(head + body)
        else:
            protocol.transport.writelines((head, body))
        message, content = await protocol.read()
        while message.code < 200 and message.code != 101:  # `100 Continue` and its like announce the reply
            message, content = await protocol.read()
        return message, content

    async def _connected(self, flight: Flight, request: ClientRequest) -> ResponseHandler:
        while self._idle:
            _, connection = self._idle.pop()
            protocol = connection.protocol
            if protocol is not None and protocol.is_connected() and not protocol.should_close:
                flight.connection = connection
                return protocol
            connection.close()  # what came while nobody asked would be taken for our reply
        while True:
            self._connecting += 1
            try:
                flight.connection = await self._connector.connect(request, [], self._timeout)
            except TimeoutError:
                raise aiohttp.ConnectionTimeoutError("no connection in time") from None
            finally:
                self._connecting -= 1
            protocol = flight.connection.protocol
            assert protocol is not None
            if not protocol.should_close:
                return protocol
            flight.close()

    async def _address(self, url: str) -> _Address:
        parsed = URL(url, encoded=True)
        self._origin = self._origin or parsed.origin()
        if parsed.origin() != self._origin:
            raise ValueError("a request to another origin")
        env = await asyncio.to_thread(_of_environment, parsed) if self._trust_env else _Environment()
        request = ClientRequest(
            hdrs.METH_POST,
            parsed,
            headers=self._headers,
            skip_auto_headers=_SKIPPED,
            loop=self._loop,
            auth=env.auth if hdrs.AUTHORIZATION not in self._headers else None,
            proxy=env.proxy,
            proxy_auth=env.proxy_auth,
        )
        address = self._addresses[url] = _Address(request)
        return address

    def _head(self, address: _Address) -> bytes:
        """Made once a connection is there: connecting adds what a proxy wants to hear."""
        request = address.request
        target = str(request.url) if request.proxy and not request.is_ssl() else request.url.raw_path_qs
        lines = [f"POST {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items() if name != hdrs.CONTENT_LENGTH]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a header")
        address.head = "\r\n".join([*lines, "Content-Length: "]).encode()
        return address.head


@dataclass(frozen=True, slots=True)
class _Environment:
    """What proxy variables and netrc say of one URL."""

    proxy: URL | None = None
    proxy_auth: BasicAuth | None = None
    auth: BasicAuth | None = None


def _of_environment(url: URL) -> _Environment:
    """Ask the environment; this may read files. aiohttp's session does the same for each request."""
    proxy = proxy_auth = auth = None
    with contextlib.suppress(LookupError):  # none is set for it
        proxy, proxy_auth = get_env_proxy_for_url(url)
    with contextlib.suppress(LookupError):
        auth = basicauth_from_netrc(netrc_from_env(), url.host or "")
    return _Environment(proxy, proxy_auth, auth)


class _Connector(aiohttp.TCPConnector):
    """Tells an exchange when a connection is opened for it, and gives the connection its parser.

    One for all its replies, as aiohttp's server has one for all requests of a connection: making one for each reply, as
    its client does, costs 4 µs.
    """

    def __init__(self, flights: Mapping[asyncio.Task[Any], Flight], **options: Any) -> None:
        super().__init__(**options)
        self._flights = flights

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        handler = await super()._create_connection(*args, **options)
        handler.set_response_params(read_until_eof=True)
        flight = self._flights.get(asyncio.current_task())  # type: ignore[arg-type]  # None is simply not in it
        if flight is not None:
            flight.is_fresh = True
        return handler
