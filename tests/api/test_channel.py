"""Between two loops nothing is lost, and never more than was agreed waits."""

import asyncio
import threading

import pytest

from batcher.api.channel import Channel


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_told_is_read_in_order_and_then_it_is_over():
    channel = Channel(10)
    for n in range(3):
        channel.told(n)
    channel.finish()

    assert [await channel.next() for _ in range(4)] == [0, 1, 2, None]


async def test_a_full_channel_makes_the_writer_wait_until_somebody_reads():
    channel = Channel(4)
    assert await channel.room(4)
    waiting = asyncio.ensure_future(channel.room(2))
    channel.told("a")
    await settled()
    assert not waiting.done()

    await channel.next()
    await settled()
    assert not waiting.done()  # three are out: two more would be five
    channel.told("b")
    await channel.next()
    assert await waiting


async def test_a_chunk_that_is_larger_than_the_channel_is_let_through_alone():
    channel = Channel(4)

    assert await channel.room(100)
    assert not (await asyncio.wait([asyncio.ensure_future(channel.room(1))], timeout=0))[0]


async def test_closing_wakes_everybody_and_drops_what_comes():
    channel = Channel(1)
    await channel.room(1)
    writer, reader = asyncio.ensure_future(channel.room(1)), asyncio.ensure_future(channel.next())
    await settled()

    channel.close()
    channel.told("late")

    assert (await writer, await reader, await channel.next()) == (False, None, None)


@pytest.mark.parametrize("capacity", [1, 7, 64])
async def test_two_loops_on_two_threads_pass_everything_within_the_bound(capacity):
    channel, total = Channel(capacity), 500
    most = 0

    async def writer():
        nonlocal most
        for n in range(total):
            await channel.room(1)
            channel.told(n)
            most = max(most, len(channel._unread))

    def write():
        asyncio.run(writer())
        channel.finish()

    thread = threading.Thread(target=write)
    thread.start()
    read = []
    while (item := await channel.next()) is not None:
        read.append(item)
    thread.join()

    assert read == list(range(total))
    assert most <= capacity
