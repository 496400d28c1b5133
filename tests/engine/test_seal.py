"""What a part says must equal its own columns, the ledger and the run's totals, to the last digit."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batcher.engine.seal import STEP_BYTES, Sealer, _steps
from batcher.errors import StorageError
from batcher.money.totals import Totals
from batcher.records import Status
from batcher.store.blocks import State, read_blocks
from batcher.store.parts import read_footer
from tests.builders import a_reply
from tests.engine.sessions import CUT, TROUBLE, echo, planned, prompts, rigged, text_of
from tests.fakes import ScriptedTransport

THIRD = "prompt 2"


def rich(request):
    """Replies of all kinds by the prompt's number, with thoughts and cached tokens; every fifth is paid and cut off."""
    number = int(text_of(request).split()[1])
    usage = {"thoughtsTokenCount": number % 7, "cachedContentTokenCount": number % 3, "promptTokenCount": 5 + number}
    if number % 5 == 4:
        return a_reply("half", finish_reason="MAX_TOKENS", **usage)
    if number % 5 == 3:
        return a_reply(None, finish_reason="SAFETY", **usage)
    return a_reply(f"answer {number}", **usage)


def once(trouble, to):
    """`trouble` for the first request of each prompt in `to`, then `rich`."""
    seen = set()

    def script(request):
        prompt = text_of(request)
        if prompt in to and prompt not in seen:
            seen.add(prompt)
            return trouble
        return rich(request)

    return script


def always(trouble, to):
    return lambda request: trouble if text_of(request) in to else rich(request)


def data(plan):
    return pq.read_table(plan.rundir.data)


def ledger(plan):
    return pq.read_table(plan.rundir.attempts)


def total(table, column):
    return pc.sum(table.column(column)).as_py() or 0


def check_sums(plan, totals):
    """Parts, ledger and totals are three computations of one bill."""
    rows, attempts = data(plan), ledger(plan)
    billed = attempts.filter(pc.equal(attempts.column("billed"), "yes"))
    by_status = {
        Status(entry["values"]): entry["counts"] for entry in pc.value_counts(rows.column("status")).to_pylist()
    }
    assert totals.by_status == by_status
    assert totals.attempts == attempts.num_rows == total(rows, "attempts")
    assert totals.cost_usd == total(rows, "cost_usd") == total(attempts, "cost_usd")
    assert totals.wasted_usd == total(rows, "wasted_usd")
    assert totals.tokens.input == total(rows, "input_tokens")
    assert totals.tokens.output == total(rows, "output_tokens")
    assert totals.tokens.input == total(billed, "prompt_token_count") + total(billed, "tool_use_prompt_token_count")
    assert totals.tokens.output == total(billed, "candidates_token_count") + total(billed, "thoughts_token_count")
    assert totals.maybe_billed == pc.sum(pc.equal(attempts.column("billed"), "maybe")).as_py()
    keys = list(zip(attempts.column("task").to_pylist(), attempts.column("attempt").to_pylist(), strict=True))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("samples", [1, 3, 130])
async def test_totals_are_the_sums_of_the_columns_and_of_the_ledger(tmp_path, samples):
    plan = planned(tmp_path, [*prompts(20), "{broken"], samples=samples)
    async with rigged(plan, ScriptedTransport(once(CUT, {THIRD, "prompt 9"}))) as rig:
        summary = await rig.finish()
        blocks = await rig.journal.call(read_blocks)
    check_sums(plan, summary.totals)
    assert summary.totals.cost_usd > 0
    assert summary.totals.maybe_billed == 2
    assert sum((row.totals for row in blocks.values()), Totals()) == summary.totals
    footers = [read_footer(part) for part in plan.rundir.parts()]
    assert sum((footer.totals for footer in footers), Totals()) == summary.totals


@pytest.mark.parametrize("samples", [1, 2, 5])
async def test_rows_come_in_task_order_with_dense_numbers(tmp_path, samples):
    plan = planned(tmp_path, prompts(300), samples=samples, **{"limits.concurrency": 8})
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        await rig.finish()
    rows = data(plan)
    assert plan.blocks > 1
    assert rows.column("task").to_pylist() == list(range(300 * samples))
    assert rows.column("ordinal").to_pylist() == [n for n in range(300) for _ in range(samples)]
    assert rows.column("sample").to_pylist() == list(range(samples)) * 300
    assert rows.column("id").to_pylist() == [f"q{n}" for n in range(300) for _ in range(samples)]
    assert rows.column("response").to_pylist() == [f"prompt {n}"[::-1] for n in range(300) for _ in range(samples)]


@pytest.mark.parametrize("samples", [1, 3])
async def test_a_reopened_block_weaves_its_rows_in_order(tmp_path, samples):
    odd = {f"prompt {n}" for n in (0, 7, 8, 19)}
    plan = planned(tmp_path, prompts(20), samples=samples)
    async with rigged(plan, ScriptedTransport(always(TROUBLE, odd))) as rig:
        first = await rig.finish()
    before = data(plan)

    door = ScriptedTransport(rich)
    async with rigged(plan, door, again=frozenset({Status.FAILED})) as rig:
        summary = await rig.finish()
        blocks = await rig.journal.call(read_blocks)

    after = data(plan)
    assert {text_of(request) for request in door.sent} == odd
    assert first.totals.by_status[Status.FAILED] == 4 * samples == len(door.sent)
    assert Status.FAILED not in summary.totals.by_status
    assert after.column("task").to_pylist() == list(range(20 * samples))
    good = pc.not_equal(before.column("status"), "failed")
    assert after.filter(good) == before.filter(good)
    assert after.filter(pc.invert(good)).column("attempts").to_pylist() == [6] * (4 * samples)
    check_sums(plan, summary.totals)
    assert (blocks[1].generation, blocks[1].state, blocks[1].totals) == (2, State.SEALED, summary.totals)
    names = [path.name for path in plan.rundir.ledgers()]
    assert names == ["attempts-00001-g1.parquet", "attempts-00001-g2.parquet"]


async def test_what_a_retry_supersedes_is_wasted(tmp_path):
    """Truncated answers were usable and paid; once they are asked again, what they cost bought nothing."""
    plan = planned(tmp_path, prompts(10))
    async with rigged(plan, ScriptedTransport(rich)) as rig:
        first = await rig.finish()
    rows = data(plan)
    truncated = rows.filter(pc.equal(rows.column("status"), "truncated"))

    async with rigged(plan, ScriptedTransport(lambda _: a_reply("whole")), again=frozenset({Status.TRUNCATED})) as rig:
        summary = await rig.finish()

    assert truncated.num_rows == 2
    assert summary.totals.wasted_usd - first.totals.wasted_usd == total(truncated, "cost_usd")
    check_sums(plan, summary.totals)


async def test_generations_add_up(tmp_path):
    plan = planned(tmp_path, prompts(8))
    async with rigged(plan, ScriptedTransport(always(CUT, {THIRD}))) as rig:
        await rig.finish()
    for _ in range(3):
        async with rigged(plan, ScriptedTransport(always(CUT, {THIRD})), again=frozenset({Status.FAILED})) as rig:
            summary = await rig.finish()
    check_sums(plan, summary.totals)
    assert summary.totals.attempts == 7 + summary.totals.maybe_billed
    assert len(plan.rundir.ledgers()) == 4


async def test_a_seal_that_was_killed_after_its_last_name_does_not_count_twice(tmp_path):
    """The part of generation 2 is there, the journal says frozen: building again would add it to itself."""
    plan = planned(tmp_path, prompts(10))
    async with rigged(plan, ScriptedTransport(always(TROUBLE, {THIRD}))) as rig:
        await rig.finish()
    async with rigged(plan, ScriptedTransport(rich), again=frozenset({Status.FAILED})) as rig:
        rig.session._sealer = Killed(rig.session._sealer)
        with pytest.raises(KilledHereError):
            await rig.session.run()
    async with rigged(plan, ScriptedTransport([])) as rig:
        assert rig.rows[1].state is State.FROZEN
        summary = await rig.finish()
    check_sums(plan, summary.totals)
    assert not plan.rundir.block_file(1).exists()


class KilledHereError(Exception):
    pass


class Killed:
    """A sealer that dies between publishing the part and telling the journal."""

    def __init__(self, sealer):
        self._sealer = sealer

    async def seal(self, block):
        await self._sealer._mark(block, State.FROZEN, None)
        await self._sealer._build(block)
        raise KilledHereError


async def test_a_missing_outcome_is_never_sealed_over(tmp_path):
    plan = planned(tmp_path, prompts(10))
    async with rigged(plan, ScriptedTransport(echo), sealer=Forgetful(plan)) as rig:
        rig.session._sealer.over = rig
        summary = await rig.finish()
        assert isinstance(rig.halt.why, StorageError)
    assert "9 of 10 outcomes" in summary.verdict
    assert [part.name for part in plan.rundir.parts()] == ["train-00000-of-00002.parquet"]


class Forgetful:
    """Loses one outcome of the journal before it seals."""

    def __init__(self, plan):
        self.plan = plan
        self.over = None

    async def seal(self, block):
        await self.over.journal.call(lambda c: c.execute("delete from done where task = 4") and None)
        return await Sealer(self.plan, self.over.journal, self.over.failpoints).seal(block)


async def test_a_foreign_file_under_a_parts_name_is_not_touched(tmp_path):
    plan = planned(tmp_path, prompts(4))
    foreign = plan.rundir.part(1, plan.blocks)
    pq.write_table(pa.table({"a": [1]}), foreign)
    content = foreign.read_bytes()
    async with rigged(plan, ScriptedTransport(echo)) as rig:
        await rig.finish()
        assert isinstance(rig.halt.why, StorageError)
    assert foreign.read_bytes() == content


async def test_an_unknown_price_is_null_and_not_nothing(tmp_path):
    plan = planned(tmp_path, prompts(4), model="gemini-0-nobody")
    reply = a_reply("yes").body.replace(b"gemini-2.5-flash", b"gemini-0-nobody")
    door = ScriptedTransport(lambda _: a_reply()._replace(body=reply))
    async with rigged(plan, door) as rig:
        summary = await rig.finish()
    assert data(plan).column("cost_usd").to_pylist() == [None] * 4
    assert ledger(plan).column("cost_usd").to_pylist() == [None] * 4
    assert (summary.totals.cost_usd, summary.totals.unpriced) == (Decimal(0), 4)


@pytest.mark.parametrize("remembers_bytes", [0, 2_500, 20_000])
async def test_a_part_is_the_same_from_memory_and_from_the_journal(tmp_path, remembers_bytes):
    """The clock stands still, so the two runs may differ in their id only, whatever was kept in memory."""
    script = once(CUT, {THIRD, "prompt 9"})
    tables = []
    for name, most in (("memory", 32 << 20), ("journal", remembers_bytes)):
        (tmp_path / name).mkdir()
        plan = planned(tmp_path / name, [*prompts(30), "{broken"], samples=2, output__raw=True)
        async with rigged(plan, ScriptedTransport(script), remembers_bytes=most) as rig:
            check_sums(plan, (await rig.finish()).totals)
        # The message of the broken row names the input, which lies elsewhere.
        tables.append((data(plan).drop_columns(["error_message"]), ledger(plan).drop_columns(["run_id", "waited_ms"])))
        script = once(CUT, {THIRD, "prompt 9"})
    for one, other in zip(*tables, strict=True):
        assert [name for name in one.schema.names if not one.column(name).equals(other.column(name))] == []


class Slices:
    """A block file with a column of the user's, some bytes a row."""

    def __init__(self, *sizes):
        self._sizes = sizes

    def batches(self):
        ordinal = 0
        for rows, size in self._sizes:
            held = [bytes(size)] * rows
            yield pa.RecordBatch.from_pydict({"ordinal": list(range(ordinal, ordinal + rows)), "user": held})
            ordinal += rows


@pytest.mark.parametrize("samples", [1, 2, 5, 300])
@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_steps_are_one_row_a_task_in_order_and_short_whatever_their_columns(samples, size):
    ordinals, longest, largest = [], 0, 0
    for step in _steps(Slices((2, size), (7, 2)), samples, 128):
        ordinals += step.column("ordinal").to_pylist()
        longest, largest = max(longest, step.num_rows), max(largest, step.nbytes)

    assert ordinals == [n for n in range(9) for _ in range(samples)]
    assert longest <= 128
    assert largest <= STEP_BYTES + size
