"""Which requests go wrong, and how?

A fault is chosen by the seed, the prompt and how often the prompt has been seen, so a run meets the same faults
whatever order its requests arrive in; a script may go by arrival number instead.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from batcher.emulator import refusals
from batcher.emulator.refusals import Limit, Refusal, Violation
from batcher.errors import UserError


class FaultKind(enum.StrEnum):
    """Everything that can be made to go wrong; the values are what a command line says."""

    MINUTE_REQUESTS = "429-minute-requests"
    MINUTE_TOKENS = "429-minute-tokens"
    DAY = "429-day"
    SPEND = "429-spend"
    ZERO_QUOTA = "429-zero"
    PREPAY = "429-prepay"
    EXHAUSTED = "429"  # names no quota
    REDIRECT = "302"  # to another host, as the next two
    REDIRECT_POST = "307"
    REDIRECT_FOR_EVER = "308"
    BAD_REQUEST = "400"
    UNAUTHENTICATED = "401"
    PAYMENT = "402"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    REQUEST_TIMEOUT = "408"
    INTERNAL = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    DEADLINE = "504"
    ERROR_IN_200 = "error-in-200"
    HTML = "html"
    DROP = "drop"  # closed before any byte, nothing computed
    SLOW = "slow"
    DROP_PAID = "drop-paid"  # closed before any byte, but the answer was computed and billed
    CUT = "cut"  # half the body under a full Content-Length
    CUT_CLEAN = "cut-clean"  # half the JSON, no length, closed as if all were well
    LENGTH_SHORT = "length-short"  # the whole body under half its Content-Length
    TWO_LENGTHS = "two-lengths"  # Content-Length and chunks, which no reply may have both
    LONG_HEADER = "long-header"  # one of 100 KB
    MANY_HEADERS = "many-headers"  # 5,000 of them
    SILENCE = "silence"  # the head and nothing more, for as long as the client stays
    TRICKLE = "trickle"  # a byte a second
    ENDLESS = "endless"  # a line that never ends
    HUGE = "huge"  # 100 MB
    GZIP_BOMB = "gzip-bomb"  # 300 MB in 300 KB
    BAD_UTF8 = "bad-utf8"  # a byte that no text has
    STALE = "stale"  # whole, but the connection dies unheard when it is used again
    BLOCKED = "blocked"
    EMPTY = "empty"
    SAFETY = "safety"
    MAX_TOKENS = "max-tokens"
    MAX_TOKENS_EMPTY = "max-tokens-empty"  # the limit was reached while thinking
    FULL_OUTPUT = "full-output"  # talks on until the limit, to the last token of it
    RECITATION = "recitation"
    OTHER = "other"
    NEW_REASON = "new-reason"
    BAD_JSON = "bad-json"  # of a request for JSON: the text breaks off, yet the reason is STOP
    MISMATCH = "schema-mismatch"  # JSON that does not fit the request's schema
    # These are about streams and do nothing to a reply that is none.
    STREAM_CUT = "stream-cut"  # ends as if all were well, before the answer has
    STREAM_ERROR = "stream-error"  # an error after some of the words
    STREAM_USAGE_TAIL = "stream-usage-tail"  # usage on a last chunk without candidates, and nowhere else
    STREAM_NO_INDEX = "stream-no-index"  # candidate 0 does not say that it is that
    STREAM_SPLIT = "stream-split"  # written in pieces that end anywhere


# What these do happens around an answer that was computed, so it is billed; every other kind refuses before.
_ANSWERED = frozenset(
    {
        FaultKind.SLOW, FaultKind.DROP_PAID, FaultKind.CUT, FaultKind.CUT_CLEAN, FaultKind.LENGTH_SHORT,
        FaultKind.TWO_LENGTHS, FaultKind.LONG_HEADER, FaultKind.MANY_HEADERS, FaultKind.SILENCE, FaultKind.TRICKLE,
        FaultKind.ENDLESS, FaultKind.HUGE, FaultKind.GZIP_BOMB, FaultKind.BAD_UTF8, FaultKind.STALE, FaultKind.BLOCKED,
        FaultKind.EMPTY, FaultKind.SAFETY, FaultKind.MAX_TOKENS, FaultKind.MAX_TOKENS_EMPTY, FaultKind.FULL_OUTPUT,
        FaultKind.RECITATION, FaultKind.OTHER, FaultKind.NEW_REASON, FaultKind.BAD_JSON, FaultKind.MISMATCH,
        FaultKind.STREAM_CUT, FaultKind.STREAM_ERROR, FaultKind.STREAM_USAGE_TAIL, FaultKind.STREAM_NO_INDEX,
        FaultKind.STREAM_SPLIT,
    }
)  # fmt: skip
_PLAIN_STATUSES = {
    FaultKind.EXHAUSTED: 429,
    FaultKind.BAD_REQUEST: 400,
    FaultKind.UNAUTHENTICATED: 401,
    FaultKind.PAYMENT: 402,
    FaultKind.FORBIDDEN: 403,
    FaultKind.NOT_FOUND: 404,
    FaultKind.REQUEST_TIMEOUT: 408,
    FaultKind.INTERNAL: 500,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.DEADLINE: 504,
}
# (quota, its value, the hint where the fault gives none); a zero quota never opens, yet real bodies carry a short hint.
_QUOTAS = {
    FaultKind.MINUTE_REQUESTS: Violation(limit=Limit.REQUESTS_PER_MINUTE, allowed=1000, wait_s=14.0),
    FaultKind.MINUTE_TOKENS: Violation(limit=Limit.INPUT_TOKENS_PER_MINUTE, allowed=1_000_000, wait_s=51.386193),
    FaultKind.DAY: Violation(limit=Limit.REQUESTS_PER_DAY, allowed=100, wait_s=68468.430388),
    FaultKind.ZERO_QUOTA: Violation(limit=Limit.FREE_REQUESTS_PER_DAY, allowed=0, wait_s=32.0),
}
_UNCOUNTED = frozenset(
    {
        *_QUOTAS,
        FaultKind.SPEND,
        FaultKind.PREPAY,
        FaultKind.EXHAUSTED,
        FaultKind.BAD_REQUEST,
        FaultKind.UNAUTHENTICATED,
        FaultKind.PAYMENT,
        FaultKind.FORBIDDEN,
        FaultKind.NOT_FOUND,
    }
)
_REDIRECTS = frozenset({FaultKind.REDIRECT, FaultKind.REDIRECT_POST, FaultKind.REDIRECT_FOR_EVER})
_SIZED = frozenset({FaultKind.HUGE, FaultKind.GZIP_BOMB})
DEFAULT_SLOW_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to go wrong.

    Attributes:
        seconds: the retry hint of a 429 or 503 (None: the usual one where a quota is named, else no hint); for `slow`,
            how much longer it takes; for `trickle`, between two bytes (None: 1).
        size_mb: of `huge` and `gzip-bomb`, unpacked; None: 100 and 300.
        location: where a redirect points.
        code: the code inside `error-in-200` and `stream-error`: one of 400, 403, 404, 408, 429, 500, 503, 504.
    """

    kind: FaultKind
    seconds: float | None = None
    size_mb: float | None = None
    location: str = "https://elsewhere.invalid/v1beta"
    code: int = 503

    @property
    def answered(self) -> bool:
        """Whether the answer is computed, and so billed, all the same."""
        return self.kind in _ANSWERED

    @property
    def counted(self) -> bool:
        """Whether the request counts against the quotas (it does unless refused with 4xx)."""
        return self.kind not in _UNCOUNTED

    def refusal(self, model: str) -> Refusal | None:
        """The reply that takes the answer's place; None where there is an answer or no reply at all."""
        if self.kind in _PLAIN_STATUSES:
            return refusals.plain(_PLAIN_STATUSES[self.kind], retry_s=self.seconds)
        if self.kind in _QUOTAS:
            usual = _QUOTAS[self.kind]
            wait_s = usual.wait_s if self.seconds is None else self.seconds
            return refusals.quota_exceeded(
                [Violation(limit=usual.limit, allowed=usual.allowed, wait_s=wait_s)], model=model
            )
        if self.kind in _REDIRECTS:
            return refusals.redirect(int(self.kind), self.location)
        return self._special_refusal()

    def _special_refusal(self) -> Refusal | None:
        match self.kind:
            case FaultKind.SPEND:
                return refusals.refusal(429, refusals.SPEND_MESSAGE)
            case FaultKind.PREPAY:
                return refusals.refusal(429, refusals.PREPAY_MESSAGE)
            case FaultKind.BAD_GATEWAY:
                return refusals.bad_gateway()
            case FaultKind.ERROR_IN_200:
                return refusals.error_inside_200(self.code, retry_s=self.seconds)
            case FaultKind.HTML:
                return refusals.login_page()
            case _:
                return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A fault that meets a share of all requests (0 to 1)."""

    fault: Fault
    share: float

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `KIND[@N]=SHARE`, N in seconds or of a size in MB: `503=3%`, `429@1=0.05`, `slow@10=1%`, `huge@40=1%`.

        Raises:
            UserError: the kind is not known or a number is not one.
        """
        name, _, portion = text.partition("=")
        kind, _, number = name.strip().partition("@")
        try:
            share = float(portion.rstrip().removesuffix("%")) / (100 if portion.rstrip().endswith("%") else 1)
            fault = Fault(kind=FaultKind(kind))
            if number:
                given, is_size = float(number), fault.kind in _SIZED
                fault = replace(fault, size_mb=given) if is_size else replace(fault, seconds=given)
            return cls(fault=fault, share=share)
        except ValueError:
            known = ", ".join(FaultKind)
            raise UserError(f"fault: expected KIND[@N]=SHARE, found {text!r}", hint=f"kinds: {known}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fault by script; all conditions that are set must hold.

    Attributes:
        nth: arrival numbers of generate requests, from 1; empty is any.
        contains: a part of the prompt.
        first: only the first so many times that a prompt is seen; None is always.
    """

    fault: Fault
    nth: tuple[int, ...] = ()
    contains: str = ""
    first: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the choice of a fault may depend on.

    Attributes:
        number: of arrival, from 1.
        prompt: all text of the request.
        seen: how often this prompt came before and was let in.
        chance: from 0 to 1, drawn from seed, prompt and `seen`.
    """

    number: int
    prompt: str
    seen: int
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All that is made to go wrong: the first rule that matches, else a share.

    Raises:
        UserError: the shares are negative or sum to more than 1.
    """

    shares: tuple[Share, ...] = ()
    script: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        total = sum(each.share for each in self.shares)
        if total > 1 + 1e-9 or any(each.share < 0 for each in self.shares):
            raise UserError(f"faults: expected shares from 0 to 1 that sum to at most 1, found a sum of {total:g}")

    def __bool__(self) -> bool:
        return bool(self.shares or self.script)

    def pick(self, asking: Asking) -> Fault | None:
        """The fault of this request, None when all goes well."""
        for rule in self.script:
            if _matches(rule, asking):
                return rule.fault
        reached = 0.0
        for each in self.shares:
            reached += each.share
            if asking.chance < reached:
                return each.fault
        return None


def _matches(rule: Rule, asking: Asking) -> bool:
    return (
        (not rule.nth or asking.number in rule.nth)
        and rule.contains in asking.prompt
        and (rule.first is None or asking.seen < rule.first)
    )
