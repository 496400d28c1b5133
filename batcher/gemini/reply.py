"""What does a reply's body say? Either spelling at every level, every field optional, nothing trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from batcher.gemini.chunks import Chunks, chunks_of
from batcher.gemini.counts import count
from batcher.gemini.drafts import AnswerDraft, CandidateDraft, UsageDraft
from batcher.gemini.errorshapes import error_of
from batcher.gemini.excerpts import safe_excerpt
from batcher.gemini.spelling import camel
from batcher.gemini.stream import fold, is_unsaid
from batcher.records import Answer, Candidate, Usage

__all__ = ["Cut", "Unreadable", "read", "safe_excerpt"]

_Reader = Callable[[Any], Any]
_Fields = Mapping[str, tuple[str, _Reader]]
_Rating = tuple[str | None, str | None, bool | None]
_Citation = tuple[int | None, int | None, str | None, str | None]


class Unreadable(ValueError):  # noqa: N818  a word of the protocol: an answer is read or it is unreadable
    """A reply's body that is no JSON object: HTML, cut short, empty."""


class Cut(Unreadable):
    """A stream that ended before its answer did.

    Attributes:
        answer: what had come by then. Never a row's answer; its usage is what the ledger can know.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


def read(body: bytes, *, streamed: bool = False) -> Answer:
    """Read a reply's body, unary or streamed; which of them it is, its bytes say.

    Args:
        body: decompressed bytes. Keys in camelCase, snake_case or a mix; an object, an array that holds just one, or
            a stream: events, an array of chunks, a chunk a line (`gemini/stream.py`).
        streamed: a stream was asked for, so that a single object without a finish reason is the beginning of one.

    Returns:
        What the body says; counts that are negative, fractional or absurd are None, like those that are absent. An
        error in the middle of a stream is the answer's `error`, beside what had come before it.

    Raises:
        Cut: a stream of which the end is missing.
        Unreadable: not JSON, not an object, or nested beyond what JSON writers carry.
    """
    if streamed and body.startswith(b"data:"):  # events are no JSON, and to be told so costs 1.5 µs
        return _read_stream(chunks_of(body) or Chunks([]))
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        return _read_stream(_chunks_in(body, problem, streamed=streamed))
    if type(data) is list and (data or streamed) and all(type(item) is dict for item in data):
        if streamed or len(data) > 1:
            return _read_stream(Chunks(data))
        data = data[0]
    if type(data) is not dict:
        raise Unreadable(f"expected a JSON object, found {type(data).__name__}")
    return _read_stream(Chunks([data])) if streamed else _answer(data)


def _read_stream(chunks: Chunks) -> Answer:
    answer = _answer(fold(chunks.whole))
    flaw = chunks.flaw or (_missing(answer) if chunks.whole else "nothing came")
    if flaw is None or answer.error is not None:  # an error has said why there is no more
        return answer
    raise Cut(f"the stream ended too early: {flaw}", answer)


def _chunks_in(body: bytes, problem: ValueError, *, streamed: bool) -> Chunks:
    chunks = chunks_of(body) if body.strip() else Chunks([])
    if chunks is None or not (streamed or chunks.whole):
        raise Unreadable(f"not JSON: {problem}") from None
    return chunks


def _missing(answer: Answer) -> str | None:
    """Say what a whole stream would have had: an end of each of its candidates, or a reason not to answer.

    Of a candidate that has not begun nothing shows: an endpoint may give fewer than were asked for, streamed or not.
    """
    unended = [each.index for each in answer.candidates if is_unsaid(each.finish_reason)]
    return f"candidate {unended[0]} has no finish reason" if unended and is_unsaid(answer.block_reason) else None


def _fill(draft: Any, data: Mapping[str, Any], fields: _Fields) -> None:
    # Driven by the keys that are there: a plain reply has a quarter of all fields, and asking for each in two spellings
    # costs more than reading it.
    for key, value in data.items():
        if key in fields and value is not None:
            name, read_value = fields[key]
            setattr(draft, name, read_value(value))


def _both_spellings(fields: Mapping[str, _Reader]) -> dict[str, tuple[str, _Reader]]:
    return {spelling: (name, rule) for name, rule in fields.items() for spelling in (name, camel(name))}


def _answer(data: Mapping[str, Any]) -> Answer:
    draft = AnswerDraft()
    _fill(draft, data, _ANSWER)
    feedback = data.get("promptFeedback") or data.get("prompt_feedback")
    if type(feedback) is dict:
        draft.block_reason = _text(_either(feedback, "block_reason"))
        draft.prompt_safety_ratings = _ratings(_either(feedback, "safety_ratings"))
    if not draft.candidates or data.get("error"):
        draft.error = error_of(data)
    for candidate in draft.candidates:
        if candidate.grounding_metadata is not None:
            draft.web_searches = _web_searches(data["candidates"])
            break
    return draft.sealed()


def _candidates(value: Any) -> tuple[Candidate, ...]:
    if type(value) is not list:
        return ()
    found = [_candidate(item, position) for position, item in enumerate(value) if type(item) is dict]
    if len(found) > 1:  # the first candidate is the one with the lowest index, wherever the endpoint put it
        found.sort(key=lambda candidate: candidate.index)
    return tuple(found)


def _candidate(data: Mapping[str, Any], position: int) -> Candidate:
    draft = CandidateDraft(position)
    _fill(draft, data, _CANDIDATE)
    content = data.get("content")
    if type(content) is dict:
        role = content.get("role")
        draft.role = role if type(role) is str else None
        parts = content.get("parts")
        if parts:
            _add_parts(draft, parts)
    if draft.index is None:  # it was there, but no index
        draft.index = position
    return draft.sealed()


def _add_parts(draft: CandidateDraft, parts: Any) -> None:
    if type(parts) is not list:
        parts = [parts]
    if len(parts) == 1 and type(parts[0]) is dict and len(parts[0]) == 1 and type(parts[0].get("text")) is str:
        draft.text = parts[0]["text"]  # nearly every reply
        return
    visible: list[str] = []
    thought: list[str] = []
    plain = True
    for part in parts:
        text = part.get("text") if type(part) is dict else None
        if type(text) is str:
            (thought if part.get("thought") is True else visible).append(text)
        plain = plain and type(text) is str and part.keys() <= _PLAIN_PART
    if visible:
        draft.text = "".join(visible)
    if thought:
        draft.thoughts = "".join(thought)
    if not plain:
        draft.parts = _json_text(parts)


def _usage(value: Any) -> Usage | None:
    if type(value) is not dict:
        return None
    draft = UsageDraft()
    _fill(draft, value, _USAGE)
    return draft.sealed()


def _web_searches(candidates: list[Any]) -> int:
    found = 0
    for candidate in candidates:
        grounding = _either(candidate, "grounding_metadata") if type(candidate) is dict else None
        queries = _either(grounding, "web_search_queries") if type(grounding) is dict else None
        found += len(queries) if type(queries) is list else 0
    return found


def _either(data: Mapping[str, Any], name: str, *others: str) -> Any:
    for spelling in (name, camel(name), *others):
        value = data.get(spelling)
        if value is not None:
            return value
    return None


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


def _number(value: Any) -> float | None:
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _flag(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _json_text(value: Any) -> str | None:
    try:
        return orjson.dumps(value).decode() if value else None
    except orjson.JSONEncodeError as problem:  # deeper than can be written again
        raise Unreadable(f"cannot be kept as JSON: {problem}") from None


def _ratings(value: Any) -> tuple[_Rating, ...]:
    if type(value) is not list:
        return ()
    return tuple(
        [
            (_text(rating.get("category")), _text(rating.get("probability")), _flag(rating.get("blocked")))
            for rating in value
            if type(rating) is dict
        ]
    )


def _citations(value: Any) -> tuple[_Citation, ...]:
    """Read the three ways in which sources are cited: Google AI's, Vertex's and the flat dialect's."""
    if type(value) is not dict:
        return ()
    sources = _either(value, "citation_sources", "citations")
    return tuple(_citation(source) for source in sources if type(source) is dict) if type(sources) is list else ()


def _citation(source: Mapping[str, Any]) -> _Citation:
    start = _either(source, "start_index", "start")
    end = _either(source, "end_index", "end")
    return count(start), count(end), _text(source.get("uri")), _text(source.get("license"))


def _details(value: Any) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for item in value if type(value) is list else ():
        if type(item) is not dict:
            continue
        modality = _text(item.get("modality")) or "MODALITY_UNSPECIFIED"
        more = count(item.get("tokenCount", item.get("token_count")))  # in nearly every reply: no detours
        if more is not None:
            tokens[modality] = tokens.get(modality, 0) + more
    return tokens


_PLAIN_PART = {"text", "thought"}
_ANSWER = _both_spellings(
    {
        "candidates": _candidates,
        "model_version": _text,
        "response_id": _text,
        "created": count,
    }
)
_ANSWER |= {"usage_metadata": ("usage", _usage), "usageMetadata": ("usage", _usage)}
_CANDIDATE = _both_spellings(
    {
        "index": count,
        "finish_reason": _text,
        "finish_message": _text,
        "token_count": count,
        "avg_logprobs": _number,
        "safety_ratings": _ratings,
        "grounding_metadata": _json_text,
    }
)
_CANDIDATE |= {
    "citation_metadata": ("citation_sources", _citations),
    "citationMetadata": ("citation_sources", _citations),
}
_USAGE = _both_spellings(
    {
        "prompt_token_count": count,
        "candidates_token_count": count,
        "total_token_count": count,
        "cached_content_token_count": count,
        "tool_use_prompt_token_count": count,
        "thoughts_token_count": count,
        "prompt_tokens_details": _details,
        "candidates_tokens_details": _details,
        "cache_tokens_details": _details,
        "tool_use_prompt_tokens_details": _details,
        "service_tier": _text,
    }
)
