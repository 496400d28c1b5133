"""What does a value say that may stand as JSON text? A table of strings can carry objects and lists no other way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_JSON_STARTS = ("{", "[")
_MAY_BE_TEXT = frozenset({"system_instruction", "systemInstruction"})


def decoded(name: str, value: Any) -> Any:
    """Read text that begins as an object or a list does.

    Args:
        name: of the column, for messages; one that may hold any text is left as it is where it is no JSON.
        value: as the file has it.

    Raises:
        ValueError: it begins as JSON and is none.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(_JSON_STARTS):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if name in _MAY_BE_TEXT:
            return value
        raise ValueError(f"{name}: not JSON: {error.msg}") from None


def decoded_object(name: str, value: Any) -> Mapping[str, Any]:
    """Give an object, also where it stands as JSON text.

    Raises:
        ValueError: it is none.
    """
    value = decoded(name, value)
    if not isinstance(value, Mapping):
        found = "null" if value is None else type(value).__name__
        raise ValueError(f"{name}: expected an object, found {found}")  # noqa: TRY004  a row's fault, told like the others
    return value


def glimpsed(value: Any) -> Any:
    """Read JSON text where it is some; else the value as it is."""
    try:
        return decoded("", value)
    except ValueError:
        return value
