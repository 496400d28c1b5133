"""What does the job put into each request, and what has the row's own word against it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from batcher.gemini.request import canonical
from batcher.job.spec import Generation, Job
from batcher.rows.jsontext import decoded

# The API takes one of them: who brings one of them decides.
_SCHEMAS = frozenset({"response_schema", "response_json_schema"})
_NONE: Mapping[str, Any] = {}


def base_request(job: Job, system: str | None, settings: Mapping[str, Any] = _NONE) -> dict[str, Any]:
    """Give what every request of the job holds: canonical, without contents.

    Args:
        job: complete.
        system: the system instruction where it is the same for all rows.
        settings: generation settings that come from elsewhere in the job than `[generation]`.
    """
    fields = job.request.model_dump(exclude_none=True, exclude={"send_labels"})
    fields["generation_config"] = {**job.generation.model_dump(exclude_none=True), **settings} or None
    fields["system_instruction"] = _instruction(system) if system else None
    fields["labels"] = dict(job.labels) if job.request.send_labels and job.labels else None
    anything = [{"parts": [{"text": "-"}]}]
    return {name: value for name, value in canonical({**fields, "contents": anything}).items() if name != "contents"}


def merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a row's canonical fields over the job's: field by field, and setting by setting in `generation_config`."""
    settings = base.get("generation_config", {})
    own_settings = own.get("generation_config", {})
    merged = {**base, **own}
    if settings:
        dropped = _SCHEMAS if _SCHEMAS & own_settings.keys() else frozenset()
        kept = {name: value for name, value in settings.items() if name not in dropped}
        merged["generation_config"] = {**kept, **own_settings}
    return merged


def own_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fold the request fields of a row; null fields count as absent, JSON text as what it says.

    Raises:
        ValueError: they are no request; the text says where, what was found and what was wanted.
    """
    plain = {name: decoded(name, value) for name, value in fields.items() if value is not None}
    for name in ("system_instruction", "systemInstruction"):
        if isinstance(plain.get(name), str):
            plain[name] = _instruction(plain[name])
    return canonical(plain)


def own_settings(overrides: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Read a row's own generation settings from its columns; a null, or an empty field of a CSV file, keeps the job's.

    Args:
        overrides: setting -> column.
        values: of the row.

    Raises:
        ValueError: a value is not what the setting takes.
    """
    given = {
        setting: decoded(column, values[column])
        for setting, column in overrides.items()
        if values.get(column) not in (None, "")
    }
    try:
        return Generation.model_validate(given).model_dump(exclude_unset=True, exclude_none=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        setting = str(first["loc"][0])
        raise ValueError(f"column {overrides[setting]!r} as {setting}: {first['msg'].lower()}") from None


def _instruction(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}
