"""Which JSON value satisfies this schema?

Understands the OpenAPI subset of `responseSchema` (upper-case types, nullable, propertyOrdering, counts as text) and
the JSON Schema subset of `responseJsonSchema` ($ref, $defs, const, type lists, prefixItems), keywords in camelCase or
snake_case. Not understood: `pattern`, `not`, `if`; a value may break those.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_DEEPEST = 6
"""Below this only what is required is filled in, so that a schema which contains itself comes to an end."""
_ABYSS = 40
_ANSWER_NAMES = frozenset(
    {"answer", "response", "result", "output", "text", "summary", "translation", "completion", "value"}
)
_FORMATS = {
    "date-time": "2025-06-01T12:00:00Z",
    "date": "2025-06-01",
    "time": "12:00:00Z",
    "duration": "PT90S",
    "uuid": "5b2e4d0c-7c1f-4f0a-9b53-0a6d2f3c1e77",
    "email": "someone@example.com",
    "uri": "https://example.com/page",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What values are made from.

    Attributes:
        answer: the plain text that answers the prompt; goes into fields whose name asks for it, and into numbers
            when it is one.
        words: words of the prompt for every other text.
    """

    answer: str
    words: tuple[str, ...]
    chance: random.Random


class BadSchema(ValueError):  # noqa: N818  it ends in a reply
    """A schema that cannot be followed: a list where an object belongs, a count that is no number."""


def value_for(schema: Mapping[str, Any], material: Material) -> Any:
    """A value that satisfies the schema, made from the material.

    Raises:
        BadSchema: it is not a schema as far as it has to be followed.
    """
    try:
        return _Filler(schema, material).value(schema, name="", depth=0)
    # A schema is the user's own data of any shape: looking at it is checking it, there is no second reader to keep.
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise BadSchema(str(error)) from error


def text_for_enum(schema: Mapping[str, Any], material: Material) -> str:
    """One value of an enum schema, as `text/x.enum` wants it: bare."""
    found = value_for(schema, material)
    return found if isinstance(found, str) else orjson.dumps(found).decode()


def _get(schema: Mapping[str, Any], camel: str, snake: str) -> Any:
    found = schema.get(camel)
    return schema.get(snake) if found is None else found


def _whole(value: Any, default: int) -> int:
    # The JSON mapping of protobuf writes int64 as text: "minItems": "2".
    return default if value is None else int(value)


class _Filler:
    """Fills in one schema; remembers its root for references."""

    def __init__(self, root: Mapping[str, Any], material: Material) -> None:
        self._root = root
        self._material = material
        self._chance = material.chance

    def value(self, schema: Any, *, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _ABYSS:
            return None if depth > _ABYSS else self._string({}, name)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._chosen(schema["enum"])
        whole = self._resolved(schema)
        if whole is not schema:
            return self.value(whole, name=name, depth=depth + 1)
        return self._typed(schema, name, depth)

    def _typed(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema, name)
            case simple:
                return self._simple(schema, simple)

    def _simple(self, schema: Mapping[str, Any], type_name: str) -> Any:
        match type_name:
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._chance.random() < 0.5
            case _:
                return None

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference, a choice or a sum of schemas stands for; the same one where there is none."""
        reference = _get(schema, "$ref", "ref")
        if isinstance(reference, str):
            return self._referred(reference)
        options = _get(schema, "anyOf", "any_of") or schema.get("oneOf")
        if options:
            own = {key: value for key, value in schema.items() if key not in ("anyOf", "any_of", "oneOf")}
            # The first option that is not null: a filled field demonstrates more than an empty one.
            first = next(
                (each for each in options if isinstance(each, Mapping) and _type_of(each) != "null"), options[0]
            )
            return _joined(own, first)
        if schema.get("allOf"):
            own = {key: value for key, value in schema.items() if key != "allOf"}
            for each in schema["allOf"]:
                own = _joined(own, self._referred(each["$ref"]) if "$ref" in each else each)
            return own
        return schema

    def _referred(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                target = (
                    target.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
                )
        return target if isinstance(target, Mapping) else {}

    def _chosen(self, options: list[Any]) -> Any:
        # An option that the answer or the prompt names reads as if it had been understood.
        said = f"{self._material.answer} {' '.join(self._material.words)}".lower()
        named = [each for each in options if isinstance(each, str) and each and each.lower() in said]
        return self._chance.choice(named or options)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        ordering = _get(schema, "propertyOrdering", "property_ordering") or []
        names = dict.fromkeys([*(each for each in ordering if each in properties), *properties, *required])
        wanted = names if depth < _DEEPEST else [each for each in names if each in required]
        return {each: self.value(properties.get(each, {}), name=each, depth=depth + 1) for each in wanted}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        prefix = _get(schema, "prefixItems", "prefix_items") or []
        least = _whole(_get(schema, "minItems", "min_items"), 0)
        most = _whole(_get(schema, "maxItems", "max_items"), max(least, len(prefix), 3))
        count = least if depth >= _DEEPEST else min(most, max(least, len(prefix), self._chance.randint(1, 3)))
        items = schema.get("items", {})
        made = [self.value(prefix[n] if n < len(prefix) else items, name=name, depth=depth + 1) for n in range(count)]
        return self._distinct(made, items, name, depth) if schema.get("uniqueItems") else made

    def _distinct(self, made: list[Any], items: Any, name: str, depth: int) -> list[Any]:
        kept: dict[bytes, Any] = {orjson.dumps(each, option=orjson.OPT_SORT_KEYS): each for each in made}
        for _ in range(20 * len(made)):
            if len(kept) == len(made):
                break
            another = self.value(items, name=name, depth=depth + 1)
            kept.setdefault(orjson.dumps(another, option=orjson.OPT_SORT_KEYS), another)
        return list(kept.values())

    def _integer(self, schema: Mapping[str, Any]) -> int:
        step = int(schema.get("multipleOf") or 1) or 1
        answer = _as_number(self._material.answer)
        if answer is not None and answer % step == 0 and _within(schema, answer):
            return int(answer)
        low, high = _bounds(schema, step=1)
        least, most = math.ceil(low / step), math.floor(high / step)
        return step * self._chance.randint(least, max(least, most))

    def _number(self, schema: Mapping[str, Any]) -> float:
        if schema.get("multipleOf"):
            step: float = schema["multipleOf"]
            return math.ceil(_bounds(schema, step=step)[0] / step) * step
        answer = _as_number(self._material.answer)
        if answer is not None and _within(schema, answer):
            return answer
        low, high = _bounds(schema, step=0.0)
        value = round(self._chance.uniform(low, high), 2)
        return value if _within(schema, value) else (low + high) / 2

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        form = schema.get("format")
        if form in _FORMATS:
            return _FORMATS[form]
        words = self._material.words or ("something",)
        text = (
            self._material.answer
            if not name or name.lower() in _ANSWER_NAMES
            else " ".join(self._chance.choices(words, k=2))
        )
        least = _whole(_get(schema, "minLength", "min_length"), 0)
        most = _whole(_get(schema, "maxLength", "max_length"), max(least, len(text)))
        return text.ljust(least, ".")[:most]


def _type_of(schema: Mapping[str, Any]) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((each for each in named if each.lower() != "null"), "null")
    if isinstance(named, str) and named.upper() != "TYPE_UNSPECIFIED":
        return named.lower()
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas in one; their properties and required names add up."""
    joined = {**first, **second}
    if "properties" in first and "properties" in second:
        joined["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        joined["required"] = [*first["required"], *second["required"]]
    return joined


def _bounds(schema: Mapping[str, Any], *, step: float) -> tuple[float, float]:
    """The least and the greatest value allowed; `step` is how far an excluded end is moved inwards."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = (
        _get(schema, "exclusiveMinimum", "exclusive_minimum"),
        _get(schema, "exclusiveMaximum", "exclusive_maximum"),
    )
    if above is not None:
        low = above + step if low is None else max(low, above + step)
    if below is not None:
        high = below - step if high is None else min(high, below - step)
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, low + 100 if high is None else high


def _within(schema: Mapping[str, Any], value: float) -> bool:
    above = _get(schema, "exclusiveMinimum", "exclusive_minimum")
    below = _get(schema, "exclusiveMaximum", "exclusive_maximum")
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else value
