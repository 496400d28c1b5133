"""How are the field names of a request respelled without touching what the user wrote?

The API takes camelCase and snake_case at every level and mixes of both; a few fields hold the user's own JSON, in
which a key is data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_CAPITAL = re.compile(r"[A-Z]")
_SEAM = re.compile(r"_([a-z])")


# Keys repeat from row to row, so each is respelled once; bounded, because a row may bring any key it likes.
@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`maxOutputTokens` -> `max_output_tokens`; undoes `camel` on every name without capitals."""
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name)


@lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """`max_output_tokens` -> `maxOutputTokens`, as proto3's JSON mapping spells it."""
    return _SEAM.sub(lambda found: found[1].upper(), name)


def to_snake(body: Mapping[str, Any]) -> dict[str, Any]:
    """Spell every field in snake_case; fields that hold null are dropped, as proto3 JSON reads null as absent.

    Raises:
        ValueError: a field stands there in both spellings.
    """
    return _respelled(body, _MESSAGE, str, "")


def to_camel(body: Mapping[str, Any]) -> dict[str, Any]:
    """Spell every field in lowerCamelCase, as the API documents them.

    Raises:
        ValueError: a field stands there in both spellings.
    """
    return _respelled(body, _MESSAGE, camel, "")


class _Shape:
    """How one kind of object is walked. None in place of a shape is the user's own JSON: kept as it is.

    A plain class, wired once below, because the shapes refer to each other in circles.
    """

    __slots__ = ("below", "otherwise", "own_names")

    def __init__(self, *, own_names: bool = False) -> None:
        self.below: dict[str, _Shape | None] = {}  # field in snake_case -> shape of its value
        self.otherwise: _Shape | None = None  # shape of the fields that `below` does not name
        self.own_names = own_names  # the keys are the user's, the values are not


_MESSAGE = _Shape()
_CALL = _Shape()
_RESPONSE = _Shape()
_DECLARATION = _Shape()
_SCHEMA = _Shape()
_PROPERTIES = _Shape(own_names=True)

_MESSAGE.otherwise = _CALL.otherwise = _RESPONSE.otherwise = _DECLARATION.otherwise = _MESSAGE
_MESSAGE.below = {
    "function_call": _CALL,
    "tool_call": _CALL,
    "function_response": _RESPONSE,
    "tool_response": _RESPONSE,
    "function_declarations": _DECLARATION,
    "response_schema": _SCHEMA,
    "response_json_schema": None,
    "_response_json_schema": None,
    "schema": None,  # of response_format: JSON Schema
    "labels": None,
    "part_metadata": None,
    "headers": None,  # of mcp_servers: HTTP header names
}
_CALL.below = {"args": None}
_RESPONSE.below = {"response": None}
_DECLARATION.below = {
    "parameters": _SCHEMA,
    "response": _SCHEMA,
    "parameters_json_schema": None,
    "response_json_schema": None,
}
# Unlisted fields of a schema are plain values, or `default` and `example`, which are the user's.
_SCHEMA.below |= dict.fromkeys(("items", "prefix_items", "any_of", "one_of", "all_of"), _SCHEMA)
_SCHEMA.below |= {"additional_properties": _SCHEMA}
_SCHEMA.below |= dict.fromkeys(("properties", "defs", "$defs"), _PROPERTIES)
_PROPERTIES.otherwise = _SCHEMA


def _respelled(message: Mapping[str, Any], shape: _Shape, spell: Callable[[str], str], where: str) -> dict[str, Any]:
    spelled: dict[str, Any] = {}
    for key, value in message.items():
        if value is None:
            continue
        field = key if shape.own_names else snake(key)
        name = key if shape.own_names else spell(field)
        if name in spelled:
            raise ValueError(f"{where}{field}: given twice, in camelCase and in snake_case")
        below = shape.below.get(field, shape.otherwise)
        spelled[name] = value if below is None else _value(value, below, spell, f"{where}{field}")
    return spelled


def _value(value: Any, shape: _Shape, spell: Callable[[str], str], where: str) -> Any:
    if type(value) is str:  # by far the most; asking an abstract class costs three times as much
        return value
    if isinstance(value, Mapping):
        return _respelled(value, shape, spell, where + ".")
    if isinstance(value, (list, tuple)):
        return [_value(item, shape, spell, where) for item in value]
    return value
