"""Is the endpoint there, does it know the key and the model, and how far apart are the clocks? One cheap look.

Nothing that costs anything is asked; no redirect is followed; what goes wrong is a value.
"""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from batcher.asking.resolving import CheckedResolver, ForbiddenAddress
from batcher.asking.scrub import scrub_bytes
from batcher.asking.transport import Target
from batcher.gemini.request import auth_header, path
from batcher.records import Reply

_TIMEOUT_S = 10.0
_MOST_BYTES = 65_536
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """What came of opening a connection.

    Attributes:
        problem: why there is none; empty when there is one.
        took_ms: until it was open, TLS included.
        tls: its version, empty without TLS.
    """

    problem: str = ""
    took_ms: float = 0.0
    tls: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of asking for a model, or for the list of them.

    Attributes:
        sent: all that was sent, but for its headers: `GET /v1beta/models/gemini-2.5-flash`.
        reply: None when none came.
        problem: why not; empty when one came.
        ahead_s: how far this machine's clock is ahead of the server's; None when the server does not say.
    """

    sent: str
    reply: Reply | None = None
    problem: str = ""
    ahead_s: float | None = None


async def knock(base_url: str, *, timeout_s: float = _TIMEOUT_S) -> Knock:
    """Open a connection to an endpoint, as far as TLS, and close it again; no request is sent."""
    parts = urlsplit(base_url)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _PORTS[parts.scheme], ssl=secure)
    except (OSError, TimeoutError) as error:
        return Knock(problem=_why(error, timeout_s))
    took_ms = (time.monotonic() - began) * 1000
    channel = writer.get_extra_info("ssl_object")
    writer.transport.abort()  # nothing was said, so nothing has to be said goodbye to
    return Knock(took_ms=took_ms, tls=channel.version() if channel else "")


async def look(
    target: Target, model: str | None, *, timeout_s: float = _TIMEOUT_S, names: AbstractResolver | None = None
) -> Look:
    """Ask the endpoint for one model, or for the first of its list; neither costs anything.

    Args:
        target: whom to ask.
        model: None for the list.
        timeout_s: for all of it.
        names: looks the endpoint's name up; the system unless given.
    """
    one = path(model, api_version=target.api_version, verbless=True) if model else ""
    what = one or f"/{target.api_version}/models?pageSize=1"
    name, value = auth_header(target.auth, target.key)
    resolver = CheckedResolver(names)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=target.trust_env,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as session,
            session.get(
                URL(target.base_url + what, encoded=True),
                headers={name: value},
                allow_redirects=False,
            ) as response,
        ):
            came_s = time.time()
            body = await response.content.read(_MOST_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return Look(sent=f"GET {what}", problem=_why(error, timeout_s))
    finally:
        await resolver.close()
    reply = Reply(status=response.status, headers=response.headers, body=scrub_bytes(body, target.key.encode()))
    return Look(sent=f"GET {what}", reply=reply, ahead_s=ahead_s(response.headers.get("Date"), came_s))


def ahead_s(date: str | None, here_s: float) -> float | None:
    """Say how far a clock is ahead of a server that wrote this `Date` header at the same moment; None without one.

    The header has whole seconds, so half of one is added; the way of the reply is in the difference, too.
    """
    try:
        there = email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return here_s - there.timestamp() - 0.5


def _why(error: BaseException, timeout_s: float) -> str:
    """Name what went wrong without repeating an address or a header: both may carry what is nobody's business."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, ForbiddenAddress):
        return str(error.os_error.strerror)
    if isinstance(error, socket.gaierror | aiohttp.ClientConnectorDNSError):
        return "its name is not known (DNS)"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return reason or type(error).__name__
