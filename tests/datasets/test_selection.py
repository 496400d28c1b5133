from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.selection import OTHER, Selection, read_rows
from batcher.errors import StorageError
from batcher.records import Status

STATUSES = [str(status) for status in Status]
ROWS = st.lists(st.tuples(st.sampled_from(STATUSES), st.sampled_from(["de", "en", "", None])), max_size=20)


def batches(rows, size):
    columns = {
        "n": pa.array(range(len(rows)), pa.int64()),
        "status": pa.array([status for status, _ in rows], pa.string()),
        "lang": pa.array([lang for _, lang in rows], pa.large_string()),
    }
    return pa.table(columns).to_batches(max_chunksize=size)


@given(
    rows=ROWS,
    wanted=st.sets(st.sampled_from(STATUSES)),
    lang=st.none() | st.sampled_from(["de", ""]),
    size=st.integers(1, 5),
)
def test_every_row_goes_out_or_is_counted(rows, wanted, lang, size):
    selection = Selection(wanted, {} if lang is None else {"lang": lang})
    kept = [n for batch in batches(rows, size) for n in selection.of(batch).column("n").to_pylist()]

    def fits(found):
        return lang is None or (found or "") == lang

    assert kept == [n for n, (status, found) in enumerate(rows) if status in wanted and fits(found)]
    left = Counter(status for status, _ in rows if status not in wanted)
    outside = sum(status in wanted and not fits(found) for status, found in rows)
    assert selection.left_out == dict(left) | ({OTHER: outside} if outside else {})
    assert selection.seen == len(rows) == len(kept) + sum(selection.left_out.values())


def test_reasons_are_told_in_the_order_of_the_statuses():
    selection = Selection({"ok"}, {})
    for reason in ("with media", "failed", "blocked"):
        selection.leave(reason)
    assert list(selection.left_out) == ["blocked", "failed", "with media"]


@pytest.mark.parametrize(("column", "text"), [("n", "3"), ("yes", "true"), ("x", "0.5")])
def test_numbers_and_booleans_are_compared_as_text(column, text):
    table = pa.table({"n": [1, 3], "yes": [False, True], "x": [1.5, 0.5], "status": ["ok", "ok"]})
    selection = Selection({"ok"}, {column: text})
    assert selection.of(table.to_batches()[0]).column("n").to_pylist() == [3]


def test_columns_come_in_the_order_asked_for(tmp_path):
    pq.write_table(pa.table({"a.b": [1], "a": [2], "c": [{"d": 3}]}), tmp_path / "part.parquet")
    (batch,) = read_rows(tmp_path / "part.parquet", ["c", "a"])
    assert batch.to_pylist() == [{"c": {"d": 3}, "a": 2}]


def test_a_damaged_part_is_named(tmp_path):
    (tmp_path / "part.parquet").write_bytes(b"no parquet")
    with pytest.raises(StorageError, match=r"part\.parquet: not a whole part of a run"):
        list(read_rows(tmp_path / "part.parquet", ["a"]))
