"""What did earlier runs on this disk take a request? The finished rows of a run of the same job, or of its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcher.engine.estimate import around
from batcher.engine.outlook import Span
from batcher.errors import StorageError
from batcher.gemini.tokens import estimate_tokens
from batcher.job.fingerprint import Fingerprint
from batcher.job.spec import InputShape
from batcher.records import Request
from batcher.store.reading import part_file
from batcher.store.rundir import RunDir

_MOST_RUNS = 200
_MOST_ROWS = 5_000
_COLUMNS = ("prompt", "request_hash", "input_tokens", "output_tokens", "latency_ms")
_PLAIN = frozenset({InputShape.PROMPT.value, InputShape.TABLE.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a run teaches about the next one; None for what it does not.

    Attributes:
        run_dir: as the user would type it.
        rows: how many of its rows were looked at.
        same_job: whether it asked the same; the length of answers is learnt from nobody else.
        covered: the share of the requests to come that were among its rows.
        input_scale, output, latency_s: see `Assumed`.
    """

    run_dir: str
    rows: int
    same_job: bool
    covered: float
    input_scale: Span | None
    output: Span | None
    latency_s: Span | None


def learn(mark: Fingerprint, out: Path, requests: Sequence[Request]) -> Lesson | None:
    """Find the run that teaches most and read some of its rows; None when no run is of this model and endpoint.

    A run of the same job comes before one of the same model; of two, the later one.

    Args:
        mark: of the job to come.
        out: its run directory; its preview and its neighbours are looked at, too.
        requests: some that it will send.
    """
    runs = sorted(_runs(mark, out), key=lambda run: (run.same_job, run.changed_s), reverse=True)
    return next((lesson for run in runs if (lesson := _lesson(run, requests)) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    rundir: RunDir
    manifest: Mapping[str, Any]
    same_job: bool
    changed_s: float


def _runs(mark: Fingerprint, out: Path) -> Iterator[_Run]:
    own = [out, out.with_name(f"{out.name}.preview"), out.with_name(out.name.removesuffix(".preview"))]
    beside = (found.parent for found in out.parent.glob("*/run.json"))
    for place in list(dict.fromkeys([*own, *beside]))[:_MOST_RUNS]:
        rundir = RunDir.at(place)
        try:
            manifest = rundir.read_manifest()
            changed_s = rundir.manifest.stat().st_mtime if manifest else 0.0
        except (StorageError, OSError):
            continue  # somebody else's file; it has nothing to teach
        facts = manifest["fingerprint"]["facts"] if manifest else {}
        if manifest and all(facts.get(name) == mark.facts.get(name) for name in ("model", "endpoint.url")):
            same_job = manifest["fingerprint"]["sha"] == mark.sha
            yield _Run(rundir=rundir, manifest=manifest, same_job=same_job, changed_s=changed_s)


def _lesson(run: _Run, requests: Sequence[Request]) -> Lesson | None:
    rows = [row for row in _rows(run.rundir) if row["input_tokens"]]
    if not rows:
        return None
    latencies = [row["latency_ms"] / 1000 for row in rows if row["latency_ms"]]
    outputs = [row["output_tokens"] for row in rows if row["output_tokens"] is not None]
    asked, hashes = {row["request_hash"] for row in rows}, {request.request_hash for request in requests}
    return Lesson(
        run_dir=str(run.rundir.out),
        rows=len(rows),
        same_job=run.same_job,
        covered=sum(hashed in asked for hashed in hashes) / len(hashes) if hashes else 0.0,
        input_scale=_scale(run, rows, requests),
        output=around(outputs) if outputs and run.same_job else None,
        latency_s=around(latencies, at_least=0.2) if latencies and run.same_job else None,
    )


def _rows(rundir: RunDir) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in rundir.parts():
        try:
            with part_file(part) as file:
                names = [name for name in _COLUMNS if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=_MOST_ROWS, columns=names):
                    rows += batch.to_pylist()
                    if len(rows) >= _MOST_ROWS:
                        return rows[:_MOST_ROWS]
        except StorageError:
            continue
    return rows


def _scale(run: _Run, rows: Sequence[Mapping[str, Any]], requests: Sequence[Request]) -> Span | None:
    """Real tokens for an estimated one: of the very same requests, else of prompts that are all text."""
    estimated = {request.request_hash: request.estimated_tokens for request in requests}
    pairs = [(row["input_tokens"], estimated[row["request_hash"]]) for row in rows if row["request_hash"] in estimated]
    if not pairs and run.manifest["shape"] in _PLAIN and "tools" not in run.manifest["job"].get("request", {}):
        system = estimate_tokens(run.manifest["job"].get("prompt", {}).get("system") or "")
        pairs = [(row["input_tokens"], system + estimate_tokens(row["prompt"])) for row in rows if row["prompt"]]
    pairs = [(actual, guess) for actual, guess in pairs if guess > 0]
    if not pairs:
        return None
    middle = sum(actual for actual, _ in pairs) / sum(guess for _, guess in pairs)
    low, mean, high = around([actual / guess for actual, guess in pairs])
    return Span(middle * low / mean, middle, middle * high / mean)
