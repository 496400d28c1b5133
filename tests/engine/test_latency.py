from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.latency import BUCKETS, MOST_MS, RELATIVE_ERROR, between, bucket_of, no_latencies, quantile_ms

usual = st.floats(1, MOST_MS, allow_nan=False)
shares = st.floats(0.001, 1)


def counted(latencies):
    counts = no_latencies()
    for latency_ms in latencies:
        counts[bucket_of(latency_ms)] += 1
    return counts


@given(st.lists(usual, min_size=1, max_size=200), shares)
def test_a_quantile_is_off_by_at_most_half_a_bucket(latencies, share):
    exact = sorted(latencies)[ceil(share * len(latencies)) - 1]
    assert abs(quantile_ms(counted(latencies), share) / exact - 1) <= RELATIVE_ERROR + 1e-9


@given(st.lists(usual), st.lists(usual))
def test_the_difference_of_two_counts_is_what_came_between(before, since):
    assert between(counted(before), counted([*before, *since])) == counted(since)


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_a_longer_latency_is_in_no_earlier_bucket(one, other):
    short, long = sorted((one, other))
    assert 0 <= bucket_of(short) <= bucket_of(long) < BUCKETS


@given(st.lists(usual, min_size=1, max_size=50), shares, shares)
def test_a_greater_share_needs_no_less_time(latencies, one, other):
    low, high = sorted((one, other))
    counts = counted(latencies)
    assert quantile_ms(counts, low) <= quantile_ms(counts, high)


def test_of_nothing_there_is_no_quantile():
    assert quantile_ms(no_latencies(), 0.5) is None


@pytest.mark.parametrize("latency_ms", [0.0, 0.2, 1.0])
def test_what_is_faster_than_a_millisecond_is_called_one(latency_ms):
    assert quantile_ms(counted([latency_ms]), 0.5) == 1.0


def test_what_takes_longer_than_any_deadline_is_still_counted():
    assert quantile_ms(counted([MOST_MS * 1000]), 0.5) == pytest.approx(MOST_MS, rel=0.05)


def test_half_a_bucket_is_a_little_over_two_percent():
    assert round(RELATIVE_ERROR, 4) == 0.0219
