"""What is known of a run before anything is asked? Frozen values for whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from batcher.pacing.budget import Spending


class Span(NamedTuple):
    """A range of a number: from `low` to `high`, `likely` in between."""

    low: float
    likely: float
    high: float


class Money(NamedTuple):
    """A range of US dollars."""

    low: Decimal
    likely: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What one request takes, as far as anybody knows before it is sent.

    Attributes:
        input_scale: real input tokens for one that was estimated.
        output: billed output tokens of one request.
        latency_s: from its start to its answer.
        input_from, output_from, latency_from: where each comes from, in words.
    """

    input_scale: Span
    input_from: str
    output: Span
    output_from: str
    latency_s: Span
    latency_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What asking takes.

    Attributes:
        requests: how many are counted; retries are not.
        input_tokens, output_tokens: billed, of all requests.
        cost_usd: None when no price is known; of the requests with a known price otherwise.
        most_usd: were every answer as long as the request allows; None when a price is not known.
        unpriced: models without a known price in this tier.
    """

    requests: int
    input_tokens: Span
    output_tokens: Span
    cost_usd: Money | None
    most_usd: Decimal | None
    unpriced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One thing that holds a run back.

    Attributes:
        name: as the live view and the summary name it.
        rows_per_min: how many rows a minute it lets through.
        arithmetic: how that comes about, in words.
    """

    name: str
    rows_per_min: Span
    arithmetic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a run will be.

    Attributes:
        limits: all that apply.
        bottleneck: the name of the one that holds it back.
        time_s: from the first request to the last answer, waits for another day not counted.
        days: days that the day quota makes of it; None without one.
    """

    limits: tuple[Limit, ...]
    bottleneck: str
    time_s: Span
    days: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first row that can be asked, as it would be sent.

    Attributes:
        where: file and line.
        prompt: the text of the last user turn; None when it has none.
        system: the system instruction; None when there is none.
        request: the body, read back from what would be sent.
    """

    id: str
    where: str
    prompt: str | None
    system: str | None
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """What the run directory holds already.

    Attributes:
        state: how its last session ended, or what the one under way is doing.
        cost_usd: so far; None when a price is unknown.
        pid: of the process that owns it now; None when nobody does.
        tokens: billed so far, in and out.
        spending: of its budget, as it was said last; None when it had no cap.
    """

    state: str
    done: int
    left: int
    cost_usd: Decimal | None
    pid: int | None
    tokens: int = 0
    spending: Spending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """A change of price that the rate card knows of; US dollars for a million tokens before and after it."""

    model: str
    day: str
    input_usd: tuple[Decimal, Decimal]
    output_usd: tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a budget goes.

    Attributes:
        cap_usd, cap_tokens: None where there is no cap.
        spent_usd, spent_tokens: by what the run directory holds already.
        request_usd, request_tokens: held for one request: the most that it can take; of the largest one looked at.
        surely: requests that fit for sure, however long their answers are and however often each is asked.
        likely: that fit, if each takes what is likely; None when nobody can tell.
    """

    cap_usd: Decimal | None
    cap_tokens: int | None
    spent_usd: Decimal
    spent_tokens: int
    request_usd: Decimal
    request_tokens: int
    surely: int
    likely: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of the job, and who said it."""

    name: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run would do.

    Attributes:
        run_dir: where it would write.
        files: name, format and bytes of the input files.
        rows: of the input; `rows_exact` or told by the size of the files.
        looked_at: rows that the estimates are made of; unreadable ones among them.
        problems: of those, where some cannot be asked: how many, and what the first few say.
        first: None when no row can be asked.
        resume: None for a new run.
        spared: tasks that need no asking: another run, or another row, has their answer.
        left: requests still to be sent, one for each row and sample that can be asked; retries not counted.
        flex: the same in the flex tier; None where it is unknown or asked for anyway.
        card: the rate card: where it comes from and of which day.
        notes: one line each.
        reach: of the budget; None without a cap.
        behind: each fallback model, and what all rows would cost if it answered them.
    """

    job: str
    model: str
    endpoint: str
    run_dir: str
    files: tuple[tuple[str, str, int], ...]
    shape: str
    id_key: str | None
    prompt_key: str | None
    rows: int
    rows_exact: bool
    samples: int
    looked_at: int
    problems: tuple[int, tuple[str, ...]]
    first: First | None
    resume: Resume | None
    spared: int = 0
    left: int
    assumed: Assumed
    estimate: Estimate
    tier: str
    flex: Estimate | None
    card: str
    price_changes: tuple[PriceChange, ...]
    pace: Pace
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]
    reach: Reach | None = None
    behind: tuple[tuple[str, Estimate], ...] = ()
