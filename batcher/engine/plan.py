"""What will the run do? Made once and frozen in the run directory; every later start reads it back."""

from __future__ import annotations

import datetime as dt
import platform
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from batcher.datasets.card import card
from batcher.engine.builders import builder_of, media_names
from batcher.engine.charges import check_bounded
from batcher.engine.reused import Source, other_sources, sources_of
from batcher.engine.sparing import not_asked, shares_answers, spares_of
from batcher.engine.ways import lane_of, place_of
from batcher.errors import PlanChanged, StorageError
from batcher.job.fingerprint import anchor, differences, fingerprint
from batcher.job.pool import pooled
from batcher.job.spec import Job
from batcher.money.prices import RateCard
from batcher.prompts.build import Builder
from batcher.prompts.schema import answer_schema
from batcher.rows.index import Index, check_unchanged, load_index, save_index
from batcher.rows.planning import plan_rows
from batcher.rows.readers import InputFile, find_inputs
from batcher.rows.renamed import check_named
from batcher.store.bills import Terms
from batcher.store.disk import sha256_of, sync_folder
from batcher.store.failpoints import FailPoints
from batcher.store.parts import write_anchor
from batcher.store.rundir import RunDir, state_folder
from batcher.store.schemas import RESERVED, SCHEMA_VERSION, data_schema

LEAST_BLOCK_ROWS = 256
MOST_BLOCK_ROWS = 65_536
_TYPICAL_LATENCY_S = 4.0  # of a page or so of answer; it only sizes blocks

Counted = Callable[[int, int], None]
"""Told rows and bytes while planning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A frozen plan, ready to ask.

    Attributes:
        manifest: what run.json says, without totals and verdict.
        schema: of `data/`.
        terms: what every row and ledger line shares.
    """

    job: Job
    rundir: RunDir
    index: Index
    manifest: Mapping[str, Any]
    schema: pa.Schema
    terms: Terms
    builder: Builder

    @property
    def tasks(self) -> int:
        """Rows times samples."""
        return self.index.rows * self.job.samples

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.index.blocks)

    @property
    def spared(self) -> int:
        """Tasks that need not be asked, because another run or another row has their answer."""
        return int(self.manifest["spares"]["tasks"]) if self.terms.spares else 0

    def lane(self, model: str) -> str:
        """The quota owner of a model: quotas belong to (project, model), not to a key."""
        return lane_of(self.terms.endpoint, self.terms.project, model)


def block_rows(job: Job) -> int:
    """Rows of a block: one minute of the planned rate, within bounds."""
    limits = pooled(job)
    by_slots = limits.concurrency * 60 / _TYPICAL_LATENCY_S
    a_minute = min(limits.requests_per_minute or by_slots, by_slots)
    return int(min(max(a_minute / job.samples, LEAST_BLOCK_ROWS / job.samples, 1), MOST_BLOCK_ROWS))


def make_plan(  # noqa: PLR0913  what only the caller knows
    job: Job,
    rundir: RunDir,
    *,
    limit: int | None,
    now: dt.datetime,
    counted: Counted,
    failpoints: FailPoints,
    stdin: BinaryIO | None = None,
) -> Plan:
    """Read the frozen plan of `rundir`, or make one.

    Raises:
        JobError: the template does not fit the input.
        InputError: the input cannot be read, or `strict` refuses it.
        PlanChanged: the directory was made for another job or another input.
        StorageError: the directory is damaged or cannot be written.
    """
    manifest = rundir.read_manifest()
    if manifest is None:
        return _new_plan(job, rundir, limit=limit, now=now, counted=counted, failpoints=failpoints, stdin=stdin)
    check_same(job, rundir, manifest, limit=limit)
    plan = read_plan(job, rundir, manifest)
    check_still(plan, stdin=stdin, spool=rundir.spool)
    return plan


def check_still(plan: Plan, *, stdin: BinaryIO | None, spool: Path) -> None:
    """Raise `PlanChanged` for another input than the planned one, `InputError` for a name that leads nowhere."""
    if changed := check_named(plan.index, plan.job.input, stdin=stdin, spool=spool):
        raise PlanChanged(f"{plan.rundir.out}: the input has changed", differences=changed, hint=elsewhere(plan.rundir))


def check_same(job: Job, rundir: RunDir, manifest: Mapping[str, Any], *, limit: int | None) -> None:
    """Refuse a job that would ask something else than the run directory was planned for.

    Raises:
        PlanChanged: with every setting that differs.
    """
    was = manifest["fingerprint"]
    now = fingerprint(job, anchor(job, was["facts"]))
    changed = differences(was["facts"], now.facts) if was["sha"] != now.sha else ()
    changed = (*changed, *other_sources(job, manifest))
    if manifest["limit"] != limit:
        changed = (*changed, f"limit: {_rows(manifest['limit'])} → {_rows(limit)}")
    if changed:
        raise PlanChanged(
            f"{rundir.out}: this run was planned for another job", differences=changed, hint=elsewhere(rundir)
        )


def _rows(limit: int | None) -> str:
    return "all rows" if limit is None else "1 row" if limit == 1 else f"{limit:,} rows"


def read_plan(job: Job, rundir: RunDir, manifest: Mapping[str, Any]) -> Plan:
    """Read the frozen plan back.

    Raises:
        PlanChanged: an input file has changed since.
        StorageError: the plan's files are damaged or gone.
    """
    if not rundir.index.exists() or not rundir.journal.exists():
        raise StorageError(
            f"{rundir.state}: the run's state is gone; its finished parts in {rundir.data} still count",
            hint=recover_command(rundir),
        )
    index = load_index(rundir.index)
    if changed := check_unchanged(index):
        raise PlanChanged(f"{rundir.out}: the input has changed", differences=changed, hint=elsewhere(rundir))
    return plan_over(job, rundir, index, manifest, RateCard.read(rundir.prices))


def recover_command(rundir: RunDir) -> str:
    """What to type when something of a run is lost or damaged."""
    return f"batcher recover {shlex.quote(str(rundir.out))}"


def elsewhere(rundir: RunDir) -> str:
    """What to do when a run directory does not fit any more."""
    return f"to start afresh: name another folder with -o, or remove {rundir.out}"


def _new_plan(  # noqa: PLR0913
    job: Job,
    rundir: RunDir,
    *,
    limit: int | None,
    now: dt.datetime,
    counted: Counted,
    failpoints: FailPoints,
    stdin: BinaryIO | None,
) -> Plan:
    check_new(job, rundir)
    check_bounded(job, RateCard.bundled(), now_us=round(now.timestamp() * 1e6))
    files = find_inputs(job.input, spool=rundir.spool, stdin=stdin, told=lambda copied_bytes: counted(0, copied_bytes))
    sources = sources_of(job, rundir.out, limit=limit)
    plan = draft_plan(job, rundir, files, limit=limit, rows_a_block=block_rows(job), now=now, counted=counted)
    if sources or shares_answers(job):
        plan = _sparing(plan, sources, counted)
    try:
        plan = freeze(plan)
    except OSError as error:
        raise StorageError(
            f"{rundir.out}: the plan cannot be written: {error.strerror or error}; nothing was sent",
            hint="free some disk, or name another folder with -o",
        ) from error
    failpoints.hit("planned")
    return plan


def freeze(plan: Plan) -> Plan:
    """Write a plan into its run directory: from now on it is a run.

    Returns:
        The plan, which now says of the price list what that has become on the disk.
    """
    rundir = plan.rundir
    for stale in rundir.parts():  # the anchor of a plan that was never finished
        stale.unlink()
    save_index(plan.index, rundir.index)
    plan.terms.rates.write(rundir.prices)
    rundir.write_card(card(plan.manifest, plan.schema, None, licence=plan.job.output.license))
    write_anchor(rundir, plan.schema, plan.blocks, plan.terms.run_id)
    manifest = {**plan.manifest, "prices_sha256": sha256_of(rundir.prices)}
    rundir.journal.touch(mode=0o600)  # before the manifest: where that is and the journal is not, the state is gone
    sync_folder(rundir.state)
    rundir.write_manifest(manifest)
    return replace(plan, manifest=manifest)


def _sparing(plan: Plan, sources: Sequence[Source], counted: Counted) -> Plan:
    """Find the tasks that need not be asked; where there are none and nobody asked for it, the plan stays as it is."""
    job, rundir, index = plan.job, plan.rundir, plan.index
    found = spares_of(job, index, plan.builder, rundir, sources, told=lambda rows: counted(rows, 0))
    return (
        plan if found is None else plan_over(job, rundir, index, {**plan.manifest, "spares": found}, plan.terms.rates)
    )


def check_new(job: Job, rundir: RunDir) -> None:
    """Raise, before a long input is read, `StorageError` for parts of no known run, `JobError` for a bad schema."""
    if any(not part.name.startswith("train-00000-") for part in rundir.parts()):
        raise StorageError(f"{rundir.out}: holds parts but no run.json", hint=elsewhere(rundir))
    answer_schema(job)


def draft_plan(  # noqa: PLR0913
    job: Job,
    rundir: RunDir,
    files: Sequence[InputFile],
    *,
    limit: int | None,
    rows_a_block: int,
    now: dt.datetime,
    counted: Counted,
) -> Plan:
    """Make the plan of a new run and write nothing.

    Raises:
        JobError, InputError: as `make_plan`.
    """
    index = plan_rows(
        files,
        job.input,
        block_rows=rows_a_block,
        limit=limit,
        has_template=job.prompt.template is not None,
        reserved=RESERVED,
        media=media_names(job),
        on_progress=counted,
    )
    return plan_over(job, rundir, index, _manifest(job, index, now, limit, rows_a_block), RateCard.bundled())


def plan_over(job: Job, rundir: RunDir, index: Index, manifest: Mapping[str, Any], rates: RateCard) -> Plan:
    """Put a plan together from its parts; reads nothing."""
    terms = terms_of(job, manifest, rates)
    return Plan(
        job=job,
        rundir=rundir,
        index=index,
        manifest=manifest,
        # Frozen with the plan: a retry that asks for more adds no columns to the parts that are there.
        schema=data_schema(
            index.schema,
            raw=job.output.raw,
            parsed="schema" in manifest["job"]["output"],
            images=terms.images,
            spares=terms.spares,
            features=index.features,
        ),
        terms=terms,
        builder=builder_of(job, index),
    )


def terms_of(job: Job, manifest: Mapping[str, Any], rates: RateCard) -> Terms:
    """What is the same for every row of a run, as its manifest has frozen it."""
    planned = place_of(anchor(job, manifest["fingerprint"]["facts"]))
    return Terms(
        run_id=manifest["run_id"],
        project=planned.project,
        endpoint=planned.endpoint,
        tier=job.request.service_tier,
        labels=tuple(sorted(job.labels.items())),
        rates=rates,
        samples=job.samples,
        store_prompt=job.output.store_prompt,
        raw=job.output.raw,
        images=_makes_pictures(manifest["job"]),
        spares="spares" in manifest,
        several=len(job.asked) > 1,
        fallbacks=bool(job.fallback_models),
    )


def _makes_pictures(job: Mapping[str, Any]) -> bool:
    """Say whether answers are to be pictures: the job or its rows may ask for them, or its model makes them unasked."""
    modalities = job["generation"].get("response_modalities")
    if "response_modalities" in job["prompt"]["overrides"]:
        return True
    if modalities is None:
        return "-image" in job["model"]
    return any(modality.upper() == "IMAGE" for modality in modalities)


def _manifest(job: Job, index: Index, now: dt.datetime, limit: int | None, block_rows: int) -> dict[str, Any]:
    mark = fingerprint(job)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        "created_at": now.isoformat(timespec="seconds"),
        "versions": {
            "batcher": version("batcher-gemini"),
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
            "aiohttp": version("aiohttp"),
        },
        "job": job.model_dump(mode="json", exclude_none=True),
        "fingerprint": {"sha": mark.sha, "facts": dict(mark.facts)},
        "inputs": [
            {
                "name": file.name,
                "path": str(file.source),
                "size": file.size,
                "mtime_ns": file.mtime_ns,
                "sha256": None if limit is not None else sha256_of(file.source),  # a preview reads the first rows only
            }
            for file in index.files
        ],
        "shape": index.shape.kind,
        "limit": limit,
        "rows": index.rows,
        "bad_rows": index.bad_rows,
        "samples": job.samples,
        "tasks": index.rows * job.samples,
        "blocks": len(index.blocks),
        "block_rows": block_rows,  # as planned: by the same number the input is cut into the same blocks again
        "renamed": dict(index.renamed),
        "notes": list(index.notes),
    }


def described(plan: Plan) -> tuple[str, ...]:
    """Say what the input is, before anything is asked: one line, one for each surprise, and what need not be asked."""
    index = plan.index
    containers = ", ".join(dict.fromkeys(file.container for file in index.files))
    notes = (f"note: {note}" for note in index.notes)
    return (
        f"input: {index.shape.kind}, {containers}, {_rows(index.rows)}",
        *notes,
        *not_asked(plan.job, plan.manifest),
    )


def state_of(job: Job, out: Path) -> Path | None:
    """The state folder of a run directory that the job names, None for the one inside it."""
    return state_folder(job.output.state_dir, out)
