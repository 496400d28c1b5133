"""What did an attempt use and cost, and what a row? Read, priced and added up, before anything becomes a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from batcher.gemini.reply import Cut, Unreadable, read
from batcher.money.cost import Priced, fusd, price, upper_bound_usd, usd
from batcher.money.prices import RateCard
from batcher.money.totals import Tokens, Totals
from batcher.money.usage import Buckets
from batcher.records import Answer, Attempt, Billed, Outcome, Status, Usage

_NO_ANSWER = Answer()
NO_USAGE = Usage()
REBUILT = "rebuilt"
"""The reason of attempts that are known from their rows only."""
_NO_BUCKETS = Buckets()
_USABLE = frozenset({Status.OK, Status.TRUNCATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for every row of a run.

    Attributes:
        run_id, project, endpoint: as the ledger names them.
        tier: the service tier the job asks for, None for the endpoint's default.
        rates: the run's frozen rate card.
        images: whether the pictures of an answer are a column.
        spares: whether rows may have an answer that they did not pay for.
        several: whether more than one endpoint is asked, so that of a lost attempt nobody knows who was.
        fallbacks: whether another model than the planned one may have answered.
    """

    run_id: str
    project: str
    endpoint: str
    tier: str | None
    labels: tuple[tuple[str, str], ...]
    rates: RateCard
    samples: int
    store_prompt: bool
    raw: bool
    images: bool = False
    spares: bool = False
    several: bool = False
    fallbacks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a row that is asked again had used before."""

    attempts: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    started_at: int


@dataclass(slots=True)
class Read:
    """An attempt with its body read and its bill made out; `priced` is None unless it was billed for sure."""

    attempt: Attempt
    answer: Answer
    usage: Usage
    buckets: Buckets
    priced: Priced | None


def read_attempt(attempt: Attempt, terms: Terms) -> Read:
    """Read an attempt's body and price it when it was billed."""
    return priced_attempt(attempt, _answer_of(attempt), terms)


def priced_attempt(attempt: Attempt, answer: Answer, terms: Terms) -> Read:
    """Make out the bill of an attempt whose body has been read."""
    if attempt.billed is not Billed.YES:
        return Read(attempt, answer, answer.usage or NO_USAGE, _NO_BUCKETS, None)
    priced = price(
        terms.rates.rates,
        usage=answer.usage,
        model=attempt.model,
        model_version=answer.model_version,
        header_tier=attempt.service_tier,
        asked_tier=terms.tier,
        at_us=attempt.started_at,
    )
    return Read(attempt, answer, answer.usage or NO_USAGE, priced.buckets or _NO_BUCKETS, priced)


def totals_of(outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]]) -> Totals:
    """The sums of one slice, of these attempts alone; `asked` may go on with tasks that have no outcome yet."""
    statuses: dict[Status, int] = {}
    for outcome in outcomes:
        statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
    reads = [read for task in asked for read in task]
    priced = [read.priced for read in reads if read.priced]
    return Totals(
        by_status=statuses,
        attempts=len(reads),
        throttled=sum(1 for read in reads if read.attempt.http_status == 429),
        tokens=Tokens(
            input=sum(read.buckets.billed_input for read in reads),
            output=sum(read.buckets.billed_output for read in reads),
            cached=sum(read.buckets.cached_input + read.buckets.audio_cached_input for read in reads),
            thinking=sum(read.buckets.thinking for read in reads),
        ),
        cost_usd=usd(sum([each.cost_fusd or 0 for each in priced])),
        wasted_usd=usd(sum([_wasted_fusd(outcome, task) for outcome, task in zip(outcomes, asked, strict=False)])),
        unpriced=sum(1 for each in priced if each.cost_fusd is None),
        maybe_billed=sum(1 for read in reads if read.attempt.billed is Billed.MAYBE),
    )


class RowBill(NamedTuple):
    """One row of `data/`, as far as its attempts decide it: the answer, its bill over all attempts, its times."""

    answer: Answer
    input_tokens: int
    output_tokens: int
    cost_fusd: int | None
    wasted_fusd: int | None
    service_tier: str | None
    started_at: int
    latency_ms: float | None
    first_byte_ms: float | None
    raw: bytes | None

    @property
    def cost_usd(self) -> Decimal | None:
        """Over all attempts; None where a price is unknown."""
        return None if self.cost_fusd is None else usd(self.cost_fusd)


def row_bill(outcome: Outcome, reads: Sequence[Read], before: Earlier | None) -> RowBill:
    """Add up a task's attempts; `before` is what it had used until a retry asked it again."""
    answered = next((read for read in reads if read.attempt.n == outcome.answered), None)
    last = answered or (reads[-1] if reads else None)
    cost = _sum([read.priced.cost_fusd for read in reads if read.priced])
    wasted = None if cost is None else _wasted_fusd(outcome, reads)
    if before is not None:
        already = None if before.cost_usd is None else fusd(before.cost_usd)
        cost = None if cost is None or already is None else cost + already
        wasted = None if wasted is None or already is None else wasted + already
    return RowBill(
        answered.answer if answered else _NO_ANSWER,
        sum(read.buckets.billed_input for read in reads) + (before.input_tokens if before else 0),
        sum(read.buckets.billed_output for read in reads) + (before.output_tokens if before else 0),
        cost,
        wasted,
        answered.priced.service_tier if answered and answered.priced else None,
        before.started_at if before else outcome.started_at,
        last.attempt.latency_ms if last else None,
        last.attempt.first_byte_ms if last else None,
        last.attempt.body if last and last.attempt.body else None,
    )


def row_bills(outcomes: Sequence[Outcome], asked: Sequence[Sequence[Read]], earlier: Mapping[int, Earlier]) -> RowBill:
    """The bills of some rows as columns: each field is a sequence. Arguments as of `row_bill`; `earlier` by task."""
    if earlier or not outcomes or not all(asked):
        rows = [row_bill(ended, reads, earlier.get(ended.task)) for ended, reads in zip(outcomes, asked, strict=True)]
        return RowBill._make(zip(*rows, strict=True) if rows else [()] * len(RowBill._fields))
    bills = _plain_bills(outcomes, [reads[-1] for reads in asked])
    for row, (outcome, reads) in enumerate(zip(outcomes, asked, strict=True)):
        if not is_plain(outcome, reads):
            for column, value in zip(bills, row_bill(outcome, reads, None), strict=True):
                column[row] = value
    columns: Any = bills
    return RowBill(*columns)


def is_plain(outcome: Outcome, reads: Sequence[Read]) -> bool:
    """Whether a row was asked once and answered, as nearly all are."""
    return len(reads) == 1 and outcome.answered > 0


def _plain_bills(outcomes: Sequence[Outcome], reads: Sequence[Read]) -> list[list[Any]]:
    """What `row_bill` says of plain rows, in a third of the time: a list for each of its fields."""
    costs = [read.priced.cost_fusd if read.priced else 0 for read in reads]
    usable = [outcome.status in _USABLE for outcome in outcomes]
    return [
        [read.answer for read in reads],
        [read.buckets.billed_input for read in reads],
        [read.buckets.billed_output for read in reads],
        costs,
        [cost and 0 if used else cost for cost, used in zip(costs, usable, strict=True)],
        [read.priced.service_tier if read.priced else None for read in reads],
        [outcome.started_at for outcome in outcomes],
        [read.attempt.latency_ms for read in reads],
        [read.attempt.first_byte_ms for read in reads],
        [read.attempt.body or None for read in reads],
    ]


def cost_fusd_of(read: Read) -> int | None:
    """Femtodollars of one attempt: 0 when it was not billed, None when nobody knows."""
    if read.priced:
        return read.priced.cost_fusd
    return 0 if read.attempt.billed is Billed.NO else None


def reserve_usd(read: Read, terms: Terms) -> Decimal | None:
    """The most that an attempt can have cost which may have been billed; None for the others."""
    attempt = read.attempt
    if attempt.billed is not Billed.MAYBE:
        return None
    tier = terms.tier or "standard"
    rates = terms.rates.rates(attempt.model, tier, attempt.started_at, attempt.reserve_input)
    return None if rates is None else upper_bound_usd(rates, attempt.reserve_input, attempt.reserve_output)


def _wasted_fusd(outcome: Outcome, reads: Sequence[Read]) -> int:
    kept = outcome.answered if outcome.status in _USABLE else 0
    return sum([read.priced.cost_fusd or 0 for read in reads if read.priced and read.attempt.n != kept])


def _sum(costs: list[int | None]) -> int | None:
    total = 0
    for cost in costs:
        if cost is None:
            return None  # one unknown price makes the row's cost unknown: null, never too little
        total += cost
    return total


def _answer_of(attempt: Attempt) -> Answer:
    if not attempt.body or not 200 <= (attempt.http_status or 0) < 300:  # as `gemini/refusal.py` takes them
        return _NO_ANSWER
    try:
        return read(attempt.body)
    except Cut as cut:
        return cut.answer
    except Unreadable:
        return _NO_ANSWER
