"""Do the laws hold in worlds that nobody has thought of? Each seed is one: `python -m tests.sim SEED` shows it."""

from __future__ import annotations

import pytest

from tests.sim.client import play
from tests.sim.draw import drawn
from tests.sim.laws import broken
from tests.sim.report import report


def check(seed: int) -> None:
    scenario = drawn(seed)
    played = play(scenario)
    told = report(played)
    laws = broken(played, told)
    assert not laws, f"seed {seed}: {laws}\n{told}\nto see it again: python -m tests.sim {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_all_laws_hold(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_all_laws_hold_in_a_thousand_worlds(seed):
    check(seed)


@pytest.mark.parametrize("seed", [1, 13, 24])
def test_one_seed_is_one_schedule(seed):
    first, second = play(drawn(seed)), play(drawn(seed))
    assert first.server.arrivals == second.server.arrivals
    assert first.disk.done == second.disk.done
