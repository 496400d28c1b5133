from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.prompts.schema import AnswerSchema, answer_schema, json_path
from batcher.records import Answer, Candidate
from tests.builders import a_job

SCHEMA = {
    "type": "object",
    "properties": {
        "unit price": {"type": "number", "minimum": 0},
        "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
    "required": ["items"],
}
OPENAPI = {
    "type": "OBJECT",
    "properties": {
        "unit price": {"type": "NUMBER", "minimum": 0},
        "items": {
            "type": "ARRAY",
            "items": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "property_ordering": ["n"]},
        },
    },
    "property_ordering": ["unit price", "items"],
    "required": ["items"],
}


def schema_of(schema: Any = None, **settings: Any) -> AnswerSchema:
    made = answer_schema(a_job(output__schema=SCHEMA if schema is None else schema, **settings))
    assert made is not None
    return made


def refusal(schema: Any = None, **settings: Any) -> JobError:
    with pytest.raises(JobError) as refused:
        schema_of(schema, **settings)
    return refused.value


def answer(text: str) -> Answer:
    return Answer(candidates=(Candidate(index=0, text=text),))


def test_a_job_without_a_schema_has_none() -> None:
    assert answer_schema(a_job()) is None


@pytest.mark.parametrize(
    ("dialect", "field", "sent"),
    [
        ("google", None, {"response_json_schema": SCHEMA}),
        ("flat", None, {"response_schema": OPENAPI}),
        ("google", "response_schema", {"response_schema": OPENAPI}),
        ("flat", "response_json_schema", {"response_json_schema": SCHEMA}),
    ],
)
def test_it_is_sent_as_the_dialect_knows_it_unless_the_job_says_otherwise(
    dialect: str, field: str | None, sent: dict[str, Any]
) -> None:
    made = schema_of(endpoint__dialect=dialect, output__schema_field=field)

    assert made.settings == {"response_mime_type": "application/json"} | sent
    assert made.check(answer("```json\n{}\n```")) is not None


def test_what_is_not_sent_is_asked_for_by_the_prompt_so_that_a_fence_is_forgiven() -> None:
    made = schema_of(output__schema_field="none", generation__response_mime_type="text/plain")

    assert made.settings == {}
    assert made.check(answer('```json\n{"items": []}\n```')) is None
    assert made.check(answer("```json\n{}\n```")) is not None


@pytest.mark.parametrize(
    ("value", "violation"),
    [
        ({"items": []}, None),
        ({"items": [{"n": 1}, {}]}, None),
        ({}, '$: "items" is a required property'),
        ([], '$: [] is not of type "object"'),
        ({"items": [{"n": 1}, {"n": "1"}]}, '$.items[1].n: "1" is not of type "integer"'),
        ({"items": [], "unit price": -1}, "$['unit price']: -1 is less than the minimum of 0"),
    ],
)
def test_a_violation_says_where_and_what(value: Any, violation: str | None) -> None:
    assert schema_of().violation(value) == violation


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["items", "n", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(json_values)
def test_an_answer_passes_exactly_when_its_value_is_valid(value: Any) -> None:
    verdict = schema_of().check(answer(orjson.dumps(value).decode()))

    assert (verdict is None) == jsonschema_rs.is_valid(SCHEMA, value)


def test_a_value_deeper_than_a_validator_goes_is_no_crash() -> None:
    text = '{"items": [], "deep": ' + "[" * 900 + "]" * 900 + "}"

    verdict = schema_of().check(answer(text))

    assert verdict is None or verdict.reason == "schema_mismatch"


def test_as_many_misses_as_the_job_allows() -> None:
    verdict = schema_of(retry__invalid_attempts=7).check(answer("{}"))

    assert verdict is not None
    assert verdict.most == 7


@pytest.mark.parametrize(
    ("steps", "path"),
    [((), "$"), (("a", 0, "b_1"), "$.a[0].b_1"), (("a b", "it's", "é", "1"), """$['a b']["it's"]['é']['1']""")],
)
def test_a_path_is_spelt_as_json_path(steps: tuple[str | int, ...], path: str) -> None:
    assert json_path(steps) == path


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"properties": {"age": {"type": "strin"}}},
            "$.properties.age.type: \"strin\" is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
        ({"$ref": "#/$defs/Gone"}, "$: Pointer '/$defs/Gone' does not exist"),
    ],
)
def test_what_is_no_valid_schema_says_where(schema: dict[str, Any], message: str) -> None:
    assert refusal(schema).message == f"[output] schema: not a valid JSON Schema: {message}"


@pytest.mark.parametrize("reference", ["https://example.com/a.json", "file:///etc/hostname", "beside.json"])
def test_nothing_that_a_schema_refers_to_is_opened(reference: str) -> None:
    assert refusal({"properties": {"a": {"$ref": reference}}}).message == (
        "[output] schema: not a valid JSON Schema: $: it refers to another document, and nothing is fetched;"
        " put it under $defs"
    )


def test_what_the_field_cannot_say_is_refused_with_the_way_out() -> None:
    told = refusal({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, endpoint__dialect="flat")

    assert told.message == "[output] schema: $.uniqueItems: cannot be said in response_schema"
    assert told.hint == (
        'schema_field = "response_json_schema" takes any JSON Schema, where the endpoint knows it; with "none"'
        " none is sent, and answers are validated all the same"
    )


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "generation.response_json_schema",
            {},
            "[generation] response_json_schema: stands beside [output] schema; wanted one of the two",
        ),
        (
            "prompt.overrides",
            {"response_schema": "shape"},
            "[prompt] overrides.response_schema: stands beside [output] schema; wanted one of the two",
        ),
        (
            "generation.response_mime_type",
            "text/plain",
            "[generation] response_mime_type: found 'text/plain', wanted 'application/json' with [output] schema",
        ),
    ],
)
def test_another_schema_in_the_job_is_refused_where_ours_is_sent(setting: str, value: Any, message: str) -> None:
    assert refusal(**{setting: value}).message == message
    schema_of(output__schema_field="none", **{setting: value})


def test_the_jobs_own_mime_type_may_say_the_same() -> None:
    assert schema_of(generation__response_mime_type="application/json").settings["response_json_schema"] == SCHEMA
