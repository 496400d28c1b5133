"""What slowed a run down on the way, for run.json and for whoever reads the summary?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from batcher.job.spec import Limits
from batcher.pacing.history import History
from batcher.pacing.permit import CONCURRENCY, INPUT_TOKENS_A_MINUTE, PACE, REQUESTS_A_MINUTE

_SETTINGS = {REQUESTS_A_MINUTE: "requests_per_minute", INPUT_TOKENS_A_MINUTE: "input_tokens_per_minute"}


def slowed_notes(history: History, limits: Limits) -> Iterator[str]:
    """Say how often a limit was lowered, how far, and which quota the endpoint told that nobody had set.

    Args:
        history: of the gate.
        limits: as the job sets them.
    """
    if times := history.cuts.get(PACE):
        yield f"the pace was cut {_times(times)} after 429s, to {history.least[PACE]:.3g} a second at the least"
    if times := history.cuts.get(CONCURRENCY):
        yield f"concurrency was cut {_times(times)} after failures, to {history.least[CONCURRENCY]:,.0f} at the least"
    for quota, setting in _SETTINGS.items():
        told = [turn.limit for turn in history.turns if turn.what == quota and turn.limit is not None]
        mine = getattr(limits, setting)
        if told and mine != told[-1]:
            instead = f"instead of {mine:,.10g}" if mine is not None else "which was not set"
            allows = f"the endpoint says that it allows {told[-1]:,.10g} {quota}, {instead}"
            yield f"{allows}: limits.{setting} = {told[-1]:.10g}"


def slowed_json(history: History) -> dict[str, Any]:
    """What run.json keeps: each change of a limit, oldest first and thinned, and how often each was lowered."""
    return {"cuts": dict(history.cuts), "turns": [asdict(turn) for turn in history.turns]}


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
