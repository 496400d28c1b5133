"""What does an image model paint? A small PNG of one colour, the same for the same question."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

PICTURE_TOKENS = 1290
"""What one picture costs as output, whatever is on it."""
_SIDE = 16


def is_asked_for(config: Mapping[str, Any], model: str) -> bool:
    """Whether an answer is to be a picture: by its modalities, else by what the model is."""
    modalities = config.get("response_modalities")
    return "-image" in model if modalities is None else "IMAGE" in {each.upper() for each in modalities}


def is_alone(config: Mapping[str, Any]) -> bool:
    """Whether no text was asked for beside it."""
    return "TEXT" not in {each.upper() for each in config.get("response_modalities") or ("TEXT",)}


def painted(drawn: int) -> bytes:
    """A PNG of 16 x 16 pixels in the colour that `drawn` stands for."""
    row = b"\0" + (drawn & 0xFFFFFF).to_bytes(3, "big") * _SIDE  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)  # 8 bits a channel, red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * _SIDE)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
