"""What did earlier starts of a run learn of its tokens? A note in `.state`, so that a resumed run knows it, too."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import orjson

from batcher.pacing.quota import Learnt
from batcher.store.disk import write_whole
from batcher.store.rundir import RunDir


def write_learnt(rundir: RunDir, learnt: Mapping[str, Learnt]) -> None:
    """Leave word for the next start; not synced, and no harm if it fails: a minute of replies teaches it again.

    Args:
        rundir: of the run.
        learnt: lane -> what `Gate.learnt` says; nothing is written of nothing.
    """
    if learnt:
        content = orjson.dumps({lane: each._asdict() for lane, each in learnt.items()})
        with contextlib.suppress(OSError):
            write_whole(rundir.tokens, content, sync=False, own=True)


def read_learnt(rundir: RunDir) -> dict[str, Learnt]:
    """Read `write_learnt` back; what cannot be read, or makes no sense, was never learnt."""
    try:
        found = orjson.loads(rundir.tokens.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {lane: learnt for lane, said in found.items() if (learnt := _learnt(said)) is not None}


def _learnt(said: Any) -> Learnt | None:
    if not isinstance(said, dict) or said.keys() != set(Learnt._fields):
        return None
    learnt = Learnt(**said)
    if not all(type(value) in (int, float) and math.isfinite(value) for value in learnt):
        return None
    is_sane = learnt.replies >= 1 and min(learnt.actual, learnt.estimated, learnt.estimated2) > 0 <= learnt.error2
    return learnt if is_sane and isinstance(learnt.replies, int) else None
