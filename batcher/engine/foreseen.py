"""How many tasks of a run that is not planned yet will need no asking? Counted in memory, if the input is short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from batcher.engine.plan import Plan
from batcher.engine.reused import Source, answers_of
from batcher.engine.sparing import request_hashes, shares_answers

MOST_ROWS = 200_000
"""Of the input, and of the runs whose answers it may use: a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What is known of it before planning.

    Attributes:
        asked: requests that will be sent; retries not counted.
        reused: tasks whose answer another run has; of one that was not finished, only what its parts have.
        shared: rows that will share an earlier row's answer.
        repeats: rows that repeat an earlier row's request.
    """

    asked: int
    reused: int
    shared: int
    repeats: int

    @property
    def spared(self) -> int:
        """Tasks that need no asking."""
        return self.reused + self.shared


def foresee(plan: Plan, sources: Sequence[Source]) -> Foreseen | None:
    """Look through all rows of a plan and all answers of `sources`; None where that takes long.

    Raises:
        StorageError: a part is damaged.
    """
    job = plan.job
    if plan.index.rows > MOST_ROWS or plan.builder.media or sum(source.rows for source in sources) > MOST_ROWS:
        return None
    rows = Counter(request_hash for request_hash, _ in request_hashes(plan.index, plan.builder, job.input))
    repeats = rows.total() - len(rows)
    wanted = Counter(dict.fromkeys(rows, 1)) if shares_answers(job) else rows
    found: set[tuple[bytes, int, int]] = set()
    for source in sources:
        seen: Counter[tuple[bytes, int]] = Counter()
        for answer in answers_of(source.rundir):
            key = (answer.request_hash, answer.sample)
            if answer.usable and answer.sample < job.samples and seen[key] < wanted[answer.request_hash]:
                found.add((*key, seen[key]))
            seen[key] += 1
    return Foreseen(
        asked=wanted.total() * job.samples - len(found),
        reused=len(found),
        shared=rows.total() - wanted.total(),
        repeats=repeats,
    )
