"""Whom does the job ask, all told? `[endpoint]` or `[[endpoint]]`: one spelling behind the door, each completed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import ErrorDetails

from batcher.job.complaints import shown
from batcher.job.draft import Draft
from batcher.job.endpoint import API_VERSION, PRESETS, normalised
from batcher.job.lines import Path
from batcher.job.spec import Dialect, Endpoint, Stream

_API_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")


def spread(draft: Draft) -> Mapping[str, Any]:
    """The document as `Job` has it: a list of endpoints stands in `endpoints`, the first of them in `endpoint`, too."""
    document = draft.document
    if "endpoints" in document:
        draft.complain(("endpoints",), "unknown key; did you mean [[endpoint]]?")
        document = {name: value for name, value in document.items() if name != "endpoints"}
    several = document.get("endpoint")
    if not isinstance(several, list):
        return document
    if not several:
        draft.complain(("endpoint",), "found [], wanted at least one endpoint")
        return {name: value for name, value in document.items() if name != "endpoint"}
    return {**document, "endpoint": several[0], "endpoints": several}


def gathered(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """What pydantic found, at the places where it was written."""
    is_list = any(error["loc"][:1] == ("endpoints",) for error in errors)
    kept = [error for error in errors if not (is_list and error["loc"][:1] == ("endpoint",))]
    for error in kept:
        if error["loc"][:1] == ("endpoints",):
            error["loc"] = ("endpoint", *error["loc"][1:])
    return kept


def completed(draft: Draft, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Give each endpoint its presets, and complain about those that cannot stand side by side."""
    is_list = isinstance(draft.document.get("endpoint"), list)
    paths: list[Path] = [("endpoint", no) if is_list else ("endpoint",) for no in range(len(endpoints))]
    made = tuple(_with_presets(draft, path, endpoint) for path, endpoint in zip(paths, endpoints, strict=True))
    for no, (path, endpoint) in enumerate(zip(paths, made, strict=True)):
        for before in range(no):
            _beside(draft, path, endpoint, made[before], before + 1)
    return made


def _beside(draft: Draft, path: Path, endpoint: Endpoint, other: Endpoint, number: int) -> None:
    if _origin(endpoint) == _origin(other) and endpoint.project == other.project:
        draft.complain(
            (*path, "project"),
            f"endpoint {number} asks {_origin(other)} as well, with the same project {shown(other.project)}; wanted"
            " another name: quotas, day counts and the ledger go by it",
        )
    if number > 1:
        return  # each is held against the first
    if endpoint.dialect != other.dialect:
        draft.complain(
            (*path, "dialect"),
            f"found {shown(endpoint.dialect)} beside {shown(other.dialect)} of endpoint {number}; wanted one dialect:"
            " each row is written once, for whichever endpoint is free",
        )
    if endpoint.stream is not other.stream:
        draft.complain(
            (*path, "stream"),
            f"found {shown(endpoint.stream)} beside {shown(other.stream)} of endpoint {number}: wanted the same",
        )


def _origin(endpoint: Endpoint) -> str:
    parts = urlsplit(endpoint.base_url or "")
    return f"{parts.scheme}://{parts.netloc}"


def _with_presets(draft: Draft, path: Path, endpoint: Endpoint) -> Endpoint:
    preset = PRESETS[endpoint.provider]
    base_url = preset.base_url
    try:
        base_url = normalised(endpoint.base_url or preset.base_url)
    except ValueError as error:
        draft.complain((*path, "base_url"), str(error))
    version = endpoint.api_version or API_VERSION
    if not _API_VERSION.fullmatch(version):
        draft.complain((*path, "api_version"), f"found {shown(version)}, wanted a version such as v1beta")
    if endpoint.key_file is not None and endpoint.key_command is not None:
        draft.complain((*path, "key_command"), "stands beside key_file; wanted one of the two")
    dialect = endpoint.dialect or preset.dialect
    if endpoint.verbless and endpoint.stream is not Stream.OFF and dialect is Dialect.GOOGLE:
        draft.complain((*path, "stream"), "verbless and the google dialect cannot say it; wanted one of the two")
    key_file = endpoint.key_file and str(draft.path_of((*path, "key_file"), endpoint.key_file))
    return endpoint.model_copy(
        update={
            "base_url": base_url,
            "api_version": version,
            "auth": endpoint.auth or preset.auth,
            "dialect": dialect,
            "key_file": key_file,
        }
    )
