"""However a request was spelled, it is one request."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.canonical import GENERATION_FIELDS, canonical
from batcher.gemini.spelling import camel, snake
from tests.gemini.requests import requests

ASK = [{"role": "user", "parts": [{"text": "hi"}]}]


def test_all_spellings_are_one_request() -> None:
    nested_camel = {
        "contents": ASK,
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 0}},
        "model": "models/m",
    }
    nested_snake = {
        "contents": ASK,
        "system_instruction": {"parts": [{"text": "be brief"}]},
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_budget": 0}},
    }
    flat = {
        "stream": True,
        "contents": ASK,
        "system_instruction": {"parts": [{"text": "be brief"}]},
        "max_output_tokens": 5,
        "thinkingConfig": {"thinking_budget": 0},
    }
    half = {
        "contents": ASK,
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generation_config": {"maxOutputTokens": 5},
        "thinking_config": {"thinkingBudget": 0},
    }

    assert canonical(nested_camel) == canonical(flat) == canonical(half) == canonical(nested_snake) == nested_snake


def test_no_settings_leave_no_trace() -> None:
    assert canonical({"contents": ASK, "generationConfig": {}, "temperature": None}) == {"contents": ASK}


def test_the_body_is_left_as_it_was() -> None:
    body = {"contents": ASK, "topP": 1, "stream": False, "generationConfig": {"topK": 3}}
    canonical(body)

    assert body == {"contents": ASK, "topP": 1, "stream": False, "generationConfig": {"topK": 3}}


def test_every_setting_that_googles_own_client_knows_is_known() -> None:
    assert set(types.GenerationConfig.model_fields) <= GENERATION_FIELDS


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "contents: expected a list, found nothing"),
        ({"contents": None}, "contents: expected a list, found nothing"),
        ({"contents": "hi"}, "contents: expected a list, found text"),
        ({"contents": {}}, "contents: expected a list, found an object"),
        ({"contents": []}, "contents: expected at least one content, found an empty list"),
        (
            {"contents": ["hi"]},
            'contents[0]: expected an object such as {"parts": [{"text": "…"}]}, found text',
        ),
        ({"contents": [*ASK, {"role": "model"}]}, "contents[1].parts: expected a list, found nothing"),
        ({"contents": [{"parts": "hi"}]}, "contents[0].parts: expected a list, found text"),
        ({"contents": [{"parts": [None]}]}, "contents[0].parts[0]: expected an object, found nothing"),
        ({"contents": [{"parts": [{}, 7]}]}, "contents[0].parts[1]: expected an object, found a number"),
        ({"contents": [{"parts": [{"text": True}]}]}, "contents[0].parts[0].text: expected text, found a boolean"),
        (
            {"contents": ASK, "systemInstruction": "be brief"},
            'system_instruction: expected an object such as {"parts": [{"text": "…"}]}, found text',
        ),
        ({"contents": ASK, "generationConfig": [1]}, "generation_config: expected an object, found a list"),
        ({"contents": ASK, "topP": 1, "top_p": 1}, "top_p: given twice, in camelCase and in snake_case"),
        (
            {"contents": ASK, "topP": 1, "generationConfig": {"top_p": 1}},
            "top_p: given twice, on top and in generation_config",
        ),
    ],
)
def test_what_cannot_be_a_request_is_refused_in_words(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as problem:  # noqa: PT011  the whole text is compared
        canonical(body)
    assert str(problem.value) == said


def test_a_bottomless_body_is_refused() -> None:
    body: dict[str, Any] = {}
    for _ in range(5000):
        body = {"contents": [body]}

    with pytest.raises(ValueError, match="nested too deeply"):
        canonical(body)


@given(requests)
def test_canonical_is_a_fixed_point(body: dict[str, Any]) -> None:
    once = canonical(body)

    assert canonical(once) == once


@given(requests, st.data())
def test_the_spelling_of_each_key_is_free(body: dict[str, Any], data: st.DataObject) -> None:
    def respelled(message: dict[str, Any]) -> dict[str, Any]:
        return {(camel(snake(key)) if data.draw(st.booleans()) else snake(key)): message[key] for key in message}

    other = respelled(body)
    for key in ("generationConfig", "generation_config"):
        if key in other:
            other[key] = respelled(other[key])

    assert canonical(other) == canonical(body)


@given(requests)
def test_settings_may_stand_on_top(body: dict[str, Any]) -> None:
    nested = canonical(body)
    settings = nested.get("generation_config", {})
    flat = {name: value for name, value in nested.items() if name != "generation_config"} | settings

    assert canonical(flat) == nested
