from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from batcher.gemini.reply import read
from batcher.records import Answer
from batcher.rows.features import IMAGES
from batcher.store.pictures import images_column, pictures_apart
from tests.media import a_picture, a_sound

RED, BLUE = a_picture(colour="red"), a_picture(colour="blue", kind="jpeg")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def an_answer(*candidates: list[Any]) -> Answer:
    told = [{"index": at, "content": {"parts": parts}, "finishReason": "STOP"} for at, parts in enumerate(candidates)]
    return read(orjson.dumps({"candidates": told}))


def test_pictures_leave_their_candidates_and_their_names_stay() -> None:
    first: list[Any] = [
        {"text": "Here:"},
        {"inlineData": {"mimeType": "image/png", "data": text(RED)}},
        {"text": "Bye."},
    ]
    second: list[Any] = [{"inline_data": {"data": text(BLUE), "mime_type": "image/png"}, "thought_signature": "x"}]
    (left, plain), taken = pictures_apart([an_answer(first, second), an_answer([{"text": "no"}])])

    assert taken == [[(RED, "0-1.png"), (BLUE, "1-0.jpeg")], []]
    assert [orjson.loads(candidate.parts or "") for candidate in left.candidates] == [
        [{"text": "Here:"}, {"inlineData": {"mimeType": "image/png", "path": "0-1.png"}}, {"text": "Bye."}],
        [{"inline_data": {"mime_type": "image/png", "path": "1-0.jpeg"}, "thought_signature": "x"}],
    ]
    assert [candidate.text for candidate in left.candidates] == ["Here:Bye.", None]
    assert plain == an_answer([{"text": "no"}])


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "image/png", "data": text(RED)}, "thought": True},
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": text(a_sound())}},
        {"inlineData": {"mimeType": "image/png", "data": text(b"no picture")}},
        {"inlineData": {"mimeType": "image/png", "data": "no base64!"}},
        {"inlineData": {"mimeType": "image/png", "data": 7}},
        {"inlineData": {"mimeType": "image/png"}},
        {"inlineData": None},
        {"inlineData": 7},
        {"functionCall": {"name": "f", "args": {}}},
        "no part",
        7,
    ],
)
def test_what_is_no_picture_of_the_answer_stays_where_it_is(part: Any) -> None:
    answer = an_answer([part, {"text": "x"}])
    (left,), taken = pictures_apart([answer])

    assert left is answer
    assert taken == [[]]


def test_the_column_is_what_datasets_stores() -> None:
    column = images_column([[(RED, "0-0.png"), (BLUE, "0-1.jpeg")], []])

    assert column.type == IMAGES
    assert column.to_pylist() == [[{"bytes": RED, "path": "0-0.png"}, {"bytes": BLUE, "path": "0-1.jpeg"}], []]
    assert images_column([]).type == IMAGES
