from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from batcher.asking.wire import Flight, Wire
from tests.asking.servers import Heard, raw_server, reply

PATH = "/v1beta/models/m:generateContent"


@contextlib.asynccontextmanager
async def a_wire(headers: Mapping[str, str] | None = None, *, trust_env: bool = False) -> AsyncIterator[Wire]:
    wire = Wire({}, headers=headers or {"x-goog-api-key": "k"}, connections=2, connect_s=5, trust_env=trust_env)
    try:
        yield wire
    finally:
        await wire.close()


async def ask(wire: Wire, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    """One exchange read to its end, the connection given back."""
    flight = Flight(due_s=0.0)
    try:
        message, content = await wire.send(flight, url, body)
        read = await content.read()
        wire.keep(flight)
    finally:
        flight.close()
    return message.code, read


def lines_of(heard: Heard, number: int = -1) -> list[bytes]:
    return heard.requests[number].split(b"\r\n\r\n")[0].split(b"\r\n")


async def test_what_announces_a_reply_is_not_the_reply():
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with raw_server(hints + reply(b'"yes"')) as server, a_wire() as wire:
        assert await ask(wire, server.url + PATH) == (200, b'"yes"')


async def test_a_reply_that_nobody_asked_for_is_never_taken_for_ours():
    """A server that answers twice would else give every later request the answer to another one."""
    async with raw_server(reply(b'"first"') + reply(b'"left over"'), reply(b'"second"')) as server:
        async with a_wire() as wire:
            assert await ask(wire, server.url + PATH) == (200, b'"first"')
            assert await ask(wire, server.url + PATH) == (200, b'"second"')
        assert server.connections == 2


async def test_a_reply_that_comes_late_and_unasked_is_never_taken_for_ours():
    came = asyncio.Event()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b'"first"'))
        await writer.drain()
        await came.wait()
        writer.write(reply(b'"left over"'))
        await writer.drain()
        await reader.read()

    async with raw_server(twice, reply(b'"second"')) as server, a_wire() as wire:
        assert await ask(wire, server.url + PATH) == (200, b'"first"')
        came.set()
        await asyncio.sleep(0.02)
        assert await ask(wire, server.url + PATH) == (200, b'"second"')


@pytest.mark.parametrize("size", [2, 65_536, 65_537, 3_000_000])
async def test_a_body_of_any_size_arrives_whole(size):
    body = b"x" * size
    async with raw_server(reply()) as server, a_wire() as wire:
        await ask(wire, server.url + PATH, body)

        assert server.requests[0].split(b"\r\n\r\n", 1)[1] == body
        assert server.header("Content-Length") == [str(size)]


async def test_connections_are_used_again():
    async with raw_server(reply()) as server, a_wire() as wire:
        for _ in range(5):
            await ask(wire, server.url + PATH)

        assert server.connections == 1


@pytest.mark.parametrize("broken", ["k\r\nHost: evil", "k\nX: y", "k\r"])
async def test_a_header_that_would_become_two_is_not_sent(broken):
    async with raw_server(reply()) as server, a_wire({"x-goog-api-key": broken}) as wire:
        with pytest.raises(ValueError, match="line break"):
            await ask(wire, server.url + PATH)

        assert server.requests == []


async def test_a_proxy_of_the_environment_is_asked_only_when_it_may_be(monkeypatch: pytest.MonkeyPatch):
    async with raw_server(reply(b'"proxy"')) as proxy, raw_server(reply(b'"direct"')) as server:
        monkeypatch.setenv("http_proxy", f"http://user:word@127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with a_wire() as wire:
            assert await ask(wire, server.url + PATH) == (200, b'"direct"')
        async with a_wire(trust_env=True) as wire:
            for _ in range(2):
                assert await ask(wire, server.url + PATH) == (200, b'"proxy"')

        assert lines_of(proxy)[0] == f"POST {server.url}{PATH} HTTP/1.1".encode()
        assert proxy.header("Proxy-Authorization") == ["Basic dXNlcjp3b3Jk"]
        assert lines_of(server)[0] == f"POST {PATH} HTTP/1.1".encode()


async def test_a_name_in_netrc_is_sent_only_when_it_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server(reply()) as server:
        for trust_env, wanted in ((False, []), (True, ["Basic dXNlcjp3b3Jk"])):
            async with a_wire(trust_env=trust_env) as wire:
                await ask(wire, server.url + PATH)
            assert server.header("Authorization") == wanted


async def test_connections_serve_again_and_are_closed_when_idle_for_long():
    async with raw_server(reply(b'"a"'), reply(b'"b"'), reply(b'"c"')) as server, a_wire() as wire:
        await ask(wire, server.url + PATH)
        await ask(wire, server.url + PATH)
        assert server.connections == 1
        now = asyncio.get_running_loop().time()
        wire.drop_idle(now + 14)
        assert len(wire._idle) == 1
        wire.drop_idle(now + 16)
        assert not wire._idle
        assert await ask(wire, server.url + PATH) == (200, b'"c"')
        assert server.connections == 2


async def test_a_wire_goes_to_one_origin_only():
    async with raw_server(reply()) as one, raw_server(reply()) as other, a_wire() as wire:
        await ask(wire, one.url + PATH)
        with pytest.raises(ValueError, match="a request to another origin"):
            await ask(wire, other.url + PATH)
        assert other.connections == 0
