"""The bills of plain rows are made in another way; they must be the same bills."""

from hypothesis import given
from hypothesis import strategies as st

from batcher.records import Billed, Kind, Status
from batcher.store.bills import RowBill, is_plain, row_bill, row_bills
from tests.builders import an_attempt, an_outcome
from tests.store.builders import AT_US, asked, body

statuses = st.sampled_from([Status.OK, Status.TRUNCATED, Status.BLOCKED, Status.INVALID])
bodies = st.sampled_from(
    [body(), body(tokens=None), body("longer", tokens=(100, 20)), body(modelVersion="unknown"), b""]
)
answers = st.tuples(statuses, bodies, st.sampled_from(["gemini-2.5-flash", "unknown"]), st.sampled_from(Billed))


@given(st.lists(answers, min_size=1, max_size=5))
def test_bills_of_plain_rows_are_those_of_any_rows(rows):
    outcomes = [an_outcome(task=task, status=status) for task, (status, *_) in enumerate(rows)]
    tried = [
        [an_attempt(task=task, started_at=AT_US, body=said, model=model, billed=billed)]
        for task, (_, said, model, billed) in enumerate(rows)
    ]
    reads = asked(*tried)
    assert is_plain(outcomes, reads)
    expected = [row_bill(outcome, each, None) for outcome, each in zip(outcomes, reads, strict=True)]
    assert [RowBill(*bill) for bill in zip(*row_bills(outcomes, reads, {}), strict=True)] == expected


def test_rows_that_were_asked_twice_or_not_answered_are_not_plain():
    one, other = asked([an_attempt(n=1, verdict=Kind.RETRY), an_attempt(n=2)], [an_attempt()])
    assert not is_plain([an_outcome(answered=2, attempts=2)], [one])
    assert not is_plain([an_outcome(status=Status.FAILED, answered=0)], [other])
    assert row_bills([], [], {}) == RowBill._make([()] * len(RowBill._fields))
