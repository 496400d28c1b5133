from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.canonical import canonical
from batcher.gemini.inline import (
    PLACE,
    data_url_part,
    from_bare_base64,
    from_base64,
    from_data_url,
    inline_part,
    medium_of,
    openai_part,
    uploaded,
)
from tests.media import KINDS, a_picture

PNG = a_picture()
PNG64 = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{PNG64}"
PART = {"inline_data": {"mime_type": "image/png", "data": PNG64}}


@given(st.binary())
def test_base64_is_read_however_it_is_written(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[at : at + 7] for at in range(0, len(text), 7))

    assert from_base64(text) == from_base64(lines) == from_base64(text.rstrip("=")) == data
    assert from_base64(base64.urlsafe_b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["a", "not base64!", "cats/1.png", "Ünicode", "AAA=A"])
def test_what_is_no_base64_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not base64: "):
        from_base64(text)


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(["", "=", "\n"]))
def test_base64_without_a_word_before_it_is_known_by_its_magic_number(mime_type: str, without: str) -> None:
    data = KINDS[mime_type].ljust(64, b"\0")
    text = base64.b64encode(data).decode()

    assert from_bare_base64(text.rstrip("=") if without == "=" else text + without) == (mime_type, data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat.png",
        "pictures/of/the/neighbours/cat",
        "a" * 5_000,
        "/9j/4AAQSkZJRgABAQAAAQABAAD/cat.jpg",
        PNG64[:20],
        PNG64 + "!",
        base64.b64encode(b"nothing that anybody would know").decode(),
    ],
)
def test_no_path_is_taken_for_base64(text: str) -> None:
    assert from_bare_base64(text) is None


@pytest.mark.parametrize("spelling", [("file_uri", "mime_type"), ("fileUri", "mimeType")])
def test_an_uploaded_file_is_named_by_its_address(spelling: tuple[str, str]) -> None:
    uri, kind = spelling

    assert uploaded({uri: "https://x.org/files/1", kind: "video/mp4"}) == ("https://x.org/files/1", "video/mp4")
    assert uploaded({uri: "https://youtu.be/x"}) == uploaded({uri: "https://youtu.be/x", kind: None})
    with pytest.raises(ValueError, match=r"^file_uri: wanted the address of an uploaded file, found '7'$"):
        uploaded({uri: 7})
    with pytest.raises(ValueError, match=r"^mime_type: wanted a type such as video/mp4, found '7'$"):
        uploaded({uri: "x", kind: 7})


@given(st.sampled_from(sorted(KINDS)))
def test_the_bytes_of_a_data_url_say_what_they_are(mime_type: str) -> None:
    data = KINDS[mime_type]
    url = "data:image/jpeg;charset=x;base64," + base64.b64encode(data).decode()

    assert from_data_url(url) == (mime_type, data)
    assert data_url_part(url) == inline_part(medium_of(data))


def test_a_data_url_may_be_percent_encoded() -> None:
    assert from_data_url("data:image/png;base64," + quote(PNG64, safe="")).data == PNG
    assert from_data_url("data:image/png," + quote(PNG)).data == PNG
    assert from_data_url("DATA:image/png;BASE64," + PNG64).data == PNG
    assert from_data_url("data:text/plain;base64,aGVsbG8=") == ("text/plain", b"hello")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/cat.png", "found the address 'https://example.com/cat.png'; nothing is fetched"),
        ("HTTP://example.com", "nothing is fetched"),
        ("file:///etc/passwd", "nothing is fetched"),
        ("cat.png", "found 'cat.png', wanted data:TYPE;base64,…"),
        ("data:image/png;base64", "wanted data:TYPE;base64,…"),
        ("data:image/png;base64,aGVsbG8=", r"found bytes that begin with 68 65 6c 6c 6f \('hello'\), wanted PNG"),
        ("data:image/png;base64,", "found nothing, wanted PNG"),
        ("data:image/png;base64,a", "not base64"),
        ("data:text/plain;base64,AAAA", "found bytes that begin with 00 00 00, wanted PNG"),
    ],
)
def test_what_is_no_data_url_is_said(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data_url_part(url)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ({"type": "text", "text": "hi"}, {"text": "hi"}),
        ({"type": "input_text", "text": "hi"}, {"text": "hi"}),
        ({"text": "hi"}, {"text": "hi"}),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, PART),
        ({"type": "image_url", "image_url": URL}, PART),
        ({"type": "input_image", "image_url": URL}, PART),
        ({"type": "file", "file": {"file_data": URL, "filename": "a.png"}}, PART),
        ({"type": "input_file", "file_data": URL}, PART),
        ({"type": "input_audio", "input_audio": {"data": PNG64, "format": "wav"}}, PART),
        ({"type": "image", "image": URL}, PART),
        ({"type": "image", "image": {"bytes": PNG, "path": "cat.jpg"}, "text": None}, PART),
        ({"type": "image"}, PLACE),
        ({"type": "image", "image": None, "text": None}, PLACE),
    ],
)
def test_parts_of_others_become_parts(part: dict[str, Any], sent: dict[str, Any]) -> None:
    assert openai_part(part) == sent
    assert canonical({"contents": [{"parts": [openai_part(part)]}]}) == {"contents": [{"parts": [sent]}]}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, "nothing is fetched"),
        ({"type": "image_url"}, "image_url: wanted a data: URL, found NoneType"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file_data: wanted a data: URL, found NoneType"),
        ({"type": "file", "file": 3}, "file_data: wanted"),
        ({"type": "input_audio", "input_audio": 3}, "input_audio: wanted base64 in data"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "found bytes that begin with 00 00 00"),
        ({"type": "refusal", "refusal": "no"}, "a part of the type 'refusal' cannot be sent"),
        ({"type": "text", "text": 3}, "a part of the type 'text' cannot be sent"),
        ({}, "a part of the type 'None' cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_said(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        openai_part(part)
