"""A step's columns are what a seal would make of its answers, wherever it is cut."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batcher.engine.fresh import Fresh
from batcher.engine.packing import TASKS_A_STEP, Packer
from batcher.engine.seal import _steps
from batcher.money.totals import Totals
from batcher.rows.blocks import Block
from batcher.store.blockfile import SLICE
from batcher.store.columns import answer_columns, ledger_columns
from batcher.store.schemas import data_schema
from tests.builders import an_attempt, an_outcome
from tests.examples import a_few
from tests.store.builders import AT_US, asked, body, terms

SCHEMA = data_schema([], raw=False)


def blocks_of(*rows):
    blocks, first = [], 0
    for no, count in enumerate(rows, 1):
        blocks.append(Block(no=no, first_ordinal=first, rows=count, extents=()))
        first += count
    return blocks


def a_packer(*rows, samples=1, again=()):
    return Packer(blocks_of(*rows), frozenset(again), SCHEMA, terms(samples=samples))


def ended(tasks, tries=lambda _: 1):
    """Outcomes, and the attempts of each."""
    attempts = [
        [
            an_attempt(task=task, n=n, started_at=AT_US, body=body(f"answer {task}", tokens=(task, n)))
            for n in range(1, tries(task) + 1)
        ]
        for task in tasks
    ]
    outcomes = [an_outcome(task=task, attempts=tries(task), answered=tries(task)) for task in tasks]
    return outcomes, asked(*attempts)


class OfRows:
    """A block file of small rows: its slices are full but the last."""

    def __init__(self, rows):
        self.rows = rows

    def batches(self):
        for start in range(0, self.rows, SLICE):
            yield pa.record_batch({"row": list(range(start, min(start + SLICE, self.rows)))})


@a_few
@given(rows=st.lists(st.integers(1, 700), min_size=1, max_size=4), samples=st.integers(1, TASKS_A_STEP))
@example(rows=[SLICE, 1], samples=1)
def test_steps_are_cut_as_a_seal_cuts_a_block_of_small_rows(rows, samples):
    packer, task = a_packer(*rows, samples=samples), 0
    for block in blocks_of(*rows):
        counts = [piece.num_rows for piece in _steps(OfRows(block.rows), samples, TASKS_A_STEP)]
        for count in counts:
            for inside in (task, task + count - 1):
                assert packer.step_of(inside) == (block.no, task, task + count)
            task += count
    assert task == sum(rows) * samples


def test_a_block_that_is_asked_again_has_no_steps():
    packer = a_packer(300, 300, again={1})
    assert packer.step_of(299) is None
    assert packer.step_of(300) == (2, 300, 428)


@a_few
@given(at=st.integers(1, 127), tries=st.lists(st.integers(0, 3), min_size=TASKS_A_STEP, max_size=TASKS_A_STEP))
def test_a_step_that_is_cut_has_the_same_rows(at, tries):
    packer = a_packer(1_000)
    step = packer.step_of(200)
    outcomes, reads = ended(range(step.first, step.stop), lambda task: tries[task - step.first])
    whole = packer.pack(step, outcomes, reads)
    left, right = whole.cut(step.first + at)
    assert whole.answers == answer_columns(outcomes, reads, {}, SCHEMA, terms())
    assert whole.ledger == ledger_columns(reads, 1, terms())
    assert (left.stop, right.first, right.stop) == (step.first + at, step.first + at, step.stop)
    for name in ("answers", "ledger"):
        cut = pa.Table.from_batches([getattr(left, name), getattr(right, name)])
        assert cut == pa.Table.from_batches([getattr(whole, name)])
    assert right.totals == Totals()
    assert left.size + right.size == whole.size > 0
    assert left.totals == whole.totals
    assert left.ledger.num_rows == sum(tries[:at])


@pytest.mark.parametrize("order", [1, -1])
def test_a_step_is_packed_once_all_its_tasks_have_ended(order):
    fresh = Fresh(packer=a_packer(200))
    outcomes, reads = ended(range(200))
    for seen, (outcome, (read,)) in enumerate(list(zip(outcomes, reads, strict=True))[::order], 1):
        assert seen == 200 or fresh.packed(0 if order < 0 else 128, 128) is None
        fresh.read(read)
        fresh.outcome(outcome)
    assert (fresh.apart(0, 200), fresh.apart(128, 200), fresh.apart(5, 10)) == (128, 72, 10)
    first = fresh.packed(0, 100)
    rest = fresh.packed(100, 100)
    last = fresh.packed(128, 72)
    assert [p.answers.column("task").to_pylist() for p in (first, rest, last)] == [
        list(range(100)),
        list(range(100, 128)),
        list(range(128, 200)),
    ]
    assert fresh.packed(0, 200) is None
    assert fresh._size == 0


def test_a_step_that_the_bound_has_had_a_task_of_stays_as_it_is():
    fresh = Fresh(packer=a_packer(10), most_bytes=16_000)
    outcomes, reads = ended(range(10))
    for outcome, (read,) in zip(outcomes, reads, strict=True):
        fresh.read(read)
        fresh.outcome(outcome)
    assert fresh.packed(0, 10) is None
    assert 0 < len(fresh.take(0, 10)) < 10
    assert fresh._size == 0
