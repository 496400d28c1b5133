"""How is a JSON Schema said in `response_schema`, the API's subset of OpenAPI? Exactly, or it is refused by name.

Sources: the API's `Schema` message; that strings may have the formats `enum` and `date-time` only is from its refusals
(400 `only 'enum' and 'date-time' are supported for STRING type`). The subset knows no references, so definitions are
put in their place; that no property beside the listed ones is allowed goes without saying there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from batcher.prompts.references import ANNOTATIONS, target

_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_CARRIED = frozenset({"title", "description", "default"})
_UNSAID = (ANNOTATIONS - _CARRIED) | {"$schema", "$id", "$defs", "definitions", "discriminator", "propertyOrdering"}
_FORMATS = {
    "string": frozenset({"date-time", "enum"}),
    "integer": frozenset({"int32", "int64"}),
    "number": frozenset({"float", "double"}),
}
# Keyword -> its name there, by the type that it is for.
_KEYWORDS: Mapping[str, Mapping[str, str]] = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "integer": {"minimum": "minimum", "maximum": "maximum"},
    "number": {"minimum": "minimum", "maximum": "maximum"},
    "array": {"minItems": "min_items", "maxItems": "max_items"},
    "object": {"minProperties": "min_properties", "maxProperties": "max_properties"},
    "boolean": {},
    "null": {},
}
_OWN: Mapping[str, frozenset[str]] = {
    "string": frozenset({"format", "enum"}),
    "integer": frozenset({"format", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"format"}),
    "array": frozenset({"items"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "boolean": frozenset(),
    "null": frozenset(),
}

Schema = Mapping[str, Any]


def said_in_openapi(schema: Schema) -> dict[str, Any]:
    """Give the schema as `response_schema` takes it, in snake_case, with the order of its properties.

    Raises:
        ValueError: a keyword cannot be said there; the text begins with its path, `$.properties.tags.uniqueItems`.
    """
    return _Saying(schema).said(schema, "$", ())


class _Saying:
    """Remembers the root, for references; `inside` are those that led here."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def said(self, schema: Any, path: str, inside: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            raise ValueError(f"{path}: found {json.dumps(schema)}, which response_schema cannot say")  # noqa: TRY004
        schema, inside = self._resolved(schema, path, inside)
        # A null counts as absent in the API's JSON, and so it does in a canonical request.
        told = {name: schema[name] for name in schema if name in _CARRIED and schema[name] is not None}
        options = [name for name in ("anyOf", "oneOf") if name in schema]
        if options:
            return self._one_of(schema, options[0], path, inside) | told
        types, nullable = _types(schema, path)
        if len(types) > 1:
            _refuse_unknown(schema, types, path)
            several = {"any_of": [self._typed(schema, kind, path, inside) for kind in types]}
            return several | ({"nullable": True} if nullable else {}) | told
        _refuse_unknown(schema, types, path)
        return self._typed(schema, types[0], path, inside) | ({"nullable": True} if nullable else {}) | told

    def _resolved(self, schema: Schema, path: str, inside: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Put definitions in the place of references, also where `allOf` holds nothing but one."""
        while "$ref" in schema or "allOf" in schema:
            key = "$ref" if "$ref" in schema else "allOf"
            value = schema[key]
            if key == "allOf" and (len(value) != 1 or not isinstance(value[0], Mapping)):
                _refuse(f"{path}.allOf")
            if key == "$ref" and value in inside:
                raise ValueError(f"{path}.$ref: {value} contains itself, which response_schema cannot say")
            beside = {name: each for name, each in schema.items() if name != key}
            for name in beside:
                if name not in _CARRIED | _UNSAID:
                    _refuse(f"{path}.{name}", f"beside {key}")
            schema = {**(_target(self._root, value, path) if key == "$ref" else value[0]), **beside}
            inside = (*inside, value) if key == "$ref" else inside
        return schema, inside

    def _one_of(self, schema: Schema, key: str, path: str, inside: tuple[str, ...]) -> dict[str, Any]:
        """Say a choice; the API takes `oneOf` as `anyOf`, and the answer is validated here anyhow."""
        for name in schema:
            if name not in {key} | _CARRIED | _UNSAID:
                _refuse(f"{path}.{name}", f"beside {key}")
        options = [(each, f"{path}.{key}[{at}]") for at, each in enumerate(schema[key])]
        some = [(each, where) for each, where in options if each != {"type": "null"}]
        nullable = {"nullable": True} if len(some) < len(options) else {}
        if not some:
            return {"type": "NULL"}
        if len(some) == 1:
            return self.said(*some[0], inside) | nullable
        return {"any_of": [self.said(each, where, inside) for each, where in some]} | nullable

    def _typed(self, schema: Schema, kind: str, path: str, inside: tuple[str, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {"type": kind.upper()}
        made |= {name: schema[key] for key, name in _KEYWORDS[kind].items() if key in schema}
        if "format" in schema and kind in _FORMATS:
            if schema["format"] not in _FORMATS[kind]:
                _refuse(f"{path}.format", f"as {schema['format']!r}")
            made["format"] = schema["format"]
        match kind:
            case "string":
                return made | _choice(schema, path)
            case "integer":
                return made | _bounds(schema, path)
            case "array":
                return made | {"items": self._items(schema, path, inside)}
            case "object":
                return made | self._object(schema, path, inside)
            case _:
                return made

    def _items(self, schema: Schema, path: str, inside: tuple[str, ...]) -> dict[str, Any]:
        if "items" not in schema:
            raise ValueError(f"{path}: is an array without items, which response_schema cannot say")
        return self.said(schema["items"], f"{path}.items", inside)

    def _object(self, schema: Schema, path: str, inside: tuple[str, ...]) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        if not properties:
            raise ValueError(f"{path}: is an object without properties, which response_schema cannot say")
        if not isinstance(schema.get("additionalProperties", False), bool):
            _refuse(f"{path}.additionalProperties")
        required = schema.get("required") or []
        for name in required:
            if name not in properties:
                _refuse(f"{path}.required", f"of {name!r}, which is not among the properties")
        made: dict[str, Any] = {
            "properties": {
                name: self.said(each, f"{path}.properties.{name}", inside) for name, each in properties.items()
            },
            # Without it the model answers in alphabetical order.
            "property_ordering": list(schema.get("propertyOrdering") or properties),
        }
        return made | ({"required": list(required)} if required else {})


def _types(schema: Schema, path: str) -> tuple[list[str], bool]:
    """Read the types that a value may have, without null, and whether it may be null."""
    named = schema.get("type", _implied(schema))
    every = list(named) if isinstance(named, (list, tuple)) else [named]
    for each in every:
        if each not in _TYPES:
            raise ValueError(f"{path}: has no type, which response_schema cannot say")
    options = _options(schema)
    may_be_null = "type" not in schema or ("null" in every and len(every) > 1)
    nullable = may_be_null and (None in options if options else "type" in schema)
    return [each for each in every if each != "null"] or ["null"], nullable


def _implied(schema: Schema) -> str | None:
    if "properties" in schema:
        return "object"
    if "items" in schema:
        return "array"
    options = [each for each in _options(schema) if each is not None]
    return "string" if options and all(isinstance(each, str) for each in options) else None


def _options(schema: Schema) -> list[Any]:
    options: list[Any] = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return options


def _refuse_unknown(schema: Schema, types: list[str], path: str) -> None:
    known = {"type", *_CARRIED, *_UNSAID}
    for kind in types:
        known |= _KEYWORDS[kind].keys() | _OWN[kind] | ({"const"} if kind == "string" else set())
    for name in schema:
        if name not in known:
            _refuse(f"{path}.{name}")


def _choice(schema: Schema, path: str) -> dict[str, Any]:
    options = [each for each in _options(schema) if each is not None]
    for each in options:
        if not isinstance(each, str):
            _refuse(f"{path}.{'const' if 'const' in schema else 'enum'}", f"with {json.dumps(each)}, which is no text")
    return {"enum": options} if options else {}


def _bounds(schema: Schema, path: str) -> dict[str, Any]:
    """Say bounds that a whole number may not reach by the next one that it may."""
    made: dict[str, Any] = {}
    for key, name in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        bound = schema.get(key)
        if bound is None:
            continue
        if isinstance(bound, bool) or name in schema:
            _refuse(f"{path}.{key}")
        made[name] = math.floor(bound) + 1 if name == "minimum" else math.ceil(bound) - 1
    return made


def _target(root: Schema, reference: str, path: str) -> Schema:
    try:
        return target(root, reference)
    except ValueError as error:
        raise ValueError(f"{path}.$ref: {error}") from None


def _refuse(path: str, how: str = "") -> NoReturn:
    raise ValueError(f"{path}{f' {how}' if how else ''}: cannot be said in response_schema")
