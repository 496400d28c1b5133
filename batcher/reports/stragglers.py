"""Which rows hold a block open, in one line of a terminal?"""

from __future__ import annotations

import math

from batcher.engine.progress import Snapshot, Straggler
from batcher.reports.limits import limit
from batcher.reports.plain import plain
from batcher.reports.terminal import whole_duration

_LEAST_ID = 6
_NAMED = 3  # in a line of `status`


def straggler_line(snapshot: Snapshot) -> str:
    """Name the rows that hold blocks open: which, since when, at which try, what they wait for; empty without any."""
    if not snapshot.stragglers:
        return ""
    named = snapshot.stragglers[:_NAMED]
    said = " · ".join(_whole(each) for each in named)
    more = snapshot.straggling - len(named)
    blocks = sorted({each.block for each in snapshot.stragglers})
    held = f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {', '.join(map(str, blocks))}"
    return f"{held} waiting for {said}{f' and {more:,} more' if more else ''}"


def straggler_short(snapshot: Snapshot, width: int) -> str:
    """Name the row that holds a block open for longest in so many columns; what it waits for gives way first."""
    if not snapshot.stragglers:
        return ""
    oldest = snapshot.stragglers[0]
    name, age = _name(oldest), _age(oldest.open_s)
    others = f" (+{snapshot.straggling - 1:,})" if snapshot.straggling > 1 else ""
    tried = f", try {oldest.attempts:,}" if oldest.attempts > 1 else ""
    for rest in (
        f"{others}: {age}{tried}, {_wait(oldest)}",
        f"{others}: {age}, {_wait(oldest)}",
        f"{others}: {age}{tried}",
    ):
        if len(name) + len(rest) <= width:
            return name + rest
    shortest = f"{others}: {age}{tried}"
    room = max(width - len(shortest), _LEAST_ID)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + shortest


def _whole(straggler: Straggler) -> str:
    how = f"try {straggler.attempts:,}, {_wait(straggler)}"
    return f"{_name(straggler)} for {whole_duration(straggler.open_s)} ({how})"


def _name(straggler: Straggler) -> str:
    name = " ".join(plain(straggler.id).split())  # ids are the user's, and may be anything
    return name if straggler.sample is None else f"{name} #{straggler.sample}"


def _wait(straggler: Straggler) -> str:
    return "being written" if straggler.waits_for == "journal" else limit(straggler.waits_for)


def _age(seconds: float) -> str:
    """Write a time span with one unit: `95 s`, `12 min`, `3 h`."""
    if seconds < 120:
        return f"{math.floor(seconds)} s"
    return f"{math.floor(seconds / 60)} min" if seconds < 7_200 else f"{math.floor(seconds / 3600)} h"
