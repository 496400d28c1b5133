"""How many requests may be in flight: the arithmetic alone, then the gate and the asker around it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.width import CUT_EVERY_S, FIRST, Width
from batcher.records import Reply, Request, Status
from tests.asking.stage import BUSY, Exchange, Stage, as_a_session, open_task, throttled
from tests.builders import a_reply
from tests.fakes import FakeClock, jitter, run_virtual

OK = a_reply("yes")


class Told:
    """A limit and what it is told of: time, and the replies so far."""

    def __init__(self, most: int = 512, *, first: int = FIRST) -> None:
        self.width = Width(most, first=first)
        self.now_s = 0.0
        self.answers = self.failures = 0

    def round_trip(self, *, in_flight: int | None = None, good: int | None = None) -> int:
        """All that are in flight come home, the bad ones first; the limit after that."""
        out = self.width.size if in_flight is None else in_flight
        good = out if good is None else good
        for left in range(out, 0, -1):
            if left > good:
                self.fail(left)
            else:
                self.answers += 1
            self.width.replied(left, self.answers)
        return self.width.size

    def fail(self, in_flight: int) -> bool:
        self.failures += 1
        return self.width.failed(self.now_s, in_flight, answers=self.answers, failures=self.failures)


def test_from_16_to_512_in_three_round_trips():
    told = Told()
    assert [told.width.size, *(told.round_trip() for _ in range(3))] == [16, 64, 256, 512]
    assert told.width.is_whole


def test_few_slots_are_open_from_the_start():
    assert (Told(10).width.size, Told(10).width.is_whole) == (10, True)


def test_it_does_not_grow_beyond_what_is_used():
    told = Told()
    sizes = [told.round_trip(in_flight=min(40, told.width.size)) for _ in range(10)]
    assert sizes[-1] == sizes[3]
    assert 40 <= sizes[-1] <= 2 * 40 + 3 * 2 * 40  # the answers of a round trip that began when it was used


def test_many_failures_cut_it_once_a_round_trip_and_two_seconds():
    told = Told(100, first=100)
    told.round_trip(good=50)
    assert told.width.size == 70
    told.round_trip(in_flight=70, good=0)  # were out already at the cut
    assert told.width.size == 70
    told.now_s += CUT_EVERY_S
    told.round_trip(good=0)
    assert told.width.size == 49


def test_what_fails_slowly_cuts_it_once_a_round_trip_only():
    """256 that time out one after the other are one cut, however many seconds that takes."""
    told = Told(256, first=256)
    cuts = 0
    for left in range(256, 0, -1):
        told.now_s += 0.1
        cuts += told.fail(left)
    assert cuts == 1


def test_after_a_cut_it_grows_by_eight_a_round_trip():
    told = Told(256, first=256)
    told.round_trip(good=128)
    assert told.width.size == 179
    # The rest of what was out is no full round trip of the smaller limit.
    assert [told.round_trip() for _ in range(4)] == [187, 195, 203, 211]


def test_one_never_less_and_from_there_twice_as_many():
    told = Told(64, first=64)
    for _ in range(40):
        told.now_s += CUT_EVERY_S
        told.round_trip(good=0)
    assert told.width.size == 1
    assert [told.round_trip() for _ in range(5)] == [2, 4, 8, 16, 24]


def test_a_limit_far_from_used_is_cut_to_what_is():
    told = Told(256, first=256)
    told.round_trip(in_flight=60, good=0)
    assert told.width.size == 35  # 0.7 of twice what was in flight when it was noticed


def test_a_few_percent_that_fail_whatever_we_do_cut_nothing():
    told = Told(256, first=256)
    for _ in range(200):
        told.now_s += 3
        told.round_trip(good=236)  # 8 % of failures
    assert told.width.size == 256


def test_most_of_ten_thousand_come_back_in_tens_of_round_trips():
    told = Told(10_000, first=10_000)
    told.round_trip(good=5_000)
    trips = 0
    while not told.width.is_whole:
        told.round_trip()
        trips += 1
    assert 10 <= trips <= 25


@given(
    most=st.integers(1, 600),
    first=st.integers(1, 600),
    trips=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 5)), max_size=40),
)
def test_it_stays_within_bounds_and_a_cut_is_never_deeper_than_the_use_allows(most, first, trips):
    told = Told(most, first=first)
    for used, good, wait_s in trips:
        told.now_s += wait_s
        out = max(1, round(used * told.width.size))
        before = told.width.size
        after = told.round_trip(in_flight=out, good=round(good * out))
        assert 1 <= after <= most
        assert after >= min(before, int(0.7 * min(before, 2 * 1)))
        if good == 1.0:
            assert after >= before


# --- the gate


def test_a_quota_spreads_requests_by_itself_so_that_all_slots_are_open():
    """Opening them by and by would cost a limited job more of its quota than it may leave."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        names = ("requests_per_day", "requests_per_minute", "input_tokens_per_minute")
        quotas = (Quotas(), *(Quotas(**{name: 9}) for name in names))
        gates = [Gate(each, slots=100, now=loop.time, wall_us=FakeClock(follow=loop.time)) for each in quotas]
        return [gate._slots.size for gate in gates]

    assert run_virtual(main()) == [FIRST, FIRST, 100, 100]


def test_the_endpoint_sees_the_slots_open_with_its_answers():
    async def main() -> Stage:
        stage = Stage(lambda _: OK, slots=512, latency_s=0.1)
        await as_a_session(stage, [open_task(number) for number in range(1_500)])
        return stage

    stage = run_virtual(main())
    by_then = [sum(1 for at_s in stage.door.sent_at_s if at_s < s) for s in (0.05, 0.15, 0.25, 0.35)]
    assert by_then == [16, 16 + 64, 16 + 64 + 256, 16 + 64 + 256 + 512]


def test_a_429_opens_no_slot_and_closes_none():
    async def main() -> Stage:
        stage = Stage(lambda _: throttled(), slots=64, latency_s=0.1)
        asking = asyncio.ensure_future(as_a_session(stage, [open_task(number) for number in range(500)]))
        await asyncio.sleep(60)
        asking.cancel()
        assert stage.gate._slots.size == FIRST
        assert stage.gate.narrowed is None
        return stage

    assert run_virtual(main()).door.most_in_flight == FIRST


@pytest.mark.parametrize(
    ("bears", "refuses_after_s", "most_s", "lost"), [(200, None, 30, 0), (40, 0.02, 400, 0), (40, None, 200, 2)]
)
def test_an_endpoint_that_bears_so_many_at_once_is_asked_about_so_many(bears, refuses_after_s, most_s, lost):
    """It answers so many at once and turns the others away, at once or late. 256 slots that stay open take 168, 1,130
    and 1,016 s for these 4,000 rows, and of the last two lose 21 and 6."""

    async def main() -> Stage:
        loop, chance = asyncio.get_running_loop(), jitter(3)
        latency_s: dict[int, float] = {}
        busy: list[int] = []

        def answer(request: Request) -> Exchange:
            span_s = latency_s[id(request)] = 0.5 + chance()
            if len(busy) >= bears:
                latency_s[id(request)] = refuses_after_s or span_s
                return BUSY
            busy.append(1)
            loop.call_later(span_s, busy.pop)
            return OK

        stage = Stage(answer, slots=256, latency_s=lambda request: latency_s[id(request)])
        endings = await as_a_session(stage, [open_task(number) for number in range(4_000)])
        assert sum(ending.outcome is None or ending.outcome.status is not Status.OK for ending in endings) <= lost
        return stage

    assert run_virtual(main()).door.sent_at_s[-1] < most_s


def run_of(rows: int, *, failing: bool, busy_s: float = 0.0) -> tuple[Stage, float]:
    """Every tenth row fails twice, at once or after `busy_s`; an answer takes 0.3 s. And how long it took."""
    asked: Counter[str] = Counter()
    latency_s: dict[int, float] = {}

    def answer(request: Request) -> Reply:
        number = int(str(request.prompt).split()[1])
        asked[str(number)] += 1
        is_bad = failing and number % 10 == 5 and asked[str(number)] <= 2
        latency_s[id(request)] = busy_s if is_bad else 0.3
        return BUSY if is_bad else OK

    async def main() -> tuple[Stage, float]:
        stage = Stage(answer, slots=10, latency_s=lambda request: latency_s[id(request)], chance=0.5)
        await as_a_session(stage, [open_task(number) for number in range(rows)])
        return stage, asyncio.get_running_loop().time()

    return run_virtual(main())


@pytest.mark.parametrize(("busy_s", "requests"), [(0.0, 400), (0.3, 480)])
def test_failures_spread_evenly_cost_two_seconds_at_most(busy_s, requests):
    """400 rows, 40 of which fail twice, against as much work without a failure; of it the last row waits 1.5 s."""
    _, without_s = run_of(requests, failing=False)
    stage, with_failures_s = run_of(400, failing=True, busy_s=busy_s)

    assert with_failures_s - without_s <= 2.0
    assert stage.gate.breaker.is_closed
    assert len(stage.door.sent) == 480


def test_what_was_lowered_is_remembered_with_the_reason():
    async def main() -> Gate:
        stage = Stage(lambda _: BUSY if stage.door.in_flight > 4 else OK, slots=8, latency_s=0.1)
        await as_a_session(stage, [open_task(number) for number in range(300)])
        return stage.gate

    history = run_virtual(main()).history
    first = history.turns[0]
    assert (first.what, first.lane, first.limit, first.why) == ("concurrency", "", 5, "http_503")
    assert history.cuts["concurrency"] >= 1
    assert 1 <= history.least["concurrency"] <= 5
