"""Is this still the same job? A hash over what can change an answer or a column's meaning, and the facts behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from batcher.job.endpoint import is_loopback
from batcher.job.spec import Endpoint, Input, Job, Output

_INPUT = ("format", "shape", "id", "strict", "max_row_bytes")
_OUTPUT = ("store_prompt", "raw", "schema", "schema_field")
_LONGEST_SHOWN = 60
_CONTEXT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a run directory remembers of its job.

    Attributes:
        sha: hex, over the facts.
        facts: dotted setting -> JSON text. A setting at its default is absent, so that one invented later does
            not make every older run look changed.
    """

    sha: str
    facts: Mapping[str, str]


def fingerprint(job: Job, asked: Endpoint | None = None) -> Fingerprint:
    """Take the fingerprint of a loaded job, as it asks one endpoint: its first, unless another is named.

    Where a job has several endpoints, which of them serves a row changes no answer: one stands for them all. Nor do the
    models behind the first: the `model` column says who answered.

    In it: model, samples, prompt, generation, request, labels, the endpoint's place and dialect, how rows are read,
    which columns are kept. Not in it: limits, budget, retry, timeouts, keys, tolerance, and the names of the input
    files (their content is checked apart).
    """
    facts = {name: json.dumps(value, ensure_ascii=False) for name, value in _facts(job, asked or job.endpoint)}
    digest = hashlib.blake2b(json.dumps(sorted(facts.items())).encode(), digest_size=16)
    return Fingerprint(sha=digest.hexdigest(), facts=facts)


def differences(was: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Say what changed between two jobs' facts, one line each: `generation.temperature: 0.2 → 0.7`."""
    names = [*was, *(name for name in now if name not in was)]
    return tuple(_line(name, was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name))


def anchor(job: Job, facts: Mapping[str, str]) -> Endpoint:
    """The endpoint of a job that a run was planned with, wherever it stands now; the first where none of them is it."""
    url = facts.get("endpoint.url")
    return next((each for each in job.asked if json.dumps(_url(each), ensure_ascii=False) == url), job.endpoint)


def _facts(job: Job, asked: Endpoint) -> Iterator[tuple[str, Any]]:
    yield "model", job.model
    yield "samples", job.samples
    if job.dedup:
        yield "dedup", job.dedup
    for name in ("prompt", "generation", "request"):
        yield from _set(name, getattr(job, name))
    yield from _endpoint(asked)
    yield from _set("input", job.input, Input, _INPUT)
    yield from _set("output", job.output, Output, _OUTPUT)
    # The order of labels means nothing. That of a schema's properties does: the model answers in it.
    for label in sorted(job.labels):
        yield f"labels.{label}", job.labels[label]


def _set(
    section: str, values: BaseModel, model: type[BaseModel] | None = None, only: tuple[str, ...] | None = None
) -> Iterator[tuple[str, Any]]:
    """Give the settings of a section that differ from their default, as JSON values."""
    fields = (model or type(values)).model_fields
    plain = values.model_dump(mode="json")
    for name, field in fields.items():
        if (only is None or name in only) and getattr(values, name) != field.get_default(call_default_factory=True):
            yield f"{section}.{name}", plain[name]


def _endpoint(endpoint: Endpoint) -> Iterator[tuple[str, Any]]:
    yield "endpoint.url", _url(endpoint)
    yield "endpoint.dialect", endpoint.dialect
    if endpoint.verbless:
        yield "endpoint.verbless", True


def _url(endpoint: Endpoint) -> str:
    return f"{_place(endpoint.base_url or '')}/{endpoint.api_version}"


def _place(base_url: str) -> str:
    """Drop the port of this machine: a local server gets another one each time it starts and is still the same."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return parts._replace(netloc="localhost").geturl() if is_loopback(host) else base_url


def _line(name: str, was: str | None, now: str | None) -> str:
    start = 0
    if was is not None and now is not None and max(len(was), len(now)) > _LONGEST_SHOWN:
        start = max(0, _first_difference(was, now) - _CONTEXT)
    return f"{name}: {_shown(was, start)} → {_shown(now, start)}"


def _first_difference(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown(value: str | None, start: int) -> str:
    """Cut a long value down to where it differs; a setting that is absent stands at its default."""
    if value is None:
        return "default"
    shown = value[start : start + _LONGEST_SHOWN]
    behind = len(value) - start - len(shown)
    return f"{'…' if start else ''}{shown}{f'…(+{behind:,} chars)' if behind else ''}"
