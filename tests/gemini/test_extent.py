from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.extent import pixels_of, seconds_of
from tests.media import KINDS, a_flac, a_picture, a_sound, a_webp

sides = st.integers(1, 60)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp"])
@given(sides, sides)
def test_a_picture_is_as_large_as_it_was_made(kind: str, width: int, height: int) -> None:
    assert pixels_of(a_picture(width, height, kind=kind), f"image/{kind}") == (width, height)


@pytest.mark.parametrize("how", [{}, {"lossless": True}, {"animated": True}])
def test_each_kind_of_webp_says_its_size(how: dict[str, bool]) -> None:
    assert pixels_of(a_webp(40, 30, **how), "image/webp") == (40, 30)


def test_a_jpeg_says_its_size_behind_whatever_a_camera_wrote() -> None:
    plain = a_picture(30, 20, kind="jpeg")
    told = plain[:2] + b"\xff\xff\xe1" + (60_000).to_bytes(2, "big") + bytes(59_998) + b"\xff\xd0" + plain[2:]

    assert pixels_of(told, "image/jpeg") == (30, 20)
    assert pixels_of(told[:30_000], "image/jpeg") is None


def test_old_and_upside_down_bitmaps() -> None:
    os2 = b"BM" + bytes(12) + b"\x0c\0\0\0" + b"\x07\0\x05\0" + bytes(20)
    down = b"BM" + bytes(12) + b"\x28\0\0\0" + b"\x07\0\0\0" + (-5).to_bytes(4, "little", signed=True) + bytes(20)

    assert pixels_of(os2, "image/bmp") == pixels_of(down, "image/bmp") == (7, 5)


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 80), st.binary(max_size=40))
def test_damage_is_no_accident(mime_type: str, length: int, rest: bytes) -> None:
    damaged = KINDS[mime_type][:length] + rest
    pixels, seconds = pixels_of(damaged, mime_type), seconds_of(damaged, mime_type, len(damaged))

    assert pixels is None or min(pixels) > 0
    assert seconds is None or seconds >= 0


def test_a_sound_lasts_as_long_as_it_was_made() -> None:
    sound = a_sound(2.0)

    assert seconds_of(sound, "audio/wav", len(sound)) == pytest.approx(2.0, rel=0.01)
    assert seconds_of(sound[:64], "audio/wav", len(sound)) == pytest.approx(2.0, rel=0.01)
    assert seconds_of(a_flac(40_000), "audio/flac", 42) == 2.5


def test_what_does_not_say_is_not_guessed() -> None:
    assert seconds_of(a_flac(0), "audio/flac", 42) is None
    assert seconds_of(b"OggS" + bytes(60), "audio/ogg", 64) is None
    assert pixels_of(KINDS["image/heic"], "image/heic") is None
    assert pixels_of(b"", "image/png") is None
