"""How does a run leave its directory in somebody else's format? Part by part, in input order, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.datasets.answers import Examples
from batcher.datasets.checks import check_order
from batcher.datasets.messages import Asked, Turns
from batcher.datasets.order import Exported, Format, Order
from batcher.datasets.outfile import ChatFile, CsvFile
from batcher.datasets.selection import Selection, read_rows
from batcher.engine.asked import Requests
from batcher.engine.plan import read_plan, state_of
from batcher.errors import PlanChanged, StorageError
from batcher.job.spec import InputShape, Job, Prompt
from batcher.prompts.build import Builder
from batcher.prompts.schema import answer_schema
from batcher.prompts.template import Template
from batcher.records import Answer, Candidate, Request, Row
from batcher.rows.shapes import Shape
from batcher.store.rundir import RunDir, lock_owner
from batcher.store.target import written

Progress = Callable[[int, int], None]
"""Told the rows so far and the rows there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run directory that is only read.

    Attributes:
        parts: (number of the block, its part) of those that are sealed, in order.
    """

    rundir: RunDir
    manifest: Mapping[str, Any]
    job: Job
    parts: tuple[tuple[int, Path], ...]
    schema: pa.Schema

    @property
    def tasks(self) -> int:
        """Rows times samples."""
        return int(self.manifest["tasks"])

    @property
    def running(self) -> bool:
        """Whether a process owns it now."""
        return lock_owner(self.rundir.lock) is not None


def open_run(out: Path) -> Run:
    """Look into a run directory, running or not.

    Raises:
        PlanChanged: the folder is no run.
        StorageError: it is damaged.
    """
    manifest = RunDir.at(out).read_manifest()
    if manifest is None:
        raise PlanChanged(f"{out}: not a run directory (it has no run.json)", hint="batcher run JOB.toml -o OUT")
    job = Job.model_validate(manifest["job"])
    rundir = RunDir.at(out, state_of(job, out))
    blocks = int(manifest["blocks"])
    anchor = rundir.part(0, blocks)
    try:
        schema = pq.read_schema(anchor)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{anchor}: not a whole part of a run: {error}") from error
    named = ((no, rundir.part(no, blocks)) for no in range(1, blocks + 1))
    parts = tuple((no, part) for no, part in named if part.exists())
    return Run(rundir=rundir, manifest=manifest, job=job, parts=parts, schema=schema.remove_metadata())


def export_rows(out: Path, order: Order, *, stdout: BinaryIO, progress: Progress) -> Exported:
    """Export the finished rows of a run; blocks until it is done.

    Args:
        out: the run directory; a process may be at work in it.
        order: what is wanted; every format but `gemini-batch`.
        stdout: written to where the order has no target.
        progress: told now and then how far it is.

    Raises:
        UserError: the order cannot be done, or its target is there already; nothing was written.
        StorageError: a part is damaged, or the disk refuses.
    """
    run = open_run(out)
    check_order(order, schema=run.schema, forbidden=(run.rundir.data, run.rundir.attempts))
    running = run.running
    selection = Selection(order.wanted, order.where)
    asked = _rows_of(run)
    with opened(order, stdout) as sink:
        if order.to is Format.CSV:
            file: CsvFile | ChatFile = CsvFile(order, sink, run.schema, selection)
        else:
            file = ChatFile(order, sink, run.schema, selection, _examples(run.job, order))
        for no, part in run.parts:
            file.take(asked(no))
            for batch in read_rows(part, file.columns):
                file.add(batch)
            progress(selection.seen, run.tasks)
        file.close()
    return exported(order, selection, tasks=run.tasks, running=running, notes=file.notes())


@contextlib.contextmanager
def opened(order: Order, stdout: BinaryIO) -> Iterator[BinaryIO]:
    """Give what is written to: the target, whole or not at all, or standard output."""
    if order.target is None:
        yield stdout
        stdout.flush()
        return
    with written(order.target, force=order.force) as sink:
        yield sink


def exported(order: Order, selection: Selection, *, tasks: int, running: bool, notes: list[str]) -> Exported:
    """Sum up an export that is done."""
    target = order.target
    return Exported(
        to=order.to,
        target="-" if target is None else str(target),
        written=selection.written,
        tasks=tasks,
        left_out=selection.left_out,
        open=tasks - selection.seen,
        running=running,
        size_bytes=target.stat().st_size if target is not None and target.is_file() else None,
        notes=tuple(notes),
    )


def _rows_of(run: Run) -> Callable[[int], Iterator[Asked]]:
    """Give the rows of a block as they were asked; the plan is read when the first of them is wanted."""
    requests = cache(lambda: Requests.of_plan(read_plan(run.job, run.rundir, run.manifest)))

    def rows(no: int) -> Iterator[Asked]:
        made = requests()
        yield from made.rows(made.index.blocks[no - 1])

    return rows


def _examples(job: Job, order: Order) -> Examples:
    """Give what makes conversations of a job's rows; the run held only first candidates to its schema."""
    schema = answer_schema(job) if order.every_candidate else None

    def fits(text: str) -> bool:
        return schema is None or schema.check(Answer(candidates=(Candidate(index=0, text=text),))) is None

    return Examples(_turns(job), every=order.every_candidate, fits=fits)


def _turns(job: Job) -> Turns:
    """Say what came before the answers of a job's rows."""
    system = _system(job)
    plain = job.model_copy(update={"prompt": Prompt(system=system)})
    builder = Builder(plain, Shape(kind=InputShape.PROMPT, prompt_key="prompt"), (), where="run.json")

    def proof(prompt: str) -> bytes | None:
        made = builder.build(Row(ordinal=0, id="", values={"prompt": prompt}, where=""))
        return made.request_hash if isinstance(made, Request) else None

    return Turns(system, proof)


def _system(job: Job) -> str | None:
    """Give the system instruction that all rows share; None where there is none or each row has its own."""
    if job.prompt.system is None:
        return None
    template = Template(job.prompt.system, setting="[prompt] system", columns=(), where="run.json")
    if template.columns:
        return None
    text = template.render(Row(ordinal=0, id="", values={}, where="[prompt] system"))
    return text if isinstance(text, str) else None
