from __future__ import annotations

import copy
import enum
from typing import Annotated, Any, Literal

import jsonschema_rs
import orjson
import pydantic
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.spelling import to_camel, to_snake
from batcher.prompts.openapi import said_in_openapi

names = st.sampled_from(["city", "unit price", "anyOf", "maxItems", "type", "ü"])
told = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=3),
        "description": st.text(max_size=3),
        "deprecated": st.booleans(),
        "default": st.none() | st.just([None]),
    },
)


def typed(kind: str, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=optional)


small = st.integers(0, 3)
leaves = st.one_of(
    typed("string", minLength=small, maxLength=st.integers(4, 9), pattern=st.just("^a"), format=st.just("date-time")),
    typed("string", enum=st.lists(st.sampled_from("abc"), min_size=1, unique=True)),
    typed("integer", minimum=small, maximum=st.integers(4, 9), format=st.just("int32")),
    typed("number", minimum=st.just(0.5)),
    typed("boolean"),
)


def over(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, small)
    objects = st.dictionaries(names, inner, min_size=1, max_size=3).flatmap(
        lambda properties: st.builds(
            lambda required, closed: {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": closed,
            },
            st.lists(st.sampled_from(list(properties)), unique=True),
            st.booleans(),
        )
    )
    choices = st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=2, max_size=3))
    nullable = st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner)
    return st.one_of(arrays, objects, choices, nullable)


sayable = st.recursive(st.builds(lambda a, b: a | b, leaves, told), over, max_leaves=6)


def in_json_schema(openapi: dict[str, Any]) -> dict[str, Any]:
    """Read the subset back: an independent, small inverse."""
    names = {
        "min_length": "minLength", "max_length": "maxLength", "min_items": "minItems", "max_items": "maxItems",
        "min_properties": "minProperties", "max_properties": "maxProperties",
    }  # fmt: skip
    schema = {names.get(key, key): value for key, value in openapi.items()}
    schema.pop("property_ordering", None)
    nullable = schema.pop("nullable", False)
    if "type" in schema:
        schema["type"] = schema["type"].lower()
    if "any_of" in schema:
        schema["anyOf"] = [in_json_schema(each) for each in schema.pop("any_of")]
    if "items" in schema:
        schema["items"] = in_json_schema(schema["items"])
    if "properties" in schema:
        schema["properties"] = {name: in_json_schema(each) for name, each in schema["properties"].items()}
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 12) | st.sampled_from([0.25, 1.5, "", "a", "abc", "abcdefghij", "b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(sayable, st.lists(values, min_size=1, max_size=8))
def test_what_is_said_takes_the_same_values(schema: dict[str, Any], tried: list[Any]) -> None:
    as_given = copy.deepcopy(schema)
    ours = jsonschema_rs.validator_for(in_json_schema(said_in_openapi(schema)))
    theirs = jsonschema_rs.validator_for(_open(schema))

    for value in tried:
        assert ours.is_valid(value) == theirs.is_valid(value), value
    assert schema == as_given


def _open(node: Any) -> Any:
    """The same schema without `additionalProperties`: closed objects go without saying there."""
    if isinstance(node, list):
        return [_open(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        node = {name: value for name, value in node.items() if name != "additionalProperties"}
        return node | {"properties": {name: _open(each) for name, each in node["properties"].items()}}
    return {name: _open(value) for name, value in node.items()}


@given(sayable)
def test_the_apis_own_sdk_knows_every_field_and_the_spelling_survives_the_wire(schema: dict[str, Any]) -> None:
    said = said_in_openapi(schema)

    types.Schema.model_validate(said)  # it forbids fields that it does not know
    assert to_snake({"response_schema": to_camel({"response_schema": said})["responseSchema"]}) == {
        "response_schema": said
    }
    assert orjson.dumps(said)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Item(pydantic.BaseModel):
    name: str
    count: Annotated[int, pydantic.Field(gt=0, lt=10)] = 1


class Order(pydantic.BaseModel):
    """What was ordered."""

    model_config = pydantic.ConfigDict(extra="forbid")
    items: list[Item]
    main: Item = pydantic.Field(description="the first one")
    note: str | None = None
    colour: Colour = Colour.RED
    kind: Literal["order"] = "order"
    tag: Literal["a", "b"] | None = None
    size: int | str = 0


def test_a_pydantic_model_is_said_with_its_definitions_in_place() -> None:
    item = {
        "type": "OBJECT",
        "title": "Item",
        "properties": {
            "name": {"type": "STRING", "title": "Name"},
            "count": {"type": "INTEGER", "title": "Count", "default": 1, "minimum": 1, "maximum": 9},
        },
        "property_ordering": ["name", "count"],
        "required": ["name"],
    }
    assert said_in_openapi(Order.model_json_schema()) == {
        "type": "OBJECT",
        "title": "Order",
        "description": "What was ordered.",
        "properties": {
            "items": {"type": "ARRAY", "title": "Items", "items": item},
            "main": item | {"description": "the first one"},
            "note": {"type": "STRING", "title": "Note", "nullable": True},
            "colour": {"type": "STRING", "title": "Colour", "default": "red", "enum": ["red", "green"]},
            "kind": {"type": "STRING", "title": "Kind", "default": "order", "enum": ["order"]},
            "tag": {"type": "STRING", "title": "Tag", "enum": ["a", "b"], "nullable": True},
            "size": {"any_of": [{"type": "INTEGER"}, {"type": "STRING"}], "title": "Size", "default": 0},
        },
        "property_ordering": ["items", "main", "note", "colour", "kind", "tag", "size"],
        "required": ["items", "main"],
    }


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["string", "null"], "minLength": 1}, {"type": "STRING", "min_length": 1, "nullable": True}),
        (
            {"type": ["string", "integer"], "minLength": 1, "maximum": 3},
            {"any_of": [{"type": "STRING", "min_length": 1}, {"type": "INTEGER", "maximum": 3}]},
        ),
        ({"type": "null"}, {"type": "NULL"}),
        ({"anyOf": [{"type": "null"}]}, {"type": "NULL"}),
        ({"enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": "STRING", "enum": ["a"]}),
        ({"type": "integer", "exclusiveMinimum": 0.5}, {"type": "INTEGER", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 3}, {"type": "INTEGER", "maximum": 2}),
        ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "STRING", "title": "T"}),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"any_of": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True},
        ),
        (
            {"properties": {"b": {"type": "string"}, "a": {"type": "string"}}, "propertyOrdering": ["a", "b"]},
            {
                "type": "OBJECT",
                "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}},
                "property_ordering": ["a", "b"],
            },
        ),
    ],
)
def test_the_small_print(schema: dict[str, Any], said: dict[str, Any]) -> None:
    assert said_in_openapi(schema) == said


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "format": "email"}, "$.format as 'email': cannot be said in response_schema"),
        ({"type": "integer", "multipleOf": 2}, "$.multipleOf: cannot be said in response_schema"),
        ({"type": "number", "exclusiveMinimum": 0}, "$.exclusiveMinimum: cannot be said in response_schema"),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": 1},
            "$.exclusiveMinimum: cannot be said in response_schema",
        ),
        ({"type": "integer", "enum": [1, 2]}, "$.enum: cannot be said in response_schema"),
        ({"enum": ["a", 1]}, "$: has no type, which response_schema cannot say"),
        ({"type": "string", "enum": ["a", 1]}, "$.enum with 1, which is no text: cannot be said in response_schema"),
        ({"type": "array"}, "$: is an array without items, which response_schema cannot say"),
        ({"type": "array", "items": True}, "$.items: found true, which response_schema cannot say"),
        ({"type": "array", "items": {}}, "$.items: has no type, which response_schema cannot say"),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
            "$.prefixItems: cannot be said in response_schema",
        ),
        ({"type": "object"}, "$: is an object without properties, which response_schema cannot say"),
        (
            {"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            "$.additionalProperties: cannot be said in response_schema",
        ),
        (
            {"properties": {"a": {"type": "string"}}, "required": ["b"]},
            "$.required of 'b', which is not among the properties: cannot be said in response_schema",
        ),
        (
            {"properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}},
            "$.properties.a.uniqueItems: cannot be said in response_schema",
        ),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, "$.allOf: cannot be said in response_schema"),
        ({"allOf": [True]}, "$.allOf: cannot be said in response_schema"),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}], "minLength": 1},
            "$.minLength beside anyOf: cannot be said in response_schema",
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "string", "not": {"const": ""}}]},
            "$.anyOf[1].not: cannot be said in response_schema",
        ),
        (
            {"$ref": "#/$defs/A", "minLength": 1, "$defs": {"A": {"type": "string"}}},
            "$.minLength beside $ref: cannot be said in response_schema",
        ),
        (
            {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
            "$.properties.next.$ref: #/$defs/Node contains itself, which response_schema cannot say",
        ),
        ({"$ref": "#item"}, "$.$ref: '#item' is not a place in this schema, such as '#/$defs/Item'"),
        ({"$ref": "#/$defs/Gone"}, "$.$ref: '#/$defs/Gone' leads nowhere"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_and_place(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        said_in_openapi(schema)
    assert str(refused.value) == message
