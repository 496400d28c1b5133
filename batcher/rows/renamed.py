"""Are these still the files that were planned? What the job names now, against the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from batcher.job.spec import Input
from batcher.rows.index import Index
from batcher.rows.readers import STDIN, name_of, sources_of
from batcher.rows.spool import brings_the_same

_MOST_LINES = 10
_SHOWN = 3


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
        return _differences(was, now, {file.source: file.name for file in index.files if file.name != STDIN})
    if None in was and stdin is not None:
        copy = next(file.path for file in index.files if file.name == STDIN)
        if not brings_the_same(stdin, copy, spool):
            return ("-: standard input as it was spooled → another one",)
    return ()


def _differences(was: Sequence[Path | None], now: Sequence[Path | None], names: Mapping[Path, str]) -> tuple[str, ...]:
    """Name each file that is no longer part of the input, or newly so: in a folder of a thousand it is hard to find."""

    def name(source: Path | None) -> str:
        return STDIN if source is None else names.get(source) or name_of(source)

    before, after = set(was), set(now)
    lines = [f"{name(source)}: planned → no part of the input" for source in was if source not in after]
    lines += [f"{name(source)}: not planned → part of the input" for source in now if source not in before]
    if not lines:
        return (f"input.files: {_listed(map(name, was))} → {_listed(map(name, now))}",)
    more = (f"and {len(lines) - _MOST_LINES:,} more files",) if len(lines) > _MOST_LINES else ()
    return (*lines[:_MOST_LINES], *more)


def _listed(names: Iterable[str]) -> str:
    """Files that are the same, in another order or number."""
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN:,} more" if len(listed) > _SHOWN else "")
