from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from batcher.rows.lines import CHUNK_BYTES
from batcher.rows.slices import BlockReader
from tests.rows.files import an_input, planned, write_lines, write_table


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_a_matter_of_the_chunk_not_of_the_input() -> None:
    peaks = []
    for rows in (10_000, 40_000):  # 2 and 8 chunks
        spec = an_input(write_lines(Path(f"{rows}.jsonl"), [{"prompt": "x" * 190}] * rows))
        index = planned(spec, Path(), block_rows=1000)

        def read(spec=spec, index=index) -> None:
            with BlockReader(index, spec) as reader:
                for block in index.blocks:
                    for _ in reader.read(block):
                        pass

        peaks.append((peak_bytes(lambda spec=spec: planned(spec, Path(), block_rows=1000)), peak_bytes(read)))

    (plan_small, read_small), (plan_large, read_large) = peaks
    assert plan_large < 1.3 * plan_small
    assert read_large < 1.3 * read_small


def test_an_oversized_line_is_not_held() -> None:
    with Path("a.jsonl").open("wb") as file:
        file.write(b'{"prompt":"a"}\n')
        file.writelines(b"x" * CHUNK_BYTES for _ in range(32))
    spec = an_input("a.jsonl", max_row_bytes=CHUNK_BYTES)

    assert peak_bytes(lambda: planned(spec, Path())) < 8 * CHUNK_BYTES


def test_a_limit_in_a_table_counts_over_files_and_groups() -> None:
    write_table(Path("a.parquet"), {"prompt": ["a"] * 5}, row_group_size=2)
    write_lines(Path("b.jsonl"), [{"prompt": "b"}] * 5)
    spec = an_input("a.parquet", "b.jsonl")

    for limit in (0, 1, 4, 5, 6, 99):
        index = planned(spec, Path(), limit=limit)
        assert index.rows == sum(block.rows for block in index.blocks) == min(limit, 10)


def test_an_extent_begins_at_its_first_line_and_ends_at_its_last() -> None:
    data = b'\xef\xbb\xbf\n{"prompt":"a"}\n\n{"prompt":"b"}\n{"prompt":"c"}'
    Path("a.jsonl").write_bytes(data)
    index = planned(an_input("a.jsonl"), Path(), block_rows=2)
    extents = [extent for block in index.blocks for extent in block.extents]

    assert [extent.rows for extent in extents] == [2, 1]
    assert (extents[0].start, extents[-1].stop) == (3, len(data))
    assert extents[0].stop == extents[1].start
    lines_before = data[: extents[1].start].count(b"\n")
    assert [extent.first_line for extent in extents] == [1, lines_before + 1]


def test_one_line_more_than_a_block_takes_begins_the_next() -> None:
    line = b'{"prompt":"aaaa"}\n'
    Path("a.jsonl").write_bytes(line * 7)
    index = planned(an_input("a.jsonl"), Path(), block_rows=100, max_block_bytes=3 * len(line))

    assert [block.rows for block in index.blocks] == [3, 3, 1]


def test_a_block_spans_files() -> None:
    write_lines(Path("a.jsonl"), [{"prompt": "a"}])
    write_lines(Path("b.jsonl"), [{"prompt": "b"}])
    (block,) = planned(an_input("a.jsonl", "b.jsonl"), Path()).blocks

    assert [extent.file for extent in block.extents] == [0, 1]
