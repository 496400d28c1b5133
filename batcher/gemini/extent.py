"""How large is a picture, how long is a sound? Read from the header of a medium; None where it does not say.

Only what a header says for sure: an MP3's frames may each have a rate of their own, so it has no length here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

_SHORTEST = 30  # bytes; below it a picture has no header that could say anything
_WEBP_MARK = b"\x9d\x01\x2a"
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # frame headers of JPEG; the others there are tables
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length


def pixels_of(data: bytes, mime_type: str) -> tuple[int, int] | None:
    """Read width and height of a picture.

    Args:
        data: the picture, or as much of it as there is.
        mime_type: as `mime.mime_of` says.
    """
    read = _PICTURES.get(mime_type)
    found = read(data) if read is not None and len(data) >= _SHORTEST else None
    return found if found is not None and min(found) > 0 else None


def seconds_of(data: bytes, mime_type: str, size_bytes: int) -> float | None:
    """Read how long a sound lasts.

    Args:
        data: the sound, or as much of it as there is.
        mime_type: as `mime.mime_of` says.
        size_bytes: of the whole.
    """
    if mime_type == "audio/wav":
        return _wav_seconds(data, size_bytes)
    return _flac_seconds(data) if mime_type == "audio/flac" else None


def _png(data: bytes) -> tuple[int, int] | None:
    return (_big(data, 16, 4), _big(data, 20, 4)) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int]:
    return _little(data, 6, 2), _little(data, 8, 2)


def _bmp(data: bytes) -> tuple[int, int]:
    if data[14:15] == b"\x0c":  # OS/2's first header has 16 bits each
        return _little(data, 18, 2), _little(data, 20, 2)
    height = int.from_bytes(data[22:26], "little", signed=True)
    return _little(data, 18, 4), abs(height)  # negative: rows from the top


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _SOF:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        else:
            at += 2 + max(2, _big(data, at + 2, 2))
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + _little(data, 24, 3), 1 + _little(data, 27, 3)
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == _WEBP_MARK:
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return None


def _little(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")


def _big(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


_PICTURES: Mapping[str, Callable[[bytes], tuple[int, int] | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
}


def _wav_seconds(data: bytes, size_bytes: int) -> float | None:
    at = 12
    while at + 8 <= len(data):
        size = _little(data, at + 4, 4)
        if data[at : at + 4] == b"fmt " and at + 20 <= len(data):
            bytes_per_s = _little(data, at + 16, 4)
            return size_bytes / bytes_per_s if bytes_per_s else None
        at += 8 + size + (size & 1)
    return None


def _flac_seconds(data: bytes) -> float | None:
    """Read the first metadata block, which is always the stream's; 0 samples stand for an unknown length."""
    if len(data) < 26:
        return None
    packed = _big(data, 18, 8)
    rate, samples = packed >> 44, packed & (1 << 36) - 1
    return samples / rate if rate and samples else None
