from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.blocks import Block, BlockCutter, Extent


def an_extent(rows: int, *, start: int = 0, group: int | None = None, file: int = 0) -> Extent:
    return Extent(file=file, group=group, start=start, stop=start + rows, first_line=1, rows=rows, digest="00")


def cut(
    sizes: list[int], *, block_rows: int, max_blocks: int = 1000, max_block_bytes: int = 10**9, row_bytes: int = 1
) -> tuple[Block, ...]:
    """Feed extents of these rows as planning does: never more than the open block has room for."""
    cutter = BlockCutter(block_rows=block_rows, max_blocks=max_blocks, max_block_bytes=max_block_bytes)
    start = 0
    for size in sizes:
        left = size
        while left:
            rows = min(left, cutter.room_rows)
            cutter.add(an_extent(rows, start=start), size_bytes=rows * row_bytes)
            start += rows
            left -= rows
    return cutter.finish()


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 20), st.integers(1, 10))
def test_blocks_cover_all_rows_once_in_order(sizes: list[int], block_rows: int, max_blocks: int) -> None:
    blocks = cut(sizes, block_rows=block_rows, max_blocks=max_blocks)

    assert [block.no for block in blocks] == list(range(1, len(blocks) + 1))
    assert sum(block.rows for block in blocks) == sum(sizes)
    assert all(one.first_ordinal + one.rows == two.first_ordinal for one, two in pairwise(blocks))
    extents = [extent for block in blocks for extent in block.extents]
    assert all(one.stop == two.start for one, two in pairwise(extents))
    assert all(sum(extent.rows for extent in block.extents) == block.rows for block in blocks)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 20), st.integers(1, 10))
def test_there_are_never_too_many_and_all_but_the_last_are_alike(
    sizes: list[int], block_rows: int, max_blocks: int
) -> None:
    blocks = cut(sizes, block_rows=block_rows, max_blocks=max_blocks)

    assert len(blocks) <= max_blocks
    assert len({block.rows for block in blocks[:-1]}) <= 1
    if len(blocks) > 1:
        doubled = blocks[0].rows // block_rows
        assert blocks[0].rows % block_rows == 0
        assert doubled & (doubled - 1) == 0
        assert blocks[-1].rows <= blocks[0].rows


def test_bytes_close_a_block_early_and_stop_merging() -> None:
    blocks = cut([1] * 10, block_rows=5, max_blocks=2, max_block_bytes=30, row_bytes=10)

    assert [block.rows for block in blocks] == [3, 3, 3, 1]


def test_pieces_of_one_row_group_that_meet_are_one_extent() -> None:
    cutter = BlockCutter(block_rows=2, max_blocks=1)
    for start in (0, 2, 4):
        cutter.add(an_extent(2, start=start, group=0), size_bytes=1)
    (block,) = cutter.finish()

    assert block.extents == (an_extent(6, group=0),)


def test_merging_keeps_the_number_of_extents_small() -> None:
    cutter = BlockCutter(block_rows=1, max_blocks=16)
    start = 0
    while start < 4096:
        rows = cutter.room_rows
        cutter.add(an_extent(rows, start=start), size_bytes=1)
        start += rows
    blocks = cutter.finish()

    assert len(blocks) <= 16
    assert sum(len(block.extents) for block in blocks) <= 128  # about 8 more for each doubling


def test_no_rows_no_blocks() -> None:
    assert cut([], block_rows=5) == ()
