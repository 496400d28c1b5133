from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.prompts.references import ANNOTATIONS, target, with_lone_references

DEFS = {
    "Text": {"type": "string", "title": "Text"},
    "Pair": {"type": "array", "items": {"$ref": "#/$defs/Text", "description": "each"}, "maxItems": 2},
    "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node", "description": "more"}}},
}
references = st.sampled_from([f"#/$defs/{name}" for name in DEFS])
odd_names = st.sampled_from(["a", "enum", "$ref"])
beside = st.fixed_dictionaries({}, optional={"description": st.text(max_size=3), "default": st.none()})
leaves = st.one_of(
    st.builds(lambda ref, words: {"$ref": ref, **words}, references, beside),
    st.just({"const": {"$ref": "#/$defs/Text", "title": "no schema"}}),
    st.just({"type": "integer"}),
)
nodes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda each: {"type": "array", "items": each}, inner),
        st.builds(lambda each: {"anyOf": each}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda each: {"properties": each}, st.dictionaries(odd_names, inner, max_size=2)),
    ),
    max_leaves=5,
)
values = st.recursive(
    st.none() | st.integers(0, 1) | st.text(max_size=1) | st.just({"$ref": "#/$defs/Text", "title": "no schema"}),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "enum", "$ref", "next"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def crowded(node: Any, *, of_names: bool = False) -> list[dict[str, Any]]:
    """References with a word beside them, anywhere that a schema may stand."""
    if isinstance(node, list):
        return [found for each in node for found in crowded(each)]
    if not isinstance(node, dict):
        return []
    inner = [
        found
        for name, value in node.items()
        if of_names or name not in {"const", "enum", "default"}
        for found in crowded(value, of_names=not of_names and name in {"properties", "$defs"})
    ]
    is_one = not of_names and isinstance(node.get("$ref"), str) and bool(ANNOTATIONS & node.keys())
    return [node, *inner] if is_one else inner


@given(nodes, st.lists(values, min_size=1, max_size=8))
def test_every_reference_stands_alone_and_nothing_else_is_valid_now(node: dict[str, Any], tried: list[Any]) -> None:
    schema = {**node, "$defs": DEFS} if "$ref" not in node else {"anyOf": [node], "$defs": DEFS}
    before = copy.deepcopy(schema)

    spread = with_lone_references(schema)

    assert crowded(spread) == []
    assert schema == before
    ours, theirs = jsonschema_rs.validator_for(spread), jsonschema_rs.validator_for(schema)
    for value in tried:
        assert ours.is_valid(value) == theirs.is_valid(value)


def test_a_field_keeps_its_own_words_over_those_of_its_definition() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/Text", "title": "A", "default": None}}, "$defs": DEFS}

    assert with_lone_references(schema)["properties"]["a"] == {"type": "string", "title": "A", "default": None}


def test_a_constraint_beside_a_reference_stays_where_it_is() -> None:
    schema = {"$ref": "#/$defs/Text", "minLength": 2, "$defs": {"Text": DEFS["Text"]}}

    assert with_lone_references(schema) == schema


def test_a_reference_by_anchor_is_left_alone() -> None:
    schema = {"items": {"$ref": "#text", "title": "T"}, "$defs": {"Text": {"$anchor": "text", "type": "string"}}}

    assert with_lone_references(schema) == schema


@pytest.mark.parametrize(
    ("reference", "found"),
    [("#", "root"), ("#/$defs/a~1b~0c", "odd name"), ("#/properties/x/items", "deep")],
)
def test_a_pointer_leads_to_its_place(reference: str, found: str) -> None:
    root = {
        "title": "root",
        "$defs": {"a/b~c": {"title": "odd name"}},
        "properties": {"x": {"items": {"title": "deep"}}},
    }
    assert target(root, reference)["title"] == found


@pytest.mark.parametrize("reference", ["other.json", "#anchor", "#/gone", "#/title", "https://example.com/#/a"])
def test_a_pointer_out_of_the_schema_or_to_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=r"is not a place in this schema|leads nowhere"):
        target({"title": "root"}, reference)
