"""How do other people's ways to carry a medium become a part with `inline_data`? Pure: nothing is opened or fetched."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from batcher.gemini.mime import found_in, mime_of

_SHOWN = 60
TAKEN = "PNG, JPEG, WebP, GIF, HEIC, BMP, WAV, MP3, FLAC, OGG, AAC, AIFF, MP4, WebM or PDF"

PLACE: Mapping[str, Any] = {"inline_data": {}}
"""A part that stands where a medium of another column belongs; see `prompts/media.py`."""


class Medium(NamedTuple):
    """A picture, a sound, a document.

    Attributes:
        mime_type: by its first bytes.
        data: as it is, not base64.
    """

    mime_type: str
    data: bytes


class Uploaded(NamedTuple):
    """A medium that the endpoint has already, or finds by its address.

    Attributes:
        mime_type: what the sender says it is; None leaves it to the endpoint.
    """

    file_uri: str
    mime_type: str | None


def medium_of(data: bytes, *, declared: str = "") -> Medium:
    """Tell what bytes are.

    Args:
        data: whole.
        declared: what a sender said of it; believed only of plain text, which has no magic number.

    Raises:
        ValueError: no medium that the API takes; the text says what was found.
    """
    mime_type = mime_of(data)
    if mime_type is None and declared.startswith("text/") and b"\x00" not in data[:1024]:
        mime_type = declared
    if mime_type is None:
        raise ValueError(f"found {found_in(data)}, wanted {TAKEN}")
    return Medium(mime_type, data)


def from_base64(text: str | bytes) -> bytes:
    """Decode base64, the URL-safe alphabet, line breaks and missing padding included.

    Raises:
        ValueError: it is none.
    """
    raw = text if isinstance(text, bytes) else text.encode("ascii", "replace")
    try:
        return binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        raw = b"".join(raw.split()).translate(_URL_SAFE).rstrip(b"=")
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {str(error).lower()}") from None


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def from_bare_base64(text: str) -> Medium | None:
    """Read base64 that stands without `data:TYPE;base64,` before it; None for everything else.

    No path is mistaken for it: base64 to the end, and a magic number at the beginning, is what no name looks like.
    """
    if not _BARE.match(text):
        return None
    try:
        mime_type = mime_of(from_base64(text[:_BARE_HEAD]))
        return Medium(mime_type, from_base64(text)) if mime_type is not None else None
    except ValueError:
        return None


_BARE_HEAD = 88  # characters, 66 bytes: as many as `mime_of` wants
_BARE = re.compile(r"[A-Za-z0-9+/_-]{24}")


def from_data_url(url: str) -> Medium:
    """Read `data:image/png;base64,…`; the type is told by the bytes, whatever the URL declares.

    Raises:
        ValueError: no such URL, not base64, or no medium that the API takes.
    """
    head, comma, payload = url.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise ValueError(f"found {shortened(url)}, wanted data:TYPE;base64,…")
    declared, *options = head[5:].lower().split(";")
    if "base64" in options:
        raw = unquote_to_bytes(payload) if "%" in payload else payload
        return medium_of(from_base64(raw), declared=declared)
    return medium_of(unquote_to_bytes(payload), declared=declared)


def inline_part(medium: Medium) -> dict[str, Any]:
    """Write a medium as a canonical part."""
    data = binascii.b2a_base64(medium.data, newline=False).decode()
    return {"inline_data": {"mime_type": medium.mime_type, "data": data}}


def uploaded(value: Mapping[str, Any]) -> Uploaded:
    """Read `{file_uri, mime_type}`, in either spelling: what the Files API gave, or a video's address.

    Raises:
        ValueError: one of them is no text.
    """
    file_uri = value.get("file_uri", value.get("fileUri"))
    mime_type = value.get("mime_type", value.get("mimeType"))
    if not isinstance(file_uri, str) or not file_uri:
        raise ValueError(f"file_uri: wanted the address of an uploaded file, found {shortened(str(file_uri))}")
    if mime_type is not None and not isinstance(mime_type, str):
        raise ValueError(f"mime_type: wanted a type such as video/mp4, found {shortened(str(mime_type))}")
    return Uploaded(file_uri, mime_type)


def data_url_part(url: str) -> dict[str, Any]:
    """Make a canonical part of a `data:` URL.

    Raises:
        ValueError: as `from_data_url`; an address on the network is refused.
    """
    return inline_part(from_data_url(refuse_remote(url)))


def openai_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """Make a canonical part of a content part as OpenAI's two APIs and TRL write it.

    `text`, `input_text`, `output_text`; `image_url` and `input_image` with a `data:` URL; `input_audio` with `data` and
    `format`; `file` and `input_file` with `file_data`; `image`, `audio`, `video` or `document` with a `data:` URL or
    `{bytes, path}`. One of those alone, as TRL writes it, becomes `PLACE`: the medium stands in a column of its own.

    Raises:
        ValueError: another type, an address on the network, or no medium that the API takes.
    """
    kind = part.get("type", "text" if "text" in part else None)
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return {"text": part["text"]}
    if kind in ("image_url", "input_image"):
        return _of_url(part.get("image_url"), "image_url")
    if kind == "input_audio":
        return _of_audio(part.get("input_audio"))
    if kind in ("file", "input_file"):
        held = part.get("file", part)
        return _of_url(held.get("file_data") if isinstance(held, Mapping) else None, "file_data")
    if kind in _PLACES:
        return _in_its_place(part.get(str(kind)), str(kind))
    raise ValueError(f"a part of the type {shortened(str(kind))} cannot be sent")


def refuse_remote(url: str) -> str:
    """Give the address back unless it leads to a network.

    Raises:
        ValueError: it does: batcher talks to the endpoint and to nobody else.
    """
    scheme = url[:12].partition(":")[0].lower()
    if scheme in _REMOTE and url[len(scheme) : len(scheme) + 3] == "://":
        raise ValueError(
            f"found the address {shortened(url)}; nothing is fetched: wanted the bytes, a data: URL or a path"
        )
    return url


def shortened(text: str) -> str:
    """Quote a text of any length."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


_TEXTS = frozenset({"text", "input_text", "output_text"})
_PLACES = frozenset({"image", "audio", "video", "document"})
_REMOTE = frozenset({"http", "https", "ftp", "gs", "s3", "hf", "file"})


def _of_url(value: Any, name: str) -> dict[str, Any]:
    url = value.get("url") if isinstance(value, Mapping) else value
    if not isinstance(url, str):
        raise ValueError(f"{name}: wanted a data: URL, found {type(url).__name__}")  # noqa: TRY004  a row's fault
    return data_url_part(url)


def _in_its_place(own: Any, name: str) -> dict[str, Any]:
    held = own.get("bytes") if isinstance(own, Mapping) else None
    if isinstance(held, bytes):  # as Hugging Face stores it
        return inline_part(medium_of(held))
    return dict(PLACE) if own is None else _of_url(own, name)


def _of_audio(value: Any) -> dict[str, Any]:
    data = value.get("data") if isinstance(value, Mapping) else None
    if not isinstance(data, str):
        raise ValueError("input_audio: wanted base64 in data, found none")  # noqa: TRY004  a row's fault
    return inline_part(medium_of(from_base64(data)))
