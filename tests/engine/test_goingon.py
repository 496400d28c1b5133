import shlex
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.funds import DeadlinePassed
from batcher.engine.goingon import going_on
from batcher.errors import RunStopped
from batcher.money.cost import fusd
from batcher.pacing.budget import Amount, Budget, BudgetReached


def reached(*, spent="0.05", cap="0.05", wanted="0.001", setting="max_cost_usd"):
    budget = Budget(cap_fusd=fusd(Decimal(cap)), cap_tokens=1_000, spent=Amount(fusd(Decimal(spent)), 950))
    return BudgetReached(setting, budget.spending, Amount(fusd(Decimal(wanted)), 100))


RUN = "batcher run -i rows.jsonl"


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        (RUN, f"{RUN} --max-cost-usd 0.12"),
        (f"{RUN} --max-cost-usd 0.05 -q", f"{RUN} -q --max-cost-usd 0.12"),
        (f"{RUN} --max-cost-usd=0.05", f"{RUN} --max-cost-usd 0.12"),
        (f"{RUN} --set budget.max_cost_usd=0.05 --set a=1", f"{RUN} --set a=1 --max-cost-usd 0.12"),
        ("batcher run --template 'a b'", "batcher run --template 'a b' --max-cost-usd 0.12"),
        ("batcher retry out/a", "batcher retry out/a --set budget.max_cost_usd=0.12"),
        ("", "the same call goes on, with max_cost_usd=0.12"),
    ],
)
def test_the_same_command_with_a_higher_cap_goes_on(command, goes_on):
    assert going_on(command, reached(), done=10, left=10) == goes_on  # 0.05 + 0.001 + 1.2 times 0.05, rounded up


def test_tokens_are_whole():
    assert going_on(RUN, reached(setting="max_tokens"), done=10, left=10) == f"{RUN} --max-tokens 2200"


def test_before_anything_is_known_a_few_requests_fit():
    assert going_on(RUN, reached(spent="0", wanted="0.16"), done=0, left=300) == f"{RUN} --max-cost-usd 1.7"


@given(
    st.decimals(0, 10**6, places=9),
    st.decimals(Decimal("1E-9"), 100, places=9),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
)
def test_the_next_request_fits_under_the_new_cap(spent, wanted, done, left):
    command = going_on(RUN, reached(spent=str(spent), wanted=str(wanted)), done=done, left=left)
    assert Decimal(shlex.split(command)[-1]) >= spent + wanted


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("3h", RUN),
        ("06:00", RUN),
        ("2026-01-01", f"{RUN} --deadline 12h"),
        ("2026-01-01T06:00Z", f"{RUN} --deadline 12h"),
    ],
)
def test_only_an_instant_has_to_be_another_one(said, goes_on):
    assert going_on(RUN, DeadlinePassed(0, said), done=1, left=1) == goes_on


def test_what_ends_for_another_reason_goes_on_as_it_began():
    assert going_on(RUN, RunStopped("an outage"), done=1, left=1) == RUN
    assert going_on(RUN, None, done=1, left=1) == RUN
