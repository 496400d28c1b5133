"""Is this line a row? One JSON object a line, or what is wrong with it."""

from __future__ import annotations

from typing import Any

import orjson

# orjson reads 1,024 levels but writes 254 (3.13); a row that cannot be written again is refused when it is read.
MAX_DEPTH = 254

_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def parse_object(line: bytes) -> dict[str, Any] | str | None:
    """Read one line.

    Strict JSON, as orjson has it: no NaN, no lone surrogates, valid UTF-8. Whole numbers beyond 64 bits become floats.

    Returns:
        The object; or what is wrong, in words; or None for a blank line.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return None if not line or line.isspace() else f"not JSON: {error.msg} (column {error.colno})"
    # Here once per row: the depth is only counted where a line is long enough to be too deep.
    if type(value) is dict and (len(line) <= 2 * MAX_DEPTH or not _too_deep(line, value)):
        return value
    if type(value) is dict:
        return f"nested deeper than {MAX_DEPTH} levels"
    return f"wanted a JSON object, found {_KINDS[type(value)]}"


def _too_deep(line: bytes, value: dict[str, Any]) -> bool:
    if line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return False
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def too_long(max_row_bytes: int) -> str:
    """Say that a line is longer than a row may be."""
    return f"longer than {max_row_bytes:,} bytes (input.max_row_bytes)"
