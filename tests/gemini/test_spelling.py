"""Field names change spelling; what the user wrote as data does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.spelling import camel, snake, to_camel, to_snake

# The user's own JSON: keys of every spelling, nulls and all.
OWN = {"userId": 1, "user_id": 2, "Deep": [{"camelCase": {"snake_case": None}}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("max_output_tokens", "maxOutputTokens"),
        ("top_p", "topP"),
        ("text", "text"),
        ("_response_json_schema", "ResponseJsonSchema"),
        ("top_1", "top_1"),
        ("a__b", "a_B"),
        ("$defs", "$defs"),
    ],
)
def test_names(one: str, other: str) -> None:
    assert camel(one) == other
    assert snake(other) == one


@given(st.from_regex(r"[a-z0-9_$]{0,12}", fullmatch=True))
def test_a_name_without_capitals_comes_back(name: str) -> None:
    assert snake(camel(name)) == name


@given(st.from_regex(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*){0,3}", fullmatch=True))
def test_a_camel_name_comes_back(name: str) -> None:
    assert camel(snake(name)) == name


@pytest.mark.parametrize(
    "body",
    [
        {"labels": OWN},
        {"contents": [{"parts": [{"function_call": {"name": "f", "args": OWN}}]}]},
        {"contents": [{"parts": [{"tool_call": {"tool_type": "t", "args": OWN}}]}]},
        {"contents": [{"parts": [{"function_response": {"name": "f", "response": OWN, "parts": []}}]}]},
        {"contents": [{"parts": [{"tool_response": {"tool_type": "t", "response": OWN}}]}]},
        {"contents": [{"parts": [{"text": "a", "part_metadata": OWN}]}]},
        {"generation_config": {"response_json_schema": OWN}},
        {"generation_config": {"response_format": [{"mime_type": "application/json", "schema": OWN}]}},
        {"tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": OWN}]}]},
        {"tools": [{"function_declarations": [{"name": "f", "response_json_schema": OWN}]}]},
        {"tools": [{"mcp_servers": [{"streamable_http_transport": {"headers": OWN}}]}]},
        {"generation_config": {"response_schema": {"default": OWN, "example": OWN}}},
    ],
)
def test_what_the_user_wrote_is_kept(body: dict[str, Any]) -> None:
    assert to_snake(body) == body
    assert to_snake(to_camel(body)) == body
    assert "camelCase" in str(to_camel(body))
    assert "snake_case" in str(to_camel(body))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda schema: {"generation_config": {"response_schema": schema}},
        lambda schema: {"tools": [{"function_declarations": [{"parameters": schema}]}]},
        lambda schema: {"tools": [{"function_declarations": [{"response": schema}]}]},
    ],
)
def test_property_names_of_a_schema_are_kept_and_its_fields_are_not(wrap: Any) -> None:
    snake_schema = wrap(
        {
            "properties": {
                "firstName": {"max_length": 5},
                "last_name": {"any_of": [{"min_items": 1, "items": {"property_ordering": ["aB", "a_b"]}}]},
                "properties": {"properties": {"inner_one": {"min_length": 1}, "innerTwo": {"type": "STRING"}}},
            },
            "property_ordering": ["firstName", "last_name"],
        }
    )
    camel_schema = wrap(
        {
            "properties": {
                "firstName": {"maxLength": 5},
                "last_name": {"anyOf": [{"minItems": 1, "items": {"propertyOrdering": ["aB", "a_b"]}}]},
                "properties": {"properties": {"inner_one": {"minLength": 1}, "innerTwo": {"type": "STRING"}}},
            },
            "propertyOrdering": ["firstName", "last_name"],
        }
    )

    assert to_snake(camel_schema) == snake_schema
    assert to_snake(to_camel(snake_schema)) == snake_schema
    assert "'maxLength'" in str(to_camel(snake_schema))


def test_null_fields_are_dropped_and_null_data_is_not() -> None:
    part = {"text": "a", "inlineData": None, "partMetadata": {"kept": None}}

    assert to_snake({"contents": [{"parts": [part], "role": None}]}) == {
        "contents": [{"parts": [{"text": "a", "part_metadata": {"kept": None}}]}]
    }


def test_a_field_in_both_spellings_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^generation_config.top_p: given twice, in camelCase and in snake_case$"):
        to_snake({"generationConfig": {"topP": 1, "top_p": 1}})
