"""Which chunks does a streamed body consist of?

A body is read whole: the journal keeps it as it came, so what a stream said can be read again at any time, and how the
network cut it into pieces cannot matter. Three formats, told by their first byte: server-sent events, a JSON array, and
JSON objects one behind the other, a line each or printed over several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

_BLANKS = b"\xef\xbb\xbf \t\r\n"
_FIELD = re.compile(rb"(?:data|event|id|retry)?:")
_BETWEEN = re.compile(r"[ \t\r\n,]*")
# Only finds where a value ends: numbers stay text, and orjson has the last word on what is JSON.
_BOUNDS = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class Chunks(NamedTuple):
    """The chunks of a body.

    Attributes:
        whole: those that can be read, in order.
        flaw: what is not whole, in words; None when nothing shows.
    """

    whole: list[dict[str, Any]]
    flaw: str | None = None


def chunks_of(body: bytes) -> Chunks | None:
    """Cut a body into its chunks, as far as it is whole.

    Args:
        body: decompressed bytes.

    Returns:
        None when it begins like no stream (a page, say).
    """
    body = body.lstrip(_BLANKS)
    if body[:1] in (b"{", b"["):
        return _lines(body) or _objects(body)
    return (_plain_events(body) or _events(body)) if _FIELD.match(body) else None


def _lines(body: bytes) -> Chunks | None:
    """Read an object a line; None when it is not written so, or not whole."""
    if body[:1] == b"[":
        return None
    try:
        values = [orjson.loads(line) for line in body.splitlines() if line.strip()]
    except orjson.JSONDecodeError:
        return None
    return _of_values(values)


def _objects(body: bytes) -> Chunks:
    """Read objects one behind the other, or as items of an array, until something else or the end comes."""
    in_array = body[:1] == b"["
    text = body.decode("latin-1")  # a character a byte: a place in it is a place in the body
    whole: list[dict[str, Any]] = []
    at = _past_blanks(text, int(in_array))
    while text[at : at + 1] == "{":
        try:
            _, end = _BOUNDS.raw_decode(text, at)
            whole.append(orjson.loads(body[at:end]))
        except (ValueError, RecursionError):
            return Chunks(whole, f"chunk {len(whole) + 1} is not whole")
        at = _past_blanks(text, end)
    rest = text[at:].strip()
    if rest == ("]" if in_array else ""):
        return Chunks(whole)
    return Chunks(whole, f"chunk {len(whole) + 1} is no object" if rest else "the array is not closed")


def _past_blanks(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    assert between is not None  # it matches nothing, too
    return between.end()


def _plain_events(body: bytes) -> Chunks | None:
    """Read events of one line each and nothing between them, as nearly all streams are; None when there is more to it.

    They are the items of one array: what ends an event cannot stand inside of JSON, so this finds what `_events` finds,
    in a third of the time.
    """
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    try:
        values = orjson.loads(b"[%b]" % body[5:].replace(end + b"data:", b",")) if body.startswith(b"data:") else []
    except orjson.JSONDecodeError:
        return None
    return Chunks(values) if values and all(type(value) is dict for value in values) else None


def _events(body: bytes) -> Chunks:
    """Read the data of server-sent events; OpenAI's `[DONE]` is no chunk."""
    whole: list[dict[str, Any]] = []
    flaw: str | None = None
    for data in _event_data(body):
        if data.strip() in (b"", b"[DONE]"):
            continue
        try:
            found = _of_values([orjson.loads(data)])
        except orjson.JSONDecodeError:
            found = _objects(data.lstrip(_BLANKS))
        whole += found.whole
        flaw = flaw or (found.flaw and f"an event after chunk {len(whole)} is not whole")
    return Chunks(whole, flaw)


def _event_data(body: bytes) -> Iterator[bytes]:
    """Cut events out of their lines (the HTML standard, section 9.2.6).

    A refusal may stand between them as bare JSON, printed over several lines: it counts as an event. Lines end with
    CR, LF or both and with nothing else: JSON may hold U+2028 as it is.
    """
    lines: list[bytes] = []
    is_bare = False
    for line in body.splitlines():
        if line.startswith(b"data:") and not is_bare:  # every other line, with the blank ones
            lines.append(line[5:])
            continue
        begins_bare = not is_bare and line.lstrip().startswith(b"{")
        if lines and (not line or begins_bare or (is_bare and _FIELD.match(line))):
            yield b"\n".join(lines)
            lines, is_bare = [], False
        if is_bare or begins_bare:
            lines.append(line)
            is_bare = True
        elif line.startswith(b"data:"):
            lines.append(line[5:])
    if lines:
        yield b"\n".join(lines)


def _of_values(values: list[Any]) -> Chunks:
    whole = [value for value in values if type(value) is dict]
    return Chunks(whole, None if len(whole) == len(values) else "a chunk is no object")
