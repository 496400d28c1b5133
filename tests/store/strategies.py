"""Attempts and outcomes as the journal may have to keep them."""

from __future__ import annotations

from hypothesis import strategies as st

from batcher.records import Attempt, Billed, Kind, Outcome, Status
from tests.strategies import int64s, texts

durations_ms = st.floats(0, 1e9, allow_nan=False)
stamps_us = st.integers(0, 2**52)
counts = st.integers(0, 10**6)

attempts = st.builds(
    Attempt,
    task=st.integers(0, 2**62),
    n=st.integers(1, 1000),
    model=texts,
    started_at=stamps_us,
    latency_ms=st.none() | durations_ms,
    first_byte_ms=st.none() | durations_ms,
    http_status=st.none() | st.integers(100, 999),
    verdict=st.sampled_from(Kind),
    reason=texts,
    quota_id=st.none() | texts,
    waited_ms=durations_ms,
    billed=st.sampled_from(Billed),
    service_tier=st.none() | texts,
    reserve_input=int64s,
    reserve_output=counts,
    body=st.binary(max_size=200),
)

outcomes = st.builds(
    Outcome,
    task=st.integers(0, 2**62),
    status=st.sampled_from(Status),
    answered=counts,
    attempts=counts,
    started_at=stamps_us,
    finished_at=stamps_us,
    error_kind=st.none() | texts,
    error_message=st.none() | texts,
)
