from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.rows.blocks import Extent, numbered
from batcher.rows.index import Index, check_unchanged, load_index, save_index
from tests.examples import a_few
from tests.rows.files import an_input, planned, write_lines, write_table
from tests.strategies import json_rows


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def an_index(rows: int = 9) -> Index:
    write_lines(Path("a.jsonl"), [{"id": number, "prompt": "a", "meta": {}, "n": 1} for number in range(rows)])
    write_table(Path("b.parquet"), {"prompt": ["a"], "n": [0.5]})
    return planned(an_input("a.jsonl", "b.parquet"), Path())


@a_few
@given(st.lists(json_rows, max_size=6))
def test_what_is_saved_is_loaded(rows: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        spec = an_input(write_lines(Path(folder, "a.jsonl"), rows))
        index = planned(spec, Path(folder), block_rows=2, has_template=True)
        save_index(index, Path(folder, "index"))

        loaded = load_index(Path(folder, "index"))
        assert loaded == index
        assert loaded.schema == index.schema
        assert [path.name for path in Path(folder).glob("index*")] == ["index"]


def test_an_index_of_8192_blocks_comes_back() -> None:
    extents = [
        Extent(file=0, group=None, start=at, stop=at + 1, first_line=at + 1, rows=1, digest=f"{at:032x}")
        for at in range(8192)
    ]
    index = replace(an_index(), blocks=numbered([(1, (extent,)) for extent in extents]), rows=8192)
    save_index(index, Path("index"))

    assert load_index(Path("index")) == index


@pytest.mark.parametrize("at", [0, 20, 100, -1])
def test_a_flipped_byte_anywhere_is_found(at: int) -> None:
    save_index(an_index(), Path("index"))
    data = bytearray(Path("index").read_bytes())
    data[at] ^= 1
    Path("index").write_bytes(data)

    with pytest.raises(StorageError, match=r"^index: (not an index of this version|the index is damaged)"):
        load_index(Path("index"))


@pytest.mark.parametrize("length", [0, 10, 20, 200])
def test_a_cut_index_is_damage(length: int) -> None:
    save_index(an_index(), Path("index"))
    Path("index").write_bytes(Path("index").read_bytes()[:length])

    with pytest.raises(StorageError):
        load_index(Path("index"))


def test_a_missing_index_and_an_unwritable_place_are_matters_of_storage() -> None:
    with pytest.raises(StorageError, match="cannot read the index: No such file"):
        load_index(Path("index"))
    with pytest.raises(StorageError, match="cannot write the index: No such file"):
        save_index(an_index(), Path("nowhere/index"))


def test_files_that_stayed_the_same_are_not_mentioned() -> None:
    assert check_unchanged(an_index()) == ()


def test_each_changed_file_is_a_line_of_its_own() -> None:
    index = an_index(1)
    size = Path("a.jsonl").stat().st_size
    with Path("a.jsonl").open("ab") as file:
        file.write(b"{}\n")
    stat = Path("b.parquet").stat()
    os.utime("b.parquet", ns=(stat.st_atime_ns, 7))

    assert check_unchanged(index) == (
        f"a.jsonl: {size} bytes → {size + 3} bytes",
        f"b.parquet: modified at {stat.st_mtime_ns} ns → 7 ns since 1970",
    )


def test_a_file_that_is_gone_is_a_change() -> None:
    index = an_index()
    Path("b.parquet").unlink()

    assert check_unchanged(index)[0].endswith("bytes → No such file or directory")
