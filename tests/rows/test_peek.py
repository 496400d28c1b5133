from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.peek import count_rows, is_small, some_rows
from batcher.rows.readers import find_inputs
from tests.rows.files import an_input, planned, write_lines, write_table

ROWS = [{"id": str(n), "prompt": "x" * (n % 7)} for n in range(1_000)]


def count(spec, tmp_path, *, first=10):
    return count_rows(find_inputs(spec, spool=tmp_path), planned(spec, tmp_path, limit=first))


@given(
    st.lists(st.sampled_from([b'{"prompt": "a"}', b"", b"  ", b"\t\r", b"broken", b'{"prompt": "\xe2\x80\xa8"}'])),
    st.booleans(),
    st.booleans(),
)
def test_lines_are_counted_as_planning_counts_rows(tmp_path_factory, lines, bom, newline):
    tmp_path = tmp_path_factory.mktemp("count")
    path = tmp_path / "p.jsonl"
    lines = [*lines, b'{"prompt": "an input of which nothing can be read is refused"}']
    path.write_bytes(b"\xef\xbb\xbf" * bom + b"\n".join(lines) + b"\n" * newline)
    spec = an_input(path)

    counted = count(spec, tmp_path)

    assert counted.rows == planned(spec, tmp_path).rows
    assert counted.exact


@pytest.mark.parametrize(
    ("name", "text", "exact"),
    [
        ("p.txt", "a\n\nb\nc\n", True),
        ("p.csv", 'prompt\n"two\nlines"\nb\nc\n', False),
        ("p.json", '[{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]', False),
    ],
)
def test_rows_of_other_files_are_lines_where_a_row_is_one_and_else_told_by_their_size(tmp_path, name, text, exact):
    (tmp_path / name).write_text(text)

    counted = count(an_input(tmp_path / name), tmp_path)

    assert counted.exact is exact
    assert abs(counted.rows - 3) <= (0 if exact else 1)


def test_parquet_says_how_many_rows_it_has_and_files_add_up(tmp_path):
    table = write_table(tmp_path / "a.parquet", {"prompt": ["x"] * 50}, row_group_size=7)
    lines = write_lines(tmp_path / "b.jsonl", ROWS)

    counted = count(an_input(table, lines), tmp_path)

    assert (counted.rows, counted.exact) == (1_050, True)


def test_a_line_that_is_too_long_for_a_row_is_a_row(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n' + b"x" * 3_000_000 + b'\n{"prompt": "b"}\n')

    assert count(an_input(path), tmp_path).rows == 3


def test_what_is_too_large_to_count_is_told_by_its_size(tmp_path):
    path = tmp_path / "p.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "abc"}\n' * 1_000)
        file.truncate(18 * 100_000_000)  # the rest is a hole that takes no disk

    counted = count(an_input(path), tmp_path, first=100)

    assert (counted.rows, counted.exact) == (100_000_000, False)


def test_an_input_without_rows(tmp_path):
    spec = an_input(write_lines(tmp_path / "p.jsonl", []))
    index = planned(spec, tmp_path)

    assert count(spec, tmp_path).rows == 0
    assert list(some_rows(index, spec, needed=frozenset(), count=5)) == []


def rows_looked_at(spec, tmp_path, count, **options):
    index = planned(spec, tmp_path, **options)
    rows = list(some_rows(index, spec, needed=frozenset({"prompt"}), count=count))
    assert [row.values.get("prompt") for row in rows] == [ROWS[row.ordinal]["prompt"] for row in rows]
    return [row.ordinal for row in rows]


def test_few_rows_are_all_looked_at(tmp_path):
    spec = an_input(write_lines(tmp_path / "p.jsonl", ROWS))

    assert rows_looked_at(spec, tmp_path, 1_000) == list(range(1_000))


@pytest.mark.parametrize("wanted", [32, 100, 500])
def test_of_many_rows_some_are_looked_at_from_the_first_to_the_end(tmp_path, wanted):
    spec = an_input(write_lines(tmp_path / "p.jsonl", ROWS))

    looked = rows_looked_at(spec, tmp_path, wanted, block_rows=16)

    assert looked[0] == 0
    assert looked[-1] >= 984  # in the last block
    assert wanted / 2 <= len(looked) <= wanted + 32
    assert looked == sorted(set(looked))
    assert max(after - before for before, after in pairwise(looked)) <= 64


def test_of_a_table_with_many_groups_each_is_entered_at_its_beginning(tmp_path):
    path = write_table(tmp_path / "p.parquet", {"prompt": [row["prompt"] for row in ROWS]}, row_group_size=50)

    looked = rows_looked_at(an_input(path), tmp_path, 40, block_rows=25)

    assert {ordinal - ordinal % 50 for ordinal in looked} == set(range(0, 1_000, 50))


def test_a_table_with_one_group_is_entered_in_four_places(tmp_path):
    path = write_table(tmp_path / "p.parquet", {"prompt": [row["prompt"] for row in ROWS]})

    assert rows_looked_at(an_input(path), tmp_path, 8, block_rows=100) == [0, 1, 300, 301, 600, 601, 900, 901]


def test_what_is_small_enough_to_be_planned_whole(tmp_path):
    def files(size: int, name: str):
        path = Path(tmp_path / name)
        write_lines(path, ROWS[:1])
        with path.open("r+b") as file:
            file.truncate(size)
        return find_inputs(an_input(path), spool=tmp_path)

    assert is_small(files(1_000, "a.jsonl"))
    assert not is_small(files(1 << 30, "b.jsonl"))
