import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.park import parked_until_us
from batcher.pacing.quota import pacific_midnight_after

MINUTE_US = 60_000_000
moments = st.integers(1_600_000_000_000_000, 2_000_000_000_000_000)


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()) * 1_000_000


@given(moments, st.none() | st.floats(0, 1e12), moments)
def test_a_park_ends_and_no_later_than_a_day_can(now_us, wait_s, before_us):
    until_us = parked_until_us(wait_s, now_us, before_us=before_us)
    assert now_us <= until_us <= now_us + 26 * 60 * MINUTE_US


@given(moments)
def test_who_is_told_nothing_waits_for_midnight(now_us):
    midnight_us = pacific_midnight_after(now_us)
    late = pacific_midnight_after(now_us - 15 * MINUTE_US) == midnight_us
    assert parked_until_us(None, now_us) == (midnight_us if late else now_us + 5 * MINUTE_US)
    assert parked_until_us(None, now_us, before_us=now_us) == midnight_us  # it has been asked again since


@pytest.mark.parametrize(
    ("now", "wait_s", "before", "until"),
    [
        ("2026-11-26T15:00", None, "2026-11-26T00:00", "2026-11-27T00:00"),
        ("2026-11-27T00:00", None, "2026-11-27T00:00", "2026-11-27T00:05"),  # the server's clock may be behind
        ("2026-11-27T00:05", None, "2026-11-27T00:05", "2026-11-28T00:00"),
        ("2026-11-27T00:10", 3600.0, "2026-11-26T00:00", "2026-11-27T01:10"),
        ("2026-11-26T15:00", 1e9, "2026-11-26T00:00", "2026-11-27T17:00"),
        ("2026-03-08T01:30", None, "2026-03-07T00:00", "2026-03-09T00:00"),
    ],
)
def test_examples(now, wait_s, before, until):
    assert parked_until_us(wait_s, at(now), before_us=at(before)) == at(until)
