"""How far is the run, and how did it end? Frozen snapshots for whoever shows them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from batcher.errors import Exit
from batcher.money.totals import Tokens, Totals
from batcher.pacing.budget import Spending
from batcher.pacing.outage import Outage
from batcher.pacing.permit import Parked

__all__ = ["Outage", "Parked", "Phase", "Snapshot", "Spending", "Straggler", "Summary", "Tokens", "Totals"]


class Phase(enum.StrEnum):
    """What the run is doing now."""

    PLANNING = "planning"
    ASKING = "asking"
    SEALING = "sealing"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A row that is open for far longer than most, and the last of its block to be.

    Attributes:
        task: its number.
        id: of the row, shortened.
        sample: which ask of the row, from 0; None where each is asked once.
        block: which cannot be sealed for it.
        open_s: since it was first sent, without outages.
        attempts: requests made for it.
        waits_for: `in flight`, `backoff`, a quota or whatever else the gate may wait for, `journal`.
    """

    task: int
    id: str
    sample: int | None
    block: int
    open_s: float
    attempts: int
    waits_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The run at one moment.

    Attributes:
        tasks: all tasks of the run; while planning, the rows found so far.
        done_before: tasks that an earlier session had finished.
        in_flight, waiting: open tasks with a request out, and without.
        limited_by: what the next request waits for: `concurrency`, `requests/min`, `input tokens/min`, `requests/day`,
            `pace`, `journal`, `sealing`, `parked` (all that is left waits for a day quota) or empty; as it was most of
            the last seconds. `outage` while one goes on.
        elapsed_s: of this session.
        rate_per_s: tasks finished a second, over the last seconds.
        eta_s: at the pace of the last minute; None while nobody can tell.
        p50_ms, p95_ms: latency of the answers of the last minute, within 2.2 %; None while there are none.
        projected_usd: what the whole run will have cost if the rest costs what this session did a task; None while
            nobody can tell, and where a price is unknown.
        outage: of the endpoint, while one goes on.
        pace_per_s: requests a second that may go after 429s; None while none were cut for them.
        narrowed: requests that may be in flight after failures; None while they are not fewer than usual.
        straggling: rows that hold a block open, see `engine/stragglers`.
        stragglers: the oldest of them, oldest first.
        spending: of the budget; None without a cap.
        parked: who has used up the day, until when, and how many rows wait for that.
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
    p50_ms: float | None = None
    p95_ms: float | None = None
    projected_usd: Decimal | None = None
    outage: Outage | None = None
    pace_per_s: float | None = None
    narrowed: int | None = None
    straggling: int = 0
    stragglers: tuple[Straggler, ...] = ()
    spending: Spending | None = None
    parked: tuple[Parked, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How the run ended: what is printed, written to run.json and returned as the exit code.

    Attributes:
        verdict: one line, e.g. `done: 164 of 164 rows ok`.
        exit_code: of the command.
        run_dir: as the user would type it.
        sent: requests of this session.
        elapsed_s: of this session.
        rows_per_s: tasks finished a second in this session, from its first request to its last answer.
        limited_by: what held the run back for most of this session.
        p50_ms, p95_ms: latency of the answers of this session, within 2.2 %; None when there were none.
        next_command: what to type next.
        slowed: which limits were lowered on the way, as run.json has it.
        notes: one line each: warnings that must not scroll away (unknown price, renamed columns).
        spending: of the budget, over all sessions; None without a cap.
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
    p50_ms: float | None = None
    p95_ms: float | None = None
    slowed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spending: Spending | None = None
