from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator import chance
from batcher.emulator.schemas import Material, text_for_enum, value_for


def material(answer: str = "blue whale", *, drawn: int = 1) -> Material:
    return Material(answer=answer, words=("ocean", "whale"), chance=chance.stream(drawn))


def made(schema: dict[str, Any], answer: str = "blue whale", *, drawn: int = 1) -> Any:
    return value_for(schema, material(answer, drawn=drawn))


BOUNDS = st.integers(-1000, 1000)
SCALARS = st.one_of(
    st.builds(lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span}, BOUNDS, st.integers(0, 50)),
    st.builds(lambda low, span: {"type": "number", "minimum": low, "maximum": low + span}, BOUNDS, st.integers(0, 50)),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 1}, BOUNDS),
    st.builds(lambda low: {"type": "integer", "exclusiveMinimum": low}, BOUNDS),
    st.builds(lambda high: {"type": "integer", "maximum": high}, BOUNDS),
    st.builds(lambda step: {"type": "integer", "multipleOf": step, "minimum": 1}, st.integers(1, 40)),
    st.builds(
        lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=5) | st.integers(), min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, st.text(max_size=5) | st.integers() | st.none()),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": ["null", "integer"]}, {}]
    ),
    st.sampled_from(
        [{"type": "string", "format": each} for each in ("date", "date-time", "email", "uuid", "ipv4", "uri")]
    ),
)
NAMES = st.sampled_from(["answer", "score", "items", "name", "why"])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, count: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:count],
            "additionalProperties": False,
        },
        st.dictionaries(NAMES, inner, max_size=4),
        st.integers(0, 4),
    )


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda items, least, span: {"type": "array", "items": items, "minItems": least, "maxItems": least + span},
        inner,
        st.integers(0, 4),
        st.integers(0, 3),
    )


SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: objects(inner) | arrays(inner) | st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    max_leaves=10,
)


@given(SCHEMAS, st.sampled_from(["blue whale", "391", "-2.5", ""]), st.integers(0, 2**64 - 1))
def test_a_value_satisfies_its_schema(schema: dict[str, Any], answer: str, drawn: int) -> None:
    value = made(schema, answer, drawn=drawn)
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(value)
    assert made(schema, answer, drawn=drawn) == value


def test_the_openapi_subset_is_understood_in_both_spellings() -> None:
    camel = {
        "type": "OBJECT",
        "properties": {
            "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "2", "maxItems": "2"},
            "when": {"type": "STRING", "format": "date-time", "nullable": True},
            "code": {"anyOf": [{"type": "STRING", "maxLength": "3"}, {"type": "INTEGER"}]},
        },
        "required": ["tags", "when"],
        "propertyOrdering": ["when", "code", "tags"],
    }
    snake = {
        "type": "OBJECT",
        "properties": {
            "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "min_items": "2", "max_items": "2"},
            "when": {"type": "STRING", "format": "date-time", "nullable": True},
            "code": {"any_of": [{"type": "STRING", "max_length": "3"}, {"type": "INTEGER"}]},
        },
        "required": ["tags", "when"],
        "property_ordering": ["when", "code", "tags"],
    }
    value = made(camel)
    assert list(value) == ["when", "code", "tags"]
    assert len(value["tags"]) == 2
    assert len(value["code"]) <= 3
    assert made(snake) == value


def test_properties_keep_their_order_without_an_ordering() -> None:
    assert list(made({"type": "object", "properties": {"z": {"type": "null"}, "a": {"type": "null"}}})) == ["z", "a"]


def test_a_name_that_is_required_but_not_described_is_there() -> None:
    assert "ghost" in made({"type": "object", "required": ["ghost"]})


def test_references_are_followed() -> None:
    schema = {
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
        "type": "object",
        "properties": {
            "at": {"$ref": "#/$defs/point"},
            "both": {"allOf": [{"$ref": "#/$defs/point"}, {"required": ["y"]}]},
        },
        "required": ["at", "both"],
    }
    value = made(schema)
    jsonschema_rs.validate(schema, value)
    assert isinstance(value["at"]["x"], int)
    assert set(value["both"]) == {"x", "y"}


def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name"],
            }
        },
        "$ref": "#/$defs/node",
    }
    jsonschema_rs.validate(schema, made(schema))


def test_references_that_lead_nowhere_come_to_an_end() -> None:
    assert made({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}) is None
    assert made({"$ref": "#"}) == "blue whale"
    assert made({"$ref": "#/nowhere/at/all"}) == "blue whale"


def test_the_answer_goes_where_a_name_asks_for_it() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}, "topic": {"type": "string"}}}
    value = made(schema, "391")
    assert value["answer"] == "391"
    assert value["topic"] != "391"


@pytest.mark.parametrize(
    ("kind", "answer", "value"), [("integer", "391", 391), ("number", "2.5", 2.5), ("number", "7", 7)]
)
def test_a_number_that_answers_goes_into_number_fields(kind: str, answer: str, value: float) -> None:
    assert made({"type": kind, "maximum": 1000}, answer) == value


def test_a_number_that_does_not_fit_stays_out() -> None:
    assert made({"type": "integer", "maximum": 100}, "391") <= 100
    assert isinstance(made({"type": "integer"}, "2.5"), int)


def test_an_option_that_the_answer_names_is_chosen() -> None:
    assert made({"type": "string", "enum": ["shark", "whale", "tuna"]}) == "whale"


def test_items_of_a_set_differ() -> None:
    schema = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 4},
        "minItems": 4,
        "maxItems": 4,
        "uniqueItems": True,
    }
    assert len(set(made(schema))) == 4


def test_the_first_items_may_have_their_own_schemas() -> None:
    schema = {"type": "array", "prefixItems": [{"const": 1}, {"const": "two"}], "maxItems": 2}
    assert made(schema) == [1, "two"]


def test_an_optional_choice_is_filled_rather_than_null() -> None:
    assert made({"anyOf": [{"type": "null"}, {"const": 5}]}) == 5


def test_what_is_between_a_choice_and_its_option_adds_up() -> None:
    schema = {
        "properties": {"a": {"const": 1}},
        "required": ["a"],
        "oneOf": [{"properties": {"b": {"const": 2}}, "required": ["b"]}],
    }
    assert made(schema) == {"a": 1, "b": 2}


def test_an_enum_is_answered_bare() -> None:
    assert text_for_enum({"type": "STRING", "enum": ["shark", "whale"]}, material()) == "whale"
    assert text_for_enum({"enum": [5]}, material()) == "5"
