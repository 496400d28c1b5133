import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import StorageError
from batcher.store.columns import data_columns
from batcher.store.lent import LentRows, Loan, lent_columns, shared_columns
from batcher.store.schemas import data_schema
from tests.store.builders import NO_COLUMNS, answered, asked, planned, terms

OLD = terms(run_id="old", labels=())
NEW = terms(run_id="new", spares=True)
SCHEMA = data_schema(NO_COLUMNS, raw=False, spares=True)


def rows(count, first=0):
    """Rows of an older run, without the columns of who paid."""
    tasks = [answered(task, f"answer {task}") for task in range(first, first + count)]
    outcomes, attempts = zip(*tasks, strict=True)
    schema = data_schema(NO_COLUMNS, raw=False)
    return data_columns(planned(count, first=first), outcomes, asked(*attempts, at=OLD), {}, schema, OLD)


def a_part(path, count, first=0):
    pq.write_table(pa.Table.from_batches([rows(count, first)]), path, row_group_size=3, write_page_checksum=True)
    return path


@pytest.fixture
def lending(tmp_path):
    opened = []

    def lending(loans, schema=SCHEMA):
        lent = LentRows(loans, schema, (), tmp_path / "scratch.arrow")
        opened.append(lent)
        return lent

    yield lending
    for lent in opened:
        lent.close()


def test_each_task_gets_the_row_that_was_lent_to_it(tmp_path, lending):
    one, two = a_part(tmp_path / "1.parquet", 10), a_part(tmp_path / "2.parquet", 10, first=10)
    lent = lending([Loan(7, two, "b", 4), Loan(2, one, "a", 8), Loan(5, one, "a", 0), Loan(6, one, "a", 8)])

    found = lent.take(0, 7)
    assert found.tasks == [2, 5, 6]
    assert found.columns.column("response").to_pylist() == ["answer 8", "answer 0", "answer 8"]
    assert found.columns.column("paid_by_run").to_pylist() == ["a", "a", "a"]
    assert found.columns.column("paid_by_task").to_pylist() == [8, 0, 8]
    assert lent.take(7, 3).columns.column("response").to_pylist() == ["answer 14"]
    assert lent.take(8, 3).tasks == []


def test_who_paid_for_the_row_that_is_lent_has_paid_for_this_one(tmp_path, lending):
    table = pa.Table.from_batches([rows(2)])
    table = table.append_column("paid_by_run", pa.array(["first", None])).append_column(
        "paid_by_task", pa.array([40, None], pa.int64())
    )
    pq.write_table(table, tmp_path / "1.parquet")
    found = lending([Loan(0, tmp_path / "1.parquet", "old", 0), Loan(1, tmp_path / "1.parquet", "old", 1)]).take(0, 2)
    assert found.columns.column("paid_by_run").to_pylist() == ["first", "old"]
    assert found.columns.column("paid_by_task").to_pylist() == [40, 1]


def test_a_column_that_the_older_run_did_not_keep_is_null(tmp_path, lending):
    schema = data_schema(NO_COLUMNS, raw=True, spares=True)
    found = lending([Loan(0, a_part(tmp_path / "1.parquet", 1), "old", 0)], schema).take(0, 1)
    assert found.columns.column("raw").to_pylist() == [None]


def test_a_row_has_its_own_name_and_costs_nothing(tmp_path, lending):
    lent = lending([Loan(0, a_part(tmp_path / "1.parquet", 3), "old", 0)]).take(0, 1)
    (row,) = lent_columns(planned(1), lent, SCHEMA, NEW).to_pylist()
    (old,) = rows(1).to_pylist()
    free = {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0, "wasted_usd": 0, "attempts": 0}
    assert row == old | free | {"labels": [{"key": "team", "value": "x"}], "paid_by_run": "old", "paid_by_task": 0}


def test_an_answer_to_another_request_is_refused(tmp_path, lending):
    lent = lending([Loan(0, a_part(tmp_path / "1.parquet", 3), "old", 2)]).take(0, 1)
    with pytest.raises(StorageError, match="has changed since this one was planned"):
        lent_columns(with_hash(planned(1), b"another request!"), lent, SCHEMA, NEW)


def with_hash(batch, request_hash):
    at = batch.schema.get_field_index("request_hash")
    return batch.set_column(at, batch.schema.field(at), pa.array([request_hash], pa.binary(16)))


def test_a_part_that_is_gone_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="its answers are to be used again, and it cannot be read"):
        LentRows([Loan(0, tmp_path / "1.parquet", "old", 0)], SCHEMA, (), tmp_path / "scratch.arrow")


def test_no_damage_is_lent_on(tmp_path, lending):
    """A bit that has flipped in the older part's pages is a refusal, or in what nobody reads of them.

    The footer behind them has no checksum of its own.
    """
    path = a_part(tmp_path / "1.parquet", 10)
    loans = [Loan(task, path, "old", task) for task in range(10)]
    whole, content = lending(loans).take(0, 10).columns, path.read_bytes()
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for at in range(0, pages, max(1, pages // 60)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            assert lending(loans).take(0, 10).columns.equals(whole), at
        except StorageError:
            refused += 1
    assert refused > 20


def test_a_row_that_shares_an_answer_says_with_whom():
    outcome, attempts = answered(0, "yes")
    data = data_columns(planned(1), [outcome], asked(attempts), {}, SCHEMA, NEW)
    (row,), (own,) = shared_columns(data, [41], "new").to_pylist(), data.to_pylist()
    assert (own["paid_by_run"], own["paid_by_task"], own["attempts"]) == (None, None, 1)
    assert (row["paid_by_run"], row["paid_by_task"], row["attempts"], row["cost_usd"]) == ("new", 41, 0, 0)
    assert row["usage_metadata"] == own["usage_metadata"]
