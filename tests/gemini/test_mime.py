from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.mime import found_in, mime_of
from tests.media import KINDS, a_box, a_picture

kinds = st.sampled_from(sorted(KINDS))


@pytest.mark.parametrize("mime_type", KINDS)
def test_a_medium_is_told_by_its_first_bytes(mime_type: str) -> None:
    assert mime_of(KINDS[mime_type]) == mime_type


@given(kinds, st.binary(max_size=200))
def test_whatever_comes_behind_the_header_changes_nothing(mime_type: str, rest: bytes) -> None:
    assert mime_of(KINDS[mime_type][:64].ljust(64, b"\0") + rest) == mime_type


@given(st.text())
def test_a_text_is_no_medium_but_a_pdf_says_so_in_ascii(text: str) -> None:
    if "%PDF-" not in text:
        assert mime_of(("." + text).encode("utf-8", "surrogatepass")) is None


@given(st.binary(max_size=300))
def test_any_bytes_have_a_type_or_a_name_in_one_line(data: bytes) -> None:
    mime_type = mime_of(data)

    assert mime_type is None or "/" in mime_type
    assert found_in(data).isprintable()


@given(kinds, st.integers(0, 16))
def test_a_header_that_was_cut_is_of_the_same_kind_or_of_none(mime_type: str, length: int) -> None:
    assert mime_of(KINDS[mime_type][:length]) in {None, mime_type}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "nothing"),
        (b"II*\0....", "a TIFF picture"),
        (a_picture(kind="tiff"), "a TIFF picture"),
        (a_box(b"avif", b"mif1"), "a AVIF file"),
        (a_box(b"jp2 "), "a JP2 file"),
        (a_box(b"mif1", b"avif"), "a MIF1 file"),
        (b"PK\x03\x04docx", "a ZIP or Office file"),
        (b"<!DOCTYPE html><p>Not found", "an HTML page"),
        (b'<svg xmlns="x">', "an XML or SVG file"),
        (b"\x1aE\xdf\xa3\x01matroska", "a Matroska file"),
        (b"version https://git-lfs", "bytes that begin with 76 65 72 73 69 6f 6e 20 ('version ')"),
        (b"\x00\x01", "bytes that begin with 00 01"),
        (b"BM is a text", "bytes that begin with 42 4d 20 69 73 20 61 20 ('BM is a ')"),
    ],
)
def test_what_is_not_taken_is_called_by_its_name(data: bytes, name: str) -> None:
    assert mime_of(data) is None
    assert found_in(data) == name


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n ", b"\0\0"])
def test_a_pdf_may_begin_with_a_blank(before: bytes) -> None:
    assert mime_of(before + b"%PDF-1.7\n") == "application/pdf"


@pytest.mark.parametrize("frame", [b"\xff\xfb\x90\x64", b"\xff\xf3\x40\xc4", b"\xff\xfa\x90\x00", b"ID3\x04\0\0\0"])
def test_mp3_frames_of_every_version(frame: bytes) -> None:
    assert mime_of(frame + bytes(20)) == "audio/mp3"


@pytest.mark.parametrize(
    "frame", [b"\xff\xff\xff\xff", b"\xff\xfb\xf0\x64", b"\xff\xfb\x9c\x64", b"\xff\xeb\x90\x64", b"\xff\xf1\x7c\0"]
)
def test_a_bit_pattern_that_no_frame_has_is_no_sound(frame: bytes) -> None:
    assert mime_of(frame + bytes(20)) is None
