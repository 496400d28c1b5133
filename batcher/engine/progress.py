"""How far is the run, and how did it end? Frozen snapshots for whoever shows them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from batcher.errors import Exit
from batcher.records import Status


class Phase(enum.StrEnum):
    """What the run is doing now."""

    PLANNING = "planning"
    ASKING = "asking"
    SEALING = "sealing"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Billed tokens over all attempts; `cached` is a part of `input`, `thinking` a part of `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    thinking: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a run has asked, got and paid so far, earlier sessions of the same run included.

    Attributes:
        attempts: HTTP requests, throttled and lost ones included.
        throttled: of which answered 429.
        cost_usd: exact; of the attempts whose price is known.
        wasted_usd: of which for answers nobody can use (retried, superseded, failed).
        unpriced: attempts with billed tokens but no known price; `cost_usd` is then a lower bound.
        maybe_billed: attempts the server may have billed without our seeing an answer.
    """

    by_status: Mapping[Status, int]
    attempts: int = 0
    throttled: int = 0
    tokens: Tokens = Tokens()
    cost_usd: Decimal = Decimal(0)
    wasted_usd: Decimal = Decimal(0)
    unpriced: int = 0
    maybe_billed: int = 0

    @property
    def done(self) -> int:
        """Tasks with an outcome."""
        return sum(self.by_status.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The run at one moment.

    Attributes:
        tasks: all tasks of the run; while planning, the rows found so far.
        done_before: tasks that an earlier session had finished.
        in_flight, waiting: open tasks with a request out, and without.
        limited_by: what the next request waits for: `concurrency`, `requests/min`, `input tokens/min`, `requests/day`, `journal`,
            `sealing` or empty.
        elapsed_s: of this session.
        rate_per_s: tasks finished a second, over the last seconds.
        eta_s: None while nobody can tell.
    """

    phase: Phase
    tasks: int
    done_before: int
    totals: Totals
    in_flight: int
    waiting: int
    limited_by: str
    elapsed_s: float
    rate_per_s: float
    eta_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How the run ended: what is printed, written to run.json and returned as the exit code.

    Attributes:
        verdict: one line, e.g. `done: 164 of 164 rows ok`.
        exit_code: of the command.
        run_dir: as the user would type it.
        sent: requests of this session.
        elapsed_s: of this session.
        rows_per_s: tasks finished a second in this session.
        limited_by: what held the run back for most of this session.
        next_command: what to type next.
        notes: one line each: warnings that must not scroll away (unknown price, renamed columns).
    """

    verdict: str
    exit_code: Exit
    run_dir: str
    rows: int
    samples: int
    tasks: int
    totals: Totals
    sent: int
    elapsed_s: float
    rows_per_s: float
    limited_by: str
    next_command: str
    notes: tuple[str, ...] = ()
