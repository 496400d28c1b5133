"""How long until the next try: what the server asks for, and what we choose when it asks for nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

# A longer wait is damage, not advice: the longest quota window is a day.
_LONGEST_HINT_S = 7 * 86_400.0
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_STEP = re.compile(r"(\d+(?:\.\d*)?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_DURATION = re.compile(rf"(?:{_STEP.pattern})+", re.ASCII)
# Both for text in lower case.
_ASKED_IN_WORDS = re.compile(r"(?:retry|try again) (?:in|after) ((?:\d+(?:\.\d*)?(?:h|ms|m|s))+)")
# litellm puts the upstream's JSON into its own message, quoted once more at times.
_ASKED_IN_EMBEDDED_JSON = re.compile(r"""retry_?delay\\*["']\s*:\s*\\*["'](\d[\d.]*s)""")
PROXIED = "llm_provider-"
"""What litellm puts before the names of the headers that it got itself."""
_SECONDS_HEADERS = ("retry-after", f"{PROXIED}retry-after")
_MILLISECONDS_HEADERS = ("retry-after-ms", f"{PROXIED}retry-after-ms")
# What is left, and when there will be more, in OpenAI's headers and their likes; the last names no unit.
_LIMITED = tuple(
    (f"{prefix}x-ratelimit-remaining{of}", f"{prefix}x-ratelimit-reset{of}")
    for prefix in ("", PROXIED)
    for of in ("-requests", "-tokens", "")
)
_AN_EPOCH_S = 1e9  # a number above it is a moment, not a span


def parse_duration_s(text: str) -> float | None:
    """Read `34s`, `45.837906927s`, `361.5ms`, `19h1m8.43s`: seconds, None for anything else, signs included."""
    text = text.strip()
    if not _DURATION.fullmatch(text):
        return None
    total_s = math.fsum(float(number) * _UNIT_S[unit] for number, unit in _STEP.findall(text))
    return total_s if math.isfinite(total_s) else None


def hint_s(headers: Mapping[str, str], error: Mapping[str, Any], now: datetime | None) -> float | None:
    """Find how long the server asks us to wait: the longest of its hints, which may disagree (51 s against 14 s, seen).

    Args:
        headers: by lower-case name.
        error: normalised by `reply.read`: its `details` and `message` are looked at.
        now: the wall clock, for HTTP dates; without it they are ignored.

    Returns:
        Seconds above 0, or None; zero, negative, past, endless and unparsable hints count as none.
    """
    hints = (*_from_headers(headers, now), *_from_details(error.get("details") or ()), *_from_text(error))
    believed = [hint for hint in hints if hint is not None and 0 < hint <= _LONGEST_HINT_S]
    return max(believed, default=None)


def backoff_s(k: int, *, jitter: float, max_s: float = 60.0, base_s: float = 1.0) -> float:
    """Choose a wait when nobody named one: full jitter, `jitter * min(max_s, base_s * 2**k)`.

    Args:
        k: failures so far less one, from 0; any size.
        jitter: uniform in [0, 1).
        max_s: no wait is longer.
        base_s: the ceiling of the first wait.
    """
    return jitter * min(max_s, base_s * 2.0 ** min(k, 64))


def hinted_s(hint_s: float, *, jitter: float, max_s: float = 300.0) -> float:
    """Choose the wait after a hint: it is a floor, clamped to `max_s`, plus up to 10 % so that not all come at once."""
    return min(hint_s, max_s) * (1 + 0.1 * jitter)


def _from_headers(headers: Mapping[str, str], now: datetime | None) -> Iterator[float | None]:
    for name in _SECONDS_HEADERS:
        value = headers.get(name)
        if value is not None:
            seconds = _number(value)
            yield _until_s(value, now) if seconds is None else seconds
    for name in _MILLISECONDS_HEADERS:
        milliseconds = _number(headers.get(name, ""))
        yield None if milliseconds is None else milliseconds / 1000
    for remaining, reset in _LIMITED:
        if is_spent(headers.get(remaining)):
            yield _reset_s(headers.get(reset, ""), now)


def is_spent(remaining: str | None) -> bool:
    """Whether an `x-ratelimit-remaining-*` says that nothing is left; not where it is missing or no number."""
    left = None if remaining is None else _number(remaining)
    return left is not None and left <= 0


def _reset_s(reset: str, now: datetime | None) -> float | None:
    """Read `6m0s`, `120ms`, seconds, seconds of the epoch or a date: seconds from now."""
    number = _number(reset)
    if number is None:
        span_s = parse_duration_s(reset)
        return _until_s(reset, now) if span_s is None else span_s
    if number < _AN_EPOCH_S:
        return number
    return None if now is None else number - _in_utc(now).timestamp()


def _from_details(details: Sequence[Mapping[str, Any]]) -> Iterator[float | None]:
    for detail in details:
        delay = detail.get("retryDelay", detail.get("retry_delay"))
        if isinstance(delay, str):
            yield parse_duration_s(delay)
        elif isinstance(delay, dict):  # a proto Duration that a proxy did not write as text
            yield _number(str(delay.get("seconds", "")))


def _from_text(error: Mapping[str, Any]) -> Iterator[float | None]:
    message = str(error.get("message") or "")[:20_000].lower()
    for pattern in (_ASKED_IN_WORDS, _ASKED_IN_EMBEDDED_JSON):
        for asked in pattern.findall(message):
            yield parse_duration_s(asked)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until_s(http_date: str, now: datetime | None) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
    except ValueError:
        return None
    if now is None:
        return None
    return (_in_utc(moment) - _in_utc(now)).total_seconds()


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
