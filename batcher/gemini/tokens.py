"""How many tokens will a request cost: likely, and at most?

Figures: 4 characters a token of English (the API's documentation), 1.0 to 1.2 of Korean (measured by others); a token
is at least one byte, so no text has more tokens than UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from batcher.gemini.request import bare_model

CONTEXT_TOKENS = 1_048_576
"""The context window: no audio, video, document or cached content can be billed at more."""

IMAGE_TOKENS = 10_000
"""More than any image costs: 258 for each tile of 768 x 768 pixels, at most 2,240 at the highest resolution setting."""

_FRAME_TOKENS = 16  # role and turn marks around each text; one or two were seen
_OUTPUT_LIMIT = 65_536
_SMALL_OUTPUT_LIMIT = 8_192
_SHORT_ANSWER = 5
_LONG_ANSWER = 800
_THOUGHTS = 2_000
_ASCII = bytes(range(128))
_SMALL_OUTPUT = re.compile(r"gemini-(?:1\.0|1\.5|2\.0)(?!.*thinking)")
_THOUGHTLESS = re.compile(r"gemini-(?:1\.0|1\.5|2\.0)(?!.*thinking)|gemini-2\.5-flash-(?:lite|image)|gemma-|imagen-")


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text: a quarter for an ASCII character, for others a half for each UTF-8 byte over one.

    That is 0.5 a character of Cyrillic, Greek or accented Latin, 1 of Chinese, Japanese or Korean, 1.5 of an emoji.
    Runs once a row, so the counting is left to C: 2 µs for 1,000 characters.
    """
    if text.isascii():
        return (len(text) + 3) // 4
    raw = text.encode("utf-8", "surrogatepass")
    other_bytes = len(raw.translate(None, _ASCII))
    ascii_characters = len(raw) - other_bytes
    others = len(text) - ascii_characters
    return -(-(ascii_characters + 2 * (other_bytes - others)) // 4)


def utf8_bytes(text: str) -> int:
    """Count the bytes of a text in UTF-8; a lone surrogate counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def text_bound(prompt: str, system: str | None = None) -> int:
    """Bound the billed input tokens of one text prompt from above.

    Whatever else each request of a job carries adds `input_bound` of the job's base request, once.
    """
    bound = utf8_bytes(prompt) + _FRAME_TOKENS
    return bound if system is None else bound + utf8_bytes(system) + _FRAME_TOKENS


def input_bound(request: Mapping[str, Any]) -> int:
    """Bound the billed input tokens of a request from above.

    Args:
        request: canonical, with or without contents.

    Returns:
        UTF-8 bytes of all its text, tools and schemas as JSON, plus a fixed amount for each image, for each other
        medium and for cached content.
    """
    media_tokens = 0
    contents = []
    for content in request.get("contents", ()):
        parts = [part for part in content.get("parts", ()) if "inline_data" not in part and "file_data" not in part]
        media_tokens += sum(_media_tokens(part) for part in content.get("parts", ()))
        contents.append({**content, "parts": parts})
    text = orjson.dumps({**request, "contents": contents})
    cached_tokens = CONTEXT_TOKENS if request.get("cached_content") else 0
    return len(text) + _FRAME_TOKENS * (len(contents) + 1) + media_tokens + cached_tokens


def output_bound(model: str, generation_config: Mapping[str, Any]) -> int:
    """Bound the billed output tokens over all candidates: `max_output_tokens`, thinking included, or the model's limit.

    Args:
        model: with or without `models/`; an unknown one gets the largest limit.
        generation_config: canonical; values that are not counts are passed over.
    """
    limit = _SMALL_OUTPUT_LIMIT if _SMALL_OUTPUT.match(bare_model(model)) else _OUTPUT_LIMIT
    each = _positive(generation_config.get("max_output_tokens"), limit)
    return each * _positive(generation_config.get("candidate_count"), 1)


def usual_output(model: str, generation_config: Mapping[str, Any]) -> tuple[int, int]:
    """Guess the billed output tokens of one request when no answer has been seen: from, to.

    A word or a page for each candidate, and up to a few pages of thoughts where the model thinks and may. Most answers
    are in between; nothing more is known before the first one.

    Args:
        model: with or without `models/`.
        generation_config: canonical.
    """
    candidates = _positive(generation_config.get("candidate_count"), 1)
    thinking = generation_config.get("thinking_config") or {}
    is_off = isinstance(thinking, Mapping) and thinking.get("thinking_budget") == 0
    thoughts = 0 if is_off or _THOUGHTLESS.match(bare_model(model)) else _THOUGHTS
    bound = output_bound(model, generation_config)
    return min(_SHORT_ANSWER * candidates, bound), min(_LONG_ANSWER * candidates + thoughts, bound)


def _media_tokens(part: Mapping[str, Any]) -> int:
    medium = part.get("inline_data") or part.get("file_data")
    if not isinstance(medium, Mapping):
        return 0
    return IMAGE_TOKENS if str(medium.get("mime_type", "")).startswith("image/") else CONTEXT_TOKENS


def _positive(value: Any, otherwise: int) -> int:
    return value if type(value) is int and value >= 1 else otherwise
