import asyncio

import pytest

from batcher.engine.sealline import SealLine
from batcher.engine.work import Work


def work(no, *needs):
    return Work(no=no, first_task=0, tasks=1, generation=1, digest="", asked=None, before=None, needs=frozenset(needs))


@pytest.fixture
async def line():
    finished = asyncio.Queue()

    def line(*works, sealed=()):
        for each in works:
            finished.put_nowait(each)
        return SealLine(finished, sealed)

    return line


async def order(line, count):
    numbers = []
    for _ in range(count):
        each = await line.next()
        line.sealed(each)
        numbers.append(each.no)
    return numbers


async def test_blocks_are_sealed_as_they_are_finished(line):
    assert await order(line(work(2), work(1), work(3)), 3) == [2, 1, 3]


async def test_one_that_needs_another_waits_for_it(line):
    assert await order(line(work(3, 1), work(2, 1), work(4), work(1)), 4) == [4, 1, 3, 2]


async def test_what_was_sealed_before_is_not_waited_for(line):
    assert await order(line(work(2, 1), sealed=[1]), 1) == [2]


async def test_a_chain_is_sealed_from_its_beginning(line):
    assert await order(line(work(3, 2), work(2, 1), work(1)), 3) == [1, 2, 3]


async def test_a_block_that_waits_lets_go_of_what_it_knew(line):
    waiting = work(2, 1)
    waiting.done = {1, 2, 3}
    assert await order(line(waiting, work(1)), 2) == [1, 2]
    assert waiting.done == set()
