from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.room import SMALL_BYTES, Place, Room
from tests.fakes import run_virtual

KIB, MIB = 1 << 10, 1 << 20


def seated(room: Room, size: int) -> Place | None:
    place = Place()
    return place if room.fits(place, size) else None


def test_there_is_room_for_many_that_are_small():
    room = Room(MIB, 16 * MIB)
    assert all(seated(room, SMALL_BYTES + 1) for _ in range(15 * 4))


def test_the_first_that_does_not_fit_leads_and_grows_as_it_must():
    room = Room(32 * MIB, 32 * MIB)  # nothing in common
    leader = seated(room, 100 * KIB)
    assert leader is not None
    assert leader.leads
    assert all(room.fits(leader, size * MIB) for size in range(1, 33))
    assert seated(room, 100 * KIB) is None


async def test_who_waits_goes_on_when_the_leader_has_left_in_the_order_of_asking():
    room, order = Room(MIB, MIB), []
    leader = seated(room, MIB)
    assert leader is not None

    async def read(number: int) -> None:
        place = Place()
        if not room.fits(place, 100 * KIB):
            await room.wait(place)
        order.append(number)
        room.leave(place)

    readers = [asyncio.create_task(read(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert order == []
    room.leave(leader)
    await asyncio.gather(*readers)
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("given_up", [0, 1])
async def test_who_gives_up_waiting_is_in_nobodys_way(given_up):
    room = Room(MIB, MIB)
    leader = seated(room, MIB)
    assert leader is not None
    places = [Place(), Place()]
    assert not any(room.fits(place, 100 * KIB) for place in places)
    waiting = [asyncio.create_task(room.wait(place)) for place in places]
    await asyncio.sleep(0)
    waiting[given_up].cancel()
    await asyncio.sleep(0)
    room.leave(leader)
    await waiting[1 - given_up]
    assert places[1 - given_up].leads
    room.leave(places[1 - given_up])
    assert seated(room, MIB) is not None


async def test_who_is_given_a_place_and_cancelled_at_once_gives_it_back_when_it_leaves():
    room = Room(MIB, MIB)
    leader = seated(room, MIB)
    assert leader is not None
    place = Place()
    assert not room.fits(place, 100 * KIB)
    waiting = asyncio.create_task(room.wait(place))
    await asyncio.sleep(0)
    room.leave(leader)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    room.leave(place)  # as the door does, whatever became of the reply
    assert seated(room, MIB) is not None


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40), st.integers(0, 8))
def test_everybody_is_read_to_the_end_and_the_memory_is_bounded(sizes: list[int], common: int) -> None:
    """However long replies are and however they grow: no deadlock, never more than there is, nothing left over."""
    longest = max(sizes) * 256 * KIB
    room, held, most = Room(longest, longest + common * MIB), {}, [0]

    async def read(number: int, size: int) -> None:
        place = Place()
        for came in range(1, size + 1):
            if not room.fits(place, came * 256 * KIB):
                await room.wait(place)
            held[number] = came * 256 * KIB
            most[0] = max(most[0], sum(held.values()))
            await asyncio.sleep(0.01)
        del held[number]
        room.leave(place)

    async def all_of_them() -> None:
        await asyncio.gather(*(read(number, size) for number, size in enumerate(sizes)))

    run_virtual(all_of_them())
    assert most[0] <= longest + common * MIB + 256 * KIB
    assert (room._free, room._led, len(room._waiting)) == (common * MIB, False, 0)
