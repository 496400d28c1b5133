"""Costs are exact, add up, and agree with the price page, worked examples and genai-prices."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from genai_prices import calc_price, extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.money.cost import Priced, TierSource, cost_usd, price, served_tier, upper_bound_usd, usd
from batcher.money.prices import RateCard
from batcher.money.usage import Buckets, buckets
from batcher.records import Usage
from tests.money.strategies import any_buckets, any_usage, consistent_usages, counts
from tests.money.test_prices import NOW, TIERS, at

CARD = RateCard.bundled()
WORKED = Usage(
    prompt_token_count=1000,
    cached_content_token_count=300,
    candidates_token_count=200,
    thoughts_token_count=400,
    total_token_count=1600,
)


def priced(usage: Usage | None, model: str, **said: object) -> Priced:
    defaults = {"model_version": None, "header_tier": None, "asked_tier": None, "at_us": NOW}
    return price(CARD.rates, usage=usage, model=model, **(defaults | said))


def text(prompt: int, candidates: int) -> Usage:
    return Usage(prompt_token_count=prompt, candidates_token_count=candidates)


@pytest.mark.parametrize(
    ("usage", "model", "tier", "day", "dollars"),
    [
        (WORKED, "gemini-2.5-pro", "standard", "2026-11-22", "0.0069125"),
        (WORKED, "gemini-2.5-pro", "batch", "2026-11-22", "0.0034750"),
        (WORKED, "gemini-2.5-pro", "flex", "2026-11-22", "0.0034750"),
        (WORKED, "gemini-2.5-pro", "priority", "2026-11-22", "0.0124425"),
        (WORKED, "gemini-2.5-flash", "standard", "2026-11-22", "0.001719"),
        (WORKED, "gemini-2.5-flash", "batch", "2026-11-22", "0.000864"),
        (WORKED, "gemini-2.5-flash", "flex", "2026-11-22", "0.000864"),
        (WORKED, "gemini-2.5-flash", "priority", "2026-11-22", "0.0030942"),
        (WORKED, "gemini-3.6-flash", "standard", "2026-11-22", "0.0027975"),
        (text(1_000_000, 100_000), "gemini-3.6-flash", "standard", "2026-12-31", "1.125"),
        (text(1_000_000, 100_000), "gemini-3.6-flash", "standard", "2027-01-01", "2.25"),
        (text(200_000, 1_000), "gemini-2.5-pro", "standard", "2026-11-22", "0.260"),
        (text(200_001, 1_000), "gemini-2.5-pro", "standard", "2026-11-22", "0.5150025"),
        (text(250_000, 1_000), "gemini-2.5-pro", "standard", "2026-11-22", "0.640"),
        (
            Usage(
                prompt_token_count=326,
                cached_content_token_count=173,
                candidates_token_count=63,
                thoughts_token_count=154,
                total_token_count=543,
            ),
            "gemini-2.5-flash",
            "standard",
            "2026-11-22",
            "0.00059359",
        ),
        (
            Usage(prompt_token_count=1000, prompt_tokens_details={"AUDIO": 1000}, candidates_token_count=0),
            "gemini-2.5-flash",
            "standard",
            "2026-11-22",
            "0.001",
        ),
        (
            Usage(candidates_token_count=1120, candidates_tokens_details={"IMAGE": 1120}),
            "gemini-3-pro-image-preview",
            "standard",
            "2026-11-22",
            "0.1344",
        ),
    ],
)
def test_worked_examples_to_the_last_digit(usage, model, tier, day, dollars):
    found = priced(usage, model, header_tier=tier, at_us=at(day))

    assert found.cost_usd == Decimal(dollars)
    assert found.price_id is not None
    assert found.price_id.startswith(f"{model}/{tier}@")


def test_tool_use_counts_towards_the_long_context_price():
    usage = Usage(prompt_token_count=200_000, tool_use_prompt_token_count=1, candidates_token_count=0)

    assert priced(usage, "gemini-2.5-pro").price_id == "gemini-2.5-pro/standard@launch/over-200k"


known_rates = st.builds(CARD.rates, st.sampled_from(CARD.models), st.sampled_from(TIERS), st.just(NOW), counts).filter(
    lambda rates: rates is not None
)


@given(any_buckets, any_buckets, known_rates)
def test_costs_add_up(a, b, rates):
    assert cost_usd(a, rates) + cost_usd(b, rates) == cost_usd(a + b, rates)


@given(any_buckets, known_rates)
def test_a_cost_is_the_sum_of_tokens_times_the_listed_rates(tokens, rates):
    listed = rates.usd_per_million()
    by_hand = (
        tokens.fresh_input * listed["fresh_input"]
        + tokens.cached_input * listed["cached_input"]
        + tokens.audio_fresh_input * listed["audio_fresh_input"]
        + tokens.audio_cached_input * listed["audio_cached_input"]
        + (tokens.visible_output + tokens.thinking) * listed["output"]
        + tokens.image_output * listed["image_output"]
        + tokens.video_output * listed["video_output"]
    ).scaleb(-6)

    assert cost_usd(tokens, rates) == by_hand
    assert cost_usd(tokens, rates).as_tuple().exponent == -15


@given(st.integers(0, 10**38 - 1))
def test_dollars_are_exact_as_far_as_the_cost_columns_reach(femtodollars):
    sign, digits, exponent = usd(femtodollars).as_tuple()

    assert (sign, int("".join(map(str, digits))), exponent) == (0, femtodollars, -15)


@given(any_usage, st.sampled_from(CARD.models), st.sampled_from(TIERS), st.integers(0, 1000), st.integers(0, 1000))
def test_the_upper_bound_is_one(usage, model, tier, more_input, more_output):
    tokens = buckets(usage)
    input_bound, output_bound = tokens.billed_input + more_input, tokens.billed_output + more_output
    actual, bound = (CARD.rates(model, tier, NOW, n) for n in (tokens.billed_input, input_bound))
    if actual is None or bound is None:
        assert actual is bound
        return

    assert cost_usd(tokens, actual) <= upper_bound_usd(bound, input_bound, output_bound)


def test_the_upper_bound_takes_the_dearest_class_of_each_side():
    rates = CARD.rates("gemini-2.5-flash", "standard", NOW, 1000)

    assert rates is not None
    assert upper_bound_usd(rates, 1000, 1000) == Decimal("0.0035")


def _as_google_sends_it(usage: Usage, model: str) -> dict[str, object]:
    details = {
        "promptTokensDetails": usage.prompt_tokens_details,
        "candidatesTokensDetails": usage.candidates_tokens_details,
        # It insists on a count of cached audio wherever there is audio and anything cached.
        "cacheTokensDetails": {"AUDIO": 0, **usage.cache_tokens_details},
        "toolUsePromptTokensDetails": usage.tool_use_prompt_tokens_details,
    }
    sent = {
        "promptTokenCount": usage.prompt_token_count,
        "candidatesTokenCount": usage.candidates_token_count,
        "cachedContentTokenCount": usage.cached_content_token_count,
        "toolUsePromptTokenCount": usage.tool_use_prompt_token_count,
        "thoughtsTokenCount": usage.thoughts_token_count,
        **{name: [{"modality": m, "tokenCount": n} for m, n in given.items()] for name, given in details.items()},
    }
    return {"modelVersion": model, "usageMetadata": {name: value for name, value in sent.items() if value is not None}}


# No deadline: the first example also builds their price tables.
@settings(deadline=None)
@given(
    consistent_usages(),
    st.sampled_from(CARD.models),
    st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2028, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001  hypothesis wants naive bounds
)
def test_genai_prices_agrees_on_the_standard_tier(usage, model, moment):
    theirs = extract_usage(_as_google_sends_it(usage, model), provider_id="google")
    expected = theirs.calc_price(genai_request_timestamp=moment).total_price

    assert priced(usage, model, at_us=int(moment.timestamp() * 1_000_000)).cost_usd == expected


@settings(deadline=None)
@given(counts, counts, st.sampled_from(["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3.8-flash", "gemini-4-argon"]))
def test_genai_prices_agrees_on_the_batch_tier(prompt, candidates, model):
    moment = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    expected = calc_price(
        extract_usage(_as_google_sends_it(text(prompt, candidates), model), provider_id="google").usage,
        model,
        provider_id="google",
        genai_request_timestamp=moment,
        price_context={"processing": "batch"},
    ).total_price

    assert priced(text(prompt, candidates), model, asked_tier="batch").cost_usd == expected


@pytest.mark.parametrize(
    ("header", "in_usage", "asked", "tier", "source"),
    [
        ("standard", "flex", "priority", "standard", TierSource.HEADER),
        ("Standard ", None, "priority", "standard", TierSource.HEADER),
        (None, "flex", "priority", "flex", TierSource.USAGE),
        ("", "FLEX", None, "flex", TierSource.USAGE),
        (None, None, "batch", "batch", TierSource.ASKED),
        (None, "unspecified", "priority", "priority", TierSource.ASKED),
        (None, None, None, "standard", TierSource.DEFAULT),
        ("turbo", None, None, "turbo", TierSource.HEADER),
    ],
)
def test_the_tier_that_was_served_counts(header, in_usage, asked, tier, source):
    assert served_tier(header, in_usage, asked) == (tier, source)


def test_a_priority_request_served_as_standard_costs_standard():
    downgraded = priced(WORKED, "gemini-2.5-flash", header_tier="standard", asked_tier="priority")

    assert (downgraded.service_tier, downgraded.tier_source) == ("standard", "header")
    assert downgraded.cost_usd == Decimal("0.001719")


@pytest.mark.parametrize(
    ("usage", "model", "said", "tokens"),
    [
        pytest.param(None, "gemini-2.5-flash", {}, None, id="no usage"),
        pytest.param(Usage(), "gemini-2.5-flash", {}, None, id="a usage without a count"),
        pytest.param(Usage(total_token_count=9), "gemini-2.5-flash", {}, None, id="only a total"),
        pytest.param(text(1, 2), "gemini-9", {}, Buckets(fresh_input=1, visible_output=2), id="unknown model"),
        pytest.param(
            text(1, 2),
            "gemini-2.5-pro-tts",
            {"header_tier": "flex"},
            Buckets(fresh_input=1, visible_output=2),
            id="unknown tier of a known model",
        ),
    ],
)
def test_an_unknown_price_is_null_and_never_zero(usage, model, said, tokens):
    found = priced(usage, model, **said)

    assert (found.cost_usd, found.price_id, found.buckets) == (None, None, tokens)


def test_zero_tokens_cost_zero():
    assert priced(text(0, 0), "gemini-2.5-flash").cost_usd == 0


@pytest.mark.parametrize(
    ("asked", "served", "priced_as"),
    [
        pytest.param("gemini-flash-latest", "gemini-3.6-flash", "gemini-3.6-flash", id="the served version decides"),
        pytest.param("gemini-2.5-flash", "gemini-2.5-flash-001", "gemini-2.5-flash", id="an unlisted version"),
        pytest.param("gemini-2.5-flash", "proxy-7", "gemini-2.5-flash", id="a proxy's own name"),
        pytest.param("gemini-flash-latest", None, "gemini-3.8-flash", id="nothing but the moving name"),
        pytest.param("gemini-flash-latest", "gemini-9-flash", None, id="the moving name has moved on"),
    ],
)
def test_which_name_is_priced(asked, served, priced_as):
    found = priced(WORKED, asked, model_version=served)

    assert found.price_id == (priced_as and f"{priced_as}/standard@launch")
