from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import InputError
from batcher.rows.tables import Table, check_table
from tests.rows.files import write_table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {"n": list(range(100)), "text": [f"t{number}" for number in range(100)]}
    return write_table(tmp_path_factory.mktemp("tables") / "a.parquet", columns, row_group_size=60)


ranges = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: tuple(sorted(pair)))


@given(st.data())
def test_any_ranges_in_any_order_give_their_rows(path: Path, data: st.DataObject) -> None:
    with Table(path, "a.parquet") as table:
        for start, stop in data.draw(st.lists(ranges, max_size=5)):
            batch_rows = data.draw(st.sampled_from([1, 7, 256]))
            batches = list(table.read(0, start=start, stop=stop, columns=["n"], batch_rows=batch_rows))

            assert [n for batch in batches for n in batch.column("n").to_pylist()] == list(range(start, stop))
            assert all(batch.num_rows <= batch_rows for batch in batches)


def test_only_the_named_columns_are_read(path: Path) -> None:
    with Table(path, "a.parquet") as table:
        (batch,) = table.read(1, start=0, stop=2, columns=["text"], batch_rows=10)

    assert batch.to_pylist() == [{"text": "t60"}, {"text": "t61"}]


def test_a_row_group_is_known_by_its_rows_and_bytes(path: Path) -> None:
    with Table(path, "a.parquet") as table:
        assert (table.groups, table.rows_in(0), table.rows_in(1)) == (2, 60, 40)
        assert table.bytes_in(0) > table.bytes_in(1) > 0
        assert table.digest(0) != table.digest(1)


def test_every_byte_of_a_row_group_counts(path: Path, tmp_path: Path) -> None:
    with Table(path, "a.parquet") as table:
        start, stop = table._extent(0)
        digest = table.digest(0)
    data = path.read_bytes()
    for at in (start, (start + stop) // 2, stop - 1):
        other = tmp_path / "b.parquet"
        other.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with Table(other, "b.parquet") as table:
            assert table.digest(0) != digest


def test_the_row_groups_of_a_file_do_not_overlap_and_begin_after_its_mark(path: Path) -> None:
    with Table(path, "a.parquet") as table:
        assert table._extent(0)[0] == 4
        assert table._extent(0)[1] <= table._extent(1)[0]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(InputError, match=r"^in: two columns are called 'a'$"):
        check_table(tmp_path / "a.parquet", "in")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)

    with pytest.raises(InputError, match=r"^in: not a readable Parquet file: "):
        check_table(tmp_path / "a.parquet", "in")
