"""Which limit will hold the run back, and how long will it take? Arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence

from batcher.engine.outlook import Limit, Pace, Span
from batcher.job.spec import Limits
from batcher.pacing.permit import CONCURRENCY, INPUT_TOKENS_A_MINUTE, REQUESTS_A_DAY, REQUESTS_A_MINUTE


def pace_of(limits: Limits, *, requests: int, samples: int, input_tokens: Span, latency_s: Span) -> Pace:
    """Work out how fast `requests` requests go.

    Args:
        limits: of the job.
        requests: to be sent; retries are not counted.
        samples: requests a row.
        input_tokens: of one request.
        latency_s: of one request.
    """
    all_limits = tuple(_limits(limits, samples=samples, input_tokens=input_tokens, latency_s=latency_s))
    days = limits.requests_per_day and max(1, -(-requests // limits.requests_per_day))
    steady = [limit for limit in all_limits if limit.name != REQUESTS_A_DAY]
    slowest = min(steady, key=lambda limit: limit.rows_per_min.likely)
    return Pace(
        limits=all_limits,
        bottleneck=REQUESTS_A_DAY if days and days > 1 else slowest.name,
        time_s=_time_s(steady, rows=requests / samples, latency_s=latency_s) if requests else Span(0.0, 0.0, 0.0),
        days=days,
    )


def _time_s(limits: Sequence[Limit], *, rows: float, latency_s: Span) -> Span:
    """Each end at the pace of the limit that is the slowest there, and one answer more to wait for the last one."""
    low, likely, high = (min(ends) for ends in zip(*(limit.rows_per_min for limit in limits), strict=True))
    return Span(
        rows * 60 / high + latency_s.low, rows * 60 / likely + latency_s.likely, rows * 60 / low + latency_s.high
    )


def _limits(limits: Limits, *, samples: int, input_tokens: Span, latency_s: Span) -> list[Limit]:
    each = f" ÷ {samples} samples" if samples > 1 else ""
    found = []
    if (requests := limits.requests_per_minute) is not None:
        found.append(_limit(REQUESTS_A_MINUTE, [requests / samples] * 3, f"{requests:,.10g} a minute{each}"))
    if (tokens := limits.input_tokens_per_minute) is not None and input_tokens.likely > 0:
        by_tokens = [tokens / max(one, 1.0) / samples for one in input_tokens]
        said = f"{tokens:,.10g} a minute ÷ {_said(input_tokens)} tokens a request{each}"
        found.append(_limit(INPUT_TOKENS_A_MINUTE, by_tokens, said))
    slots = limits.concurrency
    by_slots = [slots * 60 / max(one, 0.001) / samples for one in latency_s]
    found.append(_limit(CONCURRENCY, by_slots, f"{slots:,} at once x 60 s ÷ {_said(latency_s)} s an answer{each}"))
    if (daily := limits.requests_per_day) is not None:
        by_day = [daily / 1440 / samples] * 3
        found.append(_limit(REQUESTS_A_DAY, by_day, f"{daily:,} a day ÷ 1,440 minutes{each}"))
    return found


def _limit(name: str, rows_per_min: Sequence[float], arithmetic: str) -> Limit:
    low, likely, high = sorted(rows_per_min)
    return Limit(name=name, rows_per_min=Span(low, likely, high), arithmetic=arithmetic)


def _said(span: Span) -> str:
    low, high = (f"{one:,.0f}" if one >= 10 else f"{one:.2g}" for one in (span.low, span.high))
    return low if low == high else f"{low} to {high}"
