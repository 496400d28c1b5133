"""Whose answers may a new run use again? The runs that its job names, and its own preview, where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from batcher.errors import JobError, StorageError
from batcher.job.fingerprint import anchor, fingerprint
from batcher.job.spec import Job
from batcher.records import Status
from batcher.store.reading import part_file
from batcher.store.rundir import RunDir, state_folder
from batcher.store.spares import Held

USABLE = frozenset({Status.OK, Status.BLOCKED, Status.TRUNCATED})
"""What is taken over: the same request would end so again, and was paid for. What failed or is invalid is asked."""

_COLUMNS = ("request_hash", "sample", "task", "status", "cost_usd")
_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run whose answers may be used again.

    Attributes:
        out: as the user would type it.
        state: where its journal is.
        rows: that it was planned for; a preview has the first rows of an input only.
    """

    out: Path
    state: Path | None
    run_id: str
    rows: int
    is_preview: bool = False

    @property
    def rundir(self) -> RunDir:
        """Where everything of it lies."""
        return RunDir.at(self.out, self.state)


def sources_of(job: Job, out: Path, *, limit: int | None) -> tuple[Source, ...]:
    """The runs that the job names, in order, then the preview of this one where there is one that fits.

    Raises:
        JobError: a folder is no run, is this one, asked another endpoint, or held its answers to another schema.
        StorageError: its run.json is damaged.
    """
    named = [_named(job, out, Path(folder)) for folder in job.reuse]
    preview = out.with_name(f"{out.name}.preview")
    if limit is not None or any(_same(source.out, preview) for source in named):
        return tuple(named)
    manifest = RunDir.at(preview).read_manifest()
    if manifest is None or misfit(job, manifest):
        return tuple(named)
    return (*named, _source(preview, manifest, is_preview=True))


def _named(job: Job, out: Path, folder: Path) -> Source:
    if _same(folder, out):
        raise JobError(f"reuse: {folder}: a run cannot reuse itself; the same command goes on with it")
    manifest = RunDir.at(folder).read_manifest()
    if manifest is None:
        raise JobError(f"reuse: {folder}: not a run directory (it has no run.json)", hint="--reuse OUT_OF_AN_OLDER_RUN")
    if why := misfit(job, manifest):
        raise JobError(f"reuse: {folder}: {why}", hint="leave it out: its answers are none to this job's requests")
    return _source(folder, manifest)


def misfit(job: Job, manifest: Mapping[str, Any]) -> str:
    """Why a run's answers are none to this job's requests though these may be equal: what their hash leaves out.

    The hash covers the model and the body: prompt, system instruction, settings, tools, schema as sent, labels as sent.
    It does not say who was asked, nor how answers were judged where the schema was not sent.
    """
    was = manifest["fingerprint"]["facts"]
    now = fingerprint(job, anchor(job, was)).facts
    if was.get("endpoint.url") != now["endpoint.url"]:
        return f"it asked {_plain(was.get('endpoint.url'))}, this job asks {_plain(now['endpoint.url'])}"
    if any(was.get(name) != now.get(name) for name in ("output.schema", "output.schema_field")):
        return "it held its answers to another [output] schema"
    return ""


def _plain(fact: str | None) -> str:
    return "somebody else" if fact is None else str(orjson.loads(fact))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _source(out: Path, manifest: Mapping[str, Any], *, is_preview: bool = False) -> Source:
    return Source(
        out=out,
        state=state_folder(manifest["job"]["output"].get("state_dir"), out),
        run_id=manifest["run_id"],
        rows=manifest["rows"],
        is_preview=is_preview,
    )


def other_sources(job: Job, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """One line where a job names other runs than its run directory was planned with; naming none goes on with those."""
    was = [source["path"] for source in manifest.get("spares", {}).get("reuse", ()) if not source["is_preview"]]
    now = [str(Path(folder).resolve()) for folder in job.reuse]
    return (f"reuse: {', '.join(was) or 'none'} → {', '.join(now)}",) if now and now != was else ()


def answers_of(rundir: RunDir) -> Iterator[Held]:
    """Every answer of a run's finished parts, in order of their tasks.

    Raises:
        StorageError: a part is damaged.
    """
    for part in rundir.parts():
        yield from answers_in(part, number=int(part.name.split("-")[1]))


def answers_in(part: Path, *, number: int) -> Iterator[Held]:
    """Every answer of one part, which is called `number`.

    Raises:
        StorageError: it is damaged.
    """
    row = 0
    try:
        with part_file(part) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS)):
                yield from _held(batch, number, row)
                row += batch.num_rows
    except KeyError as error:
        raise StorageError(f"{part}: not a whole part of a run: {error}") from error


def _held(batch: pa.RecordBatch, part: int, first: int) -> Iterator[Held]:
    columns = [batch.column(name).to_pylist() for name in _COLUMNS]
    for row, (request_hash, sample, task, status, cost) in enumerate(zip(*columns, strict=True), start=first):
        if request_hash is not None:
            yield Held(request_hash, sample, task, part, row, status in USABLE, cost)
