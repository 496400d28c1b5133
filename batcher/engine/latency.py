"""How long do answers take? Counted in buckets that grow by a fixed share, so that counting is one increment.

A quantile read from the buckets is off by at most `RELATIVE_ERROR`, whatever the latencies are; two counts can be
subtracted, which gives the quantiles of the time between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil, log2

_PER_OCTAVE = 16
_OCTAVES = 22
BUCKETS = _PER_OCTAVE * _OCTAVES + 1
MOST_MS = 2.0**_OCTAVES
"""A little over an hour, longer than any deadline: what takes longer is counted as this."""
RELATIVE_ERROR = 2 ** (1 / (2 * _PER_OCTAVE)) - 1
"""Of a quantile between 1 ms and `MOST_MS`: half a bucket, 2.2 %."""


def no_latencies() -> list[int]:
    """Counts of nothing; `counts[bucket_of(latency_ms)] += 1` counts one."""
    return [0] * BUCKETS


def bucket_of(latency_ms: float) -> int:
    """Give the bucket of a latency: 0 up to a millisecond, the last from `MOST_MS` on."""
    if latency_ms <= 1:
        return 0
    bucket = int(log2(latency_ms) * _PER_OCTAVE) + 1
    return bucket if bucket < BUCKETS else BUCKETS - 1


def between(earlier: Iterable[int], later: Iterable[int]) -> list[int]:
    """Counts of what came between two counts of the same thing."""
    return [new - old for old, new in zip(earlier, later, strict=True)]


def quantile_ms(counts: Sequence[int], share: float) -> float | None:
    """Give the latency that `share` of all did not exceed; None of none.

    Args:
        counts: from `no_latencies`.
        share: above 0, at most 1; 0.5 is the median.
    """
    total = sum(counts)
    if not total:
        return None
    rank = ceil(share * total)
    bucket = next(at for at, seen in enumerate(accumulate(counts)) if seen >= rank)
    return 2 ** ((bucket - 0.5) / _PER_OCTAVE) if bucket else 1.0
