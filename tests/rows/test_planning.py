from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import InputError
from batcher.job.spec import InputShape
from tests.rows.files import an_input, planned, read_back, write_lines, write_table
from tests.strategies import prompt_rows


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@given(
    st.lists(prompt_rows, max_size=20),
    st.integers(0, 20),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(20, 400),
)
def test_every_row_is_in_one_block_in_order_and_reads_back(
    rows: list[dict[str, Any]], at: int, block_rows: int, max_blocks: int, max_block_bytes: int
) -> None:
    with TemporaryDirectory() as folder:
        one = write_lines(Path(folder, "1.jsonl"), rows[:at])
        two = write_lines(Path(folder, "2.jsonl"), rows[at:])
        spec = an_input(one, two)
        options = {"block_rows": block_rows, "max_blocks": max_blocks, "max_block_bytes": max_block_bytes}
        index = planned(spec, Path(folder), **options)
        back, columns = read_back(index, spec)

        assert index.rows == len(rows)
        assert [row.values for row in back] == rows
        assert [row.ordinal for row in back] == list(range(len(rows)))
        has_ids = any("id" in row for row in rows[:at] or rows)  # told by the first file that has rows
        assert [row.id for row in back] == [
            (row.get("id") if has_ids else None) or f"row-{at}" for at, row in enumerate(rows)
        ]
        assert [row.get("lang") for row in columns] == [row.get("lang") for row in rows]
        assert planned(spec, Path(folder), **options) == index


@given(st.lists(prompt_rows, min_size=1, max_size=20), st.integers(1, 25))
def test_a_limit_takes_the_first_rows(rows: list[dict[str, Any]], limit: int) -> None:
    with TemporaryDirectory() as folder:
        spec = an_input(write_lines(Path(folder, "1.jsonl"), rows), write_lines(Path(folder, "2.jsonl"), rows))
        index = planned(spec, Path(folder), limit=limit)
        back, _ = read_back(index, spec)

        assert [row.values for row in back] == (rows + rows)[:limit]


def test_marks_and_line_ends_of_other_systems_are_no_part_of_a_row() -> None:
    Path("a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt":"a"}\r\n\r\n   \n{"prompt":"b\xe2\x80\xa8c"}')
    spec = an_input("a.jsonl")
    rows, _ = read_back(planned(spec, Path()), spec)

    assert [(row.ordinal, row.values, row.where) for row in rows] == [
        (0, {"prompt": "a"}, "a.jsonl:1"),
        (1, {"prompt": "b\u2028c"}, "a.jsonl:4"),
    ]


def test_a_bad_line_is_a_row_with_a_problem() -> None:
    Path("a.jsonl").write_bytes(b'{"prompt":"a"}\n{"prompt":\n[1]\n{"prompt":"d"}\n')
    spec = an_input("a.jsonl")
    index = planned(spec, Path())
    rows, columns = read_back(index, spec)

    assert (index.rows, index.bad_rows) == (4, 2)
    assert [row.problem and (row.problem.kind, row.problem.message) for row in rows] == [
        None,
        ("bad_input", "a.jsonl:2: not JSON: unexpected end of data (column 11)"),
        ("bad_input", "a.jsonl:3: wanted a JSON object, found an array"),
        None,
    ]
    assert rows[1].values == {}
    assert len(columns) == 4


def test_an_input_of_which_no_row_can_be_read_is_refused() -> None:
    Path("a.jsonl").write_bytes(b"\n")
    Path("b.jsonl").write_bytes(b"id: 7\nid: 8\n")

    with pytest.raises(InputError) as caught:
        planned(an_input("a.jsonl", "b.jsonl"), Path())
    assert caught.value.message == (
        "b.jsonl:1: not JSON: unexpected character, expected a JSON value (column 1); "
        "nor can any other row of the input be read"
    )
    assert caught.value.hint.startswith("--format jsonl, csv, ")


def test_a_file_of_another_shape_among_the_others_is_refused() -> None:
    write_lines(Path("a.jsonl"), [{"prompt": "a"}])
    write_lines(Path("b.jsonl"), [{"id": 1, "messages": []}, {"messages": [], "n": 2}])
    write_table(Path("c.parquet"), {"question": ["c"]})
    write_table(Path("none.parquet"), {"question": pa.array([], pa.string())})
    Path("d.jsonl").write_bytes(b"")

    with pytest.raises(InputError) as caught:
        planned(an_input("a.jsonl", "b.jsonl"), Path())
    assert caught.value.message == (
        "b.jsonl: has no 'prompt', by which the files before it are prompt; its columns: id, messages, n"
    )
    with pytest.raises(InputError, match=r"^c\.parquet: has no 'prompt'"):
        planned(an_input("a.jsonl", "c.parquet"), Path())
    assert planned(an_input("a.jsonl", "d.jsonl", "none.parquet"), Path()).rows == 1
    assert planned(an_input("a.jsonl", "b.jsonl"), Path(), has_template=True).rows == 3


def test_a_line_of_50_megabytes_is_one_bad_row() -> None:
    with Path("a.jsonl").open("wb") as file:
        file.write(b'{"prompt":"a"}\n{"prompt":"')
        file.writelines(b"x" * 1_000_000 for _ in range(50))
        file.write(b'"}\n{"prompt":"c"}\n')
    spec = an_input("a.jsonl")
    index = planned(spec, Path())
    rows, _ = read_back(index, spec)

    assert (index.rows, index.bad_rows) == (3, 1)
    assert rows[1].problem is not None
    assert rows[1].problem.message == "a.jsonl:2: longer than 20,000,000 bytes (input.max_row_bytes)"
    assert [row.where for row in rows] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]


def test_strict_refuses_the_input_and_lists_the_first_ten() -> None:
    Path("a.jsonl").write_bytes(b'{"prompt":"a"}\n' + b"x\n" * 12)

    with pytest.raises(InputError) as caught:
        planned(an_input("a.jsonl", strict=True), Path())

    lines = caught.value.message.splitlines()
    assert lines[0] == "12 rows cannot be read:"
    assert lines[1] == "  a.jsonl:2: not JSON: unexpected character, expected a JSON value (column 1)"
    assert lines[-1] == "  and 2 more"
    assert len(lines) == 12


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_input_is_a_plan_without_blocks(content: bytes) -> None:
    Path("a.jsonl").write_bytes(content)
    index = planned(an_input("a.jsonl"), Path())

    assert (index.rows, index.blocks, index.found) == (0, (), ())
    assert index.schema == pa.schema([])


def test_the_shape_is_told_by_the_first_rows_that_can_be_read() -> None:
    Path("empty.jsonl").write_bytes(b"")
    Path("a.jsonl").write_bytes(b"nonsense\n" * 100 + b'{"key":1,"text":"a"}\n')
    index = planned(an_input("empty.jsonl", "a.jsonl"), Path())

    assert (index.shape.kind, index.shape.prompt_key, index.shape.id_key) == (InputShape.PROMPT, "text", "key")
    assert index.shape.consumed == {"text", "key"}


def test_an_ambiguous_input_is_refused_by_name() -> None:
    write_lines(Path("a.jsonl"), [{"prompt": "a", "contents": []}])

    with pytest.raises(InputError, match=r"^a\.jsonl: 'contents' and 'prompt'"):
        planned(an_input("a.jsonl"), Path())


def test_a_renamed_column_is_noted() -> None:
    write_lines(Path("a.jsonl"), [{"prompt": "a", "status": 1, "meta": {}}])
    index = planned(an_input("a.jsonl"), Path())

    assert index.renamed == {"status": "input_status"}
    assert index.schema.names == ["input_status", "meta"]
    assert len(index.notes) == 2


def test_progress_tells_rows_and_bytes_so_far() -> None:
    path = write_lines(Path("a.jsonl"), [{"prompt": "a"}] * 9)
    seen: list[tuple[int, int]] = []
    planned(an_input("a.jsonl", "a.jsonl"), Path(), on_progress=lambda rows, size: seen.append((rows, size)))

    assert seen[-1] == (18, 2 * path.stat().st_size)
    assert seen == sorted(seen)


def test_lines_in_a_gzip_file_are_read() -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt":"a"}\n'))
    spec = an_input("a.jsonl.gz")
    rows, _ = read_back(planned(spec, Path("spool")), spec)

    assert [row.where for row in rows] == ["a.jsonl.gz:1"]


@pytest.mark.parametrize(("block_rows", "max_block_bytes"), [(1, 10**9), (3, 10**9), (100, 10**9), (100, 64), (100, 1)])
def test_row_groups_are_cut_to_blocks_and_read_back(block_rows: int, max_block_bytes: int) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    write_table(Path("a.parquet"), {"prompt": prompts, "n": range(20)}, row_group_size=7)
    write_table(Path("b.parquet"), {"prompt": prompts, "n": range(20)}, row_group_size=50)
    spec = an_input("a.parquet", "b.parquet")
    index = planned(spec, Path(), block_rows=block_rows, max_block_bytes=max_block_bytes)
    rows, columns = read_back(index, spec, needed=frozenset({"prompt"}))

    assert [row.values for row in rows] == [{"prompt": prompt} for prompt in prompts * 2]
    assert [column["n"] for column in columns] == [*range(20)] * 2
    assert rows[20].where == "b.parquet, row 1"
    assert index.rows == sum(block.rows for block in index.blocks) == 40
    assert planned(spec, Path(), limit=23).rows == 23


def test_tables_and_lines_meet_in_one_schema() -> None:
    write_table(Path("a.parquet"), {"prompt": ["a"], "score": pa.array([1], pa.int32()), "tag": ["x"]})
    write_lines(Path("b.jsonl"), [{"prompt": "b", "score": 0.5, "tag": 3}])
    spec = an_input("a.parquet", "b.jsonl")
    index = planned(spec, Path())
    _, columns = read_back(index, spec)

    assert index.schema == pa.schema([("score", pa.float64()), ("tag", pa.large_string())])
    assert columns == [{"score": 1.0, "tag": '"x"'}, {"score": 0.5, "tag": "3"}]


def test_a_parquet_file_without_a_prompt_is_refused() -> None:
    write_table(Path("a.parquet"), {"question": ["a"]})

    with pytest.raises(InputError, match="found nothing to ask in its columns"):
        planned(an_input("a.parquet"), Path())
