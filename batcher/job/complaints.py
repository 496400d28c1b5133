"""What is wrong with a job, said to the person who wrote it: where, what was found, what was wanted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from batcher.job.lines import Path
from batcher.job.spec import Job

Place = Callable[[Path], str]
"""Gives the place of a setting, for messages: `jobs/a/job.toml:14`, `flag --rpm`."""

_LONGEST_SHOWN = 60

# How people name it elsewhere -> how it is named here.
_ELSEWHERE = {
    "rpm": "requests_per_minute",
    "tpm": "input_tokens_per_minute",
    "rpd": "requests_per_day",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "stop": "stop_sequences",
    "n": "candidate_count",
    "system_instruction": "system",
    "url": "base_url",
    "max_retries": "attempts",
    "timeout": "total_s",
    "max_cost": "max_cost_usd",
    "max_budget": "max_cost_usd",
    "budget_usd": "max_cost_usd",
    "api_key": "key_file",
    "key": "key_file",
}

_WANTED_AT: Mapping[Path, str] = {
    ("run", "max_failed"): 'a count or a share such as "1%"',
    ("name",): "letters, digits, `.`, `_` and `-`, starting with a letter or a digit",
    ("input", "files"): "a list of at least one file",
    ("budget", "deadline"): 'a time span such as "3h", a time of day such as "06:00", or an instant such as '
    '"2026-12-01T06:00:00+01:00"',
}

_MISSING: Mapping[Path, str] = {
    ("model",): 'no model; add model = "…", or -m MODEL',
    ("input",): 'no input; add [input] files = ["…"], or -i FILE',
    ("input", "files"): 'no input; add files = ["…"], or -i FILE',
}

# pydantic's error type -> what was wanted; `{}` takes the limit.
_WANTED: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "decimal_type": "an amount",
    "decimal_parsing": "an amount",
    "decimal_max_places": "at most {decimal_places} decimals",
    "decimal_whole_digits": "a smaller amount",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "string_too_short": "some text",
    "enum": "{expected}",
    "literal_error": "{expected}",
}


def complaints(errors: Sequence[ErrorDetails], document: Mapping[str, Any], place: Place) -> tuple[str, ...]:
    """Turn what pydantic found into one line for each setting.

    Args:
        errors: of one validation.
        document: what was validated.
        place: see `Place`.

    Returns:
        e.g. `jobs/a/job.toml:14: [limits] requests_per_minutes: unknown key; did you mean 'requests_per_minute'?`
    """
    by_path: dict[Path, list[ErrorDetails]] = {}
    for error in errors:
        by_path.setdefault(_written(error, document), []).append(error)
    return tuple(said(place(path), path, _what(path, found)) for path, found in by_path.items())


def said(place: str, path: Path, what: str) -> str:
    """Put one complaint together: place, setting, what."""
    if not path:
        return f"{place}: {what}"
    if path[0] == "endpoint" and len(path) > 1 and isinstance(path[1], int):
        return said(place, (f"[[endpoint]] {path[1] + 1}", *path[2:]), what)
    rest = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[1:]).removeprefix(".")
    is_one = str(path[0]).startswith("[")
    name = f"[{path[0]}] {rest}".rstrip() if rest or path[0] in _sections(Job) else str(path[0])
    name = f"{path[0]} {rest}".rstrip() if is_one else name
    return f"{place}: {name}: {what}"


def shown(value: object) -> str:
    """Show a value as a job file would spell it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _written(error: ErrorDetails, document: Mapping[str, Any]) -> Path:
    """Cut pydantic's location down to what somebody wrote; the names of a union's branches are not."""
    path: list[str | int] = []
    node: Any = document
    for part in error["loc"]:
        if isinstance(node, Mapping) and (part in node or error["type"] == "missing"):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            break
        path.append(part)
    return tuple(path)


def _what(path: Path, errors: Sequence[ErrorDetails]) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"unknown key{_did_you_mean(path)}"
    if first["type"] == "missing":
        return _MISSING.get(path, "is missing")
    wanted = _WANTED_AT.get(path) or " or ".join(dict.fromkeys(_wanted(error) for error in errors))
    return f"found {shown(first['input'])}, wanted {wanted}"


def _wanted(error: ErrorDetails) -> str:
    pattern = _WANTED.get(error["type"])
    if pattern is None:
        return error["msg"][:1].lower() + error["msg"][1:]
    return pattern.format(**error.get("ctx", {}))


def _did_you_mean(path: Path) -> str:
    """Find what an unknown key may have meant: by its name elsewhere, in its own section, then in the others."""
    unknown, own = str(path[-1]), _fields(path[:-1])
    meant = _ELSEWHERE.get(unknown, unknown)
    if meant in own:
        return f"; did you mean '{meant}'?"
    if near := difflib.get_close_matches(unknown, own, n=1):
        return f"; did you mean '{near[0]}'?"
    for section, model in _sections(Job).items():
        if meant in model.model_fields:
            return f"; did you mean '{meant}' in [{section}]?"
    return ""


def _fields(path: Path) -> list[str]:
    model: type[BaseModel] | None = Job
    for part in path:
        model = model if isinstance(part, int) else _sections(model).get(str(part)) if model else None
    return list(model.model_fields) if model else []


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
