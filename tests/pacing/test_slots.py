from __future__ import annotations

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.slots import Slots
from tests.fakes import run_virtual


async def settle_down() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def in_line(slots: Slots, names: str, *, ahead: bool = False, got: list[str]) -> list[asyncio.Task[None]]:
    async def wait(name: str) -> None:
        await slots.take(ahead=ahead)
        got.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in names]
    await settle_down()
    return tasks


def test_as_many_as_there_are():
    slots = Slots(2)

    assert [slots.take_now() for _ in range(3)] == [True, True, False]
    slots.give()
    assert slots.take_now()


def test_giving_more_than_was_taken_is_a_bug():
    with pytest.raises(AssertionError, match="given back twice"):
        Slots(1).give()


def test_it_tells_of_a_slot_that_nobody_is_in_line_for():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        slots.on_free = lambda: got.append("free")
        await slots.take()
        await in_line(slots, "a", got=got)
        slots.give()  # handed over: nobody else can have it
        await settle_down()
        slots.give()
        slots.resize(2)
        return got

    assert run_virtual(main()) == ["a", "free", "free"]


def test_first_come_first_served_and_those_ahead_before():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        await in_line(slots, "abc", got=got)
        await in_line(slots, "xy", ahead=True, got=got)
        assert slots.waiting == 5
        for _ in range(5):
            slots.give()
            await settle_down()
        return got

    assert run_virtual(main()) == list("xyabc")


def test_a_slot_is_handed_over_not_raced_for():
    async def main() -> None:
        slots, got = Slots(1), []
        await slots.take()
        await in_line(slots, "a", got=got)
        slots.give()
        assert not slots.take_now()  # although `a` has not run yet
        await settle_down()
        assert got == ["a"]

    run_virtual(main())


def test_a_cancelled_wait_takes_nothing_and_holds_nobody_up():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        first, _ = await in_line(slots, "ab", got=got)
        first.cancel()
        await settle_down()
        assert slots.waiting == 1
        slots.give()
        await settle_down()
        return got

    assert run_virtual(main()) == ["b"]


def test_a_slot_handed_to_one_who_is_cancelled_in_the_same_turn_goes_on():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        first, _ = await in_line(slots, "ab", got=got)
        slots.give()
        first.cancel()
        await settle_down()
        assert slots.free == 0
        return got

    assert run_virtual(main()) == ["b"]


def test_more_slots_let_the_next_in_at_once():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        await in_line(slots, "abc", got=got)
        slots.resize(3)
        await settle_down()
        return got

    assert run_virtual(main()) == ["a", "b"]


def test_fewer_slots_hold_once_enough_came_back():
    slots = Slots(3)
    for _ in range(3):
        slots.take_now()
    slots.resize(1)

    slots.give()
    slots.give()
    assert not slots.take_now()
    slots.give()
    assert slots.take_now()
    assert not slots.take_now()


class Crowd:
    """Tasks around some slots, one step at a time."""

    def __init__(self, size: int) -> None:
        self.slots = Slots(size)
        self.held = 0
        self.got: list[tuple[bool, int]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def wait(self, number: int, ahead: bool) -> None:
        await self.slots.take(ahead=ahead)
        self.held += 1
        self.got.append((ahead, number))

    def come(self, number: int, *, ahead: bool = False) -> None:
        self.tasks.append(asyncio.create_task(self.wait(number, ahead)))

    def give(self, _number: int) -> None:
        if self.held:
            self.held -= 1
            self.slots.give()

    def cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    def grow(self, _number: int) -> None:
        self.slots.resize(self.slots.size + 1)

    def shrink(self, _number: int) -> None:
        self.slots.resize(max(self.slots.size - 1, 1))

    async def check(self) -> None:
        await settle_down()
        assert self.slots.free + self.held == self.slots.size
        assert self.slots.waiting == 0 or self.slots.free <= 0


STEPS = {
    "come": Crowd.come,
    "come ahead": partial(Crowd.come, ahead=True),
    "give": Crowd.give,
    "cancel": Crowd.cancel,
    "grow": Crowd.grow,
    "shrink": Crowd.shrink,
}


@given(size=st.integers(1, 4), steps=st.lists(st.sampled_from([*STEPS, "turn"]), max_size=60))
def test_slots_are_neither_lost_nor_made(size, steps):
    """In whatever order things happen: taken + free = size, nobody waits while one is free, each line keeps order."""

    async def main() -> None:
        crowd = Crowd(size)
        for number, step in enumerate(steps):
            if step == "turn":
                await crowd.check()
            else:
                STEPS[step](crowd, number)
            if step.startswith("come"):
                await asyncio.sleep(0)  # it stands in line, or has its slot, before anything else happens
        await crowd.check()
        for line in (True, False):
            numbers = [number for ahead, number in crowd.got if ahead is line]
            assert numbers == sorted(numbers)
        for task in crowd.tasks:
            task.cancel()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)

    run_virtual(main())


# --- one that is lent


def test_a_loan_goes_to_the_first_in_line_when_they_are_served():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        await in_line(slots, "ab", got=got)
        slots.lend()
        await settle_down()
        assert got == []
        slots.serve()
        await settle_down()
        assert (slots.free, slots.loans) == (-1, 0)
        slots.give()
        await settle_down()
        assert got == ["a"]  # the loan is paid back, and no slot is free yet
        slots.give()
        await settle_down()
        return got

    assert run_virtual(main()) == ["a", "b"]


def test_a_loan_may_be_taken_past_the_line_but_not_as_a_free_slot():
    async def main() -> None:
        slots, told = Slots(1), []
        slots.on_free = lambda: told.append(slots.take_now())
        assert not slots.take_loan()
        assert not await slots.take()
        slots.lend()
        assert told == [False]
        assert slots.take_loan()
        assert not slots.take_loan()
        slots.lend()
        assert await slots.take()

    run_virtual(main())


def test_a_loan_handed_to_one_who_is_cancelled_goes_to_the_next():
    async def main() -> list[str]:
        slots, got = Slots(1), []
        await slots.take()
        first, _ = await in_line(slots, "ab", got=got)
        slots.lend()
        slots.serve()
        first.cancel()
        await settle_down()
        assert (slots.free, slots.loans) == (-1, 0)
        return got

    assert run_virtual(main()) == ["b"]
