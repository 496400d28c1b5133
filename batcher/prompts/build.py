"""What is sent for a row? One request, or the reason why it cannot be asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from batcher.errors import JobError
from batcher.gemini.inline import openai_part
from batcher.gemini.request import TextEncoder, bare_model, encode, path, request_hash, text_request
from batcher.gemini.splice import spliced
from batcher.gemini.tokens import estimate_tokens, input_bound, json_tokens, output_bound, part_tokens, text_bound
from batcher.job.spec import Dialect, Generation, Job, Stream
from batcher.prompts.media import Found, Media, MediaSource, TooLargeError, media_columns, part_alone
from batcher.prompts.merge import base_request, merge, own_request, own_settings
from batcher.prompts.schema import answer_schema
from batcher.prompts.template import Template
from batcher.records import Problem, Request, Row
from batcher.rows.conversion import brings_request, columns_of, needs_folding, request_of, text_of
from batcher.rows.shapes import Shape, nearest

_SCHEMAS = ("response_schema", "response_json_schema")  # the size of a schema counts as input (the API's documentation)
_CALLS = frozenset({"function_call", "function_response", "executable_code", "code_execution_result"})


class Builder:
    """Makes requests of rows; built once a run.

    A row that is a text and nothing else goes through a body that is written already but for that text. Everything else
    is folded, laid over the job's own settings field by field and written whole.

    Args:
        job: complete, its templates inline.
        shape: of the input.
        columns: all columns of the input; empty when it has no rows, and then no name is checked.
        where: how the user named the input.
        source: what planning knows of the input's media.

    Attributes:
        needed: the columns that a row must bring.
        media: the columns with media; a row with any is read from disk and may be big.
        check: judges an answer by the job's schema; None when it has none.

    Raises:
        JobError: a template, an override or the schema is wrong, or cannot go with the shape.
    """

    def __init__(
        self, job: Job, shape: Shape, columns: Collection[str], *, where: str, source: MediaSource | None = None
    ) -> None:
        self._shape = shape
        self._brings_request = brings_request(shape)
        self._needs_folding = needs_folding(shape)
        self._model = bare_model(job.model)
        self._dialect = job.endpoint.dialect or Dialect.GOOGLE
        self._stream = job.endpoint.stream is not Stream.OFF
        self._overrides = dict(job.prompt.overrides)
        _check_overrides(self._overrides, columns, where)
        self._template = self._compiled(job.prompt.template, "template", columns, where)
        if self._template is not None and self._brings_request:
            raise JobError(
                f"[prompt] template: has no place in an input of the shape {shape.kind}; wanted one of the two"
            )
        system = self._compiled(job.prompt.system, "system", columns, where)
        constant = _constant(system)
        self._system = system if constant is None else None
        self._schema = answer_schema(job)
        self.check = self._schema.check if self._schema else None
        self._base = _base(job, constant, self._schema.settings if self._schema else {})
        self._encoder = TextEncoder(self._base, dialect=self._dialect, model=self._model, stream=self._stream)
        self._base_bound = input_bound(self._base)
        self._base_tokens = _request_tokens(self._base)
        self._behind = tuple(map(bare_model, job.fallback_models))
        self._output_bound = self._bound(self._model, self._base)
        self._most_bytes = job.limits.max_request_bytes
        source = source or MediaSource()
        # A request is whole as it is: a column beside it is a medium only where the job says so.
        brings = not self._needs_folding or job.prompt.media is not None
        self.media = media_columns(job, columns, source.texts, self._template) if brings else ()
        self._media = Media(job, self.media, source) if self.media else None
        self._part = openai_part if self._media else part_alone
        self._make = self._of_media if self._media else self._of_settings if self._overrides else self._of_text
        self.needed = frozenset(self._needs(columns))

    def _compiled(self, source: str | None, name: str, columns: Collection[str], where: str) -> Template | None:
        if source is None:
            return None
        return Template(source, setting=f"[prompt] {name}", columns=columns, where=where)

    def _needs(self, columns: Collection[str]) -> Iterator[str]:
        for template in (self._template, self._system):
            yield from template.columns if template else ()
        yield from self._overrides.values()
        yield from self.media
        if self._template is None and self._shape.prompt_key is not None:
            yield from columns_of(self._shape, columns)

    def build(self, row: Row) -> Request | Problem:
        """Make the request of a row, or say why there is none. This runs once per row of the run."""
        if row.problem is not None:
            return row.problem
        system = self._system.render(row) if self._system is not None else None
        if isinstance(system, Problem):
            return system
        try:
            if self._brings_request or (self._template is None and self._is_chat(row)):
                return self._of_contents(row, system)
            return self._make(row, system)
        except ValueError as error:
            return Problem(kind="bad_input", message=f"{row.where}: {error}")
        except TooLargeError as error:
            return Problem(kind="too_large", message=f"{row.where}: {error}")

    def _prompt(self, row: Row) -> str | Problem:
        if self._template is not None:
            prompt = self._template.render(row)
            if isinstance(prompt, Problem):
                return prompt
        else:
            prompt = text_of(self._shape, row.values)
        if not prompt or prompt.isspace():
            return Problem(kind="bad_input", message=f"{row.where}: the prompt is empty")
        return prompt

    def _of_text(self, row: Row, system: str | None) -> Request | Problem:
        prompt = self._prompt(row)
        if isinstance(prompt, Problem):
            return prompt
        body = self._encoder.encode(prompt, system)
        if len(body) > self._most_bytes:
            return self._too_large(row, body)
        return Request(
            body=body,
            model=self._model,
            prompt=prompt,
            request_hash=self._encoder.hash(prompt, system),
            estimated_tokens=self._base_tokens + estimate_tokens(prompt) + (estimate_tokens(system) if system else 0),
            input_bound=self._base_bound + text_bound(prompt, system),
            output_bound=self._output_bound,
        )

    def _of_settings(self, row: Row, system: str | None) -> Request | Problem:
        prompt = self._prompt(row)
        if isinstance(prompt, Problem):
            return prompt
        settings, model = self._own(row, self._model)
        request = merge(text_request(self._base, prompt, system), settings)
        return self._whole(row, request, model, prompt)

    def _of_media(self, row: Row, system: str | None) -> Request | Problem:
        assert self._media is not None
        prompt = self._prompt(self._media.marked(row))
        if isinstance(prompt, Problem):
            return prompt
        found = self._media.read(row)
        contents = [{"role": "user", "parts": self._media.parts(prompt, found)}]
        settings, model = self._own(row, self._model)
        request = merge({**self._with_system(system), "contents": contents}, settings)
        return self._spliced(row, request, model, found)

    def _of_contents(self, row: Row, system: str | None) -> Request | Problem:
        fields = request_of(self._shape, row.values, medium=self._part)
        own = own_request(fields) if self._needs_folding else fields
        settings, model = self._own(row, fields.get("model") or self._model)
        request = merge(merge(self._with_system(system), own), settings)
        if self._media is None:
            return self._whole(row, request, model, _last_user_text(request["contents"]))
        found = self._media.read(row)
        request["contents"] = self._media.placed(request["contents"], found)
        return self._spliced(row, request, model, found)

    def _with_system(self, system: str | None) -> dict[str, Any]:
        return self._base if system is None else {**self._base, "system_instruction": {"parts": [{"text": system}]}}

    def _is_chat(self, row: Row) -> bool:
        """Whether the prompt of a row is a list of turns, as TRL has them beside plain texts."""
        return type(row.values.get(self._shape.prompt_key)) is list  # type: ignore[arg-type]  # None is no column

    def _own(self, row: Row, model: str) -> tuple[dict[str, Any], str]:
        """Read what the columns named by `overrides` say: generation settings, and the model."""
        columns = {name: column for name, column in self._overrides.items() if name != "model"}
        settings = own_settings(columns, row.values) if columns else {}
        if "model" in self._overrides:
            model = row.values.get(self._overrides["model"]) or model
        if not isinstance(model, str):
            raise ValueError(f"model: expected a name, found {model!r}")  # noqa: TRY004  a row's fault, told like the others
        path(model, api_version="v1")  # a model that would bend the path is refused here, as a problem of its row
        return {"generation_config": settings} if settings else {}, bare_model(model)

    def _spliced(self, row: Row, request: Mapping[str, Any], model: str, found: Found) -> Request | Problem:
        if self._schema is not None:
            self._schema.refuse_another(request)
        body, digest = spliced(request, dialect=self._dialect, model=model, stream=self._stream)
        if len(body) > self._most_bytes:
            return self._too_large(row, body)
        said = {**request, "contents": [{**each, "parts": _said(each["parts"])} for each in request["contents"]]}
        tokens = found.tokens()
        return Request(
            body=body,
            model=model,
            prompt=_last_user_text(request["contents"]),
            request_hash=digest,
            estimated_tokens=_request_tokens(said) + tokens.likely,
            input_bound=input_bound(said) + tokens.bound,
            output_bound=self._bound(model, request),
        )

    def _bound(self, model: str, request: Mapping[str, Any]) -> int:
        """The most output that may be billed, whichever model answers."""
        config = request.get("generation_config", {})
        behind = self._behind if model == self._model else ()
        return max(output_bound(each, config) for each in (model, *behind))

    def _whole(self, row: Row, request: Mapping[str, Any], model: str, prompt: str | None) -> Request | Problem:
        if self._schema is not None:
            self._schema.refuse_another(request)
        body = encode(request, dialect=self._dialect, model=model, stream=self._stream)
        if len(body) > self._most_bytes:
            return self._too_large(row, body)
        return Request(
            body=body,
            model=model,
            prompt=prompt,
            request_hash=request_hash(request, model),
            estimated_tokens=_request_tokens(request),
            input_bound=input_bound(request),
            output_bound=self._bound(model, request),
        )

    def _too_large(self, row: Row, body: bytes) -> Problem:
        message = (
            f"{row.where}: the request has {len(body):,} bytes; limits.max_request_bytes allows {self._most_bytes:,}"
        )
        return Problem(kind="too_large", message=message)


def _base(job: Job, system: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return base_request(job, system, settings)
    except ValueError as error:
        raise JobError(f"[request] or [generation]: {error}") from None


def _constant(system: Template | None) -> str | None:
    """Render a system instruction that reads no column, once for all rows."""
    if system is None or system.columns:
        return None
    text = system.render(Row(ordinal=0, id="", values={}, where="[prompt] system"))
    if isinstance(text, Problem):
        raise JobError(text.message)
    return text


def _check_overrides(overrides: Mapping[str, str], columns: Collection[str], where: str) -> None:
    settings = (*Generation.model_fields, "model")
    for setting, column in overrides.items():
        if setting not in settings:
            raise JobError(f"[prompt] overrides: {setting!r} is not a generation setting{nearest(setting, settings)}")
        if columns and column not in columns:
            raise JobError(
                f"[prompt] overrides.{setting}: column {column!r} not found in {where}{nearest(column, columns)}",
                hint=f"its columns: {', '.join(columns)}",
            )


def _parts(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for content in (request.get("system_instruction", {}), *request.get("contents", ())):
        yield from content.get("parts", ())


def _said(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Give the parts that are not bytes of ours: what those cost is known from their headers."""
    return [part for part in parts if not isinstance(part.get("inline_data", {}).get("data"), bytes)]


def _request_tokens(request: Mapping[str, Any]) -> int:
    """Guess the input tokens of a whole request: texts, a usual amount for each medium, tools and the rest as JSON."""
    generation = request.get("generation_config", {})
    beside = (request.get("tools"), *(generation.get(name) for name in _SCHEMAS))
    tokens = sum(json_tokens(each) for each in beside if each)
    for part in _parts(request):
        tokens += part_tokens(part).likely + estimate_tokens(part.get("text") or "")
        tokens += sum(json_tokens(part[name]) for name in _CALLS & part.keys())
    return tokens


def _last_user_text(contents: Sequence[Mapping[str, Any]]) -> str | None:
    for content in reversed(contents):
        if content.get("role", "user") == "user":
            texts = [part["text"] for part in content["parts"] if "text" in part]
            return "".join(texts) if texts else None
    return None
