"""Records are cut as their readers would, wherever the chunks end and wherever reading begins."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.csvfiles import CsvGrammar
from batcher.rows.cutting import Grammar, read_records
from batcher.rows.jsonarrays import ArrayGrammar
from batcher.rows.lines import Lines
from tests.examples import a_few
from tests.strategies import json_rows

COMMA = CsvGrammar(",")
cells = st.text(st.sampled_from('ab",\n\r ;5é'), max_size=8)
tables = st.lists(st.lists(cells, min_size=2, max_size=2), max_size=8)
anything = st.lists(st.sampled_from([b'"', b",", b"\n", b"a", b"\\", b"[", b"]", b"{", b"}", b"\r"]), max_size=40)


def cut(
    grammar: Grammar, data: bytes, *, start: int = 0, line: int = 1, max_row_bytes: int = 10**6, chunk: int = 10**6
) -> list[Lines]:
    bounds = {"start": start, "stop": len(data), "first_line": line, "max_row_bytes": max_row_bytes}
    return list(read_records(io.BytesIO(data), grammar, **bounds, chunk_bytes=chunk))


def records(pieces: Sequence[Lines]) -> list[bytes]:
    return [line for piece in pieces for line in piece.lines]


def numbered(pieces: Sequence[Lines]) -> list[tuple[int, bytes | None]]:
    """Every record with its number; None for one that is too long."""
    found: list[tuple[int, bytes | None]] = []
    for piece in pieces:
        found += zip(piece.numbers_of(0, len(piece.lines)), piece.lines, strict=True)
        found += [(piece.first_line, None)] if piece.ends_oversized else []
    return found


def written(rows: Sequence[Sequence[str]], end: str) -> bytes:
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    return target.getvalue().encode()


def array(rows: Sequence[dict[str, Any]], **options: Any) -> bytes:
    return json.dumps(rows, **options).encode()[1:-1]


@given(tables, st.sampled_from(["\n", "\r\n"]), st.integers(1, 9))
def test_csv_is_cut_where_its_writer_ended_a_row(rows: list[list[str]], end: str, chunk: int) -> None:
    data = written(rows, end)
    found = records(cut(COMMA, data, chunk=chunk))

    assert [next(csv.reader([record.decode()])) for record in found] == rows
    assert b"".join(piece.raw for piece in cut(COMMA, data, chunk=chunk)) == data


@a_few
@given(st.lists(json_rows, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9))
def test_an_array_is_cut_at_its_own_commas(
    rows: list[dict[str, Any]], indent: int | None, is_ascii: bool, chunk: int
) -> None:
    data = array(rows, indent=indent, ensure_ascii=is_ascii)
    pieces = cut(ArrayGrammar(), data, chunk=chunk)

    assert [json.loads(record) for record in records(pieces) if record.strip()] == rows
    assert b"".join(piece.raw for piece in pieces) == data


@pytest.mark.parametrize("grammar", [COMMA, ArrayGrammar()], ids=["csv", "array"])
@given(bits=anything, max_row_bytes=st.integers(1, 12), chunk=st.integers(1, 9))
def test_the_chunks_are_no_part_of_the_cuts(
    grammar: Grammar, bits: list[bytes], max_row_bytes: int, chunk: int
) -> None:
    data = b"".join(bits)
    pieces = cut(grammar, data, max_row_bytes=max_row_bytes, chunk=chunk)

    assert numbered(pieces) == numbered(cut(grammar, data, max_row_bytes=max_row_bytes))
    assert b"".join(piece.raw for piece in pieces) == data
    assert all(len(record) <= max_row_bytes for record in records(pieces))
    assert all(one.start + len(one.raw) == two.start for one, two in pairwise(pieces))


@pytest.mark.parametrize("grammar", [COMMA, ArrayGrammar()], ids=["csv", "array"])
@given(bits=anything, max_row_bytes=st.integers(1, 12), data=st.data())
def test_reading_can_begin_at_any_record(
    grammar: Grammar, bits: list[bytes], max_row_bytes: int, data: st.DataObject
) -> None:
    whole = b"".join(bits)
    pieces = cut(grammar, whole, max_row_bytes=max_row_bytes)
    starts = [(piece.start, piece.first_line) for piece in pieces if piece.lines]
    if not starts:
        return
    start, line = data.draw(st.sampled_from(starts))
    before = [number for number, _ in numbered(pieces) if number < line]

    found = numbered(cut(grammar, whole, start=start, line=line, max_row_bytes=max_row_bytes, chunk=3))
    assert found == numbered(pieces)[len(before) :]


def test_a_record_has_the_number_of_its_first_line() -> None:
    data = b'a,"b\nc\nd"\n\ne,f\n'

    assert numbered(cut(COMMA, data, line=2)) == [(2, b'a,"b\nc\nd"'), (5, b""), (6, b"e,f")]


def test_an_element_has_its_place() -> None:
    assert numbered(cut(ArrayGrammar(), b'{"a":\n[1,2]},\n\n{"b":"],{"}')) == [
        (1, b'{"a":\n[1,2]}'),
        (2, b'\n\n{"b":"],{"}'),
    ]


def test_a_quote_inside_a_field_opens_nothing() -> None:
    assert records(cut(COMMA, b'5" pipe,x\n"a ""b""\n",c"d\n')) == [b'5" pipe,x', b'"a ""b""\n",c"d']


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_a_record_too_long_to_hold_ends_where_its_quotes_do(chunk: int) -> None:
    data = b'a,b\n1,"' + b"x\n" * 50 + b'"\n2,c\n'
    pieces = cut(COMMA, data, max_row_bytes=20, chunk=chunk)

    assert numbered(pieces) == [(1, b"a,b"), (2, None), (53, b"2,c")]
    assert max(len(piece.raw) for piece in pieces if not piece.lines) <= chunk + 21


def test_an_element_too_long_to_hold_ends_at_its_comma() -> None:
    data = b'{"a":1},{"a":"' + b'x,\\"]' * 50 + b'\\\\"},{"a":3}'
    pieces = cut(ArrayGrammar(), data, max_row_bytes=20, chunk=7)

    assert numbered(pieces) == [(1, b'{"a":1}'), (2, None), (3, b'{"a":3}')]


def test_a_quote_that_is_never_closed_takes_the_rest_and_no_more() -> None:
    assert records(cut(COMMA, b'a,b\n"c,d\ne,f\n')) == [b"a,b", b'"c,d\ne,f\n']
