import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.budget import Amount, Budget, BudgetReached
from batcher.pacing.purse import Purse
from tests.fakes import run_virtual

TEN = Amount(10)


def purse_of(cap, *, spent=0, told=None):
    budget = Budget(cap_fusd=cap, cap_tokens=None, spent=Amount(spent))
    heard = [] if told is None else told
    return Purse(budget, nearly=lambda setting, spending: heard.append((setting, spending)))


def waiting(coroutine):
    return asyncio.ensure_future(coroutine)


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_as_many_tasks_as_fit_have_their_reserve_at_once():
    purse = purse_of(35)
    assert await purse.take([(task, TEN) for task in range(8)]) == 3
    assert purse.spending.held_usd.scaleb(15) == 30


async def test_a_task_that_is_not_sent_needs_none():
    purse = purse_of(10)
    assert await purse.take([(0, None), (1, TEN), (2, None), (3, TEN)]) == 3


async def test_a_reserve_that_does_not_fit_waits_for_a_settlement():
    purse = purse_of(25)
    await purse.take([(0, TEN), (1, TEN)])
    third = waiting(purse.take([(2, TEN)]))
    await turns()
    assert purse.is_short
    assert not third.done()
    purse.billed(0, Amount(4))
    await turns()
    assert not third.done()  # judged, but not on disk: a kill now would charge all of it
    purse.ended(0)
    assert await third == 1
    assert not purse.is_short


async def test_it_is_the_end_when_nothing_is_out_that_could_give_anything_back():
    purse = purse_of(25)
    await purse.take([(0, TEN)])
    second = waiting(purse.take([(1, Amount(16))]))
    await turns()
    purse.billed(0, TEN)
    purse.ended(0)
    with pytest.raises(BudgetReached) as reached:
        await second
    assert (reached.value.setting, reached.value.wanted) == ("max_cost_usd", Amount(16))


async def test_what_was_not_billed_is_asked_again_out_of_the_same_reserve():
    purse = purse_of(10)
    await purse.take([(0, TEN)])
    purse.billed(0, Amount())
    assert purse.renew(0)
    purse.renewed(0)
    assert not purse.owes(0)
    purse.billed(0, Amount(7))
    purse.ended(0)
    assert purse.spending.spent_usd.scaleb(15) == 7


async def test_what_may_have_been_billed_counts_with_all_of_its_reserve():
    purse = purse_of(20)
    await purse.take([(0, TEN)])
    purse.billed(0, None)
    assert purse.renew(0)
    purse.renewed(0)
    purse.billed(0, Amount(1))
    purse.ended(0)
    assert purse.spending.spent_usd.scaleb(15) == 11


async def test_a_retry_comes_before_every_new_row():
    purse = purse_of(20)
    await purse.take([(0, TEN), (1, TEN)])
    new = waiting(purse.take([(2, TEN)]))
    await turns()
    purse.billed(0, Amount(5))
    assert not purse.renew(0)
    purse.set_back(0)
    retry = waiting(purse.again(0))
    await turns()
    assert purse.owes(0) is False
    purse.billed(1, Amount(3))
    purse.ended(1)
    await retry
    assert not new.done()  # 8 are spent, 10 held again
    purse.billed(0, Amount(1))
    purse.ended(0)
    assert await new == 1


async def test_it_is_said_once_that_four_fifths_are_spent():
    told = []
    purse = purse_of(100, told=told)
    for task in range(8):
        await purse.take([(task, TEN)])
        purse.billed(task, TEN)
        purse.ended(task)
        assert len(told) == (task == 7)
    await purse.take([(9, TEN)])
    purse.billed(9, TEN)
    purse.ended(9)
    assert [setting for setting, _ in told] == ["max_cost_usd"]
    assert told[0][1].spent_usd.scaleb(15) == 80


async def test_a_start_that_finds_four_fifths_spent_does_not_say_it_again():
    told = []
    purse = purse_of(100, spent=85, told=told)
    await purse.take([(0, TEN)])
    purse.billed(0, Amount(1))
    purse.ended(0)
    assert told == []


@pytest.mark.parametrize("served", [False, True])
async def test_a_wait_that_is_cancelled_holds_nothing(served):
    purse = purse_of(10)
    await purse.take([(0, TEN)])
    second = waiting(purse.take([(1, TEN)]))
    await turns()
    purse.billed(0, Amount())
    if served:
        purse.ended(0)  # served in the turn in which it is cancelled
    second.cancel()
    await asyncio.wait([second])
    if not served:
        purse.ended(0)
    assert await purse.take([(2, TEN)]) == 1


async def test_at_the_end_of_a_session_only_what_may_have_been_billed_counts():
    purse = purse_of(100)
    await purse.take([(task, TEN) for task in range(4)])
    purse.billed(1, Amount(3))  # its record never gets to the disk
    purse.billed(3, Amount(3))
    assert purse.renew(3)
    purse.renewed(3)
    told = purse.closed({0})
    assert (told.spent_usd.scaleb(15), told.held_usd) == (10 + 10 + 3, 0)


@dataclass
class Server:
    """What was billed, by a server that never bills more than a reserve; what is on disk, when the client dies."""

    billed: int = 0
    on_disk: list[int] = field(default_factory=list)
    admitted: dict[int, int] = field(default_factory=dict)

    def found_after_a_kill(self):
        return sum(self.on_disk) + sum(self.admitted.values())


async def asked(purse, server, task, reserve, attempts):
    """One task as the asker goes about it: each attempt is (share of the reserve that is billed, is it sure)."""
    for share, sure in attempts[:-1]:
        await attempt(purse, server, task, reserve, share, sure=sure)
        if purse.renew(task):
            keep(server, task, reserve, share, sure=sure)
            server.admitted[task] = reserve.fusd
            purse.renewed(task)
        else:
            keep(server, task, reserve, share, sure=sure)
            purse.set_back(task)
            await purse.again(task)
            server.admitted[task] = reserve.fusd
    share, sure = attempts[-1]
    await attempt(purse, server, task, reserve, share, sure=sure)
    keep(server, task, reserve, share, sure=sure)
    purse.ended(task)


async def attempt(purse, server, task, reserve, share, *, sure):
    await asyncio.sleep(task % 3)
    cost = reserve.fusd * share // 10
    server.billed += cost
    purse.billed(task, Amount(cost) if sure else None)
    await asyncio.sleep(1)  # on its way to the disk


def keep(server, task, reserve, share, *, sure):
    server.on_disk.append(reserve.fusd * share // 10 if sure else reserve.fusd)
    del server.admitted[task]


ATTEMPTS = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=4)
TASKS = st.lists(st.tuples(st.integers(1, 60), ATTEMPTS), min_size=1, max_size=25)


@given(TASKS, st.integers(1, 300), st.integers(0, 100), st.integers(1, 8), st.none() | st.integers(0, 30))
def test_whatever_happens_nothing_is_billed_beyond_the_cap_and_it_ends(tasks, cap, before, look_ahead, killed_at_s):
    """Every kind of attempt, at any reserve, killed at any moment: a run ends, and its books are right."""

    async def session():
        purse, server = purse_of(cap, spent=before), Server()
        open_tasks = []

        async def feed():
            left = [(task, Amount(reserve)) for task, (reserve, _) in enumerate(tasks)]
            while left:
                count = await purse.take(left[:look_ahead])
                for task, reserve in left[:count]:
                    server.admitted[task] = reserve.fusd
                    open_tasks.append(asyncio.ensure_future(asked(purse, server, task, reserve, tasks[task][1])))
                left = left[count:]
            await asyncio.gather(*open_tasks)

        feeder = asyncio.ensure_future(feed())
        with contextlib.suppress(TimeoutError, BudgetReached):
            await asyncio.wait_for(asyncio.shield(feeder), killed_at_s)
        books = server.billed, server.found_after_a_kill(), purse.spending
        await asyncio.sleep(0 if killed_at_s is not None else 60)  # what is out comes home
        for each in (feeder, *open_tasks):
            each.cancel()
        ended = await asyncio.gather(feeder, *open_tasks, return_exceptions=True)
        assert all(each is None or isinstance(each, asyncio.CancelledError | BudgetReached) for each in ended)
        return books, feeder, server, purse.spending

    (billed, found, spending), feeder, server, last = run_virtual(session())
    assert billed <= found  # what the ledger will say at most is no less than what was billed
    assert before + found <= max(cap, before)
    assert before + found <= (spending.spent_usd + spending.held_usd).scaleb(15)
    if killed_at_s is None and feeder.exception() is None:
        assert last.held_usd == 0
        assert last.spent_usd.scaleb(15) == before + sum(server.on_disk)
