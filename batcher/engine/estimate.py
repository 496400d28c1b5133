"""What will it take, before anything is asked? Tokens and dollars of a run as ranges, from some of its requests.

Arithmetic only. A range says how far off it may be, not how far off it was ever seen to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import NamedTuple

from batcher.engine.outlook import Assumed, Estimate, Money, Span
from batcher.money.cost import Rates, cost_usd, upper_bound_usd
from batcher.money.prices import RateCard
from batcher.money.usage import Buckets
from batcher.records import Request

_MOST_ERROR = 0.9
_SMALLEST = Decimal("1E-12")  # dollars; one token of the cheapest model costs more


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The prices of one tier on one day.

    Attributes:
        card: the rate card.
        tier: the one asked for; another one may be served.
        at_us: the day, microseconds since the epoch, UTC.
    """

    card: RateCard
    tier: str
    at_us: int

    def rates(self, model: str, billed_input: int) -> Rates | None:
        """The rates of one request, None when the card does not know them."""
        return self.card.rates(model, self.tier, self.at_us, billed_input)


def around(values: Sequence[float], *, at_least: float = 0.05) -> Span:
    """Guess the mean of what some values were drawn from: two standard errors around theirs, more for a handful.

    Args:
        values: at least one.
        at_least: half the width is at least this share of the mean: what comes next is never quite the same.
    """
    count, mean = len(values), sum(values) / len(values)
    if count == 1:
        half = mean / 2  # one value shows no spread
    else:
        deviation = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
        half = (2 + 6 / count) * deviation / sqrt(count)  # near Student's t: 3.2 for 5 values, 2.1 for 60
    half = max(half, at_least * mean)
    return Span(max(mean - half, mean / 10), mean, mean + half)


def sampling_error(requests: Sequence[Request], rows: float) -> float:
    """How far the mean of these requests may be from that of all rows, as a share; 0 when these are all."""
    sizes = [request.estimated_tokens for request in requests]
    if len(sizes) < 2 or len(sizes) >= rows or not sum(sizes):
        return 0.0
    _, mean, high = around(sizes, at_least=0.0)
    return min((high - mean) / mean * sqrt(1 - len(sizes) / rows), _MOST_ERROR)


def estimate(
    requests: Sequence[Request], assumed: Assumed, *, count: int, samples: int = 1, prices: Prices
) -> Estimate:
    """Estimate what `count` requests take that are like the ones looked at.

    Args:
        requests: some of them; without any, nothing is known and all is 0.
        assumed: what one of them takes.
        count: requests to be sent.
        samples: so many of them are of one row.
        prices: of the day and tier to estimate for.
    """
    scale, error = assumed.input_scale, sampling_error(requests, count / samples)
    scale = Span(scale.low * (1 - error), scale.likely, scale.high * (1 + error))
    some = [_One.of(request, scale, assumed.output) for request in requests]
    costs = [one.cost_usd(prices) for one in some]
    known = [cost for cost in costs if cost is not None]
    share = Fraction(count, len(some)) if some else Fraction(0)
    unpriced = {one.request.model for one, cost in zip(some, costs, strict=True) if cost is None}
    return Estimate(
        requests=count,
        input_tokens=_all([one.input_tokens for one in some], share),
        output_tokens=_all([one.output_tokens for one in some], share),
        cost_usd=None if unpriced and not known else _all_money(known, share),
        most_usd=None if unpriced else _times(sum((one.most_usd(prices) for one in some), Decimal(0)), share),
        unpriced=tuple(sorted(unpriced)),
    )


class _One(NamedTuple):
    """One request that was looked at, with what it may take."""

    request: Request
    input_tokens: Span
    output_tokens: Span

    @classmethod
    def of(cls, request: Request, scale: Span, output: Span) -> _One:
        estimated, bound = request.estimated_tokens, request.output_bound
        return cls(
            request,
            Span(*(round(estimated * each) for each in scale)),
            Span(*(min(tokens, bound) for tokens in output)),
        )

    def cost_usd(self, prices: Prices) -> Money | None:
        """Everything fresh and text: what is cached costs less, what is spoken costs more."""
        costs = []
        for tokens_in, tokens_out in zip(self.input_tokens, self.output_tokens, strict=True):
            rates = prices.rates(self.request.model, int(tokens_in))
            if rates is None:
                return None
            costs.append(cost_usd(Buckets(fresh_input=int(tokens_in), visible_output=round(tokens_out)), rates))
        return Money(*costs)

    def most_usd(self, prices: Prices) -> Decimal:
        request = self.request
        rates = prices.rates(request.model, request.input_bound)
        return upper_bound_usd(rates, request.input_bound, request.output_bound) if rates else Decimal(0)


def _all(spans: Sequence[Span], share: Fraction) -> Span:
    return Span(*(float(Fraction(sum(ends)) * share) for ends in zip(*spans, strict=True))) if spans else Span(0, 0, 0)


def _all_money(costs: Sequence[Money], share: Fraction) -> Money:
    sums = [sum(ends, Decimal(0)) for ends in zip(*costs, strict=True)] if costs else [Decimal(0)] * 3
    return Money(*(_times(total, share) for total in sums))


def _times(amount: Decimal, factor: Fraction) -> Decimal:
    return (amount * factor.numerator / factor.denominator).quantize(_SMALLEST)
