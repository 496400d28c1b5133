"""The bills of plain rows are made in another way, the others put in their place: they must be the same bills."""

from hypothesis import given
from hypothesis import strategies as st

from batcher.records import Billed, Kind, Status
from batcher.store.bills import RowBill, is_plain, row_bill, row_bills
from batcher.store.columns import answer_columns, ledger_columns, slice_columns
from tests.builders import an_attempt, an_outcome
from tests.store.builders import AT_US, SCHEMA, asked, body, terms

statuses = st.sampled_from([Status.OK, Status.TRUNCATED, Status.BLOCKED, Status.INVALID])
bodies = st.sampled_from(
    [body(), body(tokens=None), body("longer", tokens=(100, 20)), body(modelVersion="unknown"), b""]
)
tries = st.lists(
    st.tuples(bodies, st.sampled_from(["gemini-2.5-flash", "unknown"]), st.sampled_from(Billed)), max_size=3
)


@st.composite
def rows(draw, least_tries):
    """Outcomes and their attempts: of each the last answered, or none."""
    outcomes, tried = [], []
    for task in range(draw(st.integers(1, 5))):
        made = draw(tries.filter(lambda made: len(made) >= least_tries))
        tried.append(
            [
                an_attempt(task=task, n=n, started_at=AT_US, body=said, model=model, billed=billed)
                for n, (said, model, billed) in enumerate(made, 1)
            ]
        )
        answered = len(made) if made and draw(st.booleans()) else 0
        status = draw(statuses) if answered else Status.FAILED
        outcomes.append(an_outcome(task=task, status=status, answered=answered, attempts=len(made)))
    return outcomes, asked(*tried)


@given(rows(least_tries=1) | rows(least_tries=0))
def test_bills_of_a_slice_are_those_of_its_rows(drawn):
    outcomes, reads = drawn
    expected = [row_bill(outcome, each, None) for outcome, each in zip(outcomes, reads, strict=True)]
    assert [RowBill(*bill) for bill in zip(*row_bills(outcomes, reads, {}), strict=True)] == expected


@given(rows(least_tries=0))
def test_token_counts_that_are_made_once_for_both_tables_are_those_that_each_would_make(drawn):
    outcomes, reads = drawn
    answers, ledger = slice_columns(outcomes, reads, {}, 0, SCHEMA, terms())
    assert answers == answer_columns(outcomes, reads, {}, SCHEMA, terms())
    assert ledger == ledger_columns(reads, 0, terms())


def test_a_row_that_was_asked_twice_or_not_answered_is_not_plain():
    one, other = asked([an_attempt(n=1, verdict=Kind.RETRY), an_attempt(n=2)], [an_attempt()])
    assert is_plain(an_outcome(), other)
    assert not is_plain(an_outcome(answered=2, attempts=2), one)
    assert not is_plain(an_outcome(status=Status.FAILED, answered=0), other)
    assert row_bills([], [], {}) == RowBill._make([()] * len(RowBill._fields))
