"""What is sent for a request with media in it? As `request.encode` and `request.request_hash`, without copies.

A medium stands in the request as bytes where the API wants base64 text. JSON is written around it with a mark in its
place; then the base64 of each is put between: the body is copied once, the hash reads the pieces one after the other.
`tests/gemini/test_splice.py` holds that body and hash are those of the request with the base64 in it.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import orjson

from batcher.gemini.request import bare_model, wire
from batcher.job.spec import Dialect


def spliced(request: Mapping[str, Any], *, dialect: Dialect, model: str, stream: bool = False) -> tuple[bytes, bytes]:
    """Write and hash a request.

    Args:
        request: canonical, but for bytes in place of base64 texts.
        dialect: see `request.encode`.
        model: with or without `models/`.
        stream: see `request.encode`.

    Returns:
        The body, and the 16 bytes of the hash.

    Raises:
        ValueError: the rest of the request holds what JSON cannot carry.
    """
    texts: dict[int, bytes] = {}

    def base64_of(data: bytes) -> bytes:
        if id(data) not in texts:
            texts[id(data)] = binascii.b2a_base64(data, newline=False)
        return texts[id(data)]

    digest = blake2b(bare_model(model).encode() + b"\n", digest_size=16)
    for piece in _pieces(request, orjson.OPT_SORT_KEYS, base64_of):
        digest.update(piece)
    laid_out = wire(request, dialect=dialect, model=model, stream=stream)
    return b"".join(_pieces(laid_out, 0, base64_of)), digest.digest()


def _pieces(value: Any, option: int, base64_of: Callable[[bytes], bytes]) -> list[bytes]:
    """Write JSON and cut it at the media: text, then base64, then text, and so on."""
    mark = "#"
    while True:
        media: list[bytes] = []
        around = _written(value, option, mark, media).split(orjson.dumps(mark))
        if len(around) == len(media) + 1:
            break
        mark += "#"  # somebody's own text is the mark
    pieces = [around[0]]
    for data, after in zip(media, around[1:], strict=True):
        pieces += (b'"', base64_of(data), b'"', after)
    return pieces


def _written(value: Any, option: int, mark: str, media: list[bytes]) -> bytes:
    def set_aside(other: Any) -> str:
        if isinstance(other, bytes):
            media.append(other)
            return mark
        raise TypeError(type(other).__name__)

    try:
        return orjson.dumps(value, default=set_aside, option=option)
    except orjson.JSONEncodeError as problem:
        raise ValueError(f"cannot be sent as JSON: {problem}") from None
