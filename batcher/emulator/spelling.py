"""What did a request say, however it was spelt?

Every field is understood in camelCase and in snake_case, key by key, at every level; generation settings may stand on
top (the flat dialect). What comes out is one canonical form: nested, snake_case, without unset fields. Data of the user
(schemas, function arguments, labels) is never respelt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batcher.emulator.messages import ANY, FIELDS, SCALARS, Field
from batcher.emulator.refusals import Refusal, bad_request


class Unreadable(Exception):  # noqa: N818  it carries a reply, it is not an accident
    """The request cannot be understood; `refusal` is what it gets."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.body.decode())
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for content in canonical form.

    Attributes:
        body: nested, snake_case.
        flat: whether it came in the flat dialect.
        stream: whether it asked for a stream.
        prompt: the text parts of the last turn of the user, joined by newlines.
        text: all text of system instruction and contents, joined by newlines.
    """

    body: Mapping[str, Any]
    flat: bool
    stream: bool
    prompt: str
    text: str

    @property
    def config(self) -> Mapping[str, Any]:
        """The generation settings."""
        config: Mapping[str, Any] = self.body.get("generation_config", {})
        return config

    def identity(self) -> bytes:
        """The same bytes for the same question, whatever its dialect and however much of the answer it wants to see."""
        told = {name: self.body[name] for name in _IDENTITY if name in self.body}
        settings = {name: value for name, value in self.config.items() if name not in _HOW_MUCH}
        return orjson.dumps([told, settings], option=orjson.OPT_SORT_KEYS)


_IDENTITY = ("contents", "system_instruction", "tools", "tool_config", "cached_content")
# A limit cuts an answer, it does not change it.
_HOW_MUCH = frozenset(
    {"max_output_tokens", "stop_sequences", "candidate_count", "thinking_config", "response_logprobs"}
)


def _strings(value: Any) -> list[str] | None:
    given = value if isinstance(value, list) else [value]
    return given if all(isinstance(each, str) for each in given) else None


def _base64(value: Any) -> str | None:
    """Text that is base64, as the JSON mapping of protobuf takes it: either alphabet, padded or not."""
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        return None
    return value if len(value.rstrip("=")) % 4 != 1 else None


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    # The JSON mapping of protobuf takes integers as text and as whole floats too.
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


# A reader gives None for what is not of its type.
_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "string": ("TYPE_STRING", lambda value: value if isinstance(value, str) else None),
    "strings": ("TYPE_STRING", _strings),
    "bytes": ("TYPE_BYTES", _base64),
    "object": ("TYPE_MESSAGE", lambda value: value if isinstance(value, dict) else None),
    "bool": ("TYPE_BOOL", lambda value: value if isinstance(value, bool) else None),
    "number": ("TYPE_FLOAT", _number),
    "integer": ("TYPE_INT32", _integer),
}


class _Reader:
    """Folds one body; collects the names nobody knows."""

    def __init__(self) -> None:
        self.unknown: list[tuple[str, str]] = []

    def message(self, kind: str, given: Any, where: str) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise Unreadable(_wrong_value(where, kind, given))
        fields = FIELDS[kind]
        folded: dict[str, Any] = {}
        for key, value in given.items():
            field = fields.get(key)
            if field is None:
                self.unknown.append((key, where))
            elif value is not None:
                folded[field.name] = self._value(field, value, where)
        return folded

    def _value(self, field: Field, value: Any, where: str) -> Any:
        if field.kind == ANY:
            return value
        here = f"{where}.{field.name}" if where else field.name
        if field.kind in SCALARS:
            return _scalar(field.kind, value, here)
        if not field.repeated:
            return self.message(field.kind, value, here)
        if isinstance(value, dict):  # one object stands for a list of one, as in Google's own curl samples
            return [self.message(field.kind, value, here)]
        if not isinstance(value, list):
            raise Unreadable(_wrong_value(here, field.kind, value))
        return [self.message(field.kind, each, f"{here}[{n}]") for n, each in enumerate(value)]


def read_request(raw: bytes, *, strict: bool, flat: bool = False) -> Asked:
    """The body of a generate request in canonical form.

    Args:
        raw: as it came.
        strict: refuse unknown names, and so the flat dialect, as Google does; else they are ignored.
        flat: the path already says that the body is flat, so it must say whether it wants a stream.

    Raises:
        Unreadable: not JSON, a wrong type, an unknown name, no contents, or no `stream` where it is required.
    """
    given = _json(raw)
    stream = given.get("stream")
    if flat and not isinstance(stream, bool):
        raise Unreadable(bad_request("stream: expected true or false, found nothing. This endpoint requires it."))
    reader = _Reader()
    if not strict:
        given, hoisted = _nested(given)
        flat = flat or hoisted or stream is not None
    body = reader.message("request", given, "")
    if strict and reader.unknown:
        raise Unreadable(_unknown_names(reader.unknown))
    if not body.get("contents"):
        raise Unreadable(
            bad_request(
                "* GenerateContentRequest.contents: contents is not specified\n",
                fields=(("contents", "contents is not specified"),),
            )
        )
    _check_bounds(body.get("generation_config", {}))
    return _asked(body, flat=flat, stream=stream is True)


def read_count(raw: bytes, *, strict: bool) -> Asked:
    """The body of a countTokens request, either form, as the request whose tokens are asked for.

    Raises:
        Unreadable: not JSON, a wrong type, an unknown name or no contents.
    """
    given = _json(raw)
    reader = _Reader()
    counted = reader.message("count", given, "")
    if strict and reader.unknown:
        raise Unreadable(_unknown_names(reader.unknown))
    # With both, the whole request wins and the bare contents are ignored, as documented.
    body = counted.get("generate_content_request") or {"contents": counted.get("contents")}
    if not body.get("contents"):
        raise Unreadable(bad_request("* CountTokensRequest.contents: contents is not specified\n"))
    return _asked(body, flat=False, stream=False)


def _asked(body: dict[str, Any], *, flat: bool, stream: bool) -> Asked:
    contents = body["contents"]
    own = next((each for each in reversed(contents) if each.get("role", "user") == "user"), contents[-1])
    spoken = [body["system_instruction"], *contents] if "system_instruction" in body else contents
    return Asked(
        body={name: value for name, value in body.items() if value not in ({}, [])},
        flat=flat,
        stream=stream,
        prompt=_texts([own]),
        text=_texts(spoken),
    )


def _texts(contents: list[dict[str, Any]]) -> str:
    return "\n".join([part["text"] for content in contents for part in content.get("parts", ()) if part.get("text")])


def _json(raw: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        found = raw[error.pos : error.pos + 20].decode(errors="replace")
        message = f"Invalid JSON payload received. {error.msg.capitalize()}.\n{found}\n^"
        raise Unreadable(bad_request(message, fields=(("", message),))) from None
    if not isinstance(given, dict):
        message = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        raise Unreadable(bad_request(message, fields=(("", message),)))
    return given


def _nested(given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The body with generation settings found on top put where they belong, and whether there were any."""
    request, generation = FIELDS["request"], FIELDS["generation"]
    hoisted = {key: value for key, value in given.items() if key in generation and key not in request}
    if not hoisted:
        return given, False
    kept = {key: value for key, value in given.items() if key not in hoisted}
    own = kept.pop("generationConfig", None) or kept.pop("generation_config", None) or {}
    if not isinstance(own, dict):
        return {**kept, "generation_config": own}, True  # the reader refuses it with its place
    return {**kept, "generation_config": {**own, **hoisted}}, True


def _scalar(scalar: str, value: Any, where: str) -> Any:
    type_name, read = _READERS[scalar]
    found = read(value)
    if found is None:
        raise Unreadable(_wrong_value(where, type_name, value))
    return found


def _check_bounds(config: Mapping[str, Any]) -> None:
    """Refuse what would cost the emulator without bound, or what Google refuses."""
    if not 1 <= config.get("candidate_count", 1) <= 8:
        raise Unreadable(
            bad_request("* GenerateContentRequest.generation_config.candidate_count: must be in the range [1, 8].\n")
        )
    if config.get("max_output_tokens", 1) < 1:
        raise Unreadable(
            bad_request("* GenerateContentRequest.generation_config.max_output_tokens: must be positive.\n")
        )
    if not 0 <= config.get("temperature", 0) <= 2:
        raise Unreadable(
            bad_request("* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0].\n")
        )


def _wrong_value(where: str, type_name: str, value: Any) -> Refusal:
    message = f"Invalid value at '{where}' ({type_name}), {orjson.dumps(value).decode()[:200]}"
    return bad_request(message, fields=((where, message),))


def _unknown_names(unknown: list[tuple[str, str]]) -> Refusal:
    told = [(where, _unknown_name(key, where)) for key, where in unknown]
    return bad_request("\n".join(message for _, message in told), fields=told)


def _unknown_name(key: str, where: str) -> str:
    place = f" at '{where}'" if where else ""
    return f'Invalid JSON payload received. Unknown name "{key}"{place}: Cannot find field.'
