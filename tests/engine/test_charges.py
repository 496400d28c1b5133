from decimal import Decimal

import orjson
import pytest

from batcher.engine.charges import Charges, check_bounded, server_side
from batcher.errors import JobError
from batcher.money.cost import fusd
from batcher.money.prices import RateCard
from batcher.pacing.budget import Amount
from batcher.records import Billed, Kind
from batcher.store.bills import Terms, read_attempt
from tests.builders import a_job, a_reply, a_request, an_attempt

CARD = RateCard.bundled()
NOW_US = 1_795_600_000_000_000
SEARCH = ({"google_search": {}},)
OURS = ({"function_declarations": []}, {"computerUse": {}})
CENT_FUSD = fusd(Decimal("0.01"))
# 32 input tokens at the price of audio, 1,024 output tokens.
BOUND_FUSD = fusd(Decimal("0.000001") * 32 + Decimal("0.0000025") * 1024)
TERMS = Terms(
    run_id="r", project="", endpoint="", tier=None, labels=(), rates=CARD, samples=1, store_prompt=True, raw=False
)


def charges(**settings):
    return Charges(a_job(**{"budget.max_cost_usd": "1"} | settings), CARD, from_us=NOW_US)


def test_a_request_may_cost_all_its_tokens_at_the_dearest_price():
    assert charges().reserve(a_request()) == Amount(BOUND_FUSD, 0)


def test_the_dearest_model_that_may_be_asked_is_reserved_for():
    dearer = charges(fallback_models=("gemini-2.5-flash-lite", "models/gemini-2.5-pro"))
    pro = charges().reserve(a_request(model="gemini-2.5-pro"))
    assert dearer.reserve(a_request()) == pro > charges().reserve(a_request())
    own = a_request(model="gemini-2.5-flash-lite")  # a row's own model has none behind it
    assert dearer.reserve(own) == charges().reserve(own)


def test_a_fallback_without_a_price_is_refused():
    job = a_job(**{"budget.max_cost_usd": "1", "fallback_models": ("gemini-99",)})
    with pytest.raises(JobError, match="the price of gemini-99 is unknown"):
        check_bounded(job, CARD, now_us=NOW_US)


def test_tokens_are_counted_only_under_a_cap_on_tokens():
    both = charges(**{"budget.max_tokens": 5})
    assert both.reserve(a_request()) == Amount(BOUND_FUSD, 32 + 1024)
    tokens = Charges(a_job(**{"budget.max_tokens": 5}), CARD, from_us=NOW_US)
    assert tokens.reserve(a_request(model="gemini-99")) == Amount(0, 32 + 1024)  # no price is needed


@pytest.mark.parametrize("tools", [(), OURS])
def test_what_the_caller_runs_itself_is_no_tool_without_a_bound(tools):
    assert server_side(tools) == ""
    assert charges(**{"request.tools": tools}).reserve(a_request()) == Amount(BOUND_FUSD, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "gemini-99"}, "max_cost_usd: cannot be held, the price of gemini-99 is unknown"),
        ({"request.tools": SEARCH}, "max_cost_usd: cannot be held, what the tool google_search costs has no bound"),
        ({"request.tools": ({"mcpServers": []},)}, "max_cost_usd: cannot be held, what the tool mcpServers costs"),
        (
            {"request.tools": SEARCH, "budget.max_tokens": 5, "budget.max_cost_per_request_usd": "0.01"},
            "max_tokens: cannot be held, the tool google_search adds tokens without a bound",
        ),
    ],
)
def test_a_cap_that_nobody_can_hold_is_refused(settings, said):
    with pytest.raises(JobError, match=said) as refused:
        check_bounded(a_job(**{"budget.max_cost_usd": "1"} | settings), CARD, now_us=NOW_US)
    assert "max_cost_per_request_usd=0.05" in refused.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"budget.max_cost_usd": None, "model": "gemini-99"},
        {"budget.max_cost_usd": None, "model": "gemini-99", "budget.max_tokens": 5},
        {"model": "gemini-99", "budget.max_cost_per_request_usd": "0.01"},
        {"request.tools": SEARCH, "budget.max_cost_per_request_usd": "0.01"},
        {"model": "gemini-99", "prompt.overrides": {"model": "m"}},  # each row is looked at
    ],
)
def test_one_that_can_be_held_is_not(settings):
    check_bounded(a_job(**{"budget.max_cost_usd": "1"} | settings), CARD, now_us=NOW_US)


def test_what_the_job_says_of_a_request_is_held_where_nobody_can_tell():
    each = {"budget.max_cost_per_request_usd": "0.01"}
    assert charges(**each).reserve(a_request()) == Amount(BOUND_FUSD, 0)
    assert charges(**each).reserve(a_request(model="gemini-99")) == Amount(CENT_FUSD, 0)
    assert charges(**each | {"request.tools": SEARCH}).reserve(a_request()) == Amount(CENT_FUSD, 0)
    # The ledger calls its tokens the most that it may have cost: less must not be held.
    dear = a_request(output_bound=60_000)
    assert charges(**each | {"request.tools": SEARCH}).reserve(dear).fusd > CENT_FUSD


@pytest.mark.parametrize(("body", "free"), [({"tools": [{"googleSearch": {}}]}, True), ({"tools": [OURS[0]]}, False)])
def test_a_row_that_brings_tools_of_its_own_is_looked_into(body, free):
    request = a_request(body=orjson.dumps(body))
    if not free:
        assert charges().reserve(request) == Amount(BOUND_FUSD, 0)
        return
    with pytest.raises(
        JobError, match=r"^rows.jsonl:7: \[budget\] max_cost_usd: cannot be held, what the tool googleS"
    ):
        charges().check(request, "rows.jsonl:7")


def test_a_prompt_that_speaks_of_tools_brings_none():
    body = orjson.dumps({"contents": [{"parts": [{"text": '{"tools": [{"googleSearch": {}}]}'}]}]})
    assert charges().reserve(a_request(body=body)) == Amount(BOUND_FUSD, 0)


def read(**fields):
    return read_attempt(an_attempt(**fields), TERMS)


def test_what_was_billed_for_sure_counts_as_it_is():
    found = charges(**{"budget.max_tokens": 5}).billed(read())
    assert found == Amount(fusd(4 * Decimal("0.0000003") + Decimal("0.0000025")), 5)


def test_what_was_not_billed_counts_for_nothing():
    assert charges().billed(read(http_status=503, verdict=Kind.RETRY, billed=Billed.NO, body=b"")) == Amount()


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": Kind.RETRY, "billed": Billed.MAYBE, "body": b""},
        {"body": a_reply(promptTokenCount=None, candidatesTokenCount=None, totalTokenCount=None).body},
        {"body": a_reply(toolUsePromptTokenCount=9).body},
    ],
)
def test_where_it_may_be_all_of_the_reserve_it_is(fields):
    assert charges().billed(read(**fields)) is None
    each = charges(**{"budget.max_cost_per_request_usd": "0.01"})
    assert each.charged(read(**fields)).fusd in {BOUND_FUSD, CENT_FUSD}


def test_an_attempt_of_a_time_without_a_cap_counts_as_far_as_it_is_known():
    lost = read(model="gemini-99", verdict=Kind.LOST, billed=Billed.MAYBE, body=b"")
    assert charges().charged(lost) == Amount(0, 32 + 1024)
    assert charges(**{"budget.max_cost_per_request_usd": "0.01"}).charged(lost).fusd == CENT_FUSD
