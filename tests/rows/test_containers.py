"""A row is the same row in every container, cut into any blocks, and a change of any is noticed."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import PlanChanged
from batcher.rows.containers import parse_text
from tests.examples import a_few
from tests.rows.files import an_input, planned, read_back, write_lines

cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), max_size=12)
rows = st.lists(st.fixed_dictionaries({"id": cells, "prompt": cells, "lang": cells}), min_size=1, max_size=15)
Rows = list[dict[str, str]]


def as_csv(path: Path, content: Rows) -> Path:
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(content[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(content)
    return path.with_suffix(".csv")


def as_array(path: Path, content: Rows) -> Path:
    path.with_suffix(".json").write_text(json.dumps(content, indent=1))
    return path.with_suffix(".json")


def as_lines(path: Path, content: Rows) -> Path:
    return write_lines(path.with_suffix(".jsonl"), content)


def as_table(path: Path, content: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(content), path.with_suffix(".parquet"), row_group_size=4)
    return path.with_suffix(".parquet")


def in_gzip(make: Callable[[Path, Rows], Path]) -> Callable[[Path, Rows], Path]:
    def packed(path: Path, content: Rows) -> Path:
        made = make(path, content)
        target = made.with_name(f"{made.name}.gz")
        target.write_bytes(gzip.compress(made.read_bytes()))
        return target

    return packed


def in_zstd(make: Callable[[Path, Rows], Path]) -> Callable[[Path, Rows], Path]:
    def packed(path: Path, content: Rows) -> Path:
        made = make(path, content)
        target = made.with_name(f"{made.name}.zst")
        target.write_bytes(pa.Codec("zstd").compress(made.read_bytes(), asbytes=True))
        return target

    return packed


CONTAINERS = {
    "jsonl": as_lines,
    "csv": as_csv,
    "json": as_array,
    "parquet": as_table,
    "csv.gz": in_gzip(as_csv),
    "json.zst": in_zstd(as_array),
}


@a_few
@given(rows, st.integers(1, 6), st.integers(20, 300))
def test_a_row_is_the_same_in_every_container(content: Rows, block_rows: int, max_block_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        for name, write in CONTAINERS.items():
            spec = an_input(write(Path(folder, name.replace(".", "-")), content))
            index = planned(spec, Path(folder, "spool"), block_rows=block_rows, max_block_bytes=max_block_bytes)
            back, columns = read_back(index, spec)

            assert index.files[0].container == name
            assert [row.values["prompt"] for row in back] == [row["prompt"] for row in content]
            assert [row.id for row in back] == [row["id"] or f"row-{at}" for at, row in enumerate(content)]
            assert columns == [{"lang": row["lang"]} for row in content]
            assert sum(block.rows for block in index.blocks) == len(content)


@pytest.mark.parametrize("container", [name for name in CONTAINERS if "." not in name])
def test_another_byte_is_another_input(container: str, tmp_path: Path) -> None:
    content = [{"id": f"q{number}", "prompt": "aaaa", "lang": "en"} for number in range(9)]
    path = CONTAINERS[container](tmp_path / "in", content)
    spec = an_input(path)
    index = planned(spec, tmp_path, block_rows=3)
    data = bytearray(path.read_bytes())
    at = data.index(b"q8")
    data[at + 1 : at + 2] = b"9"
    path.write_bytes(data)

    with pytest.raises(PlanChanged, match="changed since it was planned: block 3"):
        read_back(index, spec)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"a \r", {"text": "a "}),
        (b"", None),
        (b" \t\r", None),
        (b"caf\xe9", "not UTF-8: byte 0xe9 at column 4"),
        ("U+2028 \u2028 stays".encode(), {"text": "U+2028 \u2028 stays"}),
    ],
)
def test_a_line_of_a_text_is_a_prompt(line: bytes, read: object) -> None:
    assert parse_text(line) == read


def test_a_blank_line_of_a_text_is_no_row_but_has_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\ncaf\xe9\r\nthree")
    spec = an_input("a.txt")
    index = planned(spec, tmp_path)
    back, columns = read_back(index, spec)

    assert [(row.where, row.values, row.problem and row.problem.message) for row in back] == [
        ("a.txt:1", {"text": "one"}, None),
        ("a.txt:3", {}, "a.txt:3: not UTF-8: byte 0xe9 at column 4"),
        ("a.txt:4", {"text": "three"}, None),
    ]
    assert (index.shape.kind, index.bad_rows, columns) == ("prompt", 1, [{}, {}, {}])


def test_a_bad_element_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text('[\n{"prompt": "a"},\n{"prompt": },\n7,\n{"prompt": "d"},\n]\n')
    spec = an_input("a.json")
    back, _ = read_back(planned(spec, tmp_path, block_rows=1), spec)

    assert [row.problem.message if row.problem else row.where for row in back] == [
        "a.json, element 1",
        "a.json, element 2: not JSON: unexpected character, expected a JSON value (column 12)",
        "a.json, element 3: wanted a JSON object, found a number",
        "a.json, element 4",
    ]
