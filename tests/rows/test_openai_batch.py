from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.request import canonical
from batcher.rows.openai_batch import batch_request, unmapped
from tests.strategies import json_values, texts

MESSAGES = [{"role": "user", "content": "hi"}]
keys = st.sampled_from(
    ("model", "max_tokens", "stop", "n", "user", "logit_bias", "response_format", "messages", "top_p")
)


def settings(**body: Any) -> Any:
    return batch_request({"messages": MESSAGES, **body}).get("generation_config")


def wrong(body: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=r"^body") as caught:
        batch_request(body)
    return str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"max_tokens": 9}, {"max_output_tokens": 9}),
        ({"max_tokens": 9, "max_completion_tokens": 7}, {"max_output_tokens": 7}),
        ({"temperature": 0, "top_p": 0.5, "seed": 1}, {"temperature": 0, "top_p": 0.5, "seed": 1}),
        ({"n": 3, "presence_penalty": 0.1}, {"candidate_count": 3, "presence_penalty": 0.1}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"logprobs": True, "top_logprobs": 2}, {"response_logprobs": True, "logprobs": 2}),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"response_mime_type": "application/json"}),
        ({"temperature": None, "stop": None, "stream": False, "model": "gpt-4o"}, None),
    ],
)
def test_settings_have_geminis_names(theirs: dict[str, Any], ours: Any) -> None:
    assert settings(**theirs) == ours
    assert list(unmapped(theirs)) == []


@given(st.dictionaries(keys | texts, json_values, max_size=6))
def test_any_body_is_a_request_or_a_reason_and_every_key_is_accounted_for(body: dict[str, Any]) -> None:
    assert all(name.removeprefix("body.") in body for name in unmapped(body))
    try:
        request = batch_request(body)
    except ValueError as error:
        assert str(error).startswith("body")  # noqa: PT017  either is right
        return
    assert canonical({name: value for name, value in request.items() if name != "model"})["contents"]


def test_what_has_no_word_is_named_unless_it_says_nothing() -> None:
    body = {
        "logit_bias": {"5": 1},
        "user": "ana",
        "tools": [],
        "metadata": {},
        "reasoning_effort": None,
        "store": False,
    }

    assert list(unmapped(body)) == ["body.logit_bias", "body.user", "body.store"]


@pytest.mark.parametrize(
    ("model", "asked"), [("gpt-4o", None), ("gemini-2.5-pro", "gemini-2.5-pro"), ("models/gemini-x", "models/gemini-x")]
)
def test_only_a_model_of_geminis_is_taken_at_its_word(model: str, asked: str | None) -> None:
    assert batch_request({"model": model, "messages": MESSAGES}).get("model") == asked


def test_bodies_of_other_endpoints_are_named() -> None:
    assert wrong({"model": "m", "input": "a"}) == (
        "body: wanted messages, as of /v1/chat/completions, found 'model', 'input'"
    )
    assert wrong({"messages": MESSAGES, "response_format": {"type": "json_schema"}}) == (
        "body.response_format: wanted text, json_object, or json_schema with a schema"
    )
