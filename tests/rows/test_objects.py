from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.rows.objects import MAX_DEPTH, parse_object, too_long
from tests.strategies import json_rows


@given(json_rows)
def test_what_orjson_writes_is_read_again(row: dict[str, Any]) -> None:
    assert parse_object(orjson.dumps(row) + b"\r") == row


@given(st.binary(max_size=40))
def test_any_bytes_are_an_object_or_a_reason_or_blank(line: bytes) -> None:
    read = parse_object(line)

    assert read is None or isinstance(read, str | dict)
    assert (read is None) == (not line.strip())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a":1', "not JSON: unexpected end of data (column 7)"),
        (b'{"a":NaN}', "not JSON: unexpected character, expected a JSON value (column 6)"),
        (b'{"a":"\\ud800"}', "not JSON: no low surrogate in string (column 7)"),
        (b'{"a":"\xff"}', "not JSON: str is not valid UTF-8: surrogates not allowed (column 1)"),
        (b"[1]", "wanted a JSON object, found an array"),
        (b'"a"', "wanted a JSON object, found a string"),
        (b"1", "wanted a JSON object, found a number"),
        (b"true", "wanted a JSON object, found true or false"),
        (b"null", "wanted a JSON object, found null"),
    ],
)
def test_a_bad_line_says_why(line: bytes, why: str) -> None:
    assert parse_object(line) == why


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 600, 1023])
def test_what_could_not_be_written_again_is_not_read(depth: int) -> None:
    line = b'{"a":' * depth + b"1" + b"}" * depth

    assert parse_object(line) == "nested deeper than 254 levels"


def test_a_depth_bomb_is_a_bad_line() -> None:
    assert parse_object(b"[" * 1_000_000) == "not JSON: depth limit exceeded (column 1026)"


def test_depth_is_told_from_length() -> None:
    flat = {"a": [[]] * 1000}
    deep = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH

    assert parse_object(orjson.dumps(flat)) == flat
    assert isinstance(parse_object(deep), dict)


def test_an_oversized_line_names_the_setting() -> None:
    assert too_long(20_000_000) == "longer than 20,000,000 bytes (input.max_row_bytes)"
