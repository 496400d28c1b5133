"""The fault proxy does what it says, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.asking.servers import raw_server, reply, sending
from tests.faultproxy import Toxic, fault_proxy

ASKS = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
ANSWER = reply(b"x" * 1000)


@contextlib.asynccontextmanager
async def asked(*faults, answer=ANSWER):
    """One connection through the proxy, on which the request is out."""
    async with raw_server(answer) as server, fault_proxy(server.url, *faults) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(ASKS)
        try:
            yield reader, writer, proxy, server
        finally:
            writer.close()


async def test_without_a_fault_it_hands_everything_on():
    async with asked() as (reader, _, proxy, server):
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert server.requests == [ASKS]
        assert (proxy.connections, proxy.passed) == (1, [len(ANSWER)])


async def test_slices_are_the_same_bytes():
    async with asked(Toxic(slice_bytes=7)) as (reader, *_):
        assert await reader.readexactly(len(ANSWER)) == ANSWER


async def test_latency_holds_each_piece_back():
    async with asked(Toxic(latency_s=0.02), answer=sending(b"one", b"two", every_s=0.03)) as (reader, *_):
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b"onetwo"
        assert asyncio.get_running_loop().time() - began >= 0.04


@pytest.mark.parametrize("after", [0, 10, 500])
async def test_a_reset_comes_after_so_many_bytes(after):
    async with asked(Toxic(reset_after=after)) as (reader, _, proxy, server):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(ANSWER))
        assert isinstance(reader.exception(), ConnectionResetError)
        assert proxy.passed == [after]
        assert server.requests == [ASKS]


async def test_a_close_ends_in_good_order():
    async with asked(Toxic(close_after=100)) as (reader, *_):
        assert await reader.read() == ANSWER[:100]


async def test_a_half_close_still_listens():
    async with asked(Toxic(half_close_after=100)) as (reader, writer, *_):
        assert await reader.read() == ANSWER[:100]
        writer.write(b"more")
        await writer.drain()
        assert not writer.is_closing()


async def test_a_black_hole_hears_and_never_says_a_word():
    async with asked(Toxic(blackhole=True)) as (reader, _, proxy, server):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        assert (proxy.connections, server.connections) == (1, 0)


async def test_each_connection_has_its_own_fault_and_the_last_one_stays():
    async with raw_server(ANSWER) as server, fault_proxy(server.url, Toxic(close_after=5), Toxic()) as proxy:
        read = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(ASKS)
            read.append(len(await reader.read(5)) if not read else len(await reader.readexactly(len(ANSWER))))
            writer.close()
        assert read == [5, len(ANSWER), len(ANSWER)]
