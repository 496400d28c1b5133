"""What does the body of an OpenAI batch request ask? Messages and settings in Gemini's words, and what has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from batcher.rows.chats import Medium, chat_request, no_medium

# OpenAI's name -> Gemini's; where two mean the same, the later one wins, as in OpenAI's own documents.
_SAME = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "n": "candidate_count",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logprobs": "response_logprobs",
    "top_logprobs": "logprobs",
}
_HOW_IT_IS_SENT = frozenset({"model", "messages", "stream", "stream_options"})
_OURS = "gemini"


def batch_request(body: Mapping[str, Any], *, medium: Medium = no_medium) -> dict[str, Any]:
    """Make the request that a body stands for. Another maker's `model` is left out: the job says whom to ask.

    Raises:
        ValueError: it has no messages (another endpoint's body), or a setting is not what it should be.
    """
    if "messages" not in body:
        found = ", ".join(map(repr, body)) or "nothing"
        raise ValueError(f"body: wanted messages, as of /v1/chat/completions, found {found}")
    request = chat_request(body["messages"], where="body.messages", medium=medium)
    settings = {theirs: value for key, theirs in _SAME.items() if (value := body.get(key)) is not None}
    for key, read in _READ.items():
        if body.get(key) is not None:
            settings |= read(body[key])
    if settings:
        request["generation_config"] = settings
    model = body.get("model")
    if isinstance(model, str) and model.removeprefix("models/").startswith(_OURS):
        request["model"] = model
    return request


def unmapped(body: Mapping[str, Any]) -> Iterator[str]:
    """Name what a body says that Gemini has no word for, as `body.logit_bias`; what says nothing is not named."""
    for key, value in body.items():
        says_nothing = value is None or value in ({}, [], "")
        if key not in _SAME and key not in _READ and key not in _HOW_IT_IS_SENT and not says_nothing:
            yield f"body.{key}"


def _stop(value: object) -> dict[str, Any]:
    return {"stop_sequences": [value] if isinstance(value, str) else value}


def _response_format(value: object) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, Mapping) else value
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_mime_type": "application/json"}
    named = value.get("json_schema") if isinstance(value, Mapping) else None
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise ValueError("body.response_format: wanted text, json_object, or json_schema with a schema")
    return {"response_mime_type": "application/json", "response_json_schema": schema}


_READ: Mapping[str, Callable[[Any], dict[str, Any]]] = {"stop": _stop, "response_format": _response_format}
