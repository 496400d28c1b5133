"""How many tokens will a request cost: likely, and at most?

Figures: what a character of text takes is by its script, see `_A_TOKEN`; a token is at least one byte, so no text has
more tokens than UTF-8 bytes. Media: an image of at most 384 pixels either way is
258, a larger one 258 for each tile of 768 x 768; sound is 32 a second, video 263; a page of a document is 258.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from batcher.gemini.extent import pixels_of, seconds_of
from batcher.gemini.request import bare_model

CONTEXT_TOKENS = 1_048_576
"""The context window: no audio, video, document or cached content can be billed at more."""

IMAGE_TOKENS = 10_000
"""More than an image costs whose size nobody knows: 258 for each tile of one that was scaled down to 3,072 pixels, at
most 2,240 at the highest resolution setting."""

TILE_TOKENS = 258
"""One tile of an image, one page of a document."""

_TILE = 768
_SMALL_IMAGE = 384
_LEAST_TILE = 256  # an image whose shorter side is not twice a tile is cut into smaller ones
_FINEST_IMAGE_TOKENS = 2_240
_AUDIO_TOKENS_PER_S = 32
_VIDEO_TOKENS_PER_S = 263
# Guesses where a header does not say: 128 kbit/s of sound, 2 Mbit/s of video, 50 kB a page.
_AUDIO_BYTES_PER_S = 16_000
_VIDEO_BYTES_PER_S = 250_000
_PAGE_BYTES = 50_000
_SLOWEST_MP3_BYTES_PER_S = 1_000  # 8 kbit/s, the lowest rate that the format has
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_HEAD_CHARACTERS = 128 << 10  # of base64: enough for the header of nearly every picture
_FRAME_TOKENS = 16  # role and turn marks around each text; one or two were seen
_OUTPUT_LIMIT = 65_536
_SMALL_OUTPUT_LIMIT = 8_192
_SHORT_ANSWER = 5
_LONG_ANSWER = 800
_THOUGHTS = 2_000
_SMALL_OUTPUT = re.compile(r"gemini-(?:1\.0|1\.5|2\.0)(?!.*thinking)")
_THOUGHTLESS = re.compile(r"gemini-(?:1\.0|1\.5|2\.0)(?!.*thinking)|gemini-2\.5-flash-(?:lite|image)|gemma-|imagen-")


_A_TOKEN = 32
"""What a token is worth in the weights of bytes: `_OF_BYTES`, of UTF-8 the first byte of each character, the rest 0.

Fitted to Gemma 3's vocabulary, a public sister of Gemini's, over prose in 20 languages, code, JSON, tables and the
prompts of our jobs (November 2026): all came out within 30 %, most within 10 %, but base64 with half its tokens. By
four characters a token a list of numbers had a quarter of its tokens, JSON half, Hindi and Thai three times as many.
"""
_OF_BYTES = (
    (0x00, 0x1F, 30),  # a line's end, a tab
    (0x20, 0x20, 2),  # most begin a word, and are in its token
    (0x21, 0x7E, 22),  # signs; letters and digits are below
    (0x30, 0x39, 32),  # every digit is a token
    (0x41, 0x5A, 8),
    (0x61, 0x7A, 7),  # of English; with its blanks that is 5 characters a token
    (0xC2, 0xC2, 16),
    (0xC3, 0xC9, 18),  # accented Latin
    (0xCA, 0xCF, 13),  # Greek
    (0xD0, 0xD3, 9),  # Cyrillic
    (0xD4, 0xD7, 16),  # Armenian, Hebrew
    (0xD8, 0xDF, 11),  # Arabic, Persian
    (0xE0, 0xE0, 10),  # the scripts of India, Thai
    (0xE1, 0xE1, 16),  # Georgian, Khmer, what Vietnamese has of its own
    (0xE2, 0xE2, 22),  # typographic and mathematical signs
    (0xE3, 0xE3, 13),  # kana
    (0xE4, 0xE9, 23),  # Chinese
    (0xEA, 0xED, 24),  # Korean
    (0xEE, 0xEF, 26),
    (0xF0, 0xF4, 38),  # emoji
)
_PIECE = 1_024  # bytes; below 65,521 / 38, or a sum would wrap


def _weights() -> bytes:
    weights = bytearray(256)
    for first, last, weight in _OF_BYTES:
        weights[first : last + 1] = bytes([weight]) * (last + 1 - first)
    return bytes(weights)


_WEIGHTS = _weights()


def estimate_tokens(text: str) -> int:
    """Guess the tokens of a text by its script: a fifth of a letter, a digit one, a Chinese character three quarters.

    Runs once a row, so the adding up is left to C: a Python sum over 1,000 characters takes 20 µs, this takes 2. What
    Adler-32 has in its lower half is one more than the sum of the bytes.
    """
    weights = text.encode("utf-8", "surrogatepass").translate(_WEIGHTS)
    return -(-sum((zlib.adler32(piece) & 0xFFFF) - 1 for piece in _pieces(weights)) // _A_TOKEN)


def _pieces(weights: bytes) -> Iterator[bytes]:
    return (weights[start : start + _PIECE] for start in range(0, len(weights), _PIECE))


def json_tokens(value: Any) -> int:
    """Guess the tokens of tools, a schema, a function's call or result, which count as their JSON."""
    return estimate_tokens(orjson.dumps(value).decode())


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
        UTF-8 bytes of all its text, tools and schemas as JSON, plus what `medium_tokens` says of each medium, and a
        fixed amount for cached content.
    """
    media_tokens = 0
    contents = []
    for content in request.get("contents", ()):
        parts = [part for part in content.get("parts", ()) if "inline_data" not in part and "file_data" not in part]
        media_tokens += sum(part_tokens(part).bound for part in content.get("parts", ()))
        contents.append({**content, "parts": parts})
    text = orjson.dumps({**request, "contents": contents})
    cached_tokens = CONTEXT_TOKENS if request.get("cached_content") else 0
    return len(text) + _FRAME_TOKENS * (len(contents) + 1) + media_tokens + cached_tokens


class MediumTokens(NamedTuple):
    """What a medium costs as input: likely, and at most."""

    likely: int
    bound: int


def medium_tokens(mime_type: str, data: bytes, size_bytes: int) -> MediumTokens:
    """Tell what a medium costs.

    The bound of a picture is by its smallest tiles, that of a sound by its length where the header says it; for
    everything else it is the context window: a document of compressed pages or a silent hour may be a few bytes.

    Args:
        mime_type: as `mime.mime_of` says.
        data: the medium, or as much of it as there is.
        size_bytes: of the whole.
    """
    kind = mime_type.partition("/")[0]
    if kind == "image":
        return _image_tokens(pixels_of(data, mime_type))
    if kind == "audio":
        return _audio_tokens(mime_type, data, size_bytes)
    if kind == "video":
        return _likely(_VIDEO_TOKENS_PER_S * size_bytes // _VIDEO_BYTES_PER_S)
    if kind == "text":
        return MediumTokens(min(_document_tokens(data, size_bytes), CONTEXT_TOKENS), min(size_bytes, CONTEXT_TOKENS))
    pages = len(_PAGE.findall(data))  # none where they are compressed
    if not pages or len(data) < size_bytes:
        pages = max(pages, size_bytes // _PAGE_BYTES, 1)
    return _likely(TILE_TOKENS * pages)


def part_tokens(part: Mapping[str, Any]) -> MediumTokens:
    """Tell what the medium of a canonical part costs; nothing for a part without one.

    One that is only named by its address is a small image if it is an image, and anything at all if it is not.
    """
    medium = part.get("inline_data") or part.get("file_data")
    if not isinstance(medium, Mapping):
        return _NOTHING
    mime_type, data = str(medium.get("mime_type", "")), medium.get("data")
    if isinstance(data, str) and mime_type:
        return medium_tokens(mime_type, _head(data), len(data) * 3 // 4)
    return MediumTokens(TILE_TOKENS, IMAGE_TOKENS) if mime_type.startswith("image/") else _likely(1_000)


def _document_tokens(data: bytes, size_bytes: int) -> int:
    """Of a text document, by as much of it as there is."""
    if not data:
        return -(-size_bytes // 4)
    return -(-estimate_tokens(data.decode("utf-8", "replace")) * size_bytes // len(data))


def _head(data: str) -> bytes:
    """Decode the beginning of a base64 text; whatever is wrong with it is the endpoint's to say."""
    head = data[:_HEAD_CHARACTERS]
    try:
        return binascii.a2b_base64(head[: len(head) // 4 * 4])
    except ValueError:
        return b""


def _image_tokens(pixels: tuple[int, int] | None) -> MediumTokens:
    if pixels is None:
        return MediumTokens(TILE_TOKENS, IMAGE_TOKENS)
    if max(pixels) <= _SMALL_IMAGE:
        return MediumTokens(TILE_TOKENS, _FINEST_IMAGE_TOKENS)
    smallest = min(max(int(min(pixels) / 1.5), _LEAST_TILE), _TILE)
    bound = max(TILE_TOKENS * _tiles(pixels, smallest), _FINEST_IMAGE_TOKENS)
    return MediumTokens(min(TILE_TOKENS * _tiles(pixels, _TILE), CONTEXT_TOKENS), min(bound, CONTEXT_TOKENS))


def _tiles(pixels: tuple[int, int], side: int) -> int:
    return -(-pixels[0] // side) * -(-pixels[1] // side)


def _audio_tokens(mime_type: str, data: bytes, size_bytes: int) -> MediumTokens:
    seconds = seconds_of(data, mime_type, size_bytes)
    if seconds is not None:
        tokens = min(int(_AUDIO_TOKENS_PER_S * seconds) + 1, CONTEXT_TOKENS)
        return MediumTokens(tokens, min(tokens + _AUDIO_TOKENS_PER_S, CONTEXT_TOKENS))
    likely = _likely(_AUDIO_TOKENS_PER_S * size_bytes // _AUDIO_BYTES_PER_S)
    if mime_type != "audio/mp3":
        return likely
    return likely._replace(
        bound=min(_AUDIO_TOKENS_PER_S * (1 + size_bytes // _SLOWEST_MP3_BYTES_PER_S), CONTEXT_TOKENS)
    )


def _likely(tokens: int) -> MediumTokens:
    return MediumTokens(min(max(tokens, 1), CONTEXT_TOKENS), CONTEXT_TOKENS)


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


def _positive(value: Any, otherwise: int) -> int:
    return value if type(value) is int and value >= 1 else otherwise


_NOTHING = MediumTokens(0, 0)
