from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.assumed import assume
from batcher.engine.estimate import Prices, estimate
from batcher.engine.outlook import Resume
from batcher.engine.reach import reach_of
from batcher.errors import JobError
from batcher.money.cost import fusd
from batcher.money.prices import RateCard
from batcher.pacing.budget import Amount, Budget
from tests.builders import a_job, a_request

CARD = RateCard.bundled()
NOW_US = 1_795_600_000_000_000
# 32 input tokens at the price of audio, 1,024 output tokens; five attempts of each.
ONE = (a_request(),)
REQUEST_USD = Decimal("0.000001") * 32 + Decimal("0.0000025") * 1024


def reach(count=1_000, resume=None, looked=ONE, **settings):
    job = a_job(**settings)
    prices = Prices(card=CARD, tier="standard", at_us=NOW_US)
    taken = estimate(looked, assume(job, None), count=count, prices=prices)
    return reach_of(job, CARD, looked, taken, resume, now_us=NOW_US)


def resumed(**given):
    defaults = {"state": "stopped", "done": 10, "left": 990, "cost_usd": Decimal("0.5"), "pid": None, "tokens": 500}
    return Resume(**defaults | given)


def test_without_a_cap_there_is_nothing_to_say():
    assert reach(**{"budget.deadline": "3h"}) is None


@given(st.decimals(Decimal("0.000001"), 100, places=6), st.integers(1, 100_000))
def test_what_fits_for_sure_fits_with_every_attempt_at_its_most(cap, count):
    found = reach(count, **{"budget.max_cost_usd": str(cap)})
    assert 0 <= found.surely <= found.likely <= count
    assert found.surely * 5 * REQUEST_USD <= cap
    assert found.surely == count or (found.surely + 1) * 5 * REQUEST_USD > cap
    assert found.request_usd == REQUEST_USD


def test_answers_that_may_miss_a_schema_are_asked_more_often():
    cap = {"budget.max_cost_usd": str(REQUEST_USD * 70)}
    assert reach(**cap).surely == 70 // 5
    assert reach(**cap | {"output.schema": {"type": "object"}}).surely == 70 // 7
    assert reach(**cap | {"retry.attempts": 1}).surely == 70


def test_what_was_spent_before_is_gone():
    cap = {"budget.max_cost_usd": "1"}
    assert reach(**cap, resume=resumed()).spent_usd == Decimal("0.5")
    assert reach(**cap, resume=resumed()).surely == Fraction(fusd(Decimal("0.5")), fusd(REQUEST_USD) * 5).__floor__()
    said = Budget(cap_fusd=None, cap_tokens=None, spent=Amount(fusd(Decimal("0.9")), 7)).spending
    assert reach(**cap, resume=resumed(spending=said)).spent_usd == Decimal("0.9")  # with what may have been billed
    assert reach(**{"budget.max_cost_usd": "0.1"}, resume=resumed()).surely == 0


def test_tokens_are_counted_in_the_same_way():
    found = reach(**{"budget.max_tokens": 10_000}, resume=resumed())
    assert (found.request_tokens, found.spent_tokens) == (32 + 1_024, 500)
    assert found.surely == 9_500 // (5 * (32 + 1_024))
    assert found.cap_usd is None


def test_where_nobody_knows_a_price_nothing_is_likely():
    settings = {"budget.max_cost_usd": "1", "budget.max_cost_per_request_usd": "0.01", "model": "gemini-99"}
    found = reach(looked=(a_request(model="gemini-99"),), **settings)
    assert (found.surely, found.likely) == (20, None)


def test_a_row_that_nobody_can_bound_is_refused_as_the_run_would():
    with pytest.raises(JobError, match="price of gemini-99 is unknown"):
        reach(looked=(a_request(), a_request(model="gemini-99")), **{"budget.max_cost_usd": "1"})
