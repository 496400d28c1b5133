"""The arithmetic of pace: which limit holds a run back, in words that can be checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.bottleneck import REQUESTS_A_DAY, pace_of
from batcher.engine.outlook import Span
from batcher.job.spec import Limits

TOKENS = Span(80.0, 100.0, 125.0)
LATENCY = Span(1.0, 2.0, 4.0)


def pace(requests=6_000, samples=1, tokens=TOKENS, **limits):
    return pace_of(
        Limits(**{"concurrency": 64} | limits),
        requests=requests,
        samples=samples,
        input_tokens=tokens,
        latency_s=LATENCY,
    )


def told(found):
    return {limit.name: (limit.rows_per_min, limit.arithmetic) for limit in found.limits}


def test_all_limits_in_words():
    found = pace(requests_per_minute=1_000, input_tokens_per_minute=1_000_000, requests_per_day=50_000)

    assert told(found) == {
        "requests/min": (Span(1_000, 1_000, 1_000), "1,000 a minute"),
        "input tokens/min": (Span(8_000, 10_000, 12_500), "1,000,000 a minute ÷ 80 to 125 tokens a request"),
        "concurrency": (Span(960, 1_920, 3_840), "64 at once x 60 s ÷ 1 to 4 s an answer"),
        "requests/day": (Span(*[50_000 / 1_440] * 3), "50,000 a day ÷ 1,440 minutes"),
    }
    assert found.bottleneck == "requests/min"
    assert found.days == 1


def test_samples_share_every_limit():
    found = pace(samples=4, requests_per_minute=1_000)

    assert told(found)["requests/min"] == (Span(250, 250, 250), "1,000 a minute ÷ 4 samples")
    assert told(found)["concurrency"][1] == "64 at once x 60 s ÷ 1 to 4 s an answer ÷ 4 samples"


@pytest.mark.parametrize(
    ("limits", "bottleneck"),
    [
        ({}, "concurrency"),
        ({"requests_per_minute": 60}, "requests/min"),
        ({"requests_per_minute": 1e9, "input_tokens_per_minute": 1_000}, "input tokens/min"),
        ({"requests_per_day": 6_000}, "concurrency"),  # a day is enough
        ({"requests_per_day": 5_999}, "requests/day"),
    ],
)
def test_the_bottleneck_is_the_slowest(limits, bottleneck):
    assert pace(**limits).bottleneck == bottleneck


def test_time_is_rows_at_that_pace_and_one_more_answer():
    assert pace(requests_per_minute=60).time_s == Span(6_001, 6_002, 6_004)
    assert pace(requests=0, requests_per_minute=60).time_s == Span(0, 0, 0)


def test_a_day_quota_makes_days_of_it():
    assert pace(requests=100_001, requests_per_day=10_000).days == 11
    assert pace().days is None
    assert pace(requests=0, requests_per_day=10).days == 1


def test_without_tokens_to_count_the_token_quota_holds_nothing_back():
    assert "input tokens/min" not in told(pace(tokens=Span(0, 0, 0), input_tokens_per_minute=1))


rates = st.floats(1, 1e6)


@given(rates, rates, st.integers(1, 1_000), st.integers(1, 10**6), st.floats(1, 10))
def test_a_higher_limit_is_never_slower(rpm, tpm, slots, requests, times):
    before = pace(requests, requests_per_minute=rpm, input_tokens_per_minute=tpm, concurrency=slots)
    after = pace(requests, requests_per_minute=rpm * times, input_tokens_per_minute=tpm * times, concurrency=slots)

    assert after.time_s <= before.time_s
    assert before.time_s.low <= before.time_s.likely <= before.time_s.high
    assert before.bottleneck in {limit.name for limit in before.limits} - {REQUESTS_A_DAY}
