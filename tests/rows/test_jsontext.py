from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from batcher.rows.jsontext import decoded, decoded_object, glimpsed
from tests.strategies import json_rows, texts


@given(json_rows)
def test_json_text_is_what_it_says(row: dict[str, Any]) -> None:
    text = orjson.dumps(row).decode()

    assert decoded("x", text) == decoded_object("x", text) == glimpsed(text) == row


@given(texts)
def test_no_text_ends_a_look(text: str) -> None:
    assert glimpsed(text) is not None


@pytest.mark.parametrize(("value", "found"), [(None, "null"), (3, "int"), ("x", "str"), ("[1]", "list")])
def test_what_is_no_object_says_so(value: object, found: str) -> None:
    with pytest.raises(ValueError, match=f"^request: expected an object, found {found}$"):
        decoded_object("request", value)


def test_broken_json_is_an_error_but_in_an_instruction_which_may_be_any_text() -> None:
    with pytest.raises(ValueError, match=r"^contents: not JSON: "):
        decoded("contents", "[1,")
    assert decoded("system_instruction", "[Be brief.]") == "[Be brief.]"
