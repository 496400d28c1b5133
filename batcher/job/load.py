"""What does the user want, all told? Job file, environment and flags become one complete `Job` with its sources."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from batcher.job import lines
from batcher.job.answer_schema import is_module, schema_of_file, schema_of_module
from batcher.job.complaints import complaints, said, shown
from batcher.job.draft import Draft, read_draft
from batcher.job.endpoints import completed, gathered, spread
from batcher.job.find import JOB_FILE
from batcher.job.spec import Job, Prompt, Provider

FLAGS: Mapping[str, str] = {
    "input.files": "--input",
    "input.strict": "--strict",
    "output.dir": "--out",
    "endpoint.provider": "--provider",
    "endpoint.base_url": "--base-url",
    "limits.requests_per_minute": "--rpm",
    "limits.input_tokens_per_minute": "--tpm",
    "limits.requests_per_day": "--rpd",
    "labels": "--label",
}
"""Settings whose flag is not named after them; `generation.temperature` is `--temperature` without being told."""

_ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "GOOGLE_GEMINI_BASE_URL": ("endpoint", "base_url"),
    "GOOGLE_GENAI_API_VERSION": ("endpoint", "api_version"),
}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A job, complete: nothing in it has to be looked up again.

    Attributes:
        job: with the provider's presets, the texts of the prompt files, the answers' schema, and absolute input paths.
        folder: what the job file's own paths are relative to; where the command runs when there is no job file.
        sources: dotted setting -> `flag --model`, `env GOOGLE_GEMINI_BASE_URL`, `jobs/x/job.toml:14`, `default`, or
            what it follows from (`provider google`).
    """

    job: Job
    folder: Path
    sources: Mapping[str, str]

    def settings(self) -> Iterator[tuple[str, Any, str]]:
        """Give every setting: its dotted name, its value, where that comes from."""
        for name, source in self.sources.items():
            section, _, rest = name.partition(".")
            value = getattr(self.job, section)
            value = value[rest] if isinstance(value, dict) else getattr(value, rest) if rest else value
            yield name, value, source


Sets = Sequence[str] | Mapping[str, Any]
"""`a.b=c` each, where `c` is a TOML value or bare text; or dotted setting -> value, from a caller that has values."""


def load_job(path: Path | None, *, flags: Mapping[str, Any], sets: Sets, environ: Mapping[str, str]) -> Loaded:
    """Load a job: flag over environment over job file over default.

    Args:
        path: the job file, its folder, or the name of a packaged job; None for a job made of flags alone.
        flags: dotted setting -> value; None means that the flag was not given, a mapping is merged (`labels`).
        sets: any settings; they come after the other flags. None is skipped as it is in `flags`.
        environ: the environment.

    Raises:
        JobError: everything wrong that one reading finds, one line each: place, what was found, what was wanted.
    """
    draft = read_draft(path)
    _write_environment(draft, flags, sets, environ)
    _write_flags(draft, flags, sets)
    _name(draft, path)
    job = _completed(draft)
    return Loaded(job=job, folder=draft.folder, sources=dict(_sources(draft, job)))


def revised(job: Job, *, flags: Mapping[str, Any] | None = None, sets: Sets, origin: str) -> Job:
    """Write settings over a job that is loaded already, e.g. to ask some rows again with more output tokens.

    Args:
        job: complete.
        flags: see `load_job`.
        sets: see `load_job`.
        origin: what messages call the job.

    Raises:
        JobError: see `load_job`.
    """
    cwd = Path.cwd()
    document = job.model_dump(mode="json", exclude_none=True)
    if several := document.pop("endpoints", None):
        document["endpoint"] = several
    draft = Draft(origin=origin, folder=cwd, cwd=cwd, document=document, sources={}, wrong=[])
    _write_flags(draft, flags or {}, sets)
    return _completed(draft)


def _write_environment(draft: Draft, flags: Mapping[str, Any], sets: Sets, environ: Mapping[str, str]) -> None:
    """Let Google's own variables speak, when Google's preset is in use: they were exported for it."""
    written = draft.document.get("endpoint")
    if isinstance(written, list):
        return  # the file says whom it asks, one by one
    provider = written.get("provider") if isinstance(written, dict) else None
    provider = flags.get("endpoint.provider") or provider or Provider.GOOGLE
    for _, key, value in _said(sets):
        provider = value if key == "endpoint.provider" else provider
    if provider != Provider.GOOGLE:
        return
    for variable, path in _ENVIRONMENT.items():
        if value := environ.get(variable, "").strip():
            draft.set(path, value, f"env {variable}")


def _said(sets: Sets) -> Iterator[tuple[str, str, object]]:
    """Give each setting as it was written, its key, and its value; the key is empty where none can be told."""
    if isinstance(sets, Mapping):
        yield from ((str(key), str(key), value) for key, value in sets.items() if value is not None)
        return
    for text in sets:
        key, equals, value = text.partition("=")
        yield text, key.strip() if equals else "", _value(value)


def _write_flags(draft: Draft, flags: Mapping[str, Any], sets: Sets) -> None:
    for name, value in flags.items():
        flag = FLAGS.get(name) or f"--{name.rpartition('.')[2].replace('_', '-')}"
        for path, leaf in _leaves(tuple(name.split(".")), value):
            draft.set(path, leaf, f"flag {flag}")
    for text, key, value in _said(sets):
        try:
            path = lines.dotted(key)
        except tomllib.TOMLDecodeError:
            draft.wrong.append(f"flag --set: found {shown(text)}, wanted SECTION.KEY=VALUE")
            continue
        draft.set(path, value, f"flag --set {key}")


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    elif value is not None:
        yield path, list(value) if isinstance(value, (tuple, list)) else value


def _value(text: str) -> object:
    """Read a TOML value; what is none is text, so that nobody has to quote twice."""
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text


def _name(draft: Draft, path: Path | None) -> None:
    """Name a job that has no name: after its file or folder, else after where it writes, else after what it reads."""
    if "name" in draft.document:
        return
    output, source = draft.document.get("output"), draft.document.get("input")
    if path is not None:
        file = Path(draft.origin)
        name = draft.folder.name if file.name == JOB_FILE else file.stem
    elif isinstance(output, dict) and isinstance(output.get("dir"), str):
        name = Path(output["dir"]).name
    else:
        files = source.get("files") if isinstance(source, dict) else None
        name = Path(str(files[0])).name.partition(".")[0] if isinstance(files, list) and files else ""
    draft.document["name"] = _NOT_IN_A_NAME.sub("-", name).strip("._-") or "run"


def _completed(draft: Draft) -> Job:
    job = _validated(draft)
    prompt, endpoints = _with_texts(draft, job.prompt), completed(draft, job.asked)
    files = tuple(_input(draft, at, file) for at, file in enumerate(job.input.files))
    media_root = _folder(draft, ("input", "media_root"), job.input.media_root)
    schema = _with_schema(draft, job.output.schema)
    behind = _behind(draft, job)
    draft.stop_if_wrong()
    return job.model_copy(
        update={
            "model": job.model.removeprefix("models/"),
            "prompt": prompt,
            "fallback_models": behind,
            "endpoint": endpoints[0],
            "endpoints": endpoints if len(endpoints) > 1 else (),
            "input": job.input.model_copy(update={"files": files, "media_root": media_root}),
            "output": job.output.model_copy(update={"dir": job.output.dir or f"out/{job.name}", "schema": schema}),
        }
    )


def _validated(draft: Draft) -> Job:
    for path, value in _numbers(draft.document, ()):
        if not math.isfinite(value):
            draft.complain(path, f"found {value}, wanted a finite number")
    try:
        # Strict, because "60" for 60 is a slip worth saying; from JSON, where strict still takes enums and tuples.
        job = Job.model_validate_json(json.dumps(spread(draft), default=str), strict=True)
    except ValidationError as error:
        draft.wrong.extend(complaints(gathered(error.errors(include_url=False)), draft.document, draft.place))
    draft.stop_if_wrong()
    return job


def _numbers(node: object, path: lines.Path) -> Iterator[tuple[lines.Path, float]]:
    if isinstance(node, float):
        yield path, node
    elif isinstance(node, dict):
        for name, inner in node.items():
            yield from _numbers(inner, (*path, name))
    elif isinstance(node, list):
        for at, inner in enumerate(node):
            yield from _numbers(inner, (*path, at))


def _with_texts(draft: Draft, prompt: Prompt) -> Prompt:
    update: dict[str, str | None] = {}
    for name in ("template", "system"):
        file = getattr(prompt, f"{name}_file")
        if file is None:
            continue
        if getattr(prompt, name) is not None:
            draft.complain(("prompt", f"{name}_file"), f"stands beside {name}; wanted one of the two")
            continue
        update |= {name: _text(draft, ("prompt", f"{name}_file"), file), f"{name}_file": None}
    return prompt.model_copy(update=update)


def _text(draft: Draft, path: tuple[str, ...], file: str) -> str:
    where = draft.path_of(path, file)
    try:
        return where.read_text("utf-8-sig")
    except OSError as error:
        draft.complain(path, f"{where}: {error.strerror}")
    except UnicodeDecodeError as error:
        draft.complain(path, f"{where}: not UTF-8 at byte {error.start}")
    return ""


def _with_schema(draft: Draft, schema: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Put the schema in the place of its name, as the texts of prompt files."""
    if not isinstance(schema, str):
        return schema
    path = ("output", "schema")
    try:
        if is_module(schema):
            return schema_of_module(schema, draft.path_of(path, ""))
        return schema_of_file(draft.path_of(path, schema))
    except ValueError as error:
        draft.complain(path, str(error))
    return None


def _behind(draft: Draft, job: Job) -> tuple[str, ...]:
    models = tuple(model.removeprefix("models/") for model in job.fallback_models)
    if len({job.model.removeprefix("models/"), *models}) <= len(models):
        draft.complain(("fallback_models",), f"found {shown(list(models))}, wanted each model once, and not the first")
    return models


def _input(draft: Draft, at: int, file: str) -> str:
    if file.startswith("pypi:") or file == "-":
        return file
    if not file:
        draft.wrong.append(said(draft.place(("input", "files", at)), ("input", "files", at), 'found "", wanted a file'))
    return str(draft.path_of(("input", "files"), file))


def _folder(draft: Draft, path: tuple[str, ...], folder: str | None) -> str | None:
    if folder is None or folder.startswith("pypi:"):
        return folder
    where = draft.path_of(path, folder)
    if not where.is_dir():
        draft.complain(path, f"{where}: no such folder")
    return str(where)


def _sources(draft: Draft, job: Job) -> Iterator[tuple[str, str]]:
    """Say of every setting where its value comes from."""
    preset = f"provider {job.endpoint.provider}"
    follows: dict[tuple[str, ...], str] = {("endpoint", name): preset for name in ("base_url", "auth", "dialect")}
    for path in _settings(job):
        yield ".".join(path), draft.sources.get(path) or follows.get(path) or "default"


def _settings(job: Job) -> Iterator[tuple[str, ...]]:
    for name in Job.model_fields:
        section = getattr(job, name)
        if isinstance(section, BaseModel):
            yield from ((name, key) for key in type(section).model_fields)
        elif isinstance(section, dict):
            yield from ((name, key) for key in section)
        else:
            yield (name,)
