from __future__ import annotations

import base64
import io
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batcher.emulator import replies
from batcher.emulator.answers import Answer, answer, spoilt
from batcher.emulator.faults import FaultKind
from batcher.emulator.pictures import PICTURE_TOKENS, is_alone, is_asked_for, painted
from batcher.emulator.spelling import Unreadable, read_request


def answered(**config: Any) -> Answer:
    body = {"contents": [{"parts": [{"text": "Paint a cat."}]}], "generationConfig": config}
    return answer(read_request(orjson.dumps(body), strict=True), model="gemini-2.5-flash", seed=7)


@given(st.integers(0, 2**64 - 1))
def test_every_picture_opens(drawn: int) -> None:
    with Image.open(io.BytesIO(painted(drawn))) as picture:
        assert picture.size == (16, 16)
        assert picture.getpixel((15, 15)) == tuple((drawn & 0xFFFFFF).to_bytes(3, "big"))


@pytest.mark.parametrize(
    ("config", "model", "paints", "alone"),
    [
        ({}, "gemini-2.5-flash", False, False),
        ({}, "gemini-2.5-flash-image", True, False),
        ({"response_modalities": ["TEXT"]}, "gemini-2.5-flash-image", False, False),
        ({"response_modalities": ["Text", "Image"]}, "gemini-2.5-flash", True, False),
        ({"response_modalities": ["IMAGE"]}, "gemini-2.5-flash", True, True),
    ],
)
def test_pictures_are_painted_when_asked_for(config: dict[str, Any], model: str, paints: bool, alone: bool) -> None:
    assert is_asked_for(config, model) == paints
    assert is_alone(config) == alone


def test_a_picture_is_a_part_and_its_tokens_are_told() -> None:
    found = answered(responseModalities=["TEXT", "IMAGE"], candidateCount=2)
    told = replies.google(found, response_id="r")
    flat = replies.flat(found, created_s=1)

    for candidate, other in zip(told["candidates"], flat["candidates"], strict=True):
        text, picture = candidate["content"]["parts"]
        held = picture["inlineData"]
        assert text["text"]
        assert held["mimeType"] == "image/png"
        assert base64.b64decode(held["data"]).startswith(b"\x89PNG")
        assert other["content"]["parts"][1] == {"inline_data": {"mime_type": "image/png", "data": held["data"]}}
    details = {each["modality"]: each["tokenCount"] for each in told["usageMetadata"]["candidatesTokensDetails"]}
    assert details["IMAGE"] == 2 * PICTURE_TOKENS
    assert sum(details.values()) == told["usageMetadata"]["candidatesTokenCount"]


def test_the_same_question_has_the_same_picture_and_alone_it_has_no_text() -> None:
    one = answered(responseModalities=["IMAGE"])

    assert one == answered(responseModalities=["IMAGE"])
    assert one.candidates[0].text is None
    assert one.candidates[0].picture is not None


def test_what_cuts_an_answer_takes_the_picture_with_it() -> None:
    whole = answered(responseModalities=["TEXT", "IMAGE"])
    short = answered(responseModalities=["TEXT", "IMAGE"], maxOutputTokens=50)

    for left in (short, spoilt(whole, FaultKind.MAX_TOKENS), spoilt(whole, FaultKind.SAFETY)):
        assert left.candidates[0].picture is None
        assert b"IMAGE" not in replies.google(left, response_id="r")
    assert short.usage.candidates <= 50


def medium(data: object) -> bytes:
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    return orjson.dumps({"contents": [{"parts": [part]}]})


@pytest.mark.parametrize("data", ["AAAA", "AA==", "AA", "_-8", ""])
def test_media_are_base64_in_either_alphabet(data: str) -> None:
    asked = read_request(medium(data), strict=True)

    assert asked.body["contents"][0]["parts"][0]["inline_data"]["data"] == data


@pytest.mark.parametrize("data", ["A", "AAAAA", "no base64!", 7])
def test_what_is_no_base64_is_refused(data: object) -> None:
    with pytest.raises(Unreadable, match=r"inline_data\.data' \(TYPE_BYTES\)"):
        read_request(medium(data), strict=True)
