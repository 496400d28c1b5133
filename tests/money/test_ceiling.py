import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.money.ceiling import Ceiling
from batcher.money.cost import cost_fusd
from batcher.money.prices import RateCard
from batcher.money.usage import Buckets

CARD = RateCard.bundled()
NOW_US = 1_795_600_000_000_000  # 2026-11-25
A_YEAR_US = 366 * 86_400_000_000
TIERS = [None, "standard", "flex", "priority"]


@given(
    st.sampled_from(CARD.models),
    st.sampled_from(TIERS),
    st.integers(0, 300_000),
    st.integers(0, 70_000),
    st.integers(0, 3 * A_YEAR_US),
    st.data(),
)
def test_nothing_costs_more_whatever_is_billed_of_it_whenever_it_is_sent(
    model, tier, most_in, most_out, later_us, data
):
    bound = Ceiling(CARD, tier=tier, from_us=NOW_US).fusd(model, most_in, most_out)
    asked = tier or "standard"
    if CARD.rates(model, asked, NOW_US, 0) is None:
        assert bound is None
        return
    split = sorted(data.draw(st.lists(st.integers(0, most_in), min_size=3, max_size=3)))
    ends = sorted(data.draw(st.lists(st.integers(0, most_out), min_size=3, max_size=3)))
    used = Buckets(
        fresh_input=split[0],
        cached_input=split[1] - split[0],
        audio_fresh_input=split[2] - split[1],
        visible_output=ends[0],
        thinking=ends[1] - ends[0],
        image_output=ends[2] - ends[1],
    )
    for served in (asked, "standard"):
        rates = CARD.rates(model, served, NOW_US + later_us, used.billed_input)
        assert rates is None or cost_fusd(used, rates) <= bound


def test_a_price_that_will_rise_counts_from_the_start():
    changes = CARD.changes("gemini-3.8-flash", "standard", after_us=NOW_US, until_us=NOW_US + 2 * A_YEAR_US)
    before, after = changes[0].before, changes[-1].after
    assert after.output_fusd > before.output_fusd
    assert Ceiling(CARD, tier=None, from_us=NOW_US).fusd("gemini-3.8-flash", 0, 1_000) == 1_000 * after.output_fusd


@pytest.mark.parametrize(("tier", "dearest"), [("flex", "standard"), ("priority", "priority"), (None, "standard")])
def test_the_dearest_tier_that_may_be_served_counts(tier, dearest):
    rates = CARD.rates("gemini-2.5-flash", dearest, NOW_US, 0)
    assert Ceiling(CARD, tier=tier, from_us=NOW_US).fusd("gemini-2.5-flash", 0, 7) == 7 * rates.output_fusd


def test_the_long_context_price_counts_from_its_first_token():
    ceiling = Ceiling(CARD, tier=None, from_us=NOW_US)
    below, above = (ceiling.fusd("gemini-2.5-pro", tokens, 0) for tokens in (200_000, 200_001))
    assert above > 1.9 * below


def test_of_a_model_that_nobody_prices_nothing_is_known():
    assert Ceiling(CARD, tier=None, from_us=NOW_US).fusd("gemini-99", 1, 1) is None
