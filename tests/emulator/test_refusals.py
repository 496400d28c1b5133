from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator import refusals
from batcher.emulator.refusals import Limit, Refusal, Violation, spoken_duration


def error_of(refusal: Refusal) -> dict[str, Any]:
    error = orjson.loads(refusal.body)["error"]
    assert isinstance(error, dict)
    return error


def details_of(refusal: Refusal, kind: str) -> list[dict[str, Any]]:
    return [
        each
        for each in error_of(refusal).get("details", [])
        if each["@type"] == f"type.googleapis.com/google.rpc.{kind}"
    ]


def seconds_in(duration: str) -> float:
    """What a client reads from a spoken duration."""
    if duration.endswith("ms"):
        return float(duration[:-2]) / 1000
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?([\d.]+)s", duration)
    assert found is not None, duration
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3])


PER_MINUTE = Violation(limit=Limit.REQUESTS_PER_MINUTE, allowed=600, wait_s=14.25)
PER_DAY = Violation(limit=Limit.REQUESTS_PER_DAY, allowed=100, wait_s=68468.430388)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (408, "DEADLINE_EXCEEDED"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_a_bare_refusal_names_its_status_twice_and_has_no_details(status: int, name: str) -> None:
    refusal = refusals.plain(status)
    error = error_of(refusal)
    assert refusal.status == status
    assert (error["code"], error["status"]) == (status, name)
    assert "details" not in error
    assert refusal.content_type.startswith("application/json")


def test_a_bare_refusal_may_carry_a_hint() -> None:
    assert details_of(refusals.plain(429, retry_s=7), "RetryInfo")[0]["retryDelay"] == "7s"


def test_the_bare_429_is_worded_as_seen_in_the_wild() -> None:
    assert error_of(refusals.plain(429))["message"] == "Resource has been exhausted (e.g. check quota)."


def test_a_wrong_key_is_a_bad_request_with_its_reason() -> None:
    refusal = refusals.wrong_key()
    assert refusal.status == 400
    assert error_of(refusal)["message"] == "API key not valid. Please pass a valid API key."
    assert details_of(refusal, "ErrorInfo")[0]["reason"] == "API_KEY_INVALID"


def test_a_missing_key_is_forbidden() -> None:
    refusal = refusals.no_key()
    assert refusal.status == 403
    assert error_of(refusal)["message"].startswith("Method doesn't allow unregistered callers")


def test_a_wrong_bearer_is_unauthenticated() -> None:
    refusal = refusals.wrong_bearer()
    assert (refusal.status, error_of(refusal)["status"]) == (401, "UNAUTHENTICATED")
    assert "Expected OAuth 2 access token" in error_of(refusal)["message"]


def test_an_unknown_model_is_named_with_version_and_verb() -> None:
    refusal = refusals.unknown_model("gemini-9", version="v1beta", verb="generateContent")
    assert refusal.status == 404
    assert error_of(refusal)["message"] == (
        "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. "
        "Call ModelService.ListModels to see the list of available models and their supported methods."
    )


def test_a_bad_request_lists_its_fields() -> None:
    refusal = refusals.bad_request("no", fields=(("contents", "missing"), ("", "odd")))
    assert details_of(refusal, "BadRequest")[0]["fieldViolations"] == [
        {"field": "contents", "description": "missing"},
        {"description": "odd"},
    ]
    assert "details" not in error_of(refusals.bad_request("no"))


def test_a_quota_refusal_says_everything_three_times() -> None:
    refusal = refusals.quota_exceeded([PER_MINUTE], model="gemini-2.5-flash")
    message = error_of(refusal)["message"]
    assert refusal.status == 429
    assert message.startswith("You exceeded your current quota, please check your plan and billing details.")
    assert (
        "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_requests_per_model, "
        "limit: 600, model: gemini-2.5-flash\nPlease retry in 14.25s."
    ) in message
    assert details_of(refusal, "QuotaFailure")[0]["violations"] == [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": "600",
        }
    ]
    assert details_of(refusal, "RetryInfo")[0]["retryDelay"] == "14.25s"
    assert details_of(refusal, "Help")[0]["links"]


def test_two_broken_quotas_are_both_named_and_the_longer_wait_counts() -> None:
    refusal = refusals.quota_exceeded([PER_MINUTE, PER_DAY], model="m")
    assert [each["quotaValue"] for each in details_of(refusal, "QuotaFailure")[0]["violations"]] == ["600", "100"]
    assert "Please retry in 19h1m8.430388s." in error_of(refusal)["message"]
    assert details_of(refusal, "RetryInfo")[0]["retryDelay"] == "68468.430388s"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit.REQUESTS_PER_MINUTE, ("Requests", "PerMinute")),
        (Limit.INPUT_TOKENS_PER_MINUTE, ("InputTokens", "PerMinute")),
        (Limit.REQUESTS_PER_DAY, ("Requests", "PerDay")),
        (Limit.FREE_REQUESTS_PER_DAY, ("PerDay", "FreeTier")),
    ],
)
def test_quota_ids_tell_what_is_counted_and_for_how_long(limit: Limit, words: tuple[str, ...]) -> None:
    assert all(word in limit.quota_id for word in words)


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [
        (0.0, "0ms"),
        (0.361532506, "361.532506ms"),
        (1, "1s"),
        (45.8379, "45.8379s"),
        (60, "1m0s"),
        (68468.430388, "19h1m8.430388s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_spoken_as_the_service_speaks_them(seconds: float, spoken: str) -> None:
    assert spoken_duration(seconds) == spoken


@given(st.floats(0, 100_000))
def test_a_spoken_duration_can_be_read_back_to_the_microsecond(seconds: float) -> None:
    assert abs(seconds_in(spoken_duration(seconds)) - seconds) < 1e-5


def test_pages_are_pages() -> None:
    for page, status in ((refusals.bad_gateway(), 502), (refusals.lost_page("/x"), 404), (refusals.login_page(), 200)):
        assert page.status == status
        assert page.content_type.startswith("text/html")
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(page.body)


def test_a_lost_page_shows_its_path_harmlessly() -> None:
    assert b"<script>" not in refusals.lost_page("/<script>&x").body
    assert b"/&lt;script>&amp;x" in refusals.lost_page("/<script>&x").body


def test_an_error_may_hide_in_a_200() -> None:
    refusal = refusals.error_inside_200(429)
    assert refusal.status == 200
    assert error_of(refusal)["code"] == 429


def test_too_large_says_how_much_is_allowed() -> None:
    assert (
        error_of(refusals.too_large(20971520))["message"] == "Request payload size exceeds the limit: 20971520 bytes."
    )
