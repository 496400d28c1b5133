from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.fresh import Fresh
from batcher.store.bills import read_attempt
from tests.builders import an_attempt, an_outcome
from tests.engine.test_tally import TERMS


def a_read(task, n=1, **fields):
    return read_attempt(an_attempt(task=task, n=n, **fields), TERMS)


def test_it_gives_whole_tasks_in_order_and_once():
    fresh = Fresh()
    for task in (2, 0, 1):
        fresh.read(a_read(task))
        fresh.outcome(an_outcome(task=task))
    assert list(fresh.take(0, 3)) == [0, 1, 2]
    assert fresh.take(0, 3) == {}


def test_a_task_without_an_outcome_is_not_given():
    fresh = Fresh()
    fresh.read(a_read(0))
    assert fresh.take(0, 1) == {}


def test_a_task_whose_earlier_attempts_are_not_here_is_not_given():
    fresh = Fresh()
    fresh.read(a_read(0, n=2))
    fresh.outcome(an_outcome(task=0, attempts=2))
    assert fresh.take(0, 1) == {}


def test_a_row_that_was_never_asked_is_whole():
    fresh = Fresh()
    fresh.outcome(an_outcome(task=0, answered=0, attempts=0))
    assert fresh.take(0, 1)[0][1] == []


@given(
    most=st.integers(0, 12_000),
    asked=st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=500)), max_size=40),
)
def test_it_never_keeps_more_than_it_may_and_never_a_part_of_a_task(most, asked):
    fresh = Fresh(most_bytes=most)
    counts = {}
    for task, body in asked:
        counts[task] = counts.get(task, 0) + 1
        fresh.read(a_read(task, n=counts[task], body=body))
        assert fresh._size <= most
    for task, count in counts.items():
        fresh.outcome(an_outcome(task=task, attempts=count))
    for task, (outcome, reads) in fresh.take(0, 10).items():
        assert [read.attempt.n for read in reads] == list(range(1, counts[task] + 1))
        assert outcome.attempts == counts[task]
    assert fresh._size == 0
