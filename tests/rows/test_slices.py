from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import PlanChanged
from batcher.rows.slices import read_block
from tests.rows.files import an_input, lines_of, planned, read_back, write_lines, write_table

ROWS = [{"prompt": f"prompt {number}", "n": number} for number in range(10)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rewritten(path: Path, data: bytes) -> None:
    """Change a file behind everybody's back: size and times may stay."""
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("slice_rows", [1, 3, 256])
def test_slices_are_small_and_in_order(slice_rows: int) -> None:
    spec = an_input(write_lines(Path("a.jsonl"), ROWS))
    index = planned(spec, Path(), block_rows=4)
    pieces = [piece for block in index.blocks for piece in read_block(index, block, spec, slice_rows=slice_rows)]

    assert [row.values for piece in pieces for row in piece.rows] == ROWS
    assert max(len(piece.rows) for piece in pieces) == min(slice_rows, 4)
    assert [piece.columns.column("n").to_pylist() for piece in pieces] == [
        [row.values["n"] for row in piece.rows] for piece in pieces
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_blocks_read_alike_in_any_order(name: str) -> None:
    if name == "a.jsonl":
        write_lines(Path(name), ROWS)
    else:
        write_table(Path(name), {"prompt": [row["prompt"] for row in ROWS], "n": [row["n"] for row in ROWS]})
    spec = an_input(name)
    index = planned(spec, Path(), block_rows=3)
    forward = {block.no: [row.values for piece in read_block(index, block, spec) for row in piece.rows]
               for block in index.blocks}  # fmt: skip
    backward = {block.no: [row.values for piece in read_block(index, block, spec) for row in piece.rows]
                for block in reversed(index.blocks)}  # fmt: skip

    assert forward == backward
    assert [values for rows in forward.values() for values in rows] == ROWS


@pytest.mark.parametrize(
    ("value", "label"),
    [("x", "x"), (7, "7"), (None, "row-0"), (True, "true"), (1.5, "1.5"), ([1], "[1]"), ("", "row-0")],
)
def test_any_value_but_none_names_a_row(value: Any, label: str) -> None:
    spec = an_input(write_lines(Path("a.jsonl"), [{"name": value, "prompt": "a"}]), id="name")
    rows, _ = read_back(planned(spec, Path()), spec)

    assert rows[0].id == label


def test_two_rows_may_have_one_name() -> None:
    spec = an_input(write_lines(Path("a.jsonl"), [{"id": 1, "prompt": "a"}] * 2))
    rows, _ = read_back(planned(spec, Path()), spec)

    assert [(row.ordinal, row.id) for row in rows] == [(0, "1"), (1, "1")]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"prompt 5", b"prompt X"),
        lambda data: data.replace(b'"n":5', b'"n":"'),
        lambda data: data.replace(b'"n":5}', b'"n":""}'[:6]),
        lambda data: data.replace(b"prompt 5", b"prompt\n5"),
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1] + b" ",
        lambda _: b"",
    ],
)
def test_changed_lines_are_found_before_the_block_is_whole(change: Any) -> None:
    path = write_lines(Path("a.jsonl"), ROWS)
    spec = an_input(path)
    index = planned(spec, Path(), block_rows=100)
    rewritten(path, change(lines_of(ROWS)))

    with pytest.raises(PlanChanged) as caught:
        list(read_block(index, index.blocks[0], spec, slice_rows=2))

    assert caught.value.message == "a.jsonl: changed since it was planned: block 1 is not what it was"


def test_a_value_of_another_type_is_a_change() -> None:
    path = write_lines(Path("a.jsonl"), ROWS)
    spec = an_input(path)
    index = planned(spec, Path())
    rewritten(path, lines_of(ROWS).replace(b'"n":4', b'"n":{}'))

    with pytest.raises(PlanChanged, match="block 2 is not"):
        list(read_block(index, index.blocks[1], spec))


def test_other_blocks_of_a_changed_file_are_read() -> None:
    path = write_lines(Path("a.jsonl"), ROWS)
    spec = an_input(path)
    index = planned(spec, Path())
    rewritten(path, lines_of(ROWS).replace(b"prompt 9", b"prompt X"))

    assert len([*read_block(index, index.blocks[0], spec)]) == 1


@pytest.mark.parametrize("prompts", [["X"] * 10, ["prompt"] * 3])
def test_a_changed_row_group_is_found_before_its_first_row(prompts: list[str]) -> None:
    path = write_table(Path("a.parquet"), {"prompt": [f"prompt {number}" for number in range(10)]})
    spec = an_input(path)
    index = planned(spec, Path())
    write_table(path, {"prompt": prompts})

    with pytest.raises(PlanChanged, match=r"^a\.parquet: changed since it was planned: block 2"):
        next(iter(read_block(index, index.blocks[1], spec)))


@pytest.mark.parametrize("gone", ["a.jsonl", "a.parquet"])
def test_a_file_that_is_gone_is_a_change(gone: str) -> None:
    write_lines(Path("a.jsonl"), ROWS)
    write_table(Path("a.parquet"), {"prompt": ["a"]})
    spec = an_input(gone)
    index = planned(spec, Path())
    Path(gone).unlink()

    with pytest.raises(PlanChanged):
        list(read_block(index, index.blocks[0], spec))


def test_columns_of_a_table_come_as_they_are_and_rows_hold_what_the_prompt_needs() -> None:
    write_table(
        Path("a.parquet"),
        {
            "key": pa.array([1, 2], pa.int64()),
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "lang": pa.array(["en", None]).dictionary_encode(),
            "meta": [{"tags": ["x"], "n": 1}, None],
            "when": pa.array([1, 2], pa.timestamp("ns")),
        },
    )
    spec = an_input("a.parquet")
    index = planned(spec, Path())
    rows, columns = read_back(index, spec, needed=frozenset({"prompt", "when"}))

    assert [(row.id, row.values["prompt"]) for row in rows] == [("1", "a"), ("2", "b")]
    assert set(rows[0].values) == {"prompt", "when"}
    assert index.schema.field("lang").type == pa.large_string()
    assert pa.types.is_struct(index.schema.field("meta").type)
    assert [row["lang"] for row in columns] == ["en", None]
    assert columns[0]["meta"] == {"n": 1, "tags": ["x"]}


def test_a_table_whose_only_column_is_consumed_still_has_its_rows() -> None:
    spec = an_input(write_table(Path("a.parquet"), {"prompt": ["a", "b", "c"]}))
    rows, columns = read_back(planned(spec, Path()), spec, needed=frozenset())

    assert [row.values for row in rows] == [{}] * 3
    assert columns == [{}] * 3


def test_text_that_is_not_utf_8_spoils_its_row_only() -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")]
    )
    pq.write_table(pa.table({"prompt": ["a", "b"], "note": broken}), "a.parquet")
    spec = an_input("a.parquet")
    rows, columns = read_back(planned(spec, Path()), spec)

    assert rows[0].problem is None
    assert rows[1].problem is not None
    assert rows[1].problem.message == "a.parquet, row 2: column 'note' is not valid UTF-8"
    assert columns == [{"note": "a"}, {"note": None}]


def test_what_json_lacks_is_written_as_text_where_tables_disagree() -> None:
    write_table(Path("a.parquet"), {"prompt": ["a"], "x": [b"\x00\xff"]})
    write_table(Path("b.parquet"), {"prompt": ["a"], "x": [1]})
    spec = an_input("a.parquet", "b.parquet")
    _, columns = read_back(planned(spec, Path()), spec)

    assert [row["x"] for row in columns] == ['"AP8="', "1"]


def test_slices_of_big_rows_have_few_of_them() -> None:
    big = [bytes([n]) * 1_000_000 for n in range(30)]
    columns = {"prompt": [f"{n}" for n in range(30)], "image": pa.array(big, pa.binary())}
    spec = an_input(write_table(Path("a.parquet"), columns, row_group_size=20, use_dictionary=False))
    index = planned(spec, Path(), block_rows=100)
    pieces = list(read_block(index, index.blocks[0], spec))

    assert max(piece.columns.nbytes for piece in pieces) <= 9_000_000
    assert [len(piece.rows) for piece in pieces] == [8, 8, 4, 8, 2]
    assert [row.values["image"] for piece in pieces for row in piece.rows] == big
