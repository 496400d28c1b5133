"""What must every answer be? The job's schema as it is sent, and as it is held against what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import jsonschema_rs

from batcher.errors import JobError
from batcher.gemini.structured import judge_json
from batcher.gemini.verdict import Verdict
from batcher.job.spec import Dialect, Job, SchemaField
from batcher.prompts.openapi import said_in_openapi
from batcher.prompts.references import with_lone_references
from batcher.records import Answer

_JSON = "application/json"
_RIVALS = ("response_schema", "response_json_schema")
_FIELD_OF: Mapping[Dialect, SchemaField] = {
    Dialect.GOOGLE: SchemaField.RESPONSE_JSON_SCHEMA,
    Dialect.FLAT: SchemaField.RESPONSE_SCHEMA,  # the older field: who speaks flat may not know the newer one
}
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NOWHERE = "it refers to another document, and nothing is fetched; put it under $defs"


class AnswerSchema:
    """A job's `[output] schema`, compiled once a run.

    Args:
        job: complete, with a schema.

    Attributes:
        settings: generation settings that carry it, canonical; none with `schema_field = "none"`.

    Raises:
        JobError: it is no valid JSON Schema, refers to another document, cannot be said in the field that carries it,
            or stands beside another schema.
    """

    def __init__(self, job: Job) -> None:
        schema = job.output.schema
        assert isinstance(schema, dict)  # `load_job` has read it
        field = job.output.schema_field or _FIELD_OF[job.endpoint.dialect or Dialect.GOOGLE]
        self._validator = _compiled(schema)
        self._fenced = field is SchemaField.NONE
        self._most = job.retry.invalid_attempts
        self.settings = _settings(schema, field)
        if self.settings:
            _refuse_rivals(job)

    def check(self, answer: Answer) -> Verdict | None:
        """Judge an answer that is otherwise in order; None when its text is JSON that satisfies the schema."""
        return judge_json(answer, self.violation, most=self._most, fenced=self._fenced)

    def violation(self, value: Any) -> str | None:
        """Say where a value first breaks the schema and how, `$.items[2].price: "12" is not of type "number"`."""
        try:
            if self._validator.is_valid(value):
                return None
            for error in self._validator.iter_errors(value):
                return f"{json_path(error.instance_path)}: {error.message}"
        except ValueError as error:  # nested deeper than a validator goes
            return f"$: cannot be validated: {error}"
        return None

    def refuse_another(self, request: Mapping[str, Any]) -> None:
        """See that a request which a row had a word in still carries this schema.

        Raises:
            ValueError: the row brought a schema or a MIME type of its own.
        """
        sent = request.get("generation_config", {})
        for name, value in self.settings.items():
            if sent.get(name) != value:
                other = name if name in sent else next(rival for rival in _RIVALS if rival in sent)
                raise ValueError(f"{other}: the row brings its own beside the job's [output] schema")


def answer_schema(job: Job) -> AnswerSchema | None:
    """Compile the job's schema; None when it has none.

    Raises:
        JobError: see `AnswerSchema`.
    """
    return None if job.output.schema is None else AnswerSchema(job)


def json_path(steps: Iterable[str | int]) -> str:
    """Spell the place of a value: `$.items[2]['unit price']`."""
    path = "$"
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if _PLAIN_NAME.fullmatch(step) else f"[{step!r}]"
    return path


def _compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
    except jsonschema_rs.ValidationError as error:
        where = json_path(error.instance_path)
        told = _NOWHERE if "retrieving it failed" in error.message else error.message
        raise JobError(f"[output] schema: not a valid JSON Schema: {where}: {told}") from None
    except ValueError as error:
        raise JobError(f"[output] schema: not a valid JSON Schema: {error}") from None


def _fetch_nothing(uri: str) -> NoReturn:
    """Refuse to open what a schema refers to: requests go to the endpoint and nowhere else, and files stay closed."""
    raise ValueError(uri)


def _settings(schema: dict[str, Any], field: SchemaField) -> dict[str, Any]:
    try:
        match field:
            case SchemaField.RESPONSE_JSON_SCHEMA:
                return {"response_mime_type": _JSON, "response_json_schema": with_lone_references(schema)}
            case SchemaField.RESPONSE_SCHEMA:
                return {"response_mime_type": _JSON, "response_schema": said_in_openapi(schema)}
            case SchemaField.NONE:
                return {}
    except ValueError as error:
        raise JobError(
            f"[output] schema: {error}",
            hint='schema_field = "response_json_schema" takes any JSON Schema, where the endpoint knows it; with "none"'
            " none is sent, and answers are validated all the same",
        ) from None


def _refuse_rivals(job: Job) -> None:
    for name in _RIVALS:
        if getattr(job.generation, name) is not None:
            raise JobError(f"[generation] {name}: stands beside [output] schema; wanted one of the two")
        if name in job.prompt.overrides:
            raise JobError(f"[prompt] overrides.{name}: stands beside [output] schema; wanted one of the two")
    if job.generation.response_mime_type not in (None, _JSON):
        found = job.generation.response_mime_type
        raise JobError(f"[generation] response_mime_type: found {found!r}, wanted {_JSON!r} with [output] schema")
