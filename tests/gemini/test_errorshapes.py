"""Errors of Google, of proxies and of web frameworks come out in one form."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.gemini.reply import read
from tests.gemini.bodies import answered, seen


def error(message: str = "", code: int | None = None, status: str | None = None, details: Any = ()) -> dict[str, Any]:
    return {"code": code, "message": message, "status": status, "details": list(details)}


@pytest.mark.parametrize(
    ("body", "normalised"),
    [
        (
            {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE", "details": [{"a": 1}, 7]}},
            error("m", 503, "UNAVAILABLE", [{"a": 1}]),
        ),
        ({"error": {"message": "m", "type": "requests", "param": None, "code": "429"}}, error("m", 429, "requests")),
        ({"error": {"message": "m", "type": "t", "code": "invalid_api_key"}}, error("m", None, "invalid_api_key")),
        ({"error": {"code": 3, "message": "m"}}, error("m", 3)),
        ({"error": {"code": True, "message": None, "details": {}}}, error()),
        ({"error": "text"}, error("text")),
        ({"error": "name", "message": "more"}, error("more")),
        ({"error": ["odd"]}, error("['odd']")),
        ({"detail": "Not Found"}, error("Not Found")),
        ({"detail": {"message": "m"}}, error("m")),
        ({"detail": {"error": "m"}}, error("m")),
        ({"detail": [{"loc": ["body", 0], "msg": "bad"}, {"msg": "worse"}, 7]}, error("body.0: bad; worse; 7")),
        ({"message": "m", "code": 403}, error("m", 403)),
        ({"error": None}, None),
        ({"error": {}}, None),
        ({"error": ""}, None),
        ({"message": 7}, None),
        ({}, None),
    ],
)
def test_shapes(body: dict[str, Any], normalised: dict[str, Any] | None) -> None:
    _, plain = answered(body)
    _, wrapped = answered([body])

    assert plain.error == normalised
    assert wrapped.error == normalised


def test_seen() -> None:
    assert read(seen("422-extra-forbidden")).error == error("body.stream: Extra inputs are not permitted")
    assert read(seen("404-model")).error is not None


def test_an_answer_beside_a_message_is_no_error() -> None:
    _, answer = answered({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "message": "ok", "detail": "x"})

    assert answer.error is None


def test_an_error_beside_an_answer_is_one() -> None:
    _, answer = answered({"candidates": [{}], "error": {"code": 500}})

    assert answer.error == error("", 500)
