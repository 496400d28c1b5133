from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.answers import Answer, answer, spoilt
from batcher.emulator.faults import FaultKind
from batcher.emulator.usage import of_request, text_tokens
from tests.emulator.builders import MODEL, flat, nested, read

PROMPTS = st.text(st.characters(codec="utf-8"), max_size=100)


def answered(body: dict[str, Any], *, seed: int = 0, model: str = MODEL, thinks: bool = True) -> Answer:
    return answer(read(body), model=model, seed=seed, thinks=thinks)


def text(body: dict[str, Any], **options: Any) -> str | None:
    return answered(body, **options).candidates[0].text


@given(PROMPTS, st.integers(0, 2**63), st.integers(1, 4))
def test_the_same_question_has_the_same_answer_in_both_dialects(prompt: str, seed: int, count: int) -> None:
    first = answered(nested(prompt, generationConfig={"candidateCount": count}), seed=seed)
    assert answered(flat(prompt, candidate_count=count), seed=seed) == first
    assert len(first.candidates) == count


@given(PROMPTS, st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_a_limit_holds_for_text_and_thoughts_together(prompt: str, most: int, count: int, thinks: bool) -> None:
    found = answered(nested(prompt, generationConfig={"maxOutputTokens": most, "candidateCount": count}), thinks=thinks)
    assert all(each.tokens <= most for each in found.candidates)
    assert found.usage.billed_output <= most * count
    whole = answered(nested(prompt, generationConfig={"candidateCount": count}))
    for cut, full in zip(found.candidates, whole.candidates, strict=True):
        assert cut.finish == ("STOP" if full.tokens <= most else "MAX_TOKENS")
        assert (full.text or "").startswith(cut.text or "")


@given(PROMPTS, st.integers(1, 8))
def test_candidates_tokens_are_the_sum_over_all_candidates(prompt: str, count: int) -> None:
    found = answered(nested(prompt, generationConfig={"candidateCount": count}))
    assert found.usage.candidates == sum(text_tokens(each.text or "") for each in found.candidates)


def test_a_limit_cuts_the_same_text_rather_than_writing_another() -> None:
    whole = text(nested("Tell me about whales and their songs."))
    cut = answered(nested("Tell me about whales and their songs.", generationConfig={"maxOutputTokens": 5})).candidates[
        0
    ]
    assert whole is not None
    assert (cut.text, cut.finish, cut.tokens) == (whole[:20], "MAX_TOKENS", 5)


def test_another_seed_or_model_answers_differently_where_there_is_no_right_answer() -> None:
    prose = nested("Tell me about whales, fjords, glaciers and lighthouses.")
    assert len({text(prose, seed=seed) for seed in range(20)}) > 10
    assert len({text(prose, model=f"gemini-{n}") for n in range(20)}) > 10
    assert {text(nested("What is 17 * 23?"), seed=seed) for seed in range(20)} == {"391"}


def test_several_candidates_differ() -> None:
    found = answered(nested("Tell me about whales.", generationConfig={"candidateCount": 8}))
    assert len({each.text for each in found.candidates}) == 8


def test_a_stop_sequence_ends_the_text_before_it() -> None:
    body = nested("Echo: one two three", generationConfig={"stopSequences": ["three", " two", ""]})
    assert text(body) == "one"
    assert answered(body).candidates[0].finish == "STOP"


def test_a_text_that_stops_at_once_is_no_text() -> None:
    found = answered(nested("Echo: one", generationConfig={"stopSequences": ["o"]})).candidates[0]
    assert (found.text, found.tokens) == (None, 0)


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}, "why": {"type": "string"}},
    "required": ["answer", "why"],
}


@pytest.mark.parametrize("name", ["responseSchema", "responseJsonSchema", "response_json_schema"])
def test_a_schema_is_satisfied_and_the_answer_is_in_it(name: str) -> None:
    config = {"responseMimeType": "application/json", name: SCHEMA}
    value = orjson.loads(text(nested("What is 17 * 23?", generationConfig=config)) or "")
    jsonschema_rs.validate(SCHEMA, value)
    assert value["answer"] == 391


def test_json_without_a_schema_is_still_json() -> None:
    config = {"responseMimeType": "application/json"}
    assert orjson.loads(text(nested("What is 2 + 2?", generationConfig=config)) or "") == {"answer": "4"}


def test_an_enum_is_answered_with_one_of_its_values() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["whale", "shark"]}}
    assert text(nested("It is a whale.", generationConfig=config)) == "whale"


CALLING: dict[str, Any] = {
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
                },
                {
                    "name": "noon",
                    "parametersJsonSchema": {"type": "object", "properties": {"hour": {"type": "integer"}}},
                },
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
}


def test_mode_any_calls_a_declared_function_with_arguments_of_its_schema() -> None:
    calls = [answered(nested(f"Weather in Oslo? {n}", **CALLING)).candidates[0] for n in range(20)]
    assert {each.call.name for each in calls if each.call} == {"weather", "noon"}
    for each in calls:
        assert each.call is not None
        assert set(each.call.args) == ({"city"} if each.call.name == "weather" else {"hour"})
        assert (each.text, each.finish) == (None, "STOP")
        assert each.tokens > 0


def test_only_allowed_functions_are_called() -> None:
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["noon"]}}
    for n in range(10):
        call = answered(nested(f"{n}", **{**CALLING, "toolConfig": config})).candidates[0].call
        assert call is not None
        assert call.name == "noon"


@pytest.mark.parametrize("mode", ["AUTO", "NONE"])
def test_other_modes_answer_with_text(mode: str) -> None:
    found = answered(nested("hi", **{**CALLING, "toolConfig": {"functionCallingConfig": {"mode": mode}}})).candidates[0]
    assert found.call is None
    assert found.text


def test_a_call_that_does_not_fit_into_the_limit_is_not_made() -> None:
    found = answered(nested("hi", **CALLING, generationConfig={"maxOutputTokens": 1})).candidates[0]
    assert (found.call, found.text, found.finish, found.tokens) == (None, None, "MAX_TOKENS", 0)


def test_thoughts_are_told_when_asked_for() -> None:
    assert answered(nested()).candidates[0].thought is None
    body = nested(generationConfig={"thinkingConfig": {"includeThoughts": True}})
    assert answered(body).candidates[0].thought
    off = nested(generationConfig={"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 0}})
    assert answered(off).candidates[0].thought is None
    assert answered(off).usage.thoughts == 0


def test_thoughts_that_cannot_be_told_are_not_billed() -> None:
    assert answered(nested(), thinks=True).usage.thoughts > 0
    assert answered(nested(), thinks=False).usage.thoughts == 0
    assert answered(nested(), thinks=False).candidates == answered(nested(), thinks=True).candidates


def test_log_probabilities_and_searches_come_when_asked_for() -> None:
    plain = answered(nested("Where do whales sleep?"))
    assert (plain.candidates[0].avg_logprobs, plain.searched) == (None, None)
    asked = answered(
        nested("Where do whales sleep?", tools=[{"googleSearch": {}}], generationConfig={"responseLogprobs": True})
    )
    assert asked.candidates[0].avg_logprobs is not None
    assert -1 <= asked.candidates[0].avg_logprobs <= 0
    assert asked.searched == "whales sleep"


def test_tokens_that_were_counted_already_are_not_counted_again() -> None:
    asked = read(nested("Hello"))
    counted = replace(of_request(asked), prompt=999)
    assert answer(asked, model=MODEL, seed=0, request_usage=counted).usage.prompt == 999


WHOLE = answered(nested("Tell me about whales.", generationConfig={"candidateCount": 2}))


@pytest.mark.parametrize(
    ("kind", "finish"),
    [
        (FaultKind.SAFETY, "SAFETY"),
        (FaultKind.RECITATION, "RECITATION"),
        (FaultKind.OTHER, "OTHER"),
        (FaultKind.NEW_REASON, "QUIET_HOURS"),
        (FaultKind.MAX_TOKENS_EMPTY, "MAX_TOKENS"),
    ],
)
def test_a_withheld_candidate_has_a_reason_and_nothing_else(kind: FaultKind, finish: str) -> None:
    found = spoilt(WHOLE, kind)
    assert [(each.finish, each.text, each.tokens) for each in found.candidates] == [(finish, None, 0)] * 2
    assert found.usage.candidates == 0
    assert found.usage.thoughts == (WHOLE.usage.thoughts if kind is FaultKind.MAX_TOKENS_EMPTY else 0)


def test_a_blocked_prompt_has_no_candidates_and_says_why() -> None:
    found = spoilt(WHOLE, FaultKind.BLOCKED)
    assert (found.candidates, found.block_reason) == ((), "PROHIBITED_CONTENT")
    assert (found.usage.billed_input, found.usage.billed_output) == (WHOLE.usage.billed_input, 0)


def test_an_empty_answer_says_nothing_at_all() -> None:
    found = spoilt(WHOLE, FaultKind.EMPTY)
    assert (found.candidates, found.block_reason, found.usage.billed_output) == ((), None, 0)


@given(PROMPTS, st.integers(1, 300), st.integers(1, 3), st.booleans())
def test_a_full_answer_takes_all_that_the_request_allows(prompt: str, most: int, count: int, thinks: bool) -> None:
    body = nested(prompt, generationConfig={"maxOutputTokens": most, "candidateCount": count})
    whole = answered(body, thinks=thinks)
    found = spoilt(whole, FaultKind.FULL_OUTPUT)
    assert found.usage.billed_output == most * count
    assert found.usage.thoughts == whole.usage.thoughts
    assert found.usage.candidates == sum(text_tokens(each.text or "") for each in found.candidates)
    assert {each.finish for each in found.candidates} == {"MAX_TOKENS"}


def test_a_reached_limit_leaves_half_of_the_text() -> None:
    found = spoilt(WHOLE, FaultKind.MAX_TOKENS)
    for cut, full in zip(found.candidates, WHOLE.candidates, strict=True):
        assert cut.text
        assert full.text
        assert full.text.startswith(cut.text)
        assert (cut.finish, cut.tokens) == ("MAX_TOKENS", full.tokens // 2)
    assert found.usage.candidates == sum(each.tokens for each in found.candidates)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_no_fault_changes_what_the_input_costs(kind: FaultKind) -> None:
    assert spoilt(WHOLE, kind).usage.billed_input == WHOLE.usage.billed_input


@pytest.mark.parametrize("kind", [FaultKind.SLOW, FaultKind.CUT, FaultKind.CUT_CLEAN, FaultKind.DROP_PAID])
def test_a_fault_of_the_wire_leaves_the_answer_whole(kind: FaultKind) -> None:
    assert spoilt(WHOLE, kind) is WHOLE


FORMS = [
    {"type": "object", "properties": {"city": {"type": "string"}, "count": {"type": "integer"}}, "required": ["city"]},
    {"type": "object", "properties": {"inner": {"type": "object", "properties": {"a": {"type": "boolean"}}}}},
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    {"type": "string"},
    {"type": "number"},
    {"enum": ["red", "green"]},
]


@pytest.mark.parametrize("form", FORMS)
@given(prompt=PROMPTS)
def test_an_answer_in_json_can_be_spoilt_as_json_and_as_what_was_asked_for(form: dict[str, Any], prompt: str) -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": form}
    whole = answered(nested(prompt, generationConfig=config))
    broken, other = spoilt(whole, FaultKind.BAD_JSON), spoilt(whole, FaultKind.MISMATCH)

    assert jsonschema_rs.is_valid(form, orjson.loads(whole.candidates[0].text or ""))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(broken.candidates[0].text or "")
    assert not jsonschema_rs.is_valid(form, orjson.loads(other.candidates[0].text or ""))
    for found in (broken, other):
        assert found.candidates[0].finish == "STOP"
        assert found.usage.candidates == found.candidates[0].tokens == text_tokens(found.candidates[0].text or "")


def test_a_call_stays_a_call_where_text_is_spoilt() -> None:
    tools = [{"functionDeclarations": [{"name": "look_up"}]}]
    body = nested("Hello", tools=tools, toolConfig={"functionCallingConfig": {"mode": "ANY"}})

    assert spoilt(answered(body), FaultKind.BAD_JSON) == answered(body)
