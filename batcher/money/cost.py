"""What does a reply cost? Exact US dollars from billed tokens, by the tier that was served.

All arithmetic is on whole femtodollars (10⁻¹⁵ US dollars), so nothing is ever rounded and costs add up to the last
digit. A `Decimal` made here has exactly 15 decimals, like the cost columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from typing import Final, NamedTuple

from batcher.money.usage import Buckets, buckets
from batcher.records import Usage

FEMTO_DIGITS: Final = 15
PER_MILLION: Final = 1_000_000

# Wide enough for any sum that fits the cost columns (38 digits); a digit lost is an error, never a rounding.
_EXACT: Final = Context(prec=60, traps=[Inexact])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices of one model, in one tier, at one time, for one size of prompt.

    `*_fusd` are femtodollars a token: $1 a million tokens is 10⁹.

    Attributes:
        price_id: names these rates for ever, e.g. `gemini-2.5-pro/standard@launch/over-200k`.
        output_fusd: of text, speech and thinking.
    """

    price_id: str
    fresh_input_fusd: int
    cached_input_fusd: int
    audio_fresh_input_fusd: int
    audio_cached_input_fusd: int
    output_fusd: int
    image_output_fusd: int
    video_output_fusd: int

    def usd_per_million(self) -> dict[str, Decimal]:
        """The rates as people read them: `fresh_input` and so on -> US dollars for a million tokens."""
        return {
            f.name.removesuffix("_fusd"): usd(getattr(self, f.name) * PER_MILLION).normalize()
            for f in fields(self)
            if f.name != "price_id"
        }


RatesLookup = Callable[[str, str, int, int], Rates | None]
"""(model, tier, microseconds since the epoch UTC, billed input tokens) -> rates; None when the price is not known."""


class TierSource(StrEnum):
    """Who said which tier was served."""

    HEADER = "header"
    USAGE = "usage"
    ASKED = "asked"
    DEFAULT = "default"


class Priced(NamedTuple):
    """One reply, priced.

    Attributes:
        cost_fusd: whole femtodollars; None when the price or the tokens are not known. Without searches and cache
            storage.
        price_id: the rates used; None with `cost_fusd`.
        service_tier: the tier it was priced by, lower-case.
        tier_source: who named that tier.
        buckets: the billed tokens; None when the reply gave no counts.
    """

    cost_fusd: int | None
    price_id: str | None
    service_tier: str
    tier_source: TierSource
    buckets: Buckets | None

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost in US dollars: exact, with 15 decimals."""
        return None if self.cost_fusd is None else usd(self.cost_fusd)


def usd(femtodollars: int) -> Decimal:
    """Whole femtodollars as dollars: exact, with 15 decimals."""
    return _EXACT.scaleb(Decimal(femtodollars), -FEMTO_DIGITS)


def fusd(dollars: Decimal) -> int:
    """Dollars as whole femtodollars; with more than 15 decimals it is an error, never a rounding."""
    return int(_EXACT.to_integral_exact(_EXACT.scaleb(dollars, FEMTO_DIGITS)))


def cost_usd(tokens: Buckets, rates: Rates) -> Decimal:
    """The cost of these tokens at these rates, in US dollars: exact, with 15 decimals."""
    return usd(cost_fusd(tokens, rates))


def cost_fusd(tokens: Buckets, rates: Rates) -> int:
    """The cost of these tokens at these rates, in whole femtodollars."""
    # Once a reply: one look at each bucket, and the rare half is skipped as a whole.
    fresh, cached, visible, thinking, *rare = tokens
    femtodollars = (
        fresh * rates.fresh_input_fusd + cached * rates.cached_input_fusd + (visible + thinking) * rates.output_fusd
    )
    if any(rare):
        femtodollars += (
            tokens.audio_fresh_input * rates.audio_fresh_input_fusd
            + tokens.audio_cached_input * rates.audio_cached_input_fusd
            + tokens.image_output * rates.image_output_fusd
            + tokens.video_output * rates.video_output_fusd
        )
    return femtodollars


def upper_bound_usd(rates: Rates, input_bound: int, output_bound: int) -> Decimal:
    """The most a request can cost, in US dollars: every token at its side's highest rate.

    Args:
        rates: looked up with `input_bound` as the billed input, so that the long-context rate counts where it may
            apply.
        input_bound: most input tokens it can be billed.
        output_bound: most output tokens over all candidates, thoughts included.
    """
    return usd(upper_bound_fusd(rates, input_bound, output_bound))


def upper_bound_fusd(rates: Rates, input_bound: int, output_bound: int) -> int:
    """The same in whole femtodollars."""
    highest_input = max(
        rates.fresh_input_fusd,
        rates.cached_input_fusd,
        rates.audio_fresh_input_fusd,
        rates.audio_cached_input_fusd,
    )
    highest_output = max(rates.output_fusd, rates.image_output_fusd, rates.video_output_fusd)
    return input_bound * highest_input + output_bound * highest_output


def price(  # noqa: PLR0913  what a reply and its request say about the price, each from another place
    card_lookup: RatesLookup,
    *,
    usage: Usage | None,
    model: str,
    model_version: str | None,
    header_tier: str | None,
    asked_tier: str | None,
    at_us: int,
) -> Priced:
    """Price one reply.

    Args:
        card_lookup: `RateCard.rates`.
        usage: of the reply; None, or without a single count, leaves the cost unknown.
        model: as asked for.
        model_version: as the reply names what served it.
        header_tier: of `x-gemini-service-tier`; it wins, because priority is served as standard when it overflows.
        asked_tier: of the request.
        at_us: when the request was sent, microseconds since the epoch, UTC.
    """
    tier, source = served_tier(header_tier, usage.service_tier if usage is not None else None, asked_tier)
    if usage is None or _says_nothing(usage):
        return Priced(None, None, tier, source, None)
    tokens = buckets(usage)
    billed_input = tokens.billed_input
    rates = card_lookup(model_version, tier, at_us, billed_input) if model_version else None
    if rates is None and not (model_version and _moves(model)):
        rates = card_lookup(model, tier, at_us, billed_input)
    if rates is None:
        return Priced(None, None, tier, source, tokens)
    return Priced(cost_fusd(tokens, rates), rates.price_id, tier, source, tokens)


def served_tier(header: str | None, in_usage: str | None, asked: str | None) -> tuple[str, TierSource]:
    """Which tier was served, and who said so: the reply's header, its usage, what was asked, else standard."""
    if header and (tier := _tier(header)):
        return tier, TierSource.HEADER
    if in_usage and (tier := _tier(in_usage)):
        return tier, TierSource.USAGE
    if asked and (tier := _tier(asked)):
        return tier, TierSource.ASKED
    return "standard", TierSource.DEFAULT


def _tier(said: str) -> str:
    tier = said.strip().lower()
    return "" if tier in {"unspecified", "service_tier_unspecified"} else tier


def _says_nothing(usage: Usage) -> bool:
    return (
        usage.prompt_token_count is None
        and usage.candidates_token_count is None
        and usage.thoughts_token_count is None
        and usage.tool_use_prompt_token_count is None
    )


def _moves(model: str) -> bool:
    """Whether the name stands for another model every few months; then only the served version says what was paid."""
    return model.endswith("-latest")
