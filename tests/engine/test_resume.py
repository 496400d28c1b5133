"""What a killed session leaves is found where it is, whatever number of blocks the run has."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.engine.resume import _holding_rows, resumed
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.store.blocks import State, put_block
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal
from tests.builders import an_attempt, an_outcome
from tests.engine.sessions import planned, prompts

SAMPLES = 300  # a row is a block
ROWS = 8
few = st.sets(st.integers(0, ROWS * SAMPLES - 1), max_size=4)


@pytest.fixture
def plan(tmp_path):
    plan = planned(tmp_path, prompts(ROWS), samples=SAMPLES, **{"limits.concurrency": 8})
    assert plan.blocks == ROWS
    return plan


@pytest.fixture
def planned_in(plan):
    """The plan behind a call: it is long to print, and hypothesis prints what an example is given."""
    return lambda: plan


def quiet(_):
    pass


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=few, tried=few, admitted=few)
async def test_the_blocks_that_have_rows_in_the_journal_are_found(planned_in, done, tried, admitted):
    plan = planned_in()
    for left in plan.rundir.state.glob("journal*"):
        left.unlink()
    journal = Journal(plan.rundir.journal, failpoints=FailPoints())
    for task in done:
        await journal.finish(task, pack_outcome(an_outcome(task=task)))
    for task in tried:
        await journal.attempted(task, 1, pack_attempt(an_attempt(task=task)))
    if admitted:
        await journal.admit([(task, 2, 1, 1, 1) for task in admitted])
    found = await journal.call(_holding_rows(plan))
    await journal.close()
    assert [block.no for block in found] == sorted({task // SAMPLES + 1 for task in done | tried | admitted})


async def test_what_a_sealed_block_left_in_the_journal_goes(plan):
    journal = Journal(plan.rundir.journal, failpoints=FailPoints())
    for no in (2, 5):
        plan.rundir.part(no, plan.blocks).touch()
        plan.rundir.ledger(no, 1).touch()
        await journal.call(put_block(no, State.SEALED, 1, "d", Totals(attempts=1)))
    for task in (SAMPLES, SAMPLES + 1, 4 * SAMPLES, 6 * SAMPLES):
        await journal.finish(task, pack_outcome(an_outcome(task=task)), 1, pack_attempt(an_attempt(task=task)))
    await resumed(plan, journal, log=quiet, failpoints=FailPoints())
    assert [block.no for block in await journal.call(_holding_rows(plan))] == [7]
    await journal.close()


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize("gone", ["part", "ledger"])
async def test_a_file_that_was_sealed_and_is_gone_is_missed(plan, gone, generation):
    journal = Journal(plan.rundir.journal, failpoints=FailPoints())
    there = {"part": plan.rundir.part(2, plan.blocks), "ledger": plan.rundir.ledger(2, 1)}
    for path in (*there.values(), plan.rundir.ledger(2, 2)):
        path.touch()
    there[gone].unlink()
    state = State.SEALED if generation == 1 else State.OPEN  # reopened: the part is of the generation before
    await journal.call(put_block(2, state, generation, "d", Totals(attempts=1)))
    with pytest.raises(StorageError) as refused:
        await resumed(plan, journal, log=quiet, failpoints=FailPoints())
    assert there[gone].name in refused.value.message
    assert refused.value.hint == f"put them back; if they are lost: batcher recover {plan.rundir.out}"
    await journal.close()
