"""Where does a `$ref` lead, and when may what it leads to stand in its place?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Keywords that tell a reader something and hold no value to anything."""

_OWN_DATA = frozenset({"const", "enum", "default", "examples", "example"})
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})


def target(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """Follow a reference within a schema, e.g. `#/$defs/Item`.

    Raises:
        ValueError: it leads out of the schema, or nowhere.
    """
    found: Any = root
    if not reference.startswith("#") or (reference[1:] and reference[1] != "/"):
        raise ValueError(f"{reference!r} is not a place in this schema, such as '#/$defs/Item'")
    for step in reference[1:].split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise ValueError(f"{reference!r} leads nowhere")  # noqa: TRY004  a fault of the schema, told like the other
    return found


def with_lone_references(schema: dict[str, Any]) -> dict[str, Any]:
    """Put a definition in the place of every `$ref` that has a description, title or default beside it.

    The API wants a `$ref` to stand alone, and pydantic describes fields beside it. What a definition says of itself
    gives way to what the field says; where it contains itself, the field's words are left out instead.
    """
    spread: dict[str, Any] = _spread(schema, schema, ())
    return spread


def _spread(node: Any, root: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_spread(item, root, inside) for item in node]
    if not isinstance(node, Mapping):
        return node
    beside = {name: value for name, value in node.items() if not name.startswith("$")}
    reference = node.get("$ref")
    if isinstance(reference, str) and beside and beside.keys() <= ANNOTATIONS:
        if reference in inside:
            return {name: value for name, value in node.items() if name not in beside}
        try:
            definition = target(root, reference)
        except ValueError:  # an anchor, or by the schema's own address: left to whoever reads it
            return dict(node)
        return {**_spread(definition, root, (*inside, reference)), **beside}
    return {name: _kept(name, value, root, inside) for name, value in node.items()}


def _kept(name: str, value: Any, root: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    if name in _OWN_DATA:
        return value
    if name in _BY_NAME and isinstance(value, Mapping):
        return {each: _spread(schema, root, inside) for each, schema in value.items()}
    return _spread(value, root, inside)
