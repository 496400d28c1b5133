from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.money.totals import Tokens, Totals
from batcher.records import Status
from batcher.store.bills import Earlier, totals_of
from batcher.store.columns import data_columns
from batcher.store.kept import KeptRows, used_before, woven
from batcher.store.schemas import data_schema
from tests.builders import an_attempt, an_outcome
from tests.store.builders import AT_US, answered, asked, body, planned, terms, usd

STEP = 4
ROWS = 10
USER = pa.RecordBatch.from_pylist(
    [{"lang": f"l{number}", "meta": {"a": [number, None]}} for number in range(ROWS)],
    schema=pa.schema([("lang", pa.large_string()), ("meta", pa.struct([("a", pa.list_(pa.int64()))]))]),
)
SCHEMA = data_schema(USER.schema, raw=False)


def columns(
    tasks: list[int], texts: list[str], earlier: dict[int, Earlier], n: int = 1
) -> tuple[pa.RecordBatch, Totals]:
    """What asking these tasks makes of them; tasks whose text is empty fail."""
    outcomes = [
        an_outcome(task=task, answered=n, attempts=n)
        if text
        else an_outcome(task=task, status=Status.FAILED, answered=0, attempts=n, error_kind="http_500")
        for task, text in zip(tasks, texts, strict=True)
    ]
    reads = asked(
        *(
            [an_attempt(task=task, n=n, started_at=AT_US, body=body(text) if text else body(None, candidates=[]))]
            for task, text in zip(tasks, texts, strict=True)
        )
    )
    rows = planned(ROWS, user=USER).take(pa.array(tasks, pa.int64()))
    return data_columns(rows, outcomes, reads, earlier, SCHEMA, terms()), totals_of(outcomes, reads)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Tasks 0 to 9; 2, 3 and 9 failed, at the price of a reply each."""
    path = tmp_path / "part.parquet"
    data, _ = columns(list(range(ROWS)), ["" if task in (2, 3, 9) else f"old {task}" for task in range(ROWS)], {})
    with pq.ParquetWriter(path, SCHEMA, write_page_checksum=True) as writer:
        for first in range(0, ROWS, 3):  # row groups need not fit the steps
            writer.write_batch(data.slice(first, 3))
    return path


def again(part: Path, asked_again: frozenset[int], step: int = STEP) -> tuple[pa.Table, Totals, KeptRows]:
    """The whole part anew, step by step, as sealing does."""
    kept, sums, batches = KeptRows(part, asked_again, step), Totals(), []
    for first in range(0, ROWS, step):
        count = min(step, ROWS - first)
        old = kept.take(first, count)
        tasks = [task for task in range(first, first + count) if task in asked_again]
        data, added = columns(tasks, [f"new {task}" for task in tasks], dict(old.earlier), n=2)
        sums += added
        batch = woven(data, old.rows)
        kept.count(batch)
        batches.append(batch)
    return pa.Table.from_batches(batches), sums, kept


@settings(max_examples=25, deadline=None)
@given(asked_again=st.frozensets(st.integers(0, ROWS - 1)), step=st.sampled_from([1, 2, 4, 10]))
def test_the_others_stay_as_they_are_whoever_is_asked_again(
    asked_again: frozenset[int], step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("kept") / "part.parquet"
    before, _ = columns(list(range(ROWS)), [f"old {task}" for task in range(ROWS)], {})
    pq.write_table(pa.Table.from_batches([before]), path)
    after, _, _ = again(path, asked_again, step)

    assert after.schema == SCHEMA
    assert after.column("task").to_pylist() == list(range(ROWS))
    old, new = before.to_pylist(), after.to_pylist()
    for task in range(ROWS):
        if task not in asked_again:
            assert new[task] == old[task]
        else:
            assert new[task]["response"] == f"new {task}"
            assert new[task]["lang"] == old[task]["lang"]


def test_rows_asked_again_carry_what_they_had_used(part):
    after, _, _ = again(part, frozenset({2, 9}))
    rows = after.to_pylist()

    assert [row["response"] for row in rows] == [
        "old 0",
        "old 1",
        "new 2",
        None,
        *(f"old {task}" for task in range(4, 9)),
        "new 9",
    ]
    assert (rows[2]["attempts"], rows[2]["input_tokens"], rows[2]["output_tokens"]) == (2, 8, 2)
    assert (rows[2]["cost_usd"], rows[2]["wasted_usd"]) == (2 * usd(4, 1), usd(4, 1))
    assert (rows[3]["cost_usd"], rows[3]["wasted_usd"]) == (usd(4, 1), usd(4, 1))
    assert (rows[4]["cost_usd"], rows[4]["wasted_usd"]) == (usd(4, 1), 0)


def test_the_totals_are_of_both_generations_and_the_statuses_of_the_last(part):
    before = Totals(
        by_status={Status.OK: 7, Status.FAILED: 3},
        attempts=10,
        tokens=Tokens(input=40, output=10),
        cost_usd=10 * usd(4, 1),
        wasted_usd=3 * usd(4, 1),
    )
    after, sums, kept = again(part, frozenset({2, 9}))
    totals = kept.replaced(before, sums)

    assert totals.by_status == {Status.OK: 9, Status.FAILED: 1}
    assert (totals.attempts, totals.cost_usd) == (12, 12 * usd(4, 1))
    assert totals.tokens == Tokens(input=48, output=12)
    assert totals.wasted_usd == 3 * usd(4, 1)
    assert sum(row["cost_usd"] for row in after.to_pylist()) == totals.cost_usd
    assert sum(row["wasted_usd"] for row in after.to_pylist()) == totals.wasted_usd


def test_a_step_in_which_nobody_is_asked_again_is_kept_whole(part):
    old = KeptRows(part, frozenset({9}), STEP).take(0, 4)

    assert old.rows.num_rows == 4
    assert old.earlier == {}


def test_a_step_in_which_all_are_asked_again_keeps_nothing(part):
    old = KeptRows(part, frozenset(range(ROWS)), STEP).take(0, 4)

    assert (old.rows.num_rows, old.rows.schema) == (0, SCHEMA)
    assert old.earlier[2] == Earlier(
        attempts=1, input_tokens=4, output_tokens=1, cost_usd=usd(4, 1), started_at=an_outcome().started_at
    )


def test_an_unknown_cost_is_kept_as_unknown(tmp_path):
    path = tmp_path / "part.parquet"
    data = pa.Table.from_batches([columns([0, 1], ["a", "b"], {})[0]])
    place = data.schema.get_field_index("cost_usd")
    unknown = data.set_column(
        place, data.schema.field(place), pa.array([None, Decimal(1)], data.schema.field(place).type)
    )
    pq.write_table(unknown, path)
    old = KeptRows(path, frozenset({0}), 2).take(0, 2)

    assert old.earlier[0].cost_usd is None
    assert old.rows.column("cost_usd").to_pylist() == [1]


def test_the_attempts_that_a_task_had_are_known_before_it_is_asked_again(part):
    assert used_before(part, frozenset({2, 9})) == {2: 1, 9: 1}
    assert used_before(part, frozenset()) == {}


def test_a_damaged_row_is_not_copied_into_the_new_part(part):
    whole = part.read_bytes()
    group = pq.read_metadata(part).row_group(1)
    place = next(
        group.column(number).data_page_offset + group.column(number).total_compressed_size - 5
        for number in range(group.num_columns)
        if group.column(number).path_in_schema == "response"
    )
    part.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

    with pytest.raises(OSError, match="CRC"):
        again(part, frozenset({2}))


def test_weaving_is_in_task_order_wherever_the_new_ones_stand():
    everything, _ = columns(list(range(ROWS)), ["t"] * ROWS, {})
    odd, even = everything.take(pa.array([1, 3, 5, 7, 9])), everything.take(pa.array([0, 2, 4, 6, 8]))

    assert woven(odd, even) == woven(even, odd) == everything
    assert woven(everything, everything.slice(0, 0)) == everything
    assert woven(everything.slice(0, 0), everything) == everything


def test_one_row_is_enough():
    (outcome, attempts) = answered()
    data = data_columns(planned(1), [outcome], asked(attempts), {}, data_schema([], raw=False), terms())

    assert woven(data, data.slice(0, 0)) == data
