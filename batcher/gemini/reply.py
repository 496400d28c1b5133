"""What does a reply's body say? Either spelling at every level, every field optional, nothing trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from batcher.gemini.drafts import AnswerDraft, CandidateDraft, UsageDraft
from batcher.gemini.errorshapes import error_of
from batcher.gemini.excerpts import safe_excerpt
from batcher.gemini.spelling import camel
from batcher.records import Answer, Candidate, Usage

__all__ = ["Unreadable", "read", "safe_excerpt"]

# The largest number of tokens, bytes or seconds we believe; above it a count is damage. Fits every column's int64.
MAX_COUNT = 10**12
_DIGITS = re.compile(r"[0-9]{1,13}")

_Reader = Callable[[Any], Any]
_Fields = Mapping[str, tuple[str, _Reader]]
_Rating = tuple[str | None, str | None, bool | None]
_Citation = tuple[int | None, int | None, str | None, str | None]


class Unreadable(ValueError):  # noqa: N818  a word of the protocol: an answer is read or it is unreadable
    """A reply's body that is no JSON object: HTML, cut short, empty."""


def read(body: bytes) -> Answer:
    """Read a reply's body.

    Args:
        body: decompressed bytes. Keys in camelCase, snake_case or a mix; an object, or an array that holds just one.

    Returns:
        What the body says; counts that are negative, fractional or absurd are None, like those that are absent.

    Raises:
        Unreadable: not JSON, not an object, or nested beyond what JSON writers carry.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise Unreadable(f"not JSON: {problem}") from None
    if type(data) is list and len(data) == 1:
        data = data[0]
    if type(data) is not dict:
        raise Unreadable(f"expected a JSON object, found {type(data).__name__}")
    try:
        return _answer(data)
    except orjson.JSONEncodeError as problem:  # parts or grounding deeper than can be written again
        raise Unreadable(f"cannot be kept as JSON: {problem}") from None


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
        draft.parts = orjson.dumps(parts).decode()


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


def _count(value: Any) -> int | None:
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if type(value) is str and _DIGITS.fullmatch(value):
        return _count(int(value))
    return _count(int(value)) if type(value) is float and value.is_integer() else None


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
    return orjson.dumps(value).decode() if value else None


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
    return _count(start), _count(end), _text(source.get("uri")), _text(source.get("license"))


def _details(value: Any) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for item in value if type(value) is list else ():
        if type(item) is not dict:
            continue
        modality = _text(item.get("modality")) or "MODALITY_UNSPECIFIED"
        count = _count(item.get("tokenCount", item.get("token_count")))  # in nearly every reply: no detours
        if count is not None:
            tokens[modality] = tokens.get(modality, 0) + count
    return tokens


_PLAIN_PART = {"text", "thought"}
_ANSWER = _both_spellings(
    {
        "candidates": _candidates,
        "model_version": _text,
        "response_id": _text,
        "created": _count,
    }
)
_ANSWER |= {"usage_metadata": ("usage", _usage), "usageMetadata": ("usage", _usage)}
_CANDIDATE = _both_spellings(
    {
        "index": _count,
        "finish_reason": _text,
        "finish_message": _text,
        "token_count": _count,
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
        "prompt_token_count": _count,
        "candidates_token_count": _count,
        "total_token_count": _count,
        "cached_content_token_count": _count,
        "tool_use_prompt_token_count": _count,
        "thoughts_token_count": _count,
        "prompt_tokens_details": _details,
        "candidates_tokens_details": _details,
        "cache_tokens_details": _details,
        "tool_use_prompt_tokens_details": _details,
        "service_tier": _text,
    }
)
