"""What may be asked of one endpoint, and what of all of a job's together?"""

from __future__ import annotations

from collections.abc import Iterable

from batcher.job.spec import Endpoint, Job, Limits


def limits_of(job: Job, endpoint: Endpoint) -> Limits:
    """The limits of one endpoint: its own, else the job's."""
    own = endpoint.limits.model_dump(exclude_none=True) if endpoint.limits is not None else {}
    return job.limits.model_copy(update=own) if own else job.limits


def pooled(job: Job) -> Limits:
    """The limits of all endpoints together; what one of them does not limit is not limited."""
    each = [limits_of(job, endpoint) for endpoint in job.asked]
    if len(each) == 1:
        return each[0]
    return each[0].model_copy(
        update={
            "concurrency": sum(limits.concurrency for limits in each),
            "requests_per_minute": _sum(limits.requests_per_minute for limits in each),
            "input_tokens_per_minute": _sum(limits.input_tokens_per_minute for limits in each),
            "requests_per_day": _sum_of_days(each),
        }
    )


def has_day_quota(job: Job) -> bool:
    """Whether the requests of a day have to be counted, at one endpoint at least."""
    return any(limits_of(job, endpoint).requests_per_day is not None for endpoint in job.asked)


def _sum(limits: Iterable[float | None]) -> float | None:
    known = list(limits)
    return None if None in known else sum(limit for limit in known if limit is not None)


def _sum_of_days(each: Iterable[Limits]) -> int | None:
    total = _sum(limits.requests_per_day for limits in each)
    return None if total is None else int(total)
