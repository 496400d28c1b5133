"""Whatever a server writes is shown in one short, harmless line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.excerpts import one_line, safe_excerpt


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"<html>\r\nno", r"<html>\r\nno"),
        (b"\x1b[2J", r"\x1b[2J"),
        ("\u202etxt".encode(), r"\u202etxt"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("Zürich 東京".encode(), "Zürich 東京"),
        (b"", ""),
    ],
)
def test_excerpts(body: bytes, shown: str) -> None:
    assert safe_excerpt(body) == shown


@given(st.binary(max_size=300), st.integers(1, 50))
def test_an_excerpt_is_short_and_can_be_stored(body: bytes, limit: int) -> None:
    shown = safe_excerpt(body, limit)

    assert len(shown) <= limit
    assert shown.encode().decode() == shown
    assert "\n" not in shown


@given(st.text(st.characters(), max_size=300))
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text, 100)

    assert len(line) <= 100
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line


def test_a_run_of_control_characters_is_one_blank() -> None:
    assert one_line("a\r\n\t\x00b\ud800c\n") == "a b c"
