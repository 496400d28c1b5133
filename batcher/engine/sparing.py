"""Which rows of a new run need not be asked? Their requests are matched with the answers of others while planning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from batcher.engine.leftovers import write_leftovers
from batcher.engine.reused import Source, answers_in, answers_of
from batcher.errors import RunLocked
from batcher.job.spec import Input, Job
from batcher.prompts.build import Builder
from batcher.records import Request
from batcher.rows.index import Index
from batcher.rows.slices import BlockReader
from batcher.store.rundir import RunDir
from batcher.store.spares import Found, Held, SpareFinder

Thing = TypeVar("Thing")
_TOLD_EVERY = 1024


def shares_answers(job: Job) -> bool:
    """Whether rows that repeat a request share its answer."""
    return job.dedup and job.samples == 1


def spares_of(  # noqa: PLR0913  what only planning knows
    job: Job,
    index: Index,
    builder: Builder,
    rundir: RunDir,
    sources: Sequence[Source],
    *,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Any] | None:
    """Write the index of what need not be asked; give what run.json says of it.

    Args:
        job: whose requests.
        index: of its input.
        builder: of its requests.
        rundir: of the new run.
        sources: runs whose answers may be used again.
        told: how many rows and answers have been read so far.

    Returns:
        None when nobody asked for it and there is nothing: a preview that does not fit.

    Raises:
        RunLocked: one of the runs is being run.
        StorageError: a part is damaged, or the disk refuses.
    """
    dedup = shares_answers(job)
    # A preview asked the first rows; where that is all there is to look for, the others need not be made twice.
    only_previews = not dedup and all(source.is_preview for source in sources)
    most = max(source.rows for source in sources) if only_previews else None
    requests = request_hashes(index, builder, job.input, most=most)
    answers = [_counted(_answers(source, rundir.leftovers(n)), told) for n, source in enumerate(sources)]
    found = _matched(rundir.spares, _counted(requests, told), answers, job.samples, dedup=dedup)
    if only_previews and not found.tasks:
        rundir.spares.unlink()
        return None
    return {
        "dedup": dedup,
        "tasks": found.tasks,
        "twins": found.twins,
        "reuse": [
            {
                "path": str(source.out.resolve()),
                "shown": str(source.out),
                "run_id": source.run_id,
                "is_preview": source.is_preview,
                "tasks": count,
                "cost_usd": f"{cost_usd:f}",
            }
            for source, (count, cost_usd) in zip(sources, found.reused, strict=True)
        ],
    }


def request_hashes(
    index: Index, builder: Builder, spec: Input, *, most: int | None = None
) -> Iterator[tuple[bytes, int]]:
    """Make the requests of an input and give the hash and ordinal of each that can be asked.

    Args:
        index: the plan of the input.
        builder: of the job.
        spec: `[input]`, as it was planned.
        most: of the first rows only, where no later one can matter.
    """
    reader = BlockReader(index, spec, needed=builder.needed)
    for block in index.blocks:
        for piece in reader.read(block):
            for row in piece.rows:
                if most is not None and row.ordinal >= most:
                    return
                made = row.problem or builder.build(row)
                if isinstance(made, Request):
                    yield made.request_hash, row.ordinal


def not_asked(job: Job, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Say what other runs and other rows have paid for, one line each."""
    if job.dedup and job.samples > 1:
        yield f"note: dedup is off: the {job.samples} samples of a row are meant to differ"
    spares = manifest.get("spares")
    if spares is None:
        return
    tasks = manifest["tasks"]
    for source in spares["reuse"]:
        cost_usd = Decimal(source["cost_usd"])
        saved = f"; they had cost ${cost_usd.normalize():f}" if source["tasks"] else ""
        yield f"reuse: {source['tasks']:,} of {tasks:,} answers are those of {source['shown']}{saved}"
    if spares["dedup"]:
        yield f"dedup: {spares['twins']:,} of {tasks:,} rows repeat an earlier request and share its answer"
    if spares["twins"] and job.generation.temperature != 0:
        said = "not set" if job.generation.temperature is None else f"{job.generation.temperature:g}"
        yield f"note: temperature is {said}: asked one by one, rows that repeat a request might have had other answers"


def _answers(source: Source, leftovers: Path) -> Iterator[Held]:
    """Of its parts, and of its journal where it was not finished: those in a part of ours that counts as its part 0."""
    try:
        written = write_leftovers(source, leftovers)
    except RunLocked:
        if not source.is_preview:
            raise
        written = 0  # nobody named it; what it has finished will do
    yield from answers_of(source.rundir)
    if written:
        yield from answers_in(leftovers, number=0)


def _matched(
    path: Path,
    requests: Iterable[tuple[bytes, int]],
    answers: Iterable[Iterable[Held]],
    samples: int,
    *,
    dedup: bool,
) -> Found:
    finder = SpareFinder(path)
    try:
        finder.ask(requests)
        for one in answers:
            finder.have(one)
        return finder.match(samples=samples, dedup=dedup)
    except BaseException:
        finder.abandon()
        raise


def _counted(things: Iterable[Thing], told: Callable[[int], None]) -> Iterator[Thing]:
    for count, thing in enumerate(things):
        if count % _TOLD_EVERY == 0:
            told(count)
        yield thing
