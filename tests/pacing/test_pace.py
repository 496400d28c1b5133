"""How fast a lane may go after it was refused: the arithmetic, then the gate and the asker before a server."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.pace import CUT, CUT_EVERY_S, LEAST_PER_S, QUIET_S, Pace, Refusals
from tests.fakes import run_virtual
from tests.pacing.rated import RatedServer, failed_rows

# --- how many are refused


@pytest.mark.parametrize(("refused_a_second", "many"), [(5, False), (11, False), (16, True), (60, True)])
def test_a_tenth_of_the_replies_of_five_seconds_is_borne_and_what_chance_adds(refused_a_second, many):
    refusals = Refusals(0.0, 0)
    for number in range(10 * refused_a_second):
        at_s = number / refused_a_second
        refusals.add(at_s, answers=round(100 * at_s))
    assert refusals.are_many(at_s, round(100 * at_s)) is many
    assert refusals.per_second(at_s, round(100 * at_s)) == pytest.approx(100 + refused_a_second, rel=0.1)


def test_good_replies_before_the_first_refusal_count_though_nobody_counted_them():
    refusals = Refusals(0.0, 0)
    for number in range(20):
        refusals.add(1000 + number / 100, answers=100_000)
    assert not refusals.are_many(1000.2, 100_000)
    assert refusals.per_second(1000.2, 100_000) == pytest.approx(104, rel=0.01)
    for number in range(100):
        refusals.add(1000.2 + number / 100, answers=100_000)
    assert refusals.are_many(1001.2, 100_000)


def test_a_few_refusals_at_the_very_start_tell_nothing():
    refusals = Refusals(0.0, 0)
    for number in range(50):
        refusals.add(number / 1000, answers=0)
    assert not refusals.are_many(0.05, 0)
    refusals.add(0.6, answers=50)
    assert refusals.are_many(0.6, 50)


# --- the pace


class Road:
    """A pace, and replies to what it lets go; nobody refuses but the test."""

    def __init__(self, per_second: float, *, ceiling: float = inf) -> None:
        self.pace = Pace("pace", 0.0, per_second, ceiling=ceiling)
        self.refusals = Refusals(0.0, 0)
        self.now_s = 0.0
        self.answers = 0

    def go(self, seconds: float, *, every_s: float = 0.0) -> int:
        """Send all that may go, each answered at once; how many went."""
        end_s, went = self.now_s + seconds, 0
        while (next_s := max(self.pace.earliest(self.now_s), self.now_s + every_s)) < end_s:
            self.now_s = next_s
            self.pace.take(self.now_s, 1, self.answers)
            self.answers += 1
            went += 1
        self.now_s = end_s
        return went

    def refuse(self, times: int = 1) -> bool:
        cut = False
        for _ in range(times):
            self.refusals.add(self.now_s, self.answers)
            cut |= self.pace.refused(self.now_s, self.refusals, self.answers)
        return cut


def test_so_many_a_second_and_no_burst():
    road = Road(50)
    road.pace.refused_s = inf  # no growth
    assert [road.go(1.0) for _ in range(3)] == pytest.approx([50, 50, 50], abs=1)
    road.now_s += 100
    assert road.go(1.0) <= 52  # what was not used is not in hand


def test_many_refusals_cut_it_by_three_tenths_of_what_was_sent_once_in_five_seconds():
    road = Road(100)
    road.go(5.0)
    assert road.refuse(90)
    first = road.pace.per_second
    assert first <= CUT * 102
    road.go(CUT_EVERY_S - 1.1)
    assert not road.refuse(100)
    road.go(1.2)
    assert road.refuse(100)


def test_a_pace_that_is_not_used_is_cut_below_what_is():
    road = Road(1000)
    road.go(5.0, every_s=0.1)
    assert road.refuse(20)
    assert road.pace.per_second <= CUT * 15


def test_a_few_refusals_are_borne_and_stop_the_growth_for_a_while():
    road = Road(50)
    road.go(20.0)
    before = road.pace.per_second
    assert not road.refuse(1)
    after = road.pace.per_second
    assert 0.75 * before < after < before
    road.go(QUIET_S * 0.9)
    assert road.pace.per_second == after
    road.go(2.0)
    assert road.pace.per_second > after


def test_it_grows_by_two_percent_a_second_then_slowly_then_doubles():
    road = Road(100)
    road.go(5.0)
    road.refuse(90)
    road.go(5.0)
    road.pace.cut(road.now_s, 100, road.answers)  # a second one, so that it is known where it is refused
    assert road.pace.per_second == pytest.approx(70)
    road.pace.refused_s = road.now_s
    road.go(QUIET_S + 1.0)
    assert road.pace.per_second == pytest.approx(72, abs=1)
    road.go(11.5)
    assert road.pace.per_second == pytest.approx(95, abs=1)
    road.go(3.0)
    assert road.pace.per_second == pytest.approx(98, abs=1)
    road.go(4.0 + 3.0)
    assert 150 < road.pace.per_second < 250


def test_it_does_not_grow_before_answers_came_at_this_pace():
    road = Road(100)
    road.go(5.0)
    road.refuse(90)
    pace, at_s = road.pace.per_second, road.now_s
    for tick in range(200):  # all goes out, nothing comes back
        now_s = at_s + tick / 10
        road.pace.take(max(now_s, road.pace.earliest(now_s)), 1, road.answers)
    assert road.pace.per_second == pace


def test_it_does_not_grow_beyond_what_is_used():
    road = Road(100)
    road.go(5.0)
    road.refuse(90)
    pace = road.pace.per_second
    road.go(60.0, every_s=1.0)
    assert road.pace.per_second == pytest.approx(pace, rel=0.03)


def test_it_is_over_when_it_has_held_nobody_back_for_a_minute():
    road = Road(100)
    road.go(5.0)
    road.refuse(90)
    road.go(50.0, every_s=1.0)
    assert not road.pace.is_over(road.now_s)
    road.go(15.0, every_s=1.0)
    assert road.pace.is_over(road.now_s)


def test_as_long_as_it_holds_somebody_back_it_is_not_over():
    road = Road(10, ceiling=10)
    road.go(300.0)
    assert not road.pace.is_over(road.now_s)
    assert road.pace.per_second == 10


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 100), st.booleans()), max_size=30))
def test_whatever_happens_it_is_cut_at_most_once_in_five_seconds_and_never_stands(steps):
    road, cuts_s = Road(50, ceiling=80), []
    for wait_s, refused, busy in steps:
        if busy:
            road.go(min(wait_s, 3.0))
        else:
            road.now_s += wait_s
        if road.refuse(refused):
            cuts_s.append(road.now_s)
        assert LEAST_PER_S <= road.pace.per_second <= 80
    assert all(later - sooner >= CUT_EVERY_S for sooner, later in pairwise(cuts_s))


# --- a server that turns away what is too much


STAGE_S = 200.0


def steps(at_s: float) -> float:
    return 20 if STAGE_S <= at_s < 2 * STAGE_S else 50


def test_a_quota_that_nobody_names_is_found_and_followed_through_an_outage():
    """50, 20 and 50 a second, and half a minute of 503: 95 % of what was possible, 1.4 % refused."""
    out_s = (1.5 * STAGE_S, 1.5 * STAGE_S + 30)
    server = RatedServer(steps, out_s=out_s)
    stage, endings = run_virtual(server.asked_for(3 * STAGE_S, slots=64))

    good = sum(at_s < 3 * STAGE_S for at_s in server.answered)
    possible = sum(steps(second) for second in range(int(3 * STAGE_S)) if not out_s[0] <= second < out_s[1])
    print(f"{good / possible:.1%} of what was possible, {len(server.refused) / good:.2%} refused")
    assert failed_rows(endings) == 0
    assert good >= 0.95 * possible
    assert len(server.refused) <= 0.014 * good
    in_flight = sum(out_s[0] - 1.5 * server.latency_s <= at_s < out_s[0] for at_s in server.answered)
    assert len(server.failed) <= in_flight + 40
    assert {turn.what for turn in stage.gate.history.turns} == {"pace", "concurrency"}


def test_nineteen_of_twenty_turned_away_for_ten_minutes_fail_no_row_and_cut_the_pace():
    server = RatedServer(lambda _: inf, turned_away=0.95)
    stage, endings = run_virtual(server.asked_for(600, slots=32))

    by_minute = [sum(60 * minute <= at_s < 60 * minute + 60 for at_s in server.refused) for minute in range(10)]
    assert failed_rows(endings) == 0
    assert by_minute[0] > 5 * max(by_minute[3:])
    assert stage.gate.history.cuts["pace"] >= 2
    assert stage.gate.history.least["pace"] == LEAST_PER_S


def test_a_few_percent_turned_away_whatever_we_do_cost_little():
    """No quota is behind them, so that going more slowly helps nobody: they delay their own rows."""
    server = RatedServer(lambda _: inf, turned_away=0.05)
    stage, _ = run_virtual(server.asked_for(120, slots=16))

    assert len(server.answered) > 0.85 * 120 * 16 / 0.5
    assert stage.gate.history.cuts.get("pace", 0) <= 1


def test_without_refusals_there_is_no_pace_and_permits_stay_what_they_are():
    server = RatedServer(lambda _: inf)
    stage, _ = run_virtual(server.asked_for(10, slots=4))

    assert stage.gate.admit_now("a", 1) is stage.gate.admit_now("a", 1)
    assert not stage.gate.history.turns


def test_a_pace_that_nobody_needs_any_more_goes_away():
    server = RatedServer(lambda at_s: 20 if at_s < 20 else inf)
    stage, _ = run_virtual(server.asked_for(140, slots=16))

    assert [turn.limit for turn in stage.gate.history.turns if turn.what == "pace"][-1] is None
    assert stage.gate.admit_now("a", 1) is stage.gate.admit_now("a", 1)
