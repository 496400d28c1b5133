from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.messages import FIELDS
from batcher.emulator.spelling import Unreadable, read_count, read_request
from tests.emulator.builders import flat, nested, read


def refusal_of(raw: Any, *, strict: bool = False, flat: bool = False) -> dict[str, Any]:
    with pytest.raises(Unreadable) as caught:
        read_request(raw if isinstance(raw, bytes) else orjson.dumps(raw), strict=strict, flat=flat)
    error = orjson.loads(caught.value.refusal.body)["error"]
    assert caught.value.refusal.status == error["code"] == 400
    assert isinstance(error, dict)
    return error


GOOGLE = {
    "contents": [
        {"role": "user", "parts": [{"text": "See"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"camelCase": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"aB": 2}}}, {"text": "And?"}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"aB": {}}}]}, {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generationConfig": {
        "topP": 0.5,
        "topK": 40.0,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"myName": {"type": "STRING"}}},
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 20},
    },
    "cachedContent": "cachedContents/abc",
    "serviceTier": "flex",
    "labels": {"myTeam": "blue"},
}
CANONICAL = {
    "contents": [
        {"role": "user", "parts": [{"text": "See"}, {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"camelCase": 1}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"aB": 2}}}, {"text": "And?"}]},
    ],
    "system_instruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"aB": {}}}]}, {"google_search": {}}],
    "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
    "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generation_config": {
        "top_p": 0.5,
        "top_k": 40.0,
        "max_output_tokens": 100,
        "stop_sequences": ["END"],
        "response_mime_type": "application/json",
        "response_schema": {"type": "OBJECT", "properties": {"myName": {"type": "STRING"}}},
        "thinking_config": {"include_thoughts": True, "thinking_budget": 20},
    },
    "cached_content": "cachedContents/abc",
    "service_tier": "flex",
    "labels": {"myTeam": "blue"},
}


def test_camel_case_becomes_snake_case_at_every_level_but_not_in_the_users_data() -> None:
    asked = read(GOOGLE, strict=True)
    assert asked.body == CANONICAL
    assert not asked.flat


def test_snake_case_is_understood_just_as_well() -> None:
    assert read(CANONICAL, strict=True).body == CANONICAL


def test_both_spellings_may_be_mixed_key_by_key() -> None:
    mixed = nested(generationConfig={"top_p": 0.1, "topK": 3}, system_instruction={"parts": [{"text": "x"}]})
    assert read(mixed, strict=True).config == {"top_p": 0.1, "top_k": 3}


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 40),
        "candidate_count": st.integers(1, 8),
        "max_output_tokens": st.integers(1, 1000),
        "stop_sequences": st.lists(st.text(max_size=3), min_size=1, max_size=3),
        "response_modalities": st.just(["TEXT"]),
    },
)


@given(SETTINGS, st.text(max_size=40))
def test_the_same_question_has_the_same_identity_in_every_dialect(settings: dict[str, Any], text: str) -> None:
    camel = {name: key for key, field in FIELDS["generation"].items() for name in [field.name] if "_" not in key}
    asked = [
        read(nested(text, generation_config=settings)),
        read(nested(text, generationConfig={camel[name]: value for name, value in settings.items()})),
        read(flat(text, **settings)),
        read(flat(text, **settings), flat=True),
        read({**nested(text), "safetySettings": [], **settings}),
    ]
    assert len({each.identity() for each in asked}) == 1
    assert [each.config for each in asked] == [asked[0].config] * len(asked)


def test_settings_on_top_or_a_stream_make_a_body_flat() -> None:
    assert read(flat()).flat
    assert read({**nested(), "temperature": 1}).flat
    assert read(nested(), flat=False).flat is False
    assert read(flat(), flat=True).flat


def test_a_setting_on_top_is_the_stronger_one() -> None:
    assert read({**nested(generation_config={"top_p": 0.1, "top_k": 2}), "top_p": 0.9}).config == {
        "top_p": 0.9,
        "top_k": 2,
    }


def test_the_stream_flag_is_read_and_required_where_the_path_says_so() -> None:
    assert read({**nested(), "stream": True}).stream
    assert not read(flat()).stream
    assert "requires it" in refusal_of(nested(), flat=True)["message"]


def test_strict_refuses_every_unknown_name_with_its_place() -> None:
    error = refusal_of(
        {**flat(), "contents": [{"parts": [{"text": "x", "tExt": 1}]}], "generationConfig": {"foo": 1}}, strict=True
    )
    assert error["message"].split("\n") == [
        'Invalid JSON payload received. Unknown name "stream": Cannot find field.',
        "Invalid JSON payload received. Unknown name \"tExt\" at 'contents[0].parts[0]': Cannot find field.",
        "Invalid JSON payload received. Unknown name \"foo\" at 'generation_config': Cannot find field.",
    ]
    violations = error["details"][0]["fieldViolations"]
    assert [each.get("field") for each in violations] == [None, "contents[0].parts[0]", "generation_config"]


def test_strict_refuses_settings_on_top() -> None:
    assert 'Unknown name "temperature"' in refusal_of({**nested(), "temperature": 1}, strict=True)["message"]


def test_lenient_ignores_unknown_names() -> None:
    assert read({**nested(), "foo": 1, "contents": [{"parts": [{"text": "x"}], "bar": 2}]}).body == {
        "contents": [{"parts": [{"text": "x"}]}]
    }


@pytest.mark.parametrize("raw", [b"", b"{", b"nope", b'{"contents": [}', b"\xff\xfe", b'{"a": NaN}'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    assert refusal_of(raw)["message"].startswith("Invalid JSON payload received.")


@pytest.mark.parametrize("given_body", [[], "text", 3, None, [{"contents": []}]])
def test_only_an_object_is_a_request(given_body: Any) -> None:
    assert "Root element must be a message" in refusal_of(given_body)["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "* GenerateContentRequest.contents: contents is not specified\n"),
        ({"contents": []}, "* GenerateContentRequest.contents: contents is not specified\n"),
        ({"contents": None}, "* GenerateContentRequest.contents: contents is not specified\n"),
        ({"contents": "hi"}, "Invalid value at 'contents' (content), \"hi\""),
        ({"contents": ["hi"]}, "Invalid value at 'contents[0]' (content), \"hi\""),
        ({"contents": [{"parts": [{"text": 5}]}]}, "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5"),
        (nested(generationConfig=[]), "Invalid value at 'generation_config' (generation), []"),
        (
            nested(generationConfig={"topP": "high"}),
            "Invalid value at 'generation_config.top_p' (TYPE_FLOAT), \"high\"",
        ),
        (nested(generationConfig={"seed": 1.5}), "Invalid value at 'generation_config.seed' (TYPE_INT32), 1.5"),
        (nested(store="yes"), "Invalid value at 'store' (TYPE_BOOL), \"yes\""),
        (
            nested(generationConfig={"stopSequences": [1]}),
            "Invalid value at 'generation_config.stop_sequences' (TYPE_STRING), [1]",
        ),
        (
            nested(generationConfig={"responseSchema": []}),
            "Invalid value at 'generation_config.response_schema' (TYPE_MESSAGE), []",
        ),
        (nested(store=1), "Invalid value at 'store' (TYPE_BOOL), 1"),
        (nested(generationConfig={"topP": True}), "Invalid value at 'generation_config.top_p' (TYPE_FLOAT), true"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(body: Any, message: str) -> None:
    assert refusal_of(body)["message"] == message


@pytest.mark.parametrize(
    "config",
    [{"candidateCount": 9}, {"candidateCount": 0}, {"maxOutputTokens": 0}, {"temperature": 2.5}, {"temperature": -1}],
)
def test_a_setting_out_of_range_is_refused(config: dict[str, Any]) -> None:
    assert "generation_config" in refusal_of(nested(generationConfig=config))["message"]


def test_a_flat_body_with_a_broken_nested_config_is_refused_not_crashed_on() -> None:
    assert "generation_config" in refusal_of({**flat(), "temperature": 1, "generationConfig": [1]})["message"]


def test_integers_may_be_text_or_whole_floats_as_in_the_json_of_protobuf() -> None:
    config = read(nested(generationConfig={"maxOutputTokens": "12", "seed": 3.0, "candidateCount": 2})).config
    assert config == {"max_output_tokens": 12, "seed": 3, "candidate_count": 2}


def test_null_is_unset() -> None:
    assert read(nested(generationConfig={"topP": None}, tools=None)).body == nested()


def test_one_object_stands_for_a_list_of_one() -> None:
    asked = read({"contents": {"parts": {"text": "hi"}}, "system_instruction": {"parts": {"text": "short"}}})
    assert asked.body["contents"] == [{"parts": [{"text": "hi"}]}]
    assert asked.text == "short\nhi"


def test_the_prompt_is_the_text_of_the_users_last_turn() -> None:
    asked = read(GOOGLE)
    assert asked.prompt == "And?"
    assert asked.text == "Be brief.\nSee\nAnd?"


def test_without_a_turn_of_the_user_the_last_turn_is_the_prompt() -> None:
    assert read({"contents": [{"role": "model", "parts": [{"text": "I"}]}]}).prompt == "I"


def test_counting_understands_both_forms_and_prefers_the_whole_request() -> None:
    plain = read_count(orjson.dumps({"contents": [{"parts": [{"text": "a"}]}]}), strict=True)
    whole = {
        "model": "models/m",
        "contents": [{"parts": [{"text": "b"}]}],
        "systemInstruction": {"parts": [{"text": "s"}]},
    }
    both = read_count(
        orjson.dumps({"contents": [{"parts": [{"text": "a"}]}], "generateContentRequest": whole}), strict=True
    )
    snake = read_count(orjson.dumps({"generate_content_request": whole}), strict=True)
    assert plain.text == "a"
    assert both.text == snake.text == "s\nb"


@pytest.mark.parametrize("body", [{}, {"contents": []}, {"generateContentRequest": {}}, {"foo": 1}])
def test_counting_nothing_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read_count(orjson.dumps(body), strict=True)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["contents", "parts", "text", "tools", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_any_json_is_read_or_refused_with_400(body: Any, strict: bool) -> None:
    refused = 200
    try:
        read_request(orjson.dumps(body), strict=strict)
    except Unreadable as unreadable:
        refused = unreadable.refusal.status
    assert refused in (200, 400)
