"""Which words does Google refuse a request with?

Bodies follow recorded ones, message included: clients in the wild read the prose, so the prose is part of the protocol.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_RPC = "type.googleapis.com/google.rpc."
_SERVICE = "generativelanguage.googleapis.com"
_JSON = "application/json; charset=UTF-8"
_HTML = "text/html; charset=UTF-8"

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_PLAIN_MESSAGES = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials.",
    402: "Your prepayment credits are depleted.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    408: "The request timed out. Please try again.",
    429: "Resource has been exhausted (e.g. check quota).",
    500: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}
SPEND_MESSAGE = (
    "You have exceeded the spend-based rate limit of your billing tier: your spending rate is too high. "
    "Please try again later."
)
PREPAY_MESSAGE = (
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project "
    "and billing."
)
_QUOTA_MESSAGE = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: "
    "https://ai.dev/usage?tab=rate-limit. "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A reply that is no answer, ready to send.

    Attributes:
        status: of HTTP.
        body: whole.
        headers: beside the usual ones.
    """

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()


class Limit(enum.Enum):
    """A quota's dimension: its id, and its metric behind the service's name."""

    REQUESTS_PER_MINUTE = ("GenerateRequestsPerMinutePerProjectPerModel", "generate_requests_per_model")
    INPUT_TOKENS_PER_MINUTE = (
        "GenerateContentPaidTierInputTokensPerModelPerMinute",
        "generate_content_paid_tier_input_token_count",
    )
    REQUESTS_PER_DAY = ("GenerateRequestsPerDayPerProjectPerModel", "generate_requests_per_model_per_day")
    FREE_REQUESTS_PER_DAY = ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "generate_content_free_tier_requests")

    @property
    def quota_id(self) -> str:
        """As `quotaId` names it."""
        return self.value[0]

    @property
    def metric(self) -> str:
        """As `quotaMetric` names it."""
        return f"{_SERVICE}/{self.value[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One quota that a request would break.

    Attributes:
        allowed: the quota's value.
        wait_s: seconds until the request would fit.
    """

    limit: Limit
    allowed: int
    wait_s: float


def refusal(status: int, message: str, *, details: Sequence[Mapping[str, Any]] = (), status_name: str = "") -> Refusal:
    """An error reply in Google's shape.

    Args:
        status: of HTTP, and the code inside.
        message: what went wrong, in prose.
        details: with their `@type`, in the order they are sent; left out when empty.
        status_name: where the usual name of the HTTP status is not meant.
    """
    error: dict[str, Any] = {"code": status, "message": message, "status": status_name or _STATUS_NAMES[status]}
    if details:
        error["details"] = list(details)
    return Refusal(status=status, body=orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2))


def plain(status: int, *, retry_s: float | None = None) -> Refusal:
    """The bare refusal of a status; `retry_s` adds a RetryInfo."""
    return refusal(status, _PLAIN_MESSAGES[status], details=() if retry_s is None else (_retry_info(retry_s),))


def bad_gateway() -> Refusal:
    """What a front end says when it cannot reach the service: a page, not JSON."""
    page = (
        b"<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n"
        b"<p><b>502.</b> <ins>That's an error.</ins>\n"
        b"<p>The server encountered a temporary error. Please try again in 30 seconds.\n</html>\n"
    )
    return Refusal(status=502, body=page, content_type=_HTML)


def lost_page(path: str) -> Refusal:
    """A path nobody serves; Google answers it with a page."""
    safe = path.replace("&", "&amp;").replace("<", "&lt;")
    page = f"<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p>The requested URL <code>{safe}</code> was not found on this server.\n</html>\n"  # noqa: E501  one page, one line
    return Refusal(status=404, body=page.encode(), content_type=_HTML)


def login_page() -> Refusal:
    """HTTP 200 with a page: what a captive portal or a broken proxy makes of any request."""
    return Refusal(
        status=200,
        body=b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n",
        content_type=_HTML,
    )


def redirect(status: int, location: str) -> Refusal:
    """Somewhere else: what a moved service or a captive portal says."""
    return Refusal(status=status, body=b"", content_type=_HTML, headers=(("Location", location),))


def error_inside_200(code: int, *, retry_s: float | None = None) -> Refusal:
    """HTTP 200 whose body is the refusal `code` would have had."""
    return Refusal(status=200, body=plain(code, retry_s=retry_s).body)


def no_key() -> Refusal:
    """No key came with the request."""
    return refusal(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def wrong_key() -> Refusal:
    """A key that is not known; Google calls that a bad request, not a lack of permission."""
    message = "API key not valid. Please pass a valid API key."
    return refusal(
        400,
        message,
        details=(
            _error_info("API_KEY_INVALID"),
            {"@type": _RPC + "LocalizedMessage", "locale": "en-US", "message": message},
        ),
    )


def wrong_bearer() -> Refusal:
    """A Bearer token that is not known."""
    return refusal(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        details=(_error_info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),),
    )


def unknown_model(model: str, *, version: str, verb: str) -> Refusal:
    """A model the service does not have."""
    return refusal(
        404,
        f"models/{model} is not found for API version {version}, or is not supported for {verb}. "
        "Call ModelService.ListModels to see the list of available models and their supported methods.",
    )


def bad_request(message: str, *, fields: Sequence[tuple[str, str]] = ()) -> Refusal:
    """A request the service cannot read; `fields` are (where, what is wrong there)."""
    violations = [{"field": where, "description": what} if where else {"description": what} for where, what in fields]
    details = ({"@type": _RPC + "BadRequest", "fieldViolations": violations},) if fields else ()
    return refusal(400, message, details=details)


def too_large(allowed_bytes: int) -> Refusal:
    """A request whose body is longer than the service takes."""
    return refusal(400, f"Request payload size exceeds the limit: {allowed_bytes} bytes.")


def quota_exceeded(violations: Sequence[Violation], *, model: str) -> Refusal:
    """What a request gets that would break these quotas; the wait is the longest of theirs."""
    retry_s = max(violation.wait_s for violation in violations)
    lines = "".join(
        f"\n* Quota exceeded for metric: {each.limit.metric}, limit: {each.allowed}, model: {model}"
        for each in violations
    )
    return refusal(
        429,
        f"{_QUOTA_MESSAGE}{lines}\nPlease retry in {spoken_duration(retry_s)}.",
        details=(
            {"@type": _RPC + "QuotaFailure", "violations": [_violation(each, model) for each in violations]},
            {
                "@type": _RPC + "Help",
                "links": [
                    {
                        "description": "Learn more about Gemini API quotas",
                        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
                    }
                ],
            },
            _retry_info(retry_s),
        ),
    )


def spoken_duration(seconds: float) -> str:
    """Seconds as the message says them: `19h1m8.430387596s`, `361.532506ms`."""
    if seconds < 1:
        return f"{_trimmed(seconds * 1000)}ms"
    minutes, rest_s = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{_trimmed(rest_s)}s"


def _trimmed(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _retry_info(retry_s: float) -> dict[str, Any]:
    return {"@type": _RPC + "RetryInfo", "retryDelay": f"{_trimmed(retry_s)}s"}


def _error_info(reason: str) -> dict[str, Any]:
    return {
        "@type": _RPC + "ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": _SERVICE},
    }


def _violation(violation: Violation, model: str) -> dict[str, Any]:
    return {
        "quotaMetric": violation.limit.metric,
        "quotaId": violation.limit.quota_id,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(violation.allowed),
    }
