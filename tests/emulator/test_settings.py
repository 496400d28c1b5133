from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.settings import Latency, Settings, Spelling

CHANCES = st.floats(0, 1)


@given(CHANCES, st.floats(0, 100))
def test_a_fixed_latency_is_always_the_same(chance: float, seconds: float) -> None:
    assert Latency.fixed(seconds).seconds(chance) == seconds


@given(CHANCES, st.floats(0, 10), st.floats(10, 20))
def test_a_latency_between_two_stays_between_them(chance: float, low_s: float, high_s: float) -> None:
    assert low_s <= Latency.between(low_s, high_s).seconds(chance) <= high_s


@given(CHANCES, st.floats(0.001, 10), st.floats(0.1, 2))
def test_a_lognormal_latency_is_never_negative_and_never_over_its_most(
    chance: float, median_s: float, sigma: float
) -> None:
    assert 0 < Latency.lognormal(median_s, sigma=sigma, most_s=60).seconds(chance) <= 60


def test_half_of_a_lognormal_lies_below_its_median_and_a_few_lie_far_above() -> None:
    latency = Latency.lognormal(2.0, sigma=0.8, most_s=60)
    drawn = [latency.seconds((n + 0.5) / 1000) for n in range(1000)]
    assert statistics.median(drawn) == pytest.approx(2.0, rel=0.01)
    assert max(drawn) > 15


@given(st.lists(CHANCES, min_size=2, max_size=2))
def test_more_chance_is_never_less_latency(chances: list[float]) -> None:
    first, second = sorted(chances)
    for latency in (Latency.between(1, 2), Latency.lognormal(1, sigma=1, most_s=9)):
        assert latency.seconds(first) <= latency.seconds(second)


def test_the_defaults_answer_at_once_and_refuse_nobody() -> None:
    settings = Settings()
    assert settings.latency.seconds(0.9) == 0
    assert settings.keys == ()
    assert settings.models is None
    assert settings.quotas == ()
    assert not settings.faults
    assert settings.spelling is Spelling.AUTO
    assert not settings.strict
