"""How long to wait: hints are believed when they can be, and our own waits stay in bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.waits import backoff_s, hint_s, hinted_s, parse_duration_s

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("34s", 34),
        ("45.837906927s", 45.837906927),
        ("361.532506ms", 0.361532506),
        ("19h1m8.430387596s", 68_468.430387596),
        ("1m", 60),
        (" 0s ", 0),
        ("7µs", 7e-6),
        ("-3s", None),
        ("34", None),
        ("s", None),
        ("", None),
        ("1e3s", None),
        ("٣s", None),
        ("5 s", None),
        ("9" * 400 + "s", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"llm_provider-retry-after": "9"}, 9),
        ({"retry-after": "2", "retry-after-ms": "2500"}, 2.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Sun, 22 Nov 2026 12:01:00 -0000"}, 60),
        ({"retry-after": "Sun, 22 Nov 2026 11:59:00 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e12"}, None),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining": "3"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOON.timestamp() + 20)}, 20),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOON.timestamp() - 20)}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "Sun, 22 Nov 2026 12:01:00 GMT"}, 60),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"llm_provider-x-ratelimit-remaining-tokens": "0", "llm_provider-x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({}, None),
    ],
)
def test_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert hint_s(headers, {}, NOON) == wait_s


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        ({"details": [{"@type": "…/google.rpc.RetryInfo", "retryDelay": "14s"}]}, 14),
        ({"details": [{"retry_delay": "14s"}]}, 14),
        ({"details": [{"retryDelay": {"seconds": 20, "nanos": 5}}]}, 20),
        ({"details": [{"retryDelay": None}, {"retryDelay": 5}, {"retryDelay": "-3s"}]}, None),
        ({"message": "Please retry in 19h1m8.430387596s."}, 68_468.430387596),
        ({"message": "please try again in 361.532506ms."}, 0.361532506),
        ({"message": "Retry after 2m."}, 120),
        ({"message": 'x - {"retryDelay": "34s"}'}, 34),
        ({"message": r"x - b\'{\"retryDelay\": \"34.5s\"}"}, 34.5),
        ({"message": "Please retry in 51.39s.", "details": [{"retryDelay": "14s"}]}, 51.39),
        ({"message": "Please retry in a while."}, None),
        ({"message": None, "details": None}, None),
    ],
)
def test_the_longest_hint_of_a_body(error: dict[str, Any], wait_s: float | None) -> None:
    assert hint_s({}, error, None) == pytest.approx(wait_s)


def test_headers_and_body_may_disagree_and_the_longest_holds() -> None:
    assert hint_s({"retry-after": "3"}, {"details": [{"retryDelay": "14s"}]}, None) == 14
    assert hint_s({"retry-after": "30"}, {"details": [{"retryDelay": "14s"}]}, None) == 30


def test_clocks_of_any_zone_and_of_none_agree() -> None:
    headers = {"retry-after": "Sun, 22 Nov 2026 12:00:10 GMT"}
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))

    assert hint_s(headers, {}, tokyo) == hint_s(headers, {}, NOON.replace(tzinfo=None)) == 10
    assert hint_s(headers, {}, None) is None


@given(st.floats(0.001, 86_400))
def test_a_duration_that_is_written_is_read(seconds: float) -> None:
    assert parse_duration_s(f"{seconds:.9f}s") == pytest.approx(seconds, abs=1e-8)


@given(st.text())
def test_any_text_is_a_wait_or_none(text: str) -> None:
    seconds = parse_duration_s(text)
    hint = hint_s({"retry-after": text, "retry-after-ms": text}, {"message": text}, NOON)

    assert seconds is None or seconds >= 0
    assert hint is None or hint > 0


def test_a_long_message_of_digits_is_read_in_no_time() -> None:
    assert hint_s({}, {"message": "retry in " + "1" * 1_000_000}, None) is None


@given(st.integers(0, 5000), jitters, st.floats(0.001, 3600), st.floats(0.001, 60))
def test_backoff_is_full_jitter_below_its_ceiling(k: int, jitter: float, max_s: float, base_s: float) -> None:
    wait = backoff_s(k, jitter=jitter, max_s=max_s, base_s=base_s)

    assert 0 <= wait <= max_s
    assert wait <= backoff_s(k + 1, jitter=jitter, max_s=max_s, base_s=base_s)


def test_backoff_doubles_up_to_a_minute() -> None:
    assert [backoff_s(k, jitter=0.5) for k in (0, 1, 2, 6, 5000)] == [0.5, 1, 2, 30, 30]


@given(st.floats(0, 1e9), jitters)
def test_a_hint_is_a_floor_up_to_its_clamp(hint: float, jitter: float) -> None:
    wait = hinted_s(hint, jitter=jitter)

    assert min(hint, 300) <= wait <= 330
