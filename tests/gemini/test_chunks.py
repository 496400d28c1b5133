"""A body is cut into chunks where its format says so, and what is not whole is said."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.chunks import Chunks, chunks_of
from tests.examples import a_few
from tests.gemini.messages import FORMATS, replies, sse

A, B = {"a": 1}, {"b": '\u2028 }{ ] " é'}
some_chunks = st.lists(replies | st.dictionaries(st.text(max_size=3), st.text(max_size=5)), max_size=4)


def whole(*chunks: dict[str, Any]) -> Chunks:
    return Chunks(list(chunks))


@given(some_chunks, st.sampled_from(sorted(FORMATS)))
def test_what_is_written_is_read(chunks: list[dict[str, Any]], form: str) -> None:
    body = FORMATS[form](chunks)

    assert chunks_of(body) == (Chunks(chunks) if body else None)


@a_few
@given(some_chunks, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.integers(0, 30))
def test_a_comment_before_all_changes_nothing(chunks: list[dict[str, Any]], end: bytes, lost: int) -> None:
    """Plain events are read in one go, and with a comment they are no longer plain: both ways find the same."""
    body = sse(chunks, end=end)
    body = body[: len(body) - lost]
    found = chunks_of(body)

    assert found is None or chunks_of(b": hello\n\n" + body) == found


SAME = {
    "LF": b'data: {"a": 1}\n\ndata: {"a": 1}\n\n',
    "CRLF": b'data: {"a": 1}\r\n\r\ndata: {"a": 1}\r\n\r\n',
    "CR": b'data: {"a": 1}\r\rdata: {"a": 1}\r\r',
    "no space": b'data:{"a":1}\n\ndata:{"a":1}\n\n',
    "no blank line at the end": b'data: {"a": 1}\n\ndata: {"a": 1}',
    "LF and CRLF": b'data: {"a": 1}\n\ndata: {"a": 1}\r\n\r\n',
    "no blank line between": b'data: {"a": 1}\ndata: {"a": 1}\n\n',
    "one event over lines": b'data: {"a":\ndata:  1}\n\ndata: {"a": 1}\n\n',
    "comments and names": b': hello\n\nevent: m\nid: 7\nretry: 3\ndata: {"a": 1}\n\n: still\ndata: {"a": 1}\n\n',
    "unknown fields": b'data: {"a": 1}\nfoo: bar\n\ndata: {"a": 1}\nfoo\n\n',
    "done": b'data: {"a": 1}\n\ndata: {"a": 1}\n\ndata: [DONE]\n\n',
    "empty events": b'data:\n\ndata: {"a": 1}\n\n\n\ndata: {"a": 1}\n\n',
    "bare JSON behind events": b'data: {"a": 1}\n\n{\n  "a":\n 1\n}\n',
    "bare JSON right behind an event": b'data: {"a": 1}\n{\n"a": 1\n}\n\n',
    "bare JSON before an event": b': x\n{\n"a": 1\n}\ndata: {"a": 1}\n\n',
    "lines": b'{"a": 1}\n{"a": 1}\n',
    "lines with CRLF and blanks": b'\r\n {"a": 1}\r\n\r\n{"a": 1} \r\n',
    "no line end": b'{"a": 1}{"a": 1}',
    "printed over lines": b'{\n  "a": 1\n}\n{\n  "a": 1\n}\n',
    "array": b'[{"a": 1},{"a": 1}]',
    "array of Google's": b'[{\n"a": 1\n}\n,\r\n{\n"a": 1\n}\n]\n',
    "byte order mark": b'\xef\xbb\xbf{"a": 1}\n{"a": 1}',
}


@pytest.mark.parametrize("body", SAME.values(), ids=SAME.keys())
def test_the_ways_to_write_the_same_two_chunks(body: bytes) -> None:
    assert chunks_of(body) == whole({"a": 1}, {"a": 1})


@pytest.mark.parametrize(
    ("body", "chunks", "flaw"),
    [
        (b'{"a": 1}\n{"b', [A], "chunk 2 is not whole"),
        (b'{"a": 1}\n{"b": "\xff"}', [A], "chunk 2 is not whole"),
        (b'{"a": 1}\nnull\n', [A], "a chunk is no object"),
        (b'{"a": 1}\n]\n', [A], "chunk 2 is no object"),
        (b'{"a": 1}{"a": NaN}', [A], "chunk 2 is not whole"),
        (b'{"a', [], "chunk 1 is not whole"),
        (b'[{"a": 1}', [A], "the array is not closed"),
        (b'[{"a": 1},', [A], "the array is not closed"),
        (b'[{"a": 1}, {"a"', [A], "chunk 2 is not whole"),
        (b'[{"a": 1}, 7', [A], "chunk 2 is no object"),
        (b"[", [], "the array is not closed"),
        (b'data: {"a": 1}\n\ndata: {"b', [A], "an event after chunk 1 is not whole"),
        (b'data: {"b\n\ndata: {"a": 1}\n\n', [A], "an event after chunk 0 is not whole"),
        (b'data: {"a": 1}\n\ndata: [1]\n\n', [A], "an event after chunk 1 is not whole"),
        (b"data: 7\n\n", [], "an event after chunk 0 is not whole"),
        (b'data: {"a": 1}\n\ndata: 7\n\n', [A], "an event after chunk 1 is not whole"),
        (b"data: hello\n\n", [], "an event after chunk 0 is not whole"),
        (b"data", None, None),
        (b": only comments\n", [], None),
        (b"<html>", None, None),
        (b"", None, None),
        (b"\xff", None, None),
        (b'"text"', None, None),
        (b"{" * 100_000, [], "chunk 1 is not whole"),
        (b'{"a":' * 100_000, [], "chunk 1 is not whole"),
        (b'{"a": ' + b"9" * 200 + b"}{", [{"a": 1e200}], "chunk 2 is not whole"),
        (b'{"a": ' + b"9" * 9000 + b"}{", [], "chunk 1 is not whole"),
    ],
)
def test_what_is_not_whole_is_said(body: bytes, chunks: list[Any] | None, flaw: str | None) -> None:
    found = chunks_of(body)

    assert found == (None if chunks is None else Chunks(chunks, flaw))


@given(st.lists(st.sampled_from([A, B]), min_size=1, max_size=3), st.sampled_from(sorted(FORMATS)), st.integers(0, 90))
def test_a_beginning_has_the_first_chunks_and_no_others(chunks: list[Any], form: str, kept: int) -> None:
    body = FORMATS[form](chunks)
    found = chunks_of(body[:kept])

    assert found is None or found.whole == chunks[: len(found.whole)]
    if found is not None and found.flaw is None and form == "array":
        assert found.whole == chunks


@given(st.binary(max_size=80))
def test_any_bytes(body: bytes) -> None:
    for start in (b"", b"data: ", b"[{", b"{", b'{"a":1}\n'):
        found = chunks_of(start + body)
        assert found is None or all(type(chunk) is dict for chunk in found.whole)


def test_a_thousand_events_are_cut_one_by_one() -> None:
    chunks = [{"n": n} for n in range(1000)]

    assert chunks_of(sse(chunks, end=b"\n")) == Chunks(chunks)
    assert orjson.dumps(chunks) not in sse(chunks)
