"""A label that stands on two rows is found, wherever the rows are and however many lie between them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import InputError
from batcher.job.spec import Input
from batcher.rows.labels import Labels, check_unique, label_of
from batcher.rows.planning import plan_rows
from batcher.rows.readers import find_inputs
from tests.rows.files import write_lines


@given(names=st.lists(st.integers(0, 30)), most_held=st.sampled_from([1, 3, 1 << 22]))
def test_as_many_are_counted_as_there_are_whatever_lies_in_memory(names, most_held):
    rows = [{"key": name} for name in names]
    with Labels("key", most_held=most_held) as labels:
        for at in range(0, len(rows), 4):
            labels.see(rows[at : at + 4])
        count, hashes = labels.repeated()

    assert count == len(names) - len(set(names))
    assert hashes == {hash(str(name)) for name in names if names.count(name) > 1}


@pytest.mark.parametrize(
    ("value", "label"), [("a", "a"), (7, "7"), (7.5, "7.5"), ({"a": 1}, '{"a":1}'), ("", None), (None, None), (0, "0")]
)
def test_a_label_is_a_text_or_json(value, label):
    assert label_of(value) == label


def planned(*files, **settings):
    spec = Input(files=tuple(map(str, files)), id="key", **settings)
    found = find_inputs(spec, spool=files[0].parent / "spool")
    return plan_rows(found, spec, block_rows=4, has_template=True, reserved=frozenset())


def test_rows_of_several_files_are_told_apart_by_where_they_stand(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"key": n, "text": "x"} for n in (1, 2, 3, None, "")])
    pq.write_table(pa.table({"key": [9, 3, 1], "text": ["x"] * 3}), tmp_path / "b.parquet")

    with pytest.raises(InputError) as refused:
        planned(tmp_path / "a.jsonl", tmp_path / "b.parquet")

    lines = refused.value.message.replace(f"{tmp_path}/", "").splitlines()
    assert lines == [
        "a.jsonl: 2 rows are called as an earlier one by column 'key' (input.id):",
        "  '3': a.jsonl:3 and b.parquet, row 2",
        "  '1': a.jsonl:1 and b.parquet, row 3",
    ]
    assert refused.value.hint == "name another column with input.id, or none: rows then go by their place"


def test_ten_are_named_and_the_others_counted(tmp_path):
    rows = write_lines(tmp_path / "a.jsonl", [{"key": n % 25, "text": "x"} for n in range(50)])

    with pytest.raises(InputError) as refused:
        planned(rows)

    first, *named, last = refused.value.message.splitlines()
    assert "25 rows are called" in first
    assert [line.partition(":")[0].strip() for line in named] == [f"'{n}'" for n in range(10)]
    assert last == "  and 15 more"


def test_a_row_of_a_limit_is_compared_with_no_row_beyond_it(tmp_path):
    rows = write_lines(tmp_path / "a.jsonl", [{"key": n % 3, "text": "x"} for n in range(6)])
    spec = Input(files=(str(rows),), id="key")
    found = find_inputs(spec, spool=tmp_path / "spool")

    assert plan_rows(found, spec, block_rows=4, limit=3, has_template=True, reserved=frozenset()).rows == 3
    with pytest.raises(InputError, match="1 row is called"):
        plan_rows(found, spec, block_rows=4, limit=4, has_template=True, reserved=frozenset())


def test_bad_rows_count_as_rows_and_have_no_label(tmp_path):
    lines = [b'{"key": 1, "text": "x"}', b"{broken", b"", b'{"key": 2, "text": "' + b"y" * 300 + b'"}', b'{"key": 1}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))

    with pytest.raises(InputError, match=r"'1': .*a.jsonl:1 and .*a.jsonl:5"):
        planned(tmp_path / "a.jsonl", max_row_bytes=100)


def test_two_labels_of_one_hash_are_two(tmp_path):
    rows = write_lines(tmp_path / "a.jsonl", [{"key": "a", "text": "x"}, {"key": "b", "text": "x"}])
    spec = Input(files=(str(rows),), id="key")
    with Labels("key") as labels:
        labels.see([{"key": "a"}, {"key": "a"}])  # as if "b" had the same
        check_unique(labels, find_inputs(spec, spool=tmp_path / "spool"), spec, rows=2)
