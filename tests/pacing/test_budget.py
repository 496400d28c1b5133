from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import Exit
from batcher.money.cost import fusd
from batcher.pacing.budget import Amount, Budget, BudgetReached, Spending

AMOUNTS = st.builds(Amount, st.integers(0, 10**15), st.integers(0, 10_000))


def at_most(amount):
    return st.builds(Amount, st.integers(0, amount.fusd), st.integers(0, amount.tokens))


@given(st.data(), st.integers(0, 10**16), st.integers(0, 100_000), AMOUNTS)
def test_what_is_spent_and_held_never_exceeds_a_cap_and_adds_up_to_the_last_digit(data, cap, cap_tokens, before):
    budget = Budget(cap_fusd=cap, cap_tokens=cap_tokens, spent=before)
    start = budget.spent
    held, billed = [], []
    for _ in range(data.draw(st.integers(0, 30))):
        if held and data.draw(st.booleans()):
            reserve = held.pop(data.draw(st.integers(0, len(held) - 1)))
            billed.append(data.draw(at_most(reserve)))
            budget.settle(reserve, billed[-1])
        else:
            reserve = data.draw(AMOUNTS)
            fits = not budget.lacks(reserve)
            assert budget.hold(reserve) is fits
            held += [reserve] * fits
        assert budget.held == (sum(each.fusd for each in held), sum(each.tokens for each in held))
        assert budget.spent.fusd == start.fusd + sum(each.fusd for each in billed)
        assert budget.spent.tokens == start.tokens + sum(each.tokens for each in billed)
        assert budget.spent.fusd + budget.held.fusd <= max(cap, start.fusd)
        assert budget.spent.tokens + budget.held.tokens <= max(cap_tokens, start.tokens)


@given(AMOUNTS)
def test_the_whole_cap_can_be_held_and_not_a_femtodollar_more(amount):
    budget = Budget(cap_fusd=amount.fusd, cap_tokens=amount.tokens)
    assert not budget.hold(amount._replace(fusd=amount.fusd + 1))
    assert not budget.hold(amount._replace(tokens=amount.tokens + 1))
    assert budget.held == Amount()
    assert budget.hold(amount)


def test_without_a_cap_on_something_any_amount_of_it_fits():
    assert Budget(cap_fusd=None, cap_tokens=5).hold(Amount(10**30, 5))
    assert Budget(cap_fusd=5, cap_tokens=None).hold(Amount(5, 10**30))


@pytest.mark.parametrize(("spent", "nearly"), [(79, ""), (80, "max_cost_usd"), (100, "max_cost_usd")])
def test_four_fifths_are_nearly_all(spent, nearly):
    assert Budget(cap_fusd=100, cap_tokens=None, spent=Amount(spent)).nearly_spent == nearly
    tokens = Budget(cap_fusd=None, cap_tokens=100, spent=Amount(0, spent)).nearly_spent
    assert tokens == nearly.replace("cost_usd", "tokens")


def test_the_end_says_which_cap_what_was_spent_and_what_was_wanted():
    budget = Budget(cap_fusd=fusd(Decimal("0.05")), cap_tokens=9_000, spent=Amount(fusd(Decimal("0.0498")), 8_500))
    error = BudgetReached("max_cost_usd", budget.spending, Amount(fusd(Decimal("0.00052"))))
    assert error.exit_code is Exit.STOPPED
    assert error.message == ("budget.max_cost_usd: $0.0498 of $0.05 are spent, and the next request may cost $0.00052")
    error = BudgetReached("max_tokens", budget.spending, Amount(0, 1_024))
    assert error.message == "budget.max_tokens: 8,500 of 9,000 are used, and the next request may take 1,024"


@given(AMOUNTS, st.none() | st.integers(1, 10**20), st.none() | st.integers(1, 10**9))
def test_a_spending_is_read_back_as_it_was_written(spent, cap, cap_tokens):
    spending = Budget(cap_fusd=cap, cap_tokens=cap_tokens, spent=spent).spending
    assert Spending.from_json(spending.as_json()) == spending
