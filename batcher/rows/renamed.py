"""Are these still the files that were planned? What the job names now, against the plan."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from batcher.job.spec import Input
from batcher.rows.index import Index
from batcher.rows.readers import STDIN, sources_of
from batcher.rows.spool import brings_the_same


def check_named(index: Index, spec: Input, *, stdin: BinaryIO | None, spool: Path) -> tuple[str, ...]:
    """Compare the files that a job names with the plan's; one line `name: was → is` where they differ.

    Args:
        index: the plan, whose own files have been found unchanged.
        spec: `[input]` as it is given now.
        stdin: compared with what was spooled, where the job reads it; None, or one that brings nothing, goes on with
            what was spooled: a run is continued in another shell than the one that began it.
        spool: where a stream is written down to be compared.

    Raises:
        InputError: a name leads nowhere.
    """
    now = [source and source.absolute() for named in spec.files for source in sources_of(named)]
    was = [None if file.name == STDIN else file.source for file in index.files]
    if now != was:
        names = [STDIN if source is None else source.name for source in now]
        return (f"input.files: {_listed([file.name for file in index.files])} → {_listed(names)}",)
    if None in was and stdin is not None:
        copy = next(file.path for file in index.files if file.name == STDIN)
        if not brings_the_same(stdin, copy, spool):
            return ("-: standard input as it was spooled → another one",)
    return ()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
