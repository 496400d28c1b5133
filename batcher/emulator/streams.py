"""How is an answer told bit by bit, and how can that go wrong?

A stream says what the whole reply says: pieces of each candidate's text, then its end; usage on every chunk, growing.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from batcher.emulator.faults import Fault, FaultKind
from batcher.emulator.refusals import plain

_BIT_CHARS = 24
_MOST_BITS = 16
_SPLIT_BYTES = 7

Told = dict[str, Any]


class Form(enum.StrEnum):
    """How the chunks of a stream are written."""

    SSE = "sse"
    ARRAY = "array"
    NDJSON = "ndjson"

    @property
    def content_type(self) -> str:
        """For the reply's head."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    Form.SSE: "text/event-stream",
    Form.ARRAY: "application/json; charset=UTF-8",
    Form.NDJSON: "application/x-ndjson",
}


def writes(reply: Told, form: Form, fault: Fault | None) -> tuple[bytes, ...]:
    """What is put on the wire, write by write.

    Args:
        reply: the whole reply in either spelling.
        form: how chunks are written.
        fault: what goes wrong; the kinds that are about streams are made here, the others have been.
    """
    told = chunks(reply)
    match None if fault is None else fault.kind:
        case FaultKind.STREAM_CUT:
            return _written(told[: len(told) // 2], form, is_closed=False)
        case FaultKind.STREAM_ERROR:
            assert fault is not None
            told = [*told[: len(told) // 2], orjson.loads(plain(fault.code, retry_s=fault.seconds).body)]
        case FaultKind.STREAM_USAGE_TAIL:
            told = _usage_last(told)
        case FaultKind.STREAM_NO_INDEX:
            told = [_without_index_0(chunk) for chunk in told]
        case FaultKind.STREAM_SPLIT:
            whole = b"".join(_written(told, form))
            return tuple(whole[at : at + _SPLIT_BYTES] for at in range(0, len(whole), _SPLIT_BYTES))
    return _written(told, form)


def chunks(reply: Told) -> list[Told]:
    """The same reply in chunks; candidates that have less to say end earlier."""
    usage = _usage_name(reply)
    said = [_bits(candidate) for candidate in reply.get("candidates", ())]
    count = max((len(bits) for bits in said), default=1)
    told = []
    for number in range(count):
        chunk = dict(reply)
        if number:
            chunk.pop("promptFeedback", None)
            chunk.pop("prompt_feedback", None)
        if said:
            chunk["candidates"] = [bits[number] for bits in said if number < len(bits)]
        chunk[usage] = _so_far(reply[usage], number + 1, count)
        told.append(chunk)
    return told


def _bits(candidate: Told) -> list[Told]:
    """One candidate in pieces; the last one says how it ended, without words where there was but one piece."""
    content: Mapping[str, Any] = candidate["content"]
    parts = [bit for part in content.get("parts", ()) for bit in _part_bits(part)]
    if not parts:
        return [candidate]
    beginning = {"content": {}, "index": candidate["index"]}
    told = [{**beginning, "content": {**content, "parts": [part]}} for part in parts]
    if len(told) == 1:
        told.append({**beginning, "content": {"role": content["role"]}})
    return [*told[:-1], {**candidate, "content": told[-1]["content"]}]


def _part_bits(part: Told) -> list[Told]:
    text = part.get("text")
    if text is None:
        return [part]
    size = max(_BIT_CHARS, -(-len(text) // _MOST_BITS))
    return [{**part, "text": text[at : at + size]} for at in range(0, len(text), size)]


def _usage_name(reply: Told) -> str:
    return "usage_metadata" if "usage_metadata" in reply else "usageMetadata"


def _so_far(usage: Told, number: int, count: int) -> Told:
    """The usage when so many of all chunks are out: the prompt and the thinking whole, the visible tokens in part."""
    candidates, total = _NAMES["candidates_token_count" in usage]
    if candidates not in usage or number == count:
        return usage
    whole = usage[candidates]
    told = whole * number // count
    counted = {**usage, candidates: told, total: usage[total] - whole + told}
    if _DETAILS in usage:
        counted[_DETAILS] = [{**each, "tokenCount": each["tokenCount"] * number // count} for each in usage[_DETAILS]]
    return counted


_NAMES = {False: ("candidatesTokenCount", "totalTokenCount"), True: ("candidates_token_count", "total_token_count")}
_DETAILS = "candidatesTokensDetails"


def _usage_last(told: Sequence[Told]) -> list[Told]:
    """The usage on a last chunk of its own and nowhere else."""
    usage = _usage_name(told[-1])
    silent = [{name: value for name, value in chunk.items() if name != usage} for chunk in told]
    return [*silent, {**told[-1], "candidates": []}]


def _without_index_0(chunk: Told) -> Told:
    if "candidates" not in chunk:
        return chunk
    bare = [
        {name: value for name, value in candidate.items() if name != "index" or value}
        for candidate in chunk["candidates"]
    ]
    return {**chunk, "candidates": bare}


def _written(told: Sequence[Told], form: Form, *, is_closed: bool = True) -> tuple[bytes, ...]:
    if form is Form.SSE:
        return tuple(b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in told)
    if form is Form.NDJSON:
        return tuple(orjson.dumps(chunk) + b"\n" for chunk in told)
    before = itertools.chain((b"[",), itertools.repeat(b",\r\n"))
    items = [mark + orjson.dumps(chunk, option=orjson.OPT_INDENT_2) + b"\n" for mark, chunk in zip(before, told)]  # noqa: B905  one mark for each
    return (*items, b"]\n") if is_closed else tuple(items)
