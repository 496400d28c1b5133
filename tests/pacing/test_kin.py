from hypothesis import given
from hypothesis import strategies as st

from batcher.pacing.kin import Family

ID = "GenerateRequestsPerMinutePerProjectPerModel"
S = 1_000_000


def family(first: int, second: int, *, every_us: int = 50_000) -> tuple[Family, int]:
    """Two lanes that have sent so many requests; and now."""
    told = Family(frozenset("ab"))
    for n in range(first):
        told.sent("a", n * every_us)
    for n in range(second):
        told.sent("b", n * every_us)
    return told, max(first, second) * every_us


def test_two_that_fill_one_quota_together_are_told_once():
    told, now_us = family(50, 50)
    assert told.refused("a", ID, 100, now_us) is None
    found = told.refused("b", ID, 100, now_us + S)
    assert found == ("a", "b", (50, 50))
    assert told.refused("a", ID, 100, now_us + 2 * S) is None


def test_two_projects_of_one_size_that_run_full_together_are_not_kin():
    told, now_us = family(100, 100)
    assert [told.refused(lane, ID, 100, now_us) for lane in "ab"] == [None, None]


def test_another_quota_another_time_or_somebody_else_is_no_sign():
    told, now_us = family(50, 50)
    told.refused("a", ID, 100, now_us)
    assert told.refused("b", "another", 100, now_us) is None
    assert told.refused("b", ID, 1000, now_us) is None  # they have sent a tenth of it
    assert told.refused("b", ID, 100, now_us + 11 * S) is None


def test_what_was_sent_more_than_a_minute_ago_counts_for_the_day_only():
    told, now_us = family(50, 50)
    later_us = now_us + 61 * S
    assert [told.refused(lane, ID, 100, later_us) for lane in "ab"] == [None, None]
    daily = "GenerateRequestsPerDayPerProjectPerModel"
    assert told.refused("a", daily, 100, later_us) is None
    assert told.refused("b", daily, 100, later_us) == ("a", "b", (50, 50))


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 300))
def test_nobody_is_kin_who_may_have_filled_the_quota_alone(first, second, size):
    told, now_us = family(first, second, every_us=1000)
    found = [told.refused("a", ID, size, now_us), told.refused("b", ID, size, now_us)][1]
    if found is not None:
        assert max(first, second) < size <= (first + second) / 0.9
