from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from batcher.errors import Exit, RunStopped
from batcher.pacing.gate import DayQuotaReached, Gate, Permit, Quotas
from batcher.pacing.quota import MINUTE_S, SKEW_S
from tests.fakes import FakeClock, run_virtual

HOLD_S = MINUTE_S + SKEW_S
NOON_UTC = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Desk:
    """A gate on the running virtual loop, and a log of who got in when."""

    gate: Gate
    log: list[tuple[str, float]] = field(default_factory=list)
    permits: dict[str, Permit] = field(default_factory=dict)

    async def admit(self, name: str, lane: str = "a", tokens: int = 1, *, retry: bool = False) -> Permit:
        permit = self.permits[name] = await self.gate.admit(lane, tokens, retry=retry)
        self.log.append((name, asyncio.get_running_loop().time()))
        return permit

    async def queue(self, *waits: Coroutine[Any, Any, Permit]) -> list[asyncio.Task[Permit]]:
        """Start them in this order, and let each come as far as it can."""
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(0.001)
        return tasks

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.log]

    def at(self, name: str) -> float:
        return dict(self.log)[name]


def a_desk(quotas: Quotas = Quotas(), *, slots: int = 1000, **known: dict[str, Any]) -> Desk:  # noqa: B008  frozen
    loop = asyncio.get_running_loop()
    clock = FakeClock(NOON_UTC, follow=loop.time)
    return Desk(Gate(quotas, slots=slots, now=loop.time, wall_us=clock, **known))


def rpm(requests_per_minute: float) -> Quotas:
    return Quotas(requests_per_minute=requests_per_minute)


def tpm(input_tokens_per_minute: float) -> Quotas:
    return Quotas(input_tokens_per_minute=input_tokens_per_minute)


# --- slots and open tasks


def test_without_quotas_only_the_slots_bound():
    async def main() -> None:
        gate = a_desk(slots=2).gate
        first, second = gate.admit_now("a", 1), gate.admit_now("b", 10**9)
        assert first
        assert second
        assert (first.lane, second.lane, first.waited_s) == ("a", "b", 0.0)
        assert gate.admit_now("a", 1) is None
        assert gate.in_flight == 2
        gate.settle(first, 7)
        gate.unsent(second)
        assert gate.in_flight == 2
        gate.free(first)
        assert gate.admit_now("a", 1)

    run_virtual(main())


def test_it_says_when_every_slot_is_taken_and_tells_when_one_is_free_again():
    async def main() -> list[bool]:
        gate, told = a_desk(slots=1).gate, []
        gate.on_free(lambda: told.append(gate.is_full))
        permit = await gate.admit("lane", 1)
        told.append(gate.is_full)
        gate.free(permit)
        return told

    assert run_virtual(main()) == [True, False]


def test_open_tasks_are_four_times_the_slots():
    async def main() -> None:
        gate = a_desk(slots=2).gate
        assert [gate.open_now() for _ in range(9)] == [True] * 8 + [False]
        ninth = asyncio.create_task(gate.open())
        await asyncio.sleep(0)
        assert gate.limited_by == "open tasks"
        gate.close()
        await ninth
        assert (gate.open_tasks, gate.limited_by) == (8, "")

    run_virtual(main())


def test_a_wait_for_a_slot_is_first_come_first_served_over_the_lanes():
    async def main() -> list[str]:
        desk = a_desk(slots=1)
        permit = await desk.admit("first")
        await desk.queue(desk.admit("a1", "a"), desk.admit("b1", "b"), desk.admit("a2", "a"))
        assert desk.gate.limited_by == "concurrency"
        for _ in range(3):
            desk.gate.free(permit)
            await asyncio.sleep(0.001)
        assert desk.gate.limited_by == ""
        return desk.order

    assert run_virtual(main()) == ["first", "a1", "b1", "a2"]


def test_who_waits_for_a_slot_keeps_nobody_out_who_comes_in_the_turn_in_which_it_is_handed_over():
    async def main() -> tuple[list[Permit | None], list[str]]:
        desk = a_desk(slots=3)
        out = [await desk.admit(str(n)) for n in range(3)]
        await desk.queue(desk.admit("retry", retry=True), desk.admit("new"))
        taken = []
        for permit in out:  # three come home in one turn of the loop; two of their slots are handed over
            desk.gate.free(permit)
            taken.append(desk.gate.admit_now("a", 1))
        await asyncio.sleep(0.001)
        return taken, desk.order[3:]

    (first, second, third), order = run_virtual(main())
    assert (first, second) == (None, None)
    assert third is not None
    assert order == ["retry", "new"]


def test_a_pause_that_comes_while_many_wait_for_a_slot_holds_them_all():
    async def main() -> Desk:
        desk = a_desk(slots=1)
        permit = await desk.admit("first")
        await desk.queue(desk.admit("a"), desk.admit("b"))
        desk.gate.pause("a", "requests/min", 7.0)
        desk.gate.free(permit)
        await asyncio.sleep(6.9)
        assert desk.order == ["first"]
        assert desk.gate.in_flight == 0
        await asyncio.sleep(1)
        desk.gate.free(desk.permits["a"])
        await asyncio.sleep(0.001)
        return desk

    desk = run_virtual(main())
    assert desk.order == ["first", "a", "b"]
    assert desk.at("a") == pytest.approx(7.0, abs=0.01)


def test_a_permit_says_how_long_it_waited():
    async def main() -> float:
        desk = a_desk(rpm(60))
        await desk.admit("first")
        return (await desk.admit("second")).waited_s

    assert run_virtual(main()) == pytest.approx(HOLD_S / 60, abs=1e-3)


# --- order


def test_a_lane_keeps_the_order_and_retries_go_before_new_rows():
    async def main() -> list[str]:
        desk = a_desk(rpm(60))
        await desk.admit("0")
        await desk.queue(
            desk.admit("head"), desk.admit("new"), desk.admit("retry", retry=True), desk.admit("again", retry=True)
        )
        assert desk.gate.admit_now("a", 1) is None
        await asyncio.sleep(10)
        return desk.order

    assert run_virtual(main()) == ["0", "head", "retry", "again", "new"]


def test_a_big_prompt_does_not_starve_behind_small_ones():
    async def main() -> Desk:
        desk = a_desk(tpm(1000))
        for n in range(50):
            await desk.admit(f"s{n}", tokens=10)
        tasks = await desk.queue(desk.admit("big", tokens=900), *(desk.admit(f"t{n}", tokens=10) for n in range(20)))
        await asyncio.gather(*tasks)
        return desk

    desk = run_virtual(main())
    assert desk.order[50] == "big"
    assert desk.at("big") < 2 * HOLD_S


def test_a_prompt_bigger_than_the_quota_goes_alone():
    async def main() -> Desk:
        desk = a_desk(tpm(100))
        await desk.admit("small", tokens=10)
        await desk.admit("huge", tokens=250)
        await desk.admit("next", tokens=10)
        return desk

    desk = run_virtual(main())
    assert desk.at("huge") == pytest.approx(HOLD_S, abs=0.01)
    # The window alone would allow the next after a minute; the pace wants the huge one paid: 250 tokens at 100/min.
    assert desk.at("next") == pytest.approx(HOLD_S * 3.5, abs=HOLD_S * 0.1)


def test_the_huge_one_goes_at_once_into_an_empty_lane():
    async def main() -> Permit | None:
        return a_desk(tpm(100)).gate.admit_now("a", 250)

    assert run_virtual(main())


# --- what is wanted, and what is known


def test_limited_by_names_what_the_head_waits_for():
    async def main() -> None:
        for quotas, name in ((rpm(60), "requests/min"), (tpm(60), "input tokens/min")):
            desk = a_desk(quotas)
            await desk.admit("first", tokens=50)
            assert desk.gate.limited_by == ""
            await desk.queue(desk.admit("second", tokens=50))
            assert desk.gate.limited_by == name
            await asyncio.sleep(120)
            assert desk.gate.limited_by == ""

    run_virtual(main())


def test_replies_teach_what_an_estimate_is_worth():
    async def main() -> list[int]:
        gate = a_desk(tpm(1e6)).gate
        tokens = []
        for estimate in (100, 100, 10):
            permit = await gate.admit("a", estimate)
            tokens.append(permit.tokens)
            gate.settle(permit, estimate * 2)
            gate.free(permit)
        tokens.append((await gate.admit("other lane", 100)).tokens)
        return tokens

    assert run_virtual(main()) == [100, 200, 20, 100]


def test_what_an_earlier_start_learnt_is_known_and_soon_corrected():
    async def main() -> tuple[list[int], bool]:
        first = a_desk(tpm(1e6)).gate
        for _ in range(50):
            permit = await first.admit("a", 100)
            first.settle(permit, 300)
            first.free(permit)
        again = a_desk(tpm(1e6), learnt=first.learnt).gate
        tokens = [(await again.admit("a", 100)).tokens, (await again.admit("another", 100)).tokens]
        for _ in range(100):
            permit = await again.admit("a", 100)
            again.settle(permit, 100)
            again.free(permit)
        tokens.append((await again.admit("a", 100)).tokens)
        return tokens, again.learnt.keys() == {"a"}

    (known, unknown, corrected), only_what_was_taught = run_virtual(main())
    assert (known, unknown) == (300, 100)
    assert corrected < 150
    assert only_what_was_taught


def test_without_a_token_quota_nothing_is_learnt():
    async def main() -> dict:
        gate = a_desk(rpm(600)).gate
        permit = await gate.admit("a", 100)
        gate.settle(permit, 300)
        return gate.learnt

    assert run_virtual(main()) == {}


def test_a_smaller_reply_lets_the_head_go_before_its_time():
    async def main() -> Desk:
        desk = a_desk(tpm(1000))
        await desk.admit("first", tokens=900)
        await desk.queue(desk.admit("second", tokens=900))
        await asyncio.sleep(58)  # its pace is nearly paid; the window would hold it until 60.3 s
        desk.gate.settle(desk.permits["first"], 0)
        await asyncio.sleep(0.01)
        return desk

    assert run_virtual(main()).at("second") == pytest.approx(58, abs=0.02)


def test_an_unknown_reply_keeps_the_estimate():
    async def main() -> Desk:
        desk = a_desk(tpm(1000))
        desk.gate.settle(await desk.admit("first", tokens=900), None)
        await desk.admit("second", tokens=900)
        return desk

    assert run_virtual(main()).at("second") == pytest.approx(HOLD_S, abs=0.01)


def test_what_was_never_sent_is_given_back_at_once():
    async def main() -> None:
        quotas = Quotas(requests_per_minute=1, input_tokens_per_minute=100, requests_per_day=2)
        gate = a_desk(quotas).gate
        for _ in range(5):
            permit = gate.admit_now("a", 100)
            assert permit
            gate.unsent(permit)
            gate.free(permit)
        assert gate.used_today == {"a": 0}
        assert gate.admit_now("a", 100)
        assert gate.admit_now("a", 100) is None

    run_virtual(main())


def test_a_refused_request_counts_as_request_but_not_its_tokens():
    async def main() -> None:
        gate = a_desk(Quotas(requests_per_minute=600, input_tokens_per_minute=100)).gate
        first = gate.admit_now("a", 100)
        assert first
        gate.settle(first, 0)
        await asyncio.sleep(1)
        second = gate.admit_now("a", 100)
        assert second
        assert second.tokens == 100  # taught nothing

    run_virtual(main())


# --- pauses


def test_a_paused_lane_stands_still_to_the_second_and_the_others_go_on():
    async def main() -> Desk:
        desk = a_desk(rpm(600))
        await desk.admit("before")
        desk.gate.pause("a", "requests/min", 2.0)
        assert desk.gate.admit_now("a", 1) is None
        tasks = await desk.queue(desk.admit("paused"), desk.admit("other", "b"))
        assert desk.gate.limited_by == "requests/min"
        await asyncio.gather(*tasks)
        return desk

    desk = run_virtual(main())
    assert desk.at("other") < 0.01
    assert desk.at("paused") == pytest.approx(2.0, abs=0.01)


def test_the_longest_pause_counts():
    async def main() -> Desk:
        desk = a_desk()
        desk.gate.pause("a", "requests/min", 5.0)
        desk.gate.pause("a", "requests/min", 1.0)
        tasks = await desk.queue(desk.admit("x"))
        await asyncio.sleep(2)
        desk.gate.pause("a", "input_tokens/min", 8.0)  # while the head sleeps
        await asyncio.sleep(4)
        assert desk.gate.limited_by == "input tokens/min"
        await asyncio.gather(*tasks)
        assert desk.gate.admit_now("a", 1)
        return desk

    assert run_virtual(main()).at("x") == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize(("quota", "wait_s"), [(None, 60.0), ("requests/min", 0.0), ("requests/min", -3.0)])
def test_a_refusal_that_names_no_quota_or_no_time_pauses_nothing(quota, wait_s):
    async def main() -> Permit | None:
        gate = a_desk(rpm(60)).gate
        gate.pause("a", quota, wait_s)
        return gate.admit_now("a", 1)

    assert run_virtual(main())


def test_a_pause_that_comes_while_the_head_waits_for_a_slot_is_kept_without_the_slot():
    async def main() -> Desk:
        desk = a_desk(slots=1)
        permit = await desk.admit("holder", "b")
        await desk.queue(desk.admit("paused", "a"), desk.admit("other", "c"))
        desk.gate.pause("a", "requests/min", 5.0)
        desk.gate.free(permit)
        await asyncio.sleep(0.01)
        assert desk.order == ["holder", "other"]
        desk.gate.free(permit)
        await asyncio.sleep(6)
        return desk

    assert run_virtual(main()).at("paused") == pytest.approx(5.0, abs=0.01)


# --- the day


def test_the_day_quota_ends_the_run_and_says_when_to_go_on():
    async def main() -> None:
        desk = a_desk(Quotas(requests_per_day=2), used_today={"a": 1})
        await desk.admit("last")
        assert desk.gate.admit_now("a", 1) is None
        assert desk.gate.used_today == {"a": 2}
        await desk.admit("another lane", "b")
        await desk.admit("one too many")

    with pytest.raises(DayQuotaReached) as caught:
        run_virtual(main())

    stop = caught.value
    assert isinstance(stop, RunStopped)
    assert stop.exit_code is Exit.STOPPED
    assert (stop.lane, stop.resets_at_us) == ("a", NOON_UTC + 20 * 3600 * 1_000_000)
    assert str(stop) == "a: today's quota is used up"
    assert stop.hint == "type the same command again after 2026-01-16 08:00 UTC"


def test_everyone_who_waits_learns_that_the_day_is_over():
    async def main() -> list[Any]:
        desk = a_desk(Quotas(requests_per_minute=60, requests_per_day=3))
        tasks = await desk.queue(*(desk.admit(str(n)) for n in range(6)))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert desk.order == ["0", "1", "2"]
        assert desk.gate.in_flight == 3
        return results

    assert [isinstance(result, DayQuotaReached) for result in run_virtual(main())] == [False] * 3 + [True] * 3


def test_a_new_pacific_day_goes_on():
    async def main() -> dict[str, int]:
        desk = a_desk(Quotas(requests_per_day=1))
        await desk.admit("today")
        await asyncio.sleep(20 * 3600)
        await desk.admit("tomorrow")
        return desk.gate.used_today

    assert run_virtual(main()) == {"a": 1}


@pytest.mark.parametrize("quota", ["requests/day", "input_tokens/day"])
def test_the_server_may_know_better_what_was_used_today(quota):
    async def main() -> None:
        desk = a_desk()
        tasks = await desk.queue(desk.admit("fine"))
        desk.gate.pause("a", quota, 3600.0)
        await asyncio.gather(*tasks)
        await desk.admit("refused")

    with pytest.raises(DayQuotaReached) as caught:
        run_virtual(main())
    assert caught.value.resets_at_us == pytest.approx(NOON_UTC + 3600 * 1_000_000, abs=10_000)


def test_a_parked_lane_is_sent_away_until_its_time_and_delays_no_other():
    async def main() -> list[Any]:
        desk = a_desk(Quotas(requests_per_minute=600))
        await desk.admit("first")
        waiting = await desk.queue(desk.admit("behind"), desk.admit("last"))
        desk.gate.park("a", 3600.0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        opens_us = desk.gate.opens_us("a")
        assert opens_us == pytest.approx(NOON_UTC + 3600 * 1_000_000, abs=10_000)
        assert desk.gate.opens_us("b") == 0
        assert (desk.gate.admit_now("a", 1), desk.gate.in_flight) == (None, 1)
        await desk.admit("another lane", "b")
        assert desk.at("another lane") < 0.2
        await asyncio.sleep(3600)
        assert desk.gate.opens_us("a") == 0
        await desk.admit("again")
        return [*results, desk.at("again")]

    *sent_away, again_s = run_virtual(main())
    assert all(isinstance(result, DayQuotaReached) for result in sent_away)
    assert again_s == pytest.approx(3600, abs=1)


# --- cancellation


@pytest.mark.parametrize(
    ("quotas", "busy"),
    [
        pytest.param(rpm(60), False, id="requests"),
        pytest.param(tpm(60), False, id="tokens"),
        pytest.param(Quotas(), True, id="slot"),
        pytest.param(rpm(600), True, id="slot after the pace"),
        pytest.param(Quotas(requests_per_minute=60, input_tokens_per_minute=60, requests_per_day=2), False, id="all"),
    ],
)
def test_a_cancelled_wait_leaves_nothing_taken(quotas, busy):
    """The one behind gets in as if the cancelled one had never asked; its slot, day and room are there."""

    async def main(*, with_cancelled: bool) -> tuple[float, int, dict[str, int]]:
        desk = a_desk(quotas, slots=1 if busy else 5)
        first = await desk.admit("first", tokens=20)
        cancelled = [desk.admit(f"c{n}", tokens=20) for n in range(3)] if with_cancelled else []
        *gone, last = await desk.queue(*cancelled, desk.admit("last", tokens=20))
        await asyncio.sleep(0.5)
        for task in gone:
            task.cancel()
        await asyncio.sleep(0.01)
        desk.gate.free(first)
        await last
        desk.gate.free(desk.permits["last"])
        return desk.at("last"), desk.gate.in_flight, desk.gate.used_today

    alone, with_others = run_virtual(main(with_cancelled=False)), run_virtual(main(with_cancelled=True))

    assert with_others[0] == pytest.approx(alone[0], abs=0.02)
    assert with_others[1:] == alone[1:]
    assert with_others[1] == 0


def test_the_pace_that_a_cancelled_head_had_paid_is_not_paid_again():
    async def main() -> Desk:
        desk = a_desk(tpm(600), slots=1)
        first = await desk.admit("first", tokens=1)
        head, _ = await desk.queue(desk.admit("head", tokens=300), desk.admit("last", tokens=1))
        await asyncio.sleep(5)
        assert desk.gate.limited_by == "concurrency"
        head.cancel()
        desk.gate.free(first)
        await asyncio.sleep(1)
        return desk

    assert run_virtual(main()).at("last") == pytest.approx(5.0, abs=0.15)


def test_lanes_do_not_share_quotas():
    async def main() -> list[bool]:
        gate = a_desk(rpm(1)).gate
        return [gate.admit_now(lane, 1) is not None for lane in ("a", "a", "b", "b")]

    assert run_virtual(main()) == [True, False, True, False]
