"""What kind of medium do these bytes begin? Told by their magic numbers, never by a file's name or a sender's word.

The types are the ones that the API documents for inline data, spelt as it spells them; formats that it does not take
are known by name, for messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SHOWN_BYTES = 8
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ADIF", "audio/aac"),
    (b"ID3", "audio/mp3"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/wmv"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
_FORM = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_HEIF = frozenset({b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
_MOVIES = (
    (b"qt  ", "video/quicktime"),
    (b"3g", "video/3gpp"),
    *((start, "video/mp4") for start in (b"iso", b"mp4", b"avc1", b"M4V", b"dash", b"f4v ", b"MSNV", b"mmp4", b"cmf")),
)
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_NOT_TAKEN = (
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"8BPS", "a Photoshop file"),
    (b"\x1aE\xdf\xa3", "a Matroska file"),
    (b"PK\x03\x04", "a ZIP or Office file"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "a Parquet file"),
)
_PDF = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n\f\x00]*%PDF-")
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg|!DOCTYPE svg)", re.IGNORECASE)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)", re.IGNORECASE)


def mime_of(data: bytes) -> str | None:
    """Name the type of a medium by its first bytes; None for what the API takes no medium of.

    Args:
        data: the medium, or at least its first 64 bytes.
    """
    for start, mime_type in _STARTS:
        if data.startswith(start):
            return mime_type
    if data[4:8] == b"ftyp":
        return _of_brands(data[8:64])
    for start, read in _CONTAINERS:
        if data.startswith(start):
            return read(data)
    return "application/pdf" if _PDF.match(data[:1024]) else _of_sync(data)


def found_in(data: bytes) -> str:
    """Say in a few words what bytes are that `mime_of` does not know."""
    if not data:
        return "nothing"
    for start, name in _NOT_TAKEN:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return f"a {data[8:12].decode('ascii', 'replace').strip().upper()} file"
    if _HTML.match(data[:256]):
        return "an HTML page"
    if _SVG.match(data[:256]):
        return "an XML or SVG file"
    head = data[:_SHOWN_BYTES]
    shown = head.hex(" ")
    return f"bytes that begin with {shown}" + (f" ({head.decode()!r})" if head.isascii() and _is_print(head) else "")


def _is_print(head: bytes) -> bool:
    return head.decode().isprintable()


def _of_bitmap(data: bytes) -> str | None:
    return "image/bmp" if int.from_bytes(data[14:18], "little") in _BMP_HEADERS else None


def _of_ebml(data: bytes) -> str | None:
    return "video/webm" if b"webm" in data[:64] else None  # its header says so; Matroska's says something else


def _of_brands(brands: bytes) -> str | None:
    """Tell the kinds of ISO base media files apart: the major brand first, then the compatible ones."""
    major = brands[:4]
    named = {brands[at : at + 4] for at in (0, *range(8, len(brands) - 3, 4))}
    if named & _AVIF:
        return None
    if major in _HEIC or (major in _HEIF and named & _HEIC):
        return "image/heic"
    if major in _HEIF:
        return "image/heif"
    if major in _AUDIO_BRANDS:
        return "audio/mp4"
    return next((kind for start, kind in _MOVIES if major.startswith(start)), None) if len(major) == 4 else None


def _of_sync(data: bytes) -> str | None:
    """Tell MP3 frames and AAC's ADTS frames, which begin with a bit pattern and no name."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    if data[1] & 0xF6 == 0xF0:
        return "audio/aac" if data[2] >> 2 & 0xF < 13 else None  # of 16 sampling rates, three are not in use
    layer_three = data[1] >> 1 & 0x3 == 1
    version, bitrate, rate = data[1] >> 3 & 0x3, data[2] >> 4, data[2] >> 2 & 0x3
    return "audio/mp3" if layer_three and version != 1 and bitrate != 15 and rate != 3 else None


_CONTAINERS: tuple[tuple[bytes, Callable[[bytes], str | None]], ...] = (
    (b"RIFF", lambda data: _RIFF.get(data[8:12])),
    (b"FORM", lambda data: _FORM.get(data[8:12])),
    (b"\x1aE\xdf\xa3", _of_ebml),
    (b"BM", _of_bitmap),
)
