"""A brake holds whenever it is pulled: before the loop is there, while it runs, twice."""

import asyncio

import pytest

from batcher.engine.brake import Brake
from batcher.engine.halt import Halt
from batcher.errors import RunStopped

WHY, LATER = RunStopped("enough"), RunStopped("too late")


async def test_pulled_before_the_session_it_stops_it_at_once():
    brake, halt = Brake(), Halt()
    brake.stop(WHY, 7.0)
    brake.stop(LATER)

    with brake.on(halt):
        await asyncio.sleep(0)

    assert (halt.why, halt.drain_s, halt.hurry.is_set()) == (WHY, 7.0, False)


async def test_pulled_on_another_thread_it_stops_the_session():
    brake, halt = Brake(), Halt()
    with brake.on(halt):
        await asyncio.to_thread(brake.stop, WHY)
        await halt.asked.wait()
        await asyncio.to_thread(brake.hurry_up)
        await halt.hurry.wait()

    assert halt.why is WHY


async def test_after_the_session_it_changes_nothing():
    brake, halt = Brake(), Halt()
    with brake.on(halt):
        pass
    brake.stop(WHY)
    await asyncio.sleep(0)

    assert halt.why is None


def test_where_there_is_no_loop_it_raises():
    brake = Brake()
    brake.check()
    brake.stop(WHY)

    assert brake.pulled
    with pytest.raises(RunStopped, match="enough"):
        brake.check()
