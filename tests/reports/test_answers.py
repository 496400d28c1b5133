import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from batcher.reports.answers import first_rows

SCHEMA = pa.schema([("id", pa.string()), ("response", pa.large_string()), ("topic", pa.string())])


def write(out, parts):
    (out / "data").mkdir(parents=True)
    pq.write_table(SCHEMA.empty_table(), out / "data" / "train-00000-of-00009.parquet")
    for number, ids in enumerate(parts, start=1):
        rows = [{"id": name, "response": f"answer {name}", "topic": "t"} for name in ids]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out / "data" / f"train-{number:05}-of-00009.parquet")


def test_the_first_rows_in_input_order_with_the_columns_that_are_shown(tmp_path):
    write(tmp_path, [["a", "b"], ["c"], ["d"]])

    assert first_rows(tmp_path, 3) == [{"id": name, "response": f"answer {name}"} for name in "abc"]


def test_a_run_that_has_nothing_yet(tmp_path):
    assert first_rows(tmp_path, 3) == []


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3), max_size=3), st.integers(1, 5))
def test_however_the_parts_are_cut(tmp_path_factory, parts, count):
    out = tmp_path_factory.mktemp("run")
    write(out, parts)

    assert [row["id"] for row in first_rows(out, count)] == [name for ids in parts for name in ids][:count]
