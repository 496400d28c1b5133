"""Is the modelled world as strict as a real one, and do the laws see what is wrong in it?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.gemini.refusal import judge
from batcher.gemini.reply import read
from batcher.records import Kind, Reply, Status
from tests.sim.client import Played, play
from tests.sim.laws import broken
from tests.sim.report import fullest, integral, rate, report
from tests.sim.scenario import (
    NEVER_S,
    Change,
    Crowd,
    Hint,
    Lane,
    Limits,
    Others,
    Out,
    Outage,
    Prompts,
    Scenario,
    Truth,
    Windows,
    truths,
)
from tests.sim.server import OK, QUOTA, Server

ROW = Truth("m0", 10, 10, 5)
TEN = Limits(requests_per_minute=10)


def server_of(**fields) -> Server:
    return Server(Scenario(**({"lanes": (Lane(limits=TEN),)} | fields)))


def fates(server: Server, *at_s: float) -> list[str]:
    for moment_s in at_s:
        server.arrive(moment_s, ROW)
    return [arrival.fate for arrival in server.arrivals]


def test_no_sliding_minute_takes_more_than_the_limit():
    assert fates(server_of(), *[30.0] * 10, 89.9, 90.0) == [OK] * 10 + [QUOTA, OK]


def test_a_fixed_minute_takes_the_limit_twice_around_its_end():
    assert fates(server_of(windows=Windows.FIXED), *[59.0] * 11, *[60.0] * 11) == ([OK] * 10 + [QUOTA]) * 2


def test_tokens_are_counted_as_they_are_and_not_as_they_were_estimated():
    server = server_of(lanes=(Lane(limits=Limits(input_tokens_per_minute=100)),))
    for actual in (60, 40, 1):
        server.arrive(1.0, ROW._replace(actual=actual))
    assert [arrival.fate for arrival in server.arrivals] == [OK, OK, QUOTA]


def test_limits_change_and_others_take_of_them():
    assert fates(server_of(changes=(Change(at_s=5, share=0.2),)), *[1.0] * 2, *[6.0] * 2) == [OK, OK, QUOTA, QUOTA]
    others = Others(per_minute=60, tokens=1, from_s=0, until_s=8)
    assert fates(server_of(others=others), *[7.5] * 3) == [OK, OK, QUOTA]


@pytest.mark.parametrize(
    ("hint", "wait_s"),
    [
        (Hint.EXACT, 40),
        (Hint.SECONDS, 40),
        (Hint.DATE, 41),
        (Hint.MILLISECONDS, 40),
        (Hint.NONE, 60),
        (Hint.DISAGREEING, 40),
        (Hint.ABSURD, 60),
        (Hint.NEGATIVE, 60),
        (Hint.PAST, 60),
        (Hint.PROXIED, 40),
    ],
)
def test_the_verdicts_read_the_refusals_as_they_are_meant(hint, wait_s):
    server = server_of(hints=(hint,))
    replies = [server.arrive(20.0, ROW)[0] for _ in range(10)] + [server.arrive(40.0, ROW)[0]]
    assert isinstance(replies[-1], Reply)
    verdict = judge(replies[-1], read(replies[-1].body), now=server.now_utc(40.0))
    assert (verdict.kind, verdict.quota) == (Kind.THROTTLED, "requests/min")
    assert verdict.wait_s == pytest.approx(wait_s, abs=0.01)


def test_a_body_of_another_make_names_no_quota():
    server = server_of(hints=(Hint.OPENAI,))
    reply = [server.arrive(20.0, ROW)[0] for _ in range(11)][-1]
    assert isinstance(reply, Reply)
    verdict = judge(reply, read(reply.body))
    assert (verdict.kind, verdict.reason, verdict.quota, verdict.wait_s) == (Kind.THROTTLED, "capacity", None, 60.0)


def test_rows_are_what_the_seed_says():
    scenario = Scenario(rows=500, lanes=(Lane(prompts=Prompts(least=100, most=200, noise=0.1, drift=3.0)),))
    rows = truths(scenario)
    assert rows == truths(scenario) != truths(replace(scenario, seed=1))
    assert all(100 <= row.estimate <= 200 for row in rows)
    ratios = [row.actual / row.estimate for row in rows]
    assert 0.9 <= sum(ratios[:50]) / 50 <= 1.2
    assert 2.8 <= sum(ratios[-50:]) / 50 <= 3.1
    assert max(row.actual for row in rows) <= scenario.lanes[0].prompts.largest


def test_what_is_possible_follows_quotas_and_outages():
    outage = Outage(from_s=60, for_s=60, how=Out.REFUSED)
    scenario = Scenario(lanes=(Lane(limits=TEN),), outages=(outage,), changes=(Change(at_s=120, share=0.5),))
    assert integral(lambda at_s: rate(scenario, scenario.lanes[0], at_s), 180) == pytest.approx(15)
    assert fullest([(0.0, 3), (59.9, 4), (60.0, 5), (200.0, 1)]) == 9


# --- the laws can fail


@pytest.fixture(scope="module")
def played() -> Played:
    limits = Limits(requests_per_minute=120, input_tokens_per_minute=5_000)
    lanes = (Lane(limits=limits, prompts=Prompts(least=10, most=20)),)
    return play(Scenario(rows=60, lanes=lanes, told=limits, trouble=0.1))


def laws(played: Played, **changed) -> list[str]:
    played = replace(played, **changed)
    return broken(played, report(played))


def test_all_hold_of_a_plain_run(played):
    assert laws(played) == []


def test_a_run_that_did_not_end_is_seen(played):
    assert "did not end: deadlock" in laws(played, error="deadlock")[0]
    assert "it spins" in laws(played, turns=1_000_000)[0]


def test_a_row_that_is_missing_is_seen(played):
    assert "60 of 61 rows" in laws(played, rows=[*played.rows, ROW])[0]


def test_a_window_that_would_have_been_overfilled_is_seen():
    limits = Limits(requests_per_minute=30)
    eager = play(Scenario(rows=60, lanes=(Lane(limits=limits),), told=Limits(requests_per_minute=40)))
    assert laws(eager) == []
    truthful = replace(eager.scenario, told=limits)
    assert "would have overfilled a window" in laws(eager, scenario=truthful)[0]


def test_a_row_that_failed_for_refusals_is_seen(played):
    task = next(iter(played.disk.done))
    outcome = played.disk.done[task]
    played.disk.done[task] = outcome._replace(status=Status.FAILED, error_kind="rate_limit")
    try:
        assert "failed after 0 attempts that count: rate_limit" in laws(played)[0]
    finally:
        played.disk.done[task] = outcome


def test_what_a_gate_keeps_is_seen(played):
    (gate,) = played.gates
    assert gate.open_now()
    try:
        assert "1 credits" in laws(played)[0]
    finally:
        gate.close()
    entry = played.kept[0][0].of_tokens
    assert entry is not None
    entry.amount += 1
    try:
        assert "not what the reply told" in laws(played)[0]
    finally:
        entry.amount -= 1


def test_a_permit_out_of_order_is_seen(played):
    (gate,) = played.gates
    gate.overtaken.append("number 2 passed number 1")
    try:
        assert "out of order" in laws(played)[0]
    finally:
        gate.overtaken.clear()


def test_a_world_that_never_ends_is_told_from_one_that_does():
    crowd = Crowd(from_s=0, for_s=NEVER_S, share=1.0)
    assert "livelock" in str(play(Scenario(rows=20, crowds=(crowd,)), most_turns=5_000).error)
