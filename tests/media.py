"""Small pictures, sounds and documents: real ones where a library makes them, the beginning of one where none does."""

from __future__ import annotations

import io
import wave
from functools import cache

from PIL import Image


@cache
def a_picture(width: int = 3, height: int = 2, *, kind: str = "png", colour: str = "red") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(held, format=kind)
    return held.getvalue()


def a_webp(width: int, height: int, *, lossless: bool = False, animated: bool = False) -> bytes:
    held = io.BytesIO()
    frame = Image.new("RGB", (width, height), "blue")
    more = {"save_all": True, "append_images": [Image.new("RGB", (width, height), "red")]} if animated else {}
    frame.save(held, format="webp", lossless=lossless, **more)
    return held.getvalue()


def a_sound(seconds: float = 0.5, *, rate: int = 8_000) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * int(rate * seconds))
    return held.getvalue()


def a_document(pages: int = 1) -> bytes:
    held = io.BytesIO()
    first, *others = [Image.new("RGB", (8, 8), "white") for _ in range(pages)]
    first.save(held, format="pdf", save_all=True, append_images=others)
    return held.getvalue()


def a_flac(samples: int, *, rate: int = 16_000) -> bytes:
    """The marker and the stream's own block, no frames."""
    stream = b"\x10\x00\x10\x00" + bytes(6) + (rate << 44 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    return b"fLaC" + b"\x80" + len(stream).to_bytes(3, "big") + stream


def a_box(brand: bytes, *others: bytes) -> bytes:
    """The first box of an ISO base media file."""
    inside = b"ftyp" + brand + b"\0\0\0\0" + b"".join(others)
    return (4 + len(inside)).to_bytes(4, "big") + inside + bytes(16)


KINDS = {
    "image/png": a_picture(),
    "image/jpeg": a_picture(kind="jpeg"),
    "image/gif": a_picture(kind="gif"),
    "image/bmp": a_picture(kind="bmp"),
    "image/webp": a_webp(3, 2),
    "image/heic": a_box(b"heic", b"mif1", b"heic"),
    "image/heif": a_box(b"mif1", b"miaf"),
    "audio/wav": a_sound(),
    "audio/mp3": b"\xff\xfb\x90\x64" + bytes(60),
    "audio/flac": a_flac(16_000),
    "audio/ogg": b"OggS\0\2" + bytes(22) + b"\x01\x1eOpusHead",
    "audio/aac": b"\xff\xf1\x50\x80\x02\x1f\xfc",
    "audio/aiff": b"FORM\0\0\0\x2eAIFFCOMM",
    "audio/mp4": a_box(b"M4A ", b"isom"),
    "video/mp4": a_box(b"isom", b"mp41"),
    "video/quicktime": a_box(b"qt  "),
    "video/3gpp": a_box(b"3gp4"),
    "video/webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm",
    "video/avi": b"RIFF\0\0\0\0AVI LIST",
    "video/mpeg": b"\0\0\x01\xba\x44",
    "application/pdf": a_document(),
}
"""Each type that the API takes -> the beginning of a file of it, or all of one."""
