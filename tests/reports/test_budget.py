from decimal import Decimal

import pytest

from batcher.engine.outlook import Reach
from batcher.reports.budget import budget, budget_briefly
from batcher.reports.forecast import forecast_json, forecast_lines
from batcher.reports.status import status_json, status_lines
from batcher.reports.terminal import progress_line, summary_json, summary_lines
from tests.reports.builders import a_forecast, a_snapshot, a_spending, a_summary, some_totals
from tests.reports.test_status import NOW, Seen

MONEY = a_spending(cap_usd=Decimal("0.05"), spent_usd=Decimal("0.0312"), held_usd=Decimal("0.004"))
TOKENS = a_spending(cap_tokens=20_000, spent_tokens=18_211)


@pytest.mark.parametrize(
    ("spending", "said", "briefly"),
    [
        (MONEY, "$0.0312 of $0.05 spent · $0.004 held", "$0.0312 + $0.004 held of $0.05"),
        (TOKENS, "18,211 of 20,000 tokens used", "18,211 + 0 held of 20,000 tokens"),
    ],
)
def test_what_is_spent_held_and_allowed(spending, said, briefly):
    assert budget(spending) == said
    assert budget_briefly(spending) == briefly
    assert f"  budget    {said}" in summary_lines(a_summary(spending=spending))
    assert f"  budget    {said}" in status_lines(Seen(spending=spending), now=NOW)
    line = progress_line(a_snapshot(40, totals=some_totals(40), spending=spending))
    assert line == f" 40 %  40 of 100 · 13.2 rows/s · {briefly}"


def test_without_a_cap_nothing_is_said():
    assert budget(None) == ""
    assert not any("budget" in line for line in summary_lines(a_summary()))
    assert not any("budget" in line for line in status_lines(Seen(), now=NOW))
    assert summary_json(a_summary())["budget"] is status_json(Seen())["budget"] is None


def test_json_keeps_every_digit():
    said = {
        "max_cost_usd": "0.05",
        "spent_usd": "0.0312",
        "held_usd": "0.004",
        "max_tokens": None,
        "spent_tokens": 0,
        "held_tokens": 0,
    }
    assert summary_json(a_summary(spending=MONEY))["budget"] == said
    assert status_json(Seen(spending=MONEY))["budget"] == said


def a_reach(**given):
    defaults = {
        "cap_usd": Decimal(5),
        "cap_tokens": None,
        "spent_usd": Decimal("1.25"),
        "spent_tokens": 0,
        "request_usd": Decimal("0.00257"),
        "request_tokens": 0,
        "surely": 291,
        "likely": 4_890,
    }
    return Reach(**defaults | given)


def told(**given):
    lines = forecast_lines(a_forecast(**given), next_command="batcher run", width=120)
    return [line for line in lines if "budget fits" in line]


def test_a_forecast_says_how_far_the_budget_goes():
    (line,) = told(reach=a_reach())
    assert " ".join(line.split()) == (
        "budget fits 291 4,890 a cap of $5.00, $1.25 of it spent; up to $0.00257 are held for a request"
    )
    (line,) = told(reach=a_reach(cap_usd=None, cap_tokens=9_000, request_tokens=1_056, likely=None))
    assert " ".join(line.split()) == "budget fits 291 ? a cap of 9,000 tokens; up to 1,056 are held for a request"
    assert told() == told(reach=a_reach(), left=0) == []


def test_the_same_as_json():
    assert forecast_json(a_forecast(), next_command="")["budget"] is None
    assert forecast_json(a_forecast(reach=a_reach()), next_command="")["budget"] == {
        "max_cost_usd": "5",
        "spent_usd": "1.25",
        "held_for_a_request_usd": "0.00257",
        "max_tokens": None,
        "spent_tokens": 0,
        "held_for_a_request_tokens": 0,
        "fits_surely": 291,
        "fits_likely": 4_890,
    }
