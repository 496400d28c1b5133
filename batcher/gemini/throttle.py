"""Which quota does a "too many requests" name, and what follows?

Reasons: `zero_quota`, `day_quota`, `spend_quota`, `billing`, `rate_limit` (a quota is named), `capacity` (none is).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from batcher.gemini.excerpts import one_line
from batcher.gemini.verdict import Verdict
from batcher.gemini.waits import PROXIED, is_spent, parse_duration_s
from batcher.records import Billed, Kind

# A per-minute window that names no delay is over after a minute; spend is judged over a rolling ten of them.
_WINDOW_S = 60.0
# A day quota often comes with the delay of a minute quota (32 s, 47 s seen): a longer one is meant.
_DAY_HINT_ABOVE_S = 300.0

# For text in lower case: lowering it once and searching plainly costs a third of ignoring case nine times.
_DAY = re.compile(r"per_?day|daily")
_OTHER_PERIOD = re.compile(r"per_?(?:second|hour|week|month)")
_A_SECOND = re.compile(r"per_?second")
_OPENAI = re.compile(r"\b(requests|tokens) per (second|min|hour|day)\w*\b[^.]{0,20}?\blimit:? (\d{1,18})")
_NONE: Mapping[str, str] = {}
_ZERO = re.compile(r"limit:\s*0+(?![\d.,]*\d)")
_SPEND = re.compile(r"spend-based rate limit|spending rate")
_PREPAID = re.compile(r"prepa\w+ credits?\b[^.]{0,40}\bdeplet|spending cap")
# litellm puts the upstream's JSON into its own message; others only the prose.
_EMBEDDED = re.compile(r"""quota_?(id|metric|value)\\*["']\s*:\s*\\*["']([^"'\\]+)""", re.IGNORECASE)
_PROSE = re.compile(r"exceeded for metric:\s*([\w./-]+)(?:,\s*limit:\s*(\d+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One quota that the server says was exceeded."""

    quota_id: str = ""
    metric: str = ""
    value: int | None = None

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Tell whether either of its names, in lower case, matches."""
        return bool(pattern.search(self.quota_id.lower()) or pattern.search(self.metric.lower()))

    def unit(self) -> str | None:
        """`input_tokens` or `requests`, by its names: all token quotas are of input tokens."""
        names = f"{self.quota_id} {self.metric}".lower()
        return "input_tokens" if "token" in names else "requests" if "request" in names else None

    def quota(self) -> str | None:
        """The minute quota that it is, as `Verdict.quota` spells it; None for one that is not paced."""
        unit = None if self.says(_DAY) or self.says(_OTHER_PERIOD) else self.unit()
        return f"{unit}/min" if unit else None


def judge_throttled(error: Mapping[str, Any], hint_s: float | None, headers: Mapping[str, str] = _NONE) -> Verdict:
    """Judge a 429.

    Args:
        error: normalised by `reply.read`.
        hint_s: how long the server asks us to wait.
        headers: by lower-case name; `x-ratelimit-*` say which quota ran out where the body does not.
    """
    text = str(error.get("message") or "")[:20_000]
    named = violations(error, text) or list(_from_headers(headers))
    lower = text.lower()
    zero = next((violation for violation in named if violation.value == 0), None)
    if zero or _ZERO.search(lower):
        return _held(Kind.FATAL, "zero_quota", text, zero)
    daily = next((violation for violation in named if violation.says(_DAY)), None)
    if daily or _DAY.search(lower):
        return replace(_day_quota(text, daily or _first(named), hint_s), also=_of_a_minute(named))
    if _SPEND.search(lower):
        return replace(_held(Kind.PARKED, "spend_quota", text), wait_s=max(hint_s or 0.0, _WINDOW_S), quota="spend")
    if _PREPAID.search(lower) or error.get("status") == "insufficient_quota":
        return _held(Kind.FATAL, "billing", text, _first(named))
    if named:
        return _rate_limit(text, named, hint_s)
    return replace(_held(Kind.THROTTLED, "capacity", text), wait_s=hint_s)


def violations(error: Mapping[str, Any], text: str) -> list[Violation]:
    """List the quotas that an error names: in its details, else in JSON embedded in its text, else in its prose."""
    return list(_from_details(error)) or list(_from_embedded(text)) or list(_from_prose(text)) or _from_openai(text)


def _from_details(error: Mapping[str, Any]) -> Iterator[Violation]:
    for detail in error.get("details") or ():
        listed = detail.get("violations")
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and not item.keys().isdisjoint(_QUOTA_KEYS):
                yield Violation(
                    quota_id=str(item.get("quotaId") or item.get("quota_id") or ""),
                    metric=str(item.get("quotaMetric") or item.get("quota_metric") or ""),
                    value=_size(item.get("quotaValue", item.get("quota_value"))),
                )


def _from_embedded(text: str) -> Iterator[Violation]:
    found: dict[str, list[str]] = {"id": [], "metric": [], "value": []}
    for name, value in _EMBEDDED.findall(text):
        found[name.lower()].append(value)
    # One of each for every violation, in whatever order its fields stand.
    for quota_id, metric, value in zip_longest(found["id"], found["metric"], found["value"], fillvalue=""):
        yield Violation(quota_id=quota_id, metric=metric, value=_size(value))


def _from_prose(text: str) -> Iterator[Violation]:
    for metric, limit in _PROSE.findall(text):
        yield Violation(metric=metric, value=_size(limit))


def _from_openai(text: str) -> list[Violation]:
    """Read `Rate limit reached for M on tokens per min (TPM): Limit 10000, Used 9500, Requested 1000`."""
    found = _OPENAI.findall(text.lower())
    return [Violation(metric=f"{unit}_per_{period}", value=_size(size)) for unit, period, size in found]


def _from_headers(headers: Mapping[str, str]) -> Iterator[Violation]:
    """Read OpenAI's headers, which a proxy may have renamed: of what has nothing remaining, the limit."""
    for unit in ("requests", "tokens"):
        for prefix in ("", PROXIED):
            if is_spent(headers.get(f"{prefix}x-ratelimit-remaining-{unit}")):
                name = f"{prefix}x-ratelimit-limit-{unit}"
                # It does not say of which period: it is a minute's unless it takes longer than one to be whole again.
                reset_s = parse_duration_s(headers.get(f"{prefix}x-ratelimit-reset-{unit}", ""))
                period = "hour" if reset_s is not None and reset_s > _WINDOW_S else "minute"
                size = _size(headers.get(name)) or None  # none at all is not said this way
                yield Violation(quota_id=name, metric=f"{unit}_per_{period}", value=size)


def _size(value: Any) -> int | None:
    if type(value) is str and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _first(named: list[Violation]) -> Violation | None:
    return named[0] if named else None


def _day_quota(text: str, violation: Violation | None, hint_s: float | None) -> Verdict:
    unit = (violation.unit() if violation else None) or "requests"
    wait_s = hint_s if hint_s is not None and hint_s > _DAY_HINT_ABOVE_S else None
    return replace(_held(Kind.PARKED, "day_quota", text, violation), wait_s=wait_s, quota=f"{unit}/day")


def _rate_limit(text: str, named: list[Violation], hint_s: float | None) -> Verdict:
    violation = next((one for one in named if one.quota()), named[0])
    wait_s = hint_s if hint_s is not None else 1.0 if violation.says(_A_SECOND) else _WINDOW_S
    others = _of_a_minute([one for one in named if one.quota() != violation.quota()])
    verdict = _held(Kind.THROTTLED, "rate_limit", text, violation)
    return replace(verdict, wait_s=wait_s, quota=violation.quota(), also=others)


def _of_a_minute(named: list[Violation]) -> tuple[tuple[str, int | None], ...]:
    sizes: dict[str, int | None] = {}
    for violation in named:
        quota = violation.quota()
        if quota is not None:
            sizes.setdefault(quota, violation.value)
    return tuple(sizes.items())


def _held(kind: Kind, reason: str, text: str, violation: Violation | None = None) -> Verdict:
    return Verdict(
        kind=kind,
        reason=reason,
        billed=Billed.NO,
        quota_id=(violation.quota_id or violation.metric or None) if violation else None,
        quota_value=violation.value if violation else None,
        counted=False,
        message=one_line(text),
    )


_QUOTA_KEYS = {"quotaId", "quota_id", "quotaMetric", "quota_metric"}
