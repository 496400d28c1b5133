"""What goes on when a run directory was planned for another input or job? How much is new, and what asks only that."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batcher.engine.builders import builder_of, media_names
from batcher.engine.reused import answers_of, misfit
from batcher.engine.sparing import request_hashes
from batcher.errors import BatcherError, PlanChanged
from batcher.job.spec import Job
from batcher.rows.planning import plan_rows
from batcher.rows.readers import STDIN, InputFile, find_inputs
from batcher.store.rundir import RunDir
from batcher.store.schemas import RESERVED

MOST_ROWS = 200_000
"""Of the run and of the input; counted in a few seconds. The command is given without numbers where there are more."""
_MOST_BYTES = 64 << 20
_ROWS_A_BLOCK = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How a changed input and a finished run's rows compare, request by request.

    Attributes:
        kept: rows whose answer can be used again.
        new: rows whose request the run does not know.
        gone: rows of the run that nobody asks for any more.
        again: rows that it knows and that ended in it without an answer to use.
    """

    kept: int
    new: int
    gone: int
    again: int


def with_ways_on(error: PlanChanged, job: Job, rundir: RunDir, *, limit: int | None, command: str) -> PlanChanged:
    """The same refusal, and what to type so that only what is new is asked.

    Args:
        error: raised by planning.
        job: as it is now.
        rundir: planned for another one.
        limit: first rows only.
        command: what was typed; empty when nobody typed anything.
    """
    manifest = rundir.read_manifest()
    if manifest is None or misfit(job, manifest):
        return error
    overlap = _overlap(job, rundir, manifest, limit=limit) if rundir.success.exists() else None
    if overlap is not None and not overlap.kept:
        return error
    base = rundir.out if limit is None else rundir.out.with_name(rundir.out.name.removesuffix(".preview"))
    way = f"{_said(overlap)}: {_way(command, base, rundir.out)}"
    return PlanChanged(error.message, differences=error.differences, hint=f"{way}\n{error.hint}")


def _said(overlap: Overlap | None) -> str:
    if overlap is None:
        return "to ask only what it has no answer for"
    again = f", {_are(overlap.again)} without an answer to use" if overlap.again else ""
    said = f"{_are(overlap.new, 'row')} new, {_are(overlap.gone)} gone{again}"
    return f"{said}; to ask only those" if overlap.new + overlap.again else f"{said}; to take over its answers"


def _are(count: int, noun: str = "") -> str:
    named = f"{count:,} {noun}{'' if count == 1 or not noun else 's'}".rstrip()
    return f"{named} {'is' if count == 1 else 'are'}"


def _way(command: str, base: Path, reused: Path) -> str:
    onto = _free(base)
    if not command:
        return f"the same call with out={str(onto)!r}, reuse={str(reused)!r}"
    words = _without_out(shlex.split(command), base)
    end = words.index("--") if "--" in words else len(words)
    return shlex.join([*words[:end], "-o", str(onto), "--reuse", str(reused), *words[end:]])


def _without_out(words: Sequence[str], out: Path) -> list[str]:
    """Take out the flag that named the folder; whatever is missed is overruled by a later one."""
    left: list[str] = []
    for word in words:
        if left and left[-1] in {"-o", "--out"} and Path(word) == out:
            left.pop()
        elif not (word.startswith("--out=") and Path(word.removeprefix("--out=")) == out):
            left.append(word)
    return left


def _free(base: Path) -> Path:
    """A folder beside this one that nobody has."""
    number = 2
    while True:
        onto = base.with_name(f"{base.name}-{number}")
        if not onto.exists() and not onto.with_name(f"{onto.name}.preview").exists():
            return onto
        number += 1


def _overlap(job: Job, rundir: RunDir, manifest: dict[str, Any], *, limit: int | None) -> Overlap | None:
    """Compare the input as it is now with a finished run; None where that takes long or is not possible."""
    if manifest["tasks"] > MOST_ROWS or STDIN in job.input.files:
        return None
    try:
        now = _hashes(job, limit)
        known: Counter[bytes] = Counter()
        usable: Counter[bytes] = Counter()
        for answer in answers_of(rundir):
            if answer.sample == 0:
                known[answer.request_hash] += 1
                usable[answer.request_hash] += answer.usable
    except BatcherError:
        return None
    if now is None:
        return None
    kept = (now & usable).total()
    return Overlap(kept=kept, new=(now - known).total(), gone=(known - now).total(), again=(now & known).total() - kept)


def _hashes(job: Job, limit: int | None) -> Counter[bytes] | None:
    with tempfile.TemporaryDirectory(prefix="batcher-changed-") as spool:
        files = find_inputs(job.input, spool=Path(spool))
        if _size(files) > _MOST_BYTES:
            return None
        index = plan_rows(
            files,
            job.input,
            block_rows=_ROWS_A_BLOCK,
            limit=min(limit or MOST_ROWS + 1, MOST_ROWS + 1),
            has_template=job.prompt.template is not None,
            reserved=RESERVED,
            media=media_names(job),
        )
        builder = builder_of(job, index)
        if index.rows > MOST_ROWS or builder.media:
            return None
        return Counter(request_hash for request_hash, _ in request_hashes(index, builder, job.input))


def _size(files: Sequence[InputFile]) -> int:
    return sum(file.path.stat().st_size for file in files)
