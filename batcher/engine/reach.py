"""How far does a budget go? The requests that fit for sure, and those that are likely to."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from batcher.engine.charges import Charges
from batcher.engine.outlook import Estimate, Reach, Resume
from batcher.job.spec import Job
from batcher.money.cost import fusd, usd
from batcher.money.prices import RateCard
from batcher.pacing.budget import Amount
from batcher.records import Request


def reach_of(  # noqa: PLR0913  what the forecast has found out
    job: Job, card: RateCard, looked: Sequence[Request], taken: Estimate, resume: Resume | None, *, now_us: int
) -> Reach | None:
    """Say how far the job's budget goes; None without a cap.

    Args:
        job: whose budget.
        card: its prices.
        looked: the requests that were looked at.
        taken: what those that are left take.
        resume: what the run directory holds already.
        now_us: wall time, microseconds since the epoch.

    Raises:
        JobError: nobody can tell what one of the requests takes at most.
    """
    budget = job.budget
    if not budget.is_capped:
        return None
    charges = Charges(job, card, from_us=now_us)
    reserves = [charges.reserve(request) for request in looked] if taken.requests else []
    spent = _spent(resume)
    left = Amount(
        fusd(budget.max_cost_usd) - spent.fusd if budget.max_cost_usd is not None else 0,
        budget.max_tokens - spent.tokens if budget.max_tokens is not None else 0,
    )
    attempts = job.retry.attempts + (job.retry.invalid_attempts - 1 if job.output.schema is not None else 0)
    count = len(reserves) or 1
    total = Amount(sum(each.fusd for each in reserves), sum(each.tokens for each in reserves))
    return Reach(
        cap_usd=budget.max_cost_usd,
        cap_tokens=budget.max_tokens,
        spent_usd=usd(spent.fusd),
        spent_tokens=spent.tokens,
        request_usd=usd(max((each.fusd for each in reserves), default=0)),
        request_tokens=max((each.tokens for each in reserves), default=0),
        surely=_fitting(left, Fraction(total.fusd * attempts, count), Fraction(total.tokens * attempts, count), taken),
        likely=_likely(job, left, taken),
    )


def _spent(resume: Resume | None) -> Amount:
    if resume is None:
        return Amount()
    if resume.spending is not None:
        return Amount(fusd(resume.spending.spent_usd), resume.spending.spent_tokens)
    return Amount(fusd(resume.cost_usd or Decimal(0)), resume.tokens)


def _likely(job: Job, left: Amount, taken: Estimate) -> int | None:
    requests = taken.requests or 1
    each_fusd = Fraction(0)
    if job.budget.max_cost_usd is not None:
        if taken.cost_usd is None:
            return None
        each_fusd = Fraction(taken.cost_usd.likely) * 10**15 / requests
    tokens = Fraction(taken.input_tokens.likely) + Fraction(taken.output_tokens.likely)
    return _fitting(left, each_fusd, tokens / requests if job.budget.max_tokens is not None else Fraction(0), taken)


def _fitting(left: Amount, each_fusd: Fraction, each_tokens: Fraction, taken: Estimate) -> int:
    """How many requests fit, of those that are left, if each takes so much."""
    fits = taken.requests
    if each_fusd:
        fits = min(fits, left.fusd // each_fusd)
    if each_tokens:
        fits = min(fits, left.tokens // each_tokens)
    return max(int(fits), 0)
