"""What became of an exchange: answered, refused, throttled, lost on the way? A judgement, never an exception.

Sources: the API's error table and what proxies make of it; each row of the tables is a test in
`tests/gemini/test_refusal.py`. Reasons beside those of `Verdict`: `bad_body` (no JSON object), `cut_stream` (its end is
missing), `empty` (neither candidate nor reason), `error_in_200`, `bad_key`, `precondition`, `unauthenticated`,
`billing`, `forbidden`, `not_found`, `not_served`, `redirect`, `bad_request`, `unprocessable`, `context_overflow`,
`request_too_large`, `file_unavailable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from batcher.gemini.excerpts import one_line, safe_excerpt
from batcher.gemini.reply import Cut, Unreadable
from batcher.gemini.stream import is_unsaid
from batcher.gemini.throttle import judge_throttled
from batcher.gemini.verdict import Verdict
from batcher.gemini.waits import backoff_s, hint_s, hinted_s, parse_duration_s
from batcher.records import Answer, Billed, Candidate, Kind, NoReply, NoReplyKind, Reply, Status

__all__ = ["OK", "Verdict", "backoff_s", "hinted_s", "judge", "parse_duration_s", "status_of"]

OK = Verdict(kind=Kind.OK, reason="ok", billed=Billed.YES)
"""The judgement on nearly every reply: one shared value, so that the hot path makes none."""

# A finish reason that is not here ends the row as `ok` when the candidate has content, else as `blocked`: OTHER,
# IMAGE_OTHER, NO_IMAGE and reasons that are not invented yet come without content when the service withheld it.
_STATUS_OF_REASON = {
    "STOP": Status.OK,
    "MAX_TOKENS": Status.TRUNCATED,
    "CONTINUATION": Status.TRUNCATED,  # the limit of one request was reached, the answer goes on
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ),
        Status.BLOCKED,
    ),
    **dict.fromkeys(
        (
            "MALFORMED_FUNCTION_CALL",
            "MALFORMED_RESPONSE",
            "MISSING_THOUGHT_SIGNATURE",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
        ),
        Status.INVALID,  # the model broke its own format: an answer was paid for, but not one to use
    ),
}
_ENDED = {
    reason: Verdict(kind=Kind.OK, reason=reason, billed=Billed.YES)
    for reason, status in _STATUS_OF_REASON.items()
    if status in (Status.TRUNCATED, Status.INVALID)
}

# Every refusal that the status alone decides.
_FATAL = {
    401: "unauthenticated",
    402: "billing",
    403: "forbidden",
    404: "not_found",
    405: "not_served",
    407: "unauthenticated",
    410: "not_found",
    501: "not_served",
}
_REFUSED = {413: "request_too_large", 422: "unprocessable"}
_NO_STATUS = 0
_RETRIED_BELOW_500 = {408, 409, 425, 499}
_STATUS_OF_NAME = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# google.rpc.Code, which batch results and some proxies give in place of the HTTP status.
_STATUS_OF_RPC_CODE = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503,
    15: 500, 16: 401,
}  # fmt: skip

# Anchored, or in embedded JSON: a refusal that quotes a prompt about keys must not end the run.
_BAD_KEY = re.compile(r"""^API key (?:not valid|expired|not found)|reason\\*["']\s*:\s*\\*["']API_KEY_INVALID""")
_PRECONDITION = re.compile(r"^User location is not supported", re.IGNORECASE)
_CONTEXT = re.compile(r"input token count\b.{0,60}\bexceeds the maximum number of tokens", re.IGNORECASE)
_PAYLOAD = re.compile(r"payload size exceeds the limit", re.IGNORECASE)
# googleapis/python-genai#1218: one row names a file that has expired (they live 48 h); the others may be well.
_FILE = re.compile(r"permission to access the File \S+ or it may not exist", re.IGNORECASE)

_NEVER_AGAIN = {NoReplyKind.TLS_CERTIFICATE, NoReplyKind.FORBIDDEN_ADDRESS}
_NEVER_OPENED = {NoReplyKind.DNS, NoReplyKind.REFUSED, NoReplyKind.CONNECT_TIMEOUT, NoReplyKind.TLS_HANDSHAKE}


def judge(reply: Reply | NoReply, answer: Answer | Unreadable | None, now: datetime | None = None) -> Verdict:
    """Judge one exchange.

    Args:
        reply: what came back, or what went wrong below HTTP.
        answer: the reply's body as `reply.read` gave it; its `Unreadable` when it raised; None counts as unreadable.
        now: the wall clock, for hints given as HTTP dates; without it they are ignored.

    Returns:
        Always a verdict, whatever the server sent. Its `wait_s` is not clamped.
    """
    if isinstance(reply, NoReply):
        return _judge_no_reply(reply)
    known = answer if isinstance(answer, Answer) else None
    if 200 <= reply.status < 300 and (known is None or known.error is None):
        return _bad_body(reply, answer) if known is None else _judge_answer(known)
    error: Mapping[str, Any] = (known.error if known else None) or {}
    status = reply.status if not 200 <= reply.status < 300 else _status_inside(error)
    message = str(error.get("message") or "")[:20_000]
    verdict = _judge_error(_Failure(status=status, error=error, message=message, reply=reply, now=now))
    return _after_output(verdict) if known and (known.candidates or known.usage) else verdict


def status_of(verdict: Verdict, answer: Answer | None) -> Status:
    """Say what a task becomes by its last verdict; an `ok` one is looked at by the first candidate's finish reason."""
    if verdict.kind is Kind.BLOCKED:
        return Status.BLOCKED
    if verdict.kind is Kind.INVALID:
        return Status.INVALID
    if verdict.kind is not Kind.OK:
        return Status.FAILED
    if answer is None or not answer.candidates:
        return Status.OK
    return _STATUS_OF_REASON.get((answer.candidates[0].finish_reason or "").upper(), Status.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    status: int
    error: Mapping[str, Any]
    message: str
    reply: Reply
    now: datetime | None

    def verdict(self, kind: Kind, reason: str, billed: Billed = Billed.NO) -> Verdict:
        """Judge as `kind`; only what may be asked again looks for the server's hint."""
        return Verdict(
            kind=kind,
            reason=reason,
            billed=billed,
            wait_s=self.hint_s() if kind is Kind.RETRY else None,
            counted=kind is not Kind.FATAL,
            message=one_line(self.message or safe_excerpt(self.reply.body)),
        )

    def hint_s(self) -> float | None:
        return hint_s(self.reply.headers, self.error, self.now)


def _judge_answer(answer: Answer) -> Verdict:
    if not answer.candidates:
        return _EMPTY if is_unsaid(answer.block_reason) else _blocked(str(answer.block_reason), "")
    first = answer.candidates[0]
    return OK if first.finish_reason == "STOP" else _judge_ending(answer, first)


def _judge_ending(answer: Answer, first: Candidate) -> Verdict:
    reason = (first.finish_reason or "").upper()
    status = _STATUS_OF_REASON.get(reason)
    if status is Status.BLOCKED:
        return _blocked(reason, first.finish_message or "")
    if status is not None:
        return _ENDED.get(reason, OK)
    if _has_content(first):
        return OK
    if not is_unsaid(answer.block_reason):
        return _blocked(str(answer.block_reason), first.finish_message or "")
    if not is_unsaid(reason):
        return _blocked(reason, first.finish_message or "")
    return OK if any(_has_content(candidate) for candidate in answer.candidates) else _EMPTY


def _has_content(candidate: Candidate) -> bool:
    return bool(candidate.text or candidate.parts)


def _blocked(reason: str, message: str) -> Verdict:
    return Verdict(kind=Kind.BLOCKED, reason=one_line(reason, 100), billed=Billed.YES, message=one_line(message))


_EMPTY = Verdict(kind=Kind.RETRY, reason="empty", billed=Billed.MAYBE, most=2, message="neither candidate nor reason")


def _bad_body(reply: Reply, problem: Answer | Unreadable | None) -> Verdict:
    if isinstance(problem, Cut):  # as often as the job allows: it is a connection that was cut, seen from above
        return replace(_EMPTY, reason="cut_stream", most=None, message=one_line(str(problem)))
    return replace(_EMPTY, reason="bad_body", message=one_line(safe_excerpt(reply.body)))


def _after_output(verdict: Verdict) -> Verdict:
    """Judge an error that came behind tokens: they may be charged, so that asking again must come to an end."""
    return replace(verdict, billed=Billed.MAYBE, counted=verdict.counted or verdict.kind is Kind.THROTTLED)


def _judge_error(failure: _Failure) -> Verdict:
    status = failure.status
    if 300 <= status < 400:
        return _judge_redirect(failure)
    if status == 429 or (status == 503 and failure.error.get("status") == "RESOURCE_EXHAUSTED"):
        error = failure.error or {"message": safe_excerpt(failure.reply.body)}
        return judge_throttled(error, failure.hint_s(), failure.reply.headers)
    return _judge_by_status(failure, status)


def _judge_by_status(failure: _Failure, status: int) -> Verdict:
    if status in (403, 404) and _FILE.search(failure.message):
        return failure.verdict(Kind.REFUSED, "file_unavailable")
    if status in _FATAL:
        return failure.verdict(Kind.FATAL, _FATAL[status])
    if status == 400:
        return _judge_bad_request(failure)
    if status in _RETRIED_BELOW_500 or status >= 500 or status < 300:
        return _judge_trouble(failure)
    return failure.verdict(Kind.REFUSED, _REFUSED.get(status, "bad_request"))


def _judge_bad_request(failure: _Failure) -> Verdict:
    reasons = {str(detail.get("reason")) for detail in failure.error.get("details") or ()}
    if "API_KEY_INVALID" in reasons or _BAD_KEY.search(failure.message):
        return failure.verdict(Kind.FATAL, "bad_key")
    if failure.error.get("status") == "FAILED_PRECONDITION" or _PRECONDITION.search(failure.message):
        return failure.verdict(Kind.FATAL, "precondition")
    if _CONTEXT.search(failure.message):
        return failure.verdict(Kind.REFUSED, "context_overflow")
    return failure.verdict(Kind.REFUSED, "request_too_large" if _PAYLOAD.search(failure.message) else "bad_request")


def _judge_trouble(failure: _Failure) -> Verdict:
    if failure.status == _NO_STATUS:
        return replace(failure.verdict(Kind.RETRY, "error_in_200", Billed.MAYBE), most=2)
    # A deadline may have passed after the tokens were made; the other troubles are not charged.
    billed = Billed.MAYBE if failure.status == 504 or failure.status < 300 else Billed.NO
    return failure.verdict(Kind.RETRY, f"http_{failure.status}", billed)


def _judge_redirect(failure: _Failure) -> Verdict:
    # The rest of the address may carry what was sent; the host is enough to see who answers.
    try:
        host = urlsplit(failure.reply.headers.get("location", "")).hostname
    except ValueError:
        host = None
    where = f"to {host}" if host else "without naming another host"
    message = one_line(f"HTTP {failure.status}: the endpoint redirects {where}; redirects are not followed")
    return replace(failure.verdict(Kind.FATAL, "redirect"), message=message)


def _status_inside(error: Mapping[str, Any]) -> int:
    """Read the HTTP status that an error inside a 200 stands for; 0 when it does not say."""
    code = error.get("code")
    if isinstance(code, int):
        if 400 <= code < 600:
            return code
        if code in _STATUS_OF_RPC_CODE:
            return _STATUS_OF_RPC_CODE[code]
    return _STATUS_OF_NAME.get(str(error.get("status")).upper(), _NO_STATUS)


def _judge_no_reply(lost: NoReply) -> Verdict:
    kind = Kind.FATAL if lost.kind in _NEVER_AGAIN else Kind.RETRY
    opened = lost.sent and lost.kind not in _NEVER_OPENED and kind is Kind.RETRY
    stale = lost.kind is NoReplyKind.STALE
    return Verdict(
        kind=kind,
        reason=lost.kind.value,
        billed=Billed.MAYBE if opened else Billed.NO,
        # Another connection may be had at once; each dead one leaves the pool, so this comes to an end by itself.
        wait_s=0.0 if stale else None,
        counted=opened and not stale,
        most=2 if lost.kind is NoReplyKind.TOO_LARGE else None,
        message=one_line(lost.detail),
    )
