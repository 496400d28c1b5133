from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.lines import Lines, read_lines

some_lines = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=12)


def cut(
    data: bytes, *, start: int = 0, stop: int | None = None, max_row_bytes: int = 1000, chunk: int = 7
) -> list[Lines]:
    end = len(data) if stop is None else stop
    pieces = read_lines(
        io.BytesIO(data), start=start, stop=end, first_line=1, max_row_bytes=max_row_bytes, chunk_bytes=chunk
    )
    return list(pieces)


@given(some_lines, st.integers(1, 50), st.booleans())
def test_reading_in_chunks_of_any_size_changes_nothing(lines: list[bytes], chunk: int, ends_with_newline: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ends_with_newline and lines else b"")
    pieces = cut(data, chunk=chunk)

    wanted = data.split(b"\n")
    assert [line for piece in pieces for line in piece.lines] == (wanted if wanted[-1] else wanted[:-1])
    assert b"".join(piece.raw for piece in pieces) == data


@given(some_lines, st.integers(1, 50), st.integers(1, 40))
def test_every_line_is_given_whole_or_as_oversized_in_its_place(lines: list[bytes], chunk: int, limit: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    seen: list[bytes | None] = []
    for piece in cut(data, chunk=chunk, max_row_bytes=limit):
        assert piece.start == data.index(piece.raw, piece.start)
        assert not piece.lines or piece.first_line == len(seen) + 1
        assert len(piece.raw) <= 2 * max(limit, chunk) + 1
        seen += [None] if piece.ends_oversized else piece.lines

    assert seen == [line if len(line) <= limit else None for line in lines]


@given(some_lines, st.integers(1, 20), st.integers(1, 40))
def test_the_pieces_are_the_file(lines: list[bytes], chunk: int, limit: int) -> None:
    data = b"\n".join(lines)
    pieces = cut(data, chunk=chunk, max_row_bytes=limit)

    assert b"".join(piece.raw for piece in pieces) == data
    at = 0
    for piece in pieces:
        assert piece.start == at
        at += len(piece.raw)


def test_only_a_line_feed_ends_a_line() -> None:
    data = '{"a":"\u2028\u0085"}\r\nb\rc\n'.encode()

    (piece,) = cut(data, chunk=100)

    assert piece.lines == ['{"a":"\u2028\u0085"}\r'.encode(), b"b\rc"]


def test_a_range_is_read_and_nothing_beyond_it() -> None:
    (piece,) = cut(b"one\ntwo\nthree\n", start=4, stop=8, chunk=100)

    assert (piece.lines, piece.start) == ([b"two"], 4)


def test_an_unfinished_oversized_line_at_the_end_is_one_line() -> None:
    pieces = cut(b"x" * 25, max_row_bytes=10, chunk=4)

    assert [piece.ends_oversized for piece in pieces].count(True) == 1
    assert not any(piece.lines for piece in pieces)


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n"])
def test_empty_lines_are_lines(data: bytes) -> None:
    assert [line for piece in cut(data) for line in piece.lines] == [b""] * len(data)
