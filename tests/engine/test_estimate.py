"""Ranges are in order, add up, and never call an unknown price 0."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.estimate import Prices, around, estimate, sampling_error
from batcher.engine.outlook import Assumed, Span
from batcher.money.cost import cost_usd
from batcher.money.prices import RateCard
from batcher.money.usage import Buckets
from tests.builders import a_request

NOW_US = int(dt.datetime(2026, 11, 25, tzinfo=dt.UTC).timestamp()) * 1_000_000
PRICES = Prices(card=RateCard.bundled(), tier="standard", at_us=NOW_US)
EXACTLY = Span(1.0, 1.0, 1.0)

sizes = st.lists(st.integers(1, 500_000), min_size=1, max_size=30)
spans = st.lists(st.floats(0.1, 5_000), min_size=3, max_size=3).map(lambda ends: Span(*sorted(ends)))


def assumed(scale: Span = EXACTLY, output: Span = EXACTLY) -> Assumed:
    return Assumed(
        input_scale=scale, input_from="x", output=output, output_from="x", latency_s=EXACTLY, latency_from="x"
    )


def requests(*sizes: int, **fields: object):
    fields = {"output_bound": 1_000, "input_bound": 4 * max(sizes, default=1)} | fields
    return [a_request(estimated_tokens=size, **fields) for size in sizes]


def in_order(span) -> bool:
    return 0 <= span.low <= span.likely <= span.high


@given(sizes, spans, spans, st.integers(0, 10**8))
def test_every_range_is_in_order(sizes, scale, output, count):
    found = estimate(requests(*sizes), assumed(scale, output), count=count, prices=PRICES)

    assert in_order(found.input_tokens)
    assert in_order(found.output_tokens)
    assert in_order(found.cost_usd)


@given(sizes)
def test_of_all_requests_the_cost_is_their_sum_to_the_last_digit(sizes):
    found = estimate(
        requests(*sizes, model="gemini-2.5-pro"), assumed(output=Span(7.0, 7.0, 7.0)), count=len(sizes), prices=PRICES
    )

    exact = sum(
        cost_usd(Buckets(fresh_input=size, visible_output=7), PRICES.rates("gemini-2.5-pro", size)) for size in sizes
    )
    assert found.cost_usd == (exact, exact, exact)
    assert found.input_tokens == Span(*[float(sum(sizes))] * 3)


@given(sizes, st.integers(1, 1_000))
def test_ten_times_the_requests_cost_ten_times_as_much(sizes, times):
    once = estimate(requests(*sizes), assumed(), count=len(sizes), prices=PRICES)
    often = estimate(requests(*sizes), assumed(), count=len(sizes) * times, prices=PRICES)

    assert often.cost_usd.likely == once.cost_usd.likely * times
    assert often.cost_usd.low <= once.cost_usd.low * times
    assert often.cost_usd.high >= once.cost_usd.high * times


def test_the_long_context_price_counts_where_it_applies():
    def likely(tokens: int) -> Decimal:
        asked = requests(tokens, model="gemini-2.5-pro")
        return estimate(asked, assumed(output=Span(0, 0, 0)), count=1, prices=PRICES).cost_usd.likely

    assert likely(200_000) == Decimal("0.25")
    assert likely(200_001) == Decimal("0.5000025")


def test_an_answer_is_never_longer_than_its_request_allows():
    found = estimate(requests(1, output_bound=64), assumed(output=Span(5, 100, 800)), count=1, prices=PRICES)

    assert found.output_tokens == Span(5, 64, 64)


@given(sizes, st.integers(1, 1_000))
def test_nothing_costs_more_than_the_most(sizes, longest):
    asked = [a_request(estimated_tokens=n, input_bound=2 * n, output_bound=longest) for n in sizes]
    found = estimate(asked, assumed(Span(0.5, 1, 2), Span(1, 2, 10**6)), count=len(sizes), prices=PRICES)

    assert found.cost_usd.high <= found.most_usd


def test_an_unknown_price_is_unknown_and_never_zero():
    found = estimate(requests(5, 6, model="gemini-99"), assumed(), count=2, prices=PRICES)

    assert found.cost_usd is None
    assert found.most_usd is None
    assert found.unpriced == ("gemini-99",)
    assert found.input_tokens.likely == 11


def test_of_two_models_one_may_have_a_price():
    mixed = [*requests(1_000_000), *requests(1_000_000, model="gemini-99")]
    found = estimate(mixed, assumed(output=Span(0, 0, 0)), count=2, prices=PRICES)

    assert found.cost_usd.likely == Decimal("0.3")
    assert found.most_usd is None
    assert found.unpriced == ("gemini-99",)


def test_another_tier_has_other_prices():
    flex = replace(PRICES, tier="flex")

    assert estimate(requests(10**6), assumed(), count=1, prices=flex).cost_usd < (
        estimate(requests(10**6), assumed(), count=1, prices=PRICES).cost_usd
    )
    assert estimate(requests(10**6), assumed(), count=1, prices=replace(PRICES, tier="nobody's")).cost_usd is None


def test_without_requests_nothing_is_asked_and_nothing_costs():
    found = estimate([], assumed(), count=0, prices=PRICES)

    assert found.cost_usd == (0, 0, 0)
    assert found.input_tokens == Span(0, 0, 0)
    assert found.unpriced == ()


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=200))
def test_a_mean_is_within_what_is_said_around_it(values):
    low, likely, high = around(values)

    assert 0 < low <= likely <= high
    assert likely == pytest.approx(sum(values) / len(values))
    assert high >= likely * 1.049


def test_more_values_say_more():
    few, many = around([1.0, 3.0] * 3), around([1.0, 3.0] * 300)

    assert many.high - many.low < (few.high - few.low) / 5
    assert around([2.0]) == Span(1.0, 2.0, 3.0)


def test_only_rows_that_were_not_looked_at_can_surprise():
    some = requests(*range(1, 101))

    assert sampling_error(some, 100) == 0.0
    assert 0.05 < sampling_error(some, 10**6) < 0.25
    assert sampling_error(requests(5, 5, 5), 10**6) == 0.0
    assert sampling_error(requests(5), 10**6) == 0.0


def test_rows_that_are_asked_more_than_once_were_looked_at_all_the_same():
    some = requests(*range(1, 101))

    once = estimate(some, assumed(), count=100, prices=PRICES)
    thrice = estimate(some, assumed(), count=300, samples=3, prices=PRICES)

    assert thrice.input_tokens == Span(*(3 * end for end in once.input_tokens))
    assert estimate(some, assumed(), count=300, prices=PRICES).input_tokens.high > thrice.input_tokens.high
