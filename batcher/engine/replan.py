"""What was the plan of a run whose index is lost? Made again from run.json and the input, and held against both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from batcher.engine.builders import media_names
from batcher.engine.plan import Plan, block_rows, elsewhere, plan_over, recover_command
from batcher.errors import InputError, PlanChanged, StorageError
from batcher.job.spec import Job
from batcher.money.prices import RateCard
from batcher.rows.planning import plan_rows
from batcher.rows.readers import STDIN, InputFile, find_inputs
from batcher.store.disk import sha256_of
from batcher.store.parts import read_schema
from batcher.store.rundir import RunDir
from batcher.store.salvage import footer_of
from batcher.store.schemas import RESERVED

Counted = Callable[[int, int], None]


def replan(job: Job, rundir: RunDir, manifest: Mapping[str, Any], *, stdin: BinaryIO | None, counted: Counted) -> Plan:
    """Plan the input again as it was planned. Nothing is written but copies of what is compressed or piped in.

    Args:
        job: of run.json.
        rundir: whose index is lost.
        manifest: run.json.
        stdin: brings the rows again, where they came through standard input.
        counted: told rows and bytes so far.

    Raises:
        PlanChanged: the input is gone or is not what it was, or this version cuts it otherwise.
        StorageError: the rates are damaged, or the state folder cannot take a copy.
    """
    files = tuple(_same_files(job, rundir, manifest, stdin))
    index = plan_rows(
        files,
        job.input,
        block_rows=manifest.get("block_rows") or block_rows(job),
        limit=manifest["limit"],
        has_template=job.prompt.template is not None,
        reserved=RESERVED,
        media=media_names(job),
        on_progress=counted,
    )
    plan = plan_over(job, rundir, index, manifest, RateCard.read(rundir.prices))
    if unlike := tuple(_unlike(plan)):
        was, now = manifest["versions"]["batcher"], version("batcher-gemini")
        raise PlanChanged(
            f"{rundir.out}: the input is the same, but comes to another plan (planned by batcher {was}, this is {now})",
            differences=unlike,
            hint=f"use the version that made it, or, {elsewhere(rundir)}",
        )
    return plan


def _same_files(job: Job, rundir: RunDir, manifest: Mapping[str, Any], stdin: BinaryIO | None) -> Iterator[InputFile]:
    """The input files of run.json, found unchanged, under the names that they had."""
    for entry in manifest["inputs"]:
        with _source(entry, rundir, stdin) as (named, stream):
            spec = job.input.model_copy(update={"files": (named,), "sha256": None})
            try:
                (file,) = find_inputs(spec, spool=rundir.spool, stdin=stream)
            except InputError as error:
                raise _changed(rundir, entry, error.message) from error
        if differs := _difference(file, entry):
            if entry["name"] == STDIN:
                file.path.unlink()  # of another input: the next pipe must not be held against it
                raise _unpiped(rundir, differs)
            raise _changed(rundir, entry, differs)
        yield replace(file, name=entry["name"])


@contextlib.contextmanager
def _source(entry: Mapping[str, Any], rundir: RunDir, stdin: BinaryIO | None) -> Iterator[tuple[str, BinaryIO | None]]:
    """What to look for: a path; of rows that were piped in, their copy in the state folder, else a pipe once more."""
    path = Path(entry["path"])
    if entry["name"] != STDIN:
        if not path.exists():
            raise _gone(rundir, entry, path)
        yield str(path), None
    elif path.exists():
        with path.open("rb") as copy:
            yield STDIN, copy
    elif stdin is not None:
        yield STDIN, stdin
    else:
        raise _unpiped(rundir, "nothing")


def _unpiped(rundir: RunDir, brought: str) -> PlanChanged:
    return PlanChanged(
        f"{rundir.out}: its rows came through standard input, and their copy is gone with the state",
        differences=(f"-: the rows as planned → {brought}",),
        hint=f"pipe the same rows in again: … | {recover_command(rundir)}\n{elsewhere(rundir)}",
    )


def _gone(rundir: RunDir, entry: Mapping[str, Any], path: Path) -> PlanChanged:
    if path.is_relative_to(rundir.spool.absolute()):
        return PlanChanged(
            f"{rundir.out}: its rows were handed over in Python, and their copy is gone with the state",
            hint="call run() with the same rows and the same out= once more: it is refused, but writes them down again;"
            f" then {recover_command(rundir)}\n{elsewhere(rundir)}",
        )
    return _changed(rundir, entry, f"gone ({path})")


def _changed(rundir: RunDir, entry: Mapping[str, Any], now: str) -> PlanChanged:
    return PlanChanged(
        f"{rundir.out}: the input has changed since it was planned, so its rows cannot be told any more",
        differences=(f"{entry['name']}: {entry['size']:,} bytes as planned → {now}",),
        hint=f"put the file back as it was and type the same again\n{elsewhere(rundir)}",
    )


def _difference(file: InputFile, entry: Mapping[str, Any]) -> str:
    """How a file differs; its time does not matter where its hash is known: a copy from a backup has another one."""
    if file.size != entry["size"]:
        return f"{file.size:,} bytes"
    if entry["sha256"] is None:
        return "" if file.mtime_ns == entry["mtime_ns"] else f"modified at {file.mtime_ns} ns since 1970"
    found = sha256_of(file.source)
    return "" if found == entry["sha256"] else f"SHA-256 {found}"


def _unlike(plan: Plan) -> Iterator[str]:
    """What of a plan is not what the run directory says of it."""
    manifest, rundir = plan.manifest, plan.rundir
    for name, now in (("rows", plan.index.rows), ("bad_rows", plan.index.bad_rows), ("blocks", plan.blocks)):
        if manifest[name] != now:
            yield f"{name}: {manifest[name]:,} → {now:,}"
            return
    for block in plan.index.blocks:
        footer = footer_of(rundir.part(block.no, plan.blocks))
        if footer is None or footer.stamp.run_id != plan.terms.run_id:
            continue
        was = (footer.stamp.first_task, footer.stamp.tasks)
        now_is = (block.first_ordinal * plan.job.samples, block.rows * plan.job.samples)
        if was != now_is:
            yield f"block {block.no}: tasks {was[0]:,} and {was[1]:,} from there on → {now_is[0]:,} and {now_is[1]:,}"
            return
    schema = read_schema(rundir.part(0, plan.blocks))
    if schema is not None and not schema.equals(plan.schema):
        yield "the columns of data/: as planned → others"


def missing_anchor(plan: Plan) -> bool:
    """Whether the part that holds the schema is lost."""
    anchor = plan.rundir.part(0, plan.blocks)
    footer = footer_of(anchor)
    if anchor.exists() and footer is None:
        raise StorageError(f"{anchor}: damaged", hint=f"remove it and type {recover_command(plan.rundir)}")
    return footer is None
