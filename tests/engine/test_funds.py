"""A session with a cap: what it spends, what it waits for, and how it ends; over the real journal, gate and asker."""

from decimal import Decimal

import pyarrow.dataset as ds
import pytest

from batcher.engine.charges import Charges
from batcher.engine.spent import spent_before
from batcher.errors import Exit, JobError
from batcher.money.cost import fusd, usd
from batcher.pacing.budget import Amount
from batcher.records import Status
from batcher.rows.slices import BlockReader
from batcher.store.blocks import State, put_block
from tests.builders import a_reply
from tests.engine.sessions import CUT, TROUBLE, echo, planned, prompts, rigged, text_of
from tests.fakes import FakeClock, ScriptedTransport

FULL = {"promptTokenCount": 200, "candidatesTokenCount": 100, "totalTokenCount": 300}
FULL_USD = 200 * Decimal("0.0000003") + 100 * Decimal("0.0000025")
SETTINGS = {"generation.max_output_tokens": 100, "limits.concurrency": 4}


def reserve_usd(tmp_path, count=1, **settings):
    """What the longest of the prompts may cost, so many times."""
    plan = planned(tmp_path / "probe", prompts(11)[-1:], **SETTINGS | settings | {"budget.max_cost_usd": "1"})
    (row,) = next(BlockReader(plan.index, plan.job.input, needed=plan.builder.needed).read(plan.index.blocks[0])).rows
    return usd(Charges(plan.job, plan.terms.rates, from_us=0).reserve(plan.builder.build(row)).fusd) * count


def capped(tmp_path, count, cap, **settings):
    return planned(tmp_path, prompts(count), **SETTINGS | {"budget.max_cost_usd": str(cap)} | settings)


@pytest.fixture(autouse=True)
def probe(tmp_path):
    (tmp_path / "probe").mkdir()


def first_time(then, answer=echo):
    """Each prompt meets `then` the first time that it comes."""
    seen = set()

    def script(request):
        text = text_of(request)
        if text in seen:
            return answer(request)
        seen.add(text)
        return then(request) if callable(then) else then

    return script


def ledger_usd(plan, column="cost_usd"):
    table = ds.dataset([str(path) for path in plan.rundir.ledgers()]).to_table(columns=[column])
    return sum((each for each in table.column(0).to_pylist() if each is not None), Decimal(0))


def garbled(_):
    """An answer that was billed and is none."""
    return a_reply("no JSON")


def as_json(_):
    return a_reply('{"a": 1}')


SCHEMA = {"output.schema": {"type": "object"}}


@pytest.mark.parametrize("fails", [TROUBLE, CUT, garbled], ids=["not billed", "maybe billed", "billed"])
@pytest.mark.parametrize("reserves", [1, 2, 5, 40])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_two_that_fail_do_not_lock_each_other_out_and_it_ends(tmp_path, fails, reserves, concurrency):
    """Cap = the reserves of two tasks; both fail once, a third waits. So with one, five and forty."""
    cap = reserve_usd(tmp_path, reserves, **SCHEMA)
    plan = capped(tmp_path, 12, cap, **SCHEMA | {"limits.concurrency": concurrency})
    door = ScriptedTransport(first_time(fails, as_json), latency_s=0.001)
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    assert summary.exit_code in (Exit.DONE, Exit.STOPPED)
    assert summary.spending.held_usd == 0
    assert summary.spending.spent_usd <= cap
    if (fails is TROUBLE and reserves > 1) or reserves == 40:
        assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 12})


async def test_every_task_open_may_wait_for_money_that_only_unopened_ones_hold(tmp_path):
    """With one slot, four tasks are open at most: all of them failed, and what they wait for others hold."""
    cap = reserve_usd(tmp_path, 12, **SCHEMA)
    plan = capped(tmp_path, 12, cap, **SCHEMA | {"limits.concurrency": 1})
    door = ScriptedTransport(lambda _: a_reply("no JSON", **FULL))
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.STOPPED
    assert len({request.prompt for request in door.sent}) == 12
    assert cap / 2 < summary.spending.spent_usd == len(door.sent) * FULL_USD <= cap


async def test_what_memory_keeps_from_being_fed_does_not_keep_its_money(tmp_path):
    """Every body is more than may be held: those that wait for money would wait for what is never fed."""
    cap = reserve_usd(tmp_path, 12, **SCHEMA)
    plan = capped(tmp_path, 24, cap, **SCHEMA | {"limits.concurrency": 2})
    door = ScriptedTransport(lambda _: a_reply("no JSON", **FULL))
    async with rigged(plan, door, most_held_bytes=100) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.STOPPED
    assert cap / 2 < summary.spending.spent_usd <= cap


async def test_a_run_stops_before_its_cap_and_a_higher_one_goes_on(tmp_path):
    cap = reserve_usd(tmp_path, 3)
    plan = capped(tmp_path, 40, cap)
    door = ScriptedTransport(lambda _: a_reply(**FULL))
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
        (line,) = rig.logged
    assert line == f"note: ${summary.spending.spent_usd.normalize():f} of ${cap.normalize():f} are spent"[
        : len(line)
    ] or (line.startswith("note: $") and line.endswith(f" of ${cap.normalize():f} are spent (budget.max_cost_usd)"))
    assert summary.exit_code is Exit.STOPPED
    assert summary.limited_by == ""
    assert summary.verdict.startswith("budget.max_cost_usd: $")
    assert summary.verdict.endswith(" of 40 answers are safe on disk")
    assert summary.next_command.startswith("batcher run job.toml --max-cost-usd ")
    assert cap - reserve_usd(tmp_path) < summary.spending.spent_usd == summary.totals.cost_usd <= cap

    again = capped(tmp_path, 40, cap)
    async with rigged(again, ScriptedTransport([])) as rig:
        stopped = await rig.finish()
    assert (stopped.exit_code, stopped.sent, stopped.spending) == (Exit.STOPPED, 0, summary.spending)

    async with rigged(capped(tmp_path, 40, 5), door) as rig:
        done = await rig.finish()
    assert (done.exit_code, done.totals.by_status) == (Exit.DONE, {Status.OK: 40})
    assert done.spending.spent_usd == done.totals.cost_usd == ledger_usd(plan)
    assert plan.rundir.read_manifest()["summary"]["budget"]["spent_usd"] == f"{done.totals.cost_usd:.15f}"


async def test_tokens_have_a_cap_too(tmp_path):
    plan = planned(tmp_path, prompts(40), **SETTINGS | {"budget.max_tokens": 2_000})
    async with rigged(plan, ScriptedTransport(lambda _: a_reply(promptTokenCount=20, candidatesTokenCount=30))) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.STOPPED
    tokens = summary.totals.tokens
    assert summary.spending.spent_tokens == tokens.input + tokens.output <= 2_000
    assert summary.spending.cap_usd is None
    assert "--max-tokens" in summary.next_command


async def test_a_retry_that_waits_holds_no_slot_and_is_asked_before_new_rows(tmp_path):
    plan = capped(tmp_path, 6, reserve_usd(tmp_path, 4), **{"limits.concurrency": 2})
    door = ScriptedTransport(first_time(lambda request: CUT if text_of(request) == "prompt 0" else echo(request)))
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    assert summary.totals.by_status == {Status.OK: 6}
    assert summary.totals.maybe_billed == 1


async def test_what_was_sent_before_counts_wherever_it_is(tmp_path):
    """In a part, in the journal, lost in a kill: together they are the ledger's sum, and nothing is counted twice."""
    clock = FakeClock()
    plan = capped(tmp_path, 3, 100, samples=256)
    seen = []

    def script(request):
        seen.append(text_of(request))
        return CUT if len(seen) in {10, 300} else a_reply(**FULL)

    async with rigged(plan, ScriptedTransport(script), clock=clock) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.DONE
    assert summary.totals.maybe_billed == 2
    sum_usd = ledger_usd(plan) + ledger_usd(plan, "reserve_usd")
    assert summary.spending.spent_usd == sum_usd

    charges = Charges(plan.job, plan.terms.rates, from_us=clock())
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:
        assert await spent_before(plan, rig.rows, rig.journal, charges) == Amount(fusd(sum_usd))
        last = rig.rows[len(rig.rows)]
        await rig.journal.call(put_block(last.no, State.FROZEN, last.generation, last.digest))
    async with rigged(plan, ScriptedTransport([]), clock=clock) as rig:  # now the journal should have its attempts
        without = await spent_before(plan, rig.rows, rig.journal, charges)
        assert without.fusd < fusd(sum_usd)


async def test_what_a_kill_lost_counts_at_its_reserve(tmp_path):
    plan = capped(tmp_path, 6, 1)
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        async for chunk in rig.worklist.chunks(await rig.worklist.open(plan.index.blocks[0], None)):
            await chunk.committed  # admitted, and then the process dies
        held_usd = rig.funds.spending.held_usd
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert (rig.funds.spending.spent_usd, rig.funds.spending.held_usd) == (held_usd, 0)


async def test_a_row_that_names_a_model_without_a_price_is_refused_before_anything_is_sent(tmp_path):
    rows = [{"prompt": "a", "m": None}, {"prompt": "b", "m": "gemini-99"}]
    settings = SETTINGS | {"prompt.overrides": {"model": "m"}}
    plan = planned(tmp_path, rows, **settings | {"budget.max_cost_usd": "1"})
    with pytest.raises(JobError, match=r"rows.jsonl:2: \[budget\] max_cost_usd: .* price of gemini-99 is unknown"):
        async with rigged(plan, ScriptedTransport([])):
            pass

    each = {"budget.max_cost_usd": "1", "budget.max_cost_per_request_usd": "0.25"}

    def script(request):
        reply = echo(request)
        return reply._replace(body=reply.body.replace(b"gemini-2.5-flash", request.model.encode()))

    async with rigged(planned(tmp_path, rows, **settings | each), ScriptedTransport(script)) as rig:
        summary = await rig.finish()
    assert (summary.exit_code, summary.totals.unpriced) == (Exit.DONE, 1)
    assert summary.spending.spent_usd == summary.totals.cost_usd + Decimal("0.25")


async def test_one_that_is_met_on_the_way_stops_the_run(tmp_path):
    """Planned without a cap, so that nobody has looked."""
    rows = [{"prompt": "a", "m": None}, {"prompt": "b", "m": "gemini-99"}]
    settings = SETTINGS | {"prompt.overrides": {"model": "m"}}
    plan = planned(tmp_path, rows, **settings)
    async with rigged(plan, ScriptedTransport([])) as rig:
        await rig.worklist.open(plan.index.blocks[0], None)
    async with rigged(
        planned(tmp_path, rows, **settings | {"budget.max_cost_usd": "1"}), ScriptedTransport(echo)
    ) as rig:
        summary = await rig.finish()
    assert summary.exit_code is Exit.STOPPED
    assert summary.verdict.startswith("row 1: [budget] max_cost_usd: cannot be held, the price of gemini-99 is unknown")
    assert any("max_cost_per_request_usd" in note for note in summary.notes)


async def test_without_a_cap_there_are_no_funds_and_nothing_is_read(tmp_path):
    plan = planned(tmp_path, prompts(3), **{"budget.deadline": "3h"})
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        assert rig.funds is rig.worklist.funds is None
        await rig.finish()
    for path in plan.rundir.ledgers():
        path.write_bytes(b"no parquet")
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert rig.funds is None
