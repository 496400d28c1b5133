"""The eight classes of 429, each by the body that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from batcher.gemini.refusal import Verdict, judge
from batcher.gemini.throttle import Violation, violations
from batcher.records import Kind
from tests.gemini.bodies import answered, replied


def verdict_on(name: str, headers: dict[str, str] | None = None) -> Verdict:
    return judge(*replied(name, headers))


def verdict_on_message(message: str, details: list[Any] | None = None) -> Verdict:
    return judge(*answered({"error": {"code": 429, "message": message, "details": details or []}}, status=429))


# body -> quota, quota_id, quota_value, wait_s
NAMED = [
    (
        "429-input-tokens-per-minute-2026-09-12",
        "input_tokens/min",
        "GenerateContentPaidTierInputTokensPerModelPerMinute-PaidTier2",
        3_000_000,
        51.386192716,
    ),
    (
        "429-requests-per-minute-free",
        "requests/min",
        "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        10,
        45.837906927,
    ),
    ("429-requests-per-day-2026", "requests/day", "GenerateRequestsPerDayPerProjectPerModel", 100, 68_468.430387596),
    (
        "429-requests-per-day-short-delay",
        "requests/day",
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        20,
        None,
    ),
    (
        "429-day-and-minute-python-genai-2044",
        "input_tokens/day",
        "GenerateContentInputTokensPerModelPerDay-FreeTier",
        1_000_000,
        None,
    ),
    ("429-zero-quota", None, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", 0, None),
    (
        "429-litellm-embedded",
        "input_tokens/min",
        "GenerateContentPaidTierInputTokensPerModelPerMinute",
        1_000_000,
        34.0,
    ),
    ("429-capacity-python-genai-2065", None, None, None, None),
    ("429-openai-shape", None, None, None, 0.361532506),
]


@pytest.mark.parametrize(("name", "quota", "quota_id", "quota_value", "wait_s"), NAMED, ids=[row[0] for row in NAMED])
def test_what_a_429_names(
    name: str, quota: str | None, quota_id: str | None, quota_value: int | None, wait_s: float | None
) -> None:
    verdict = verdict_on(name)

    assert (verdict.quota, verdict.quota_id, verdict.quota_value) == (quota, quota_id, quota_value)
    assert verdict.wait_s == pytest.approx(wait_s)


def test_a_minute_quota_without_a_hint_is_over_in_a_minute() -> None:
    violation = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "10"}

    assert verdict_on_message("", [{"violations": [violation]}]).wait_s == 60


@pytest.mark.parametrize("message", ["You reached the spend-based rate limit.", "Your spending rate is too high."])
def test_spend_parks_the_model_for_a_minute_at_least(message: str) -> None:
    verdict = verdict_on_message(message)
    hinted = verdict_on_message(message + " Please retry in 4m.")

    assert (verdict.kind, verdict.reason, verdict.quota, verdict.wait_s) == (Kind.PARKED, "spend_quota", "spend", 60)
    assert hinted.wait_s == 240


@pytest.mark.parametrize(
    "message",
    [
        "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.",
        "Prepaid credits have been depleted",
        "Your project has exceeded its monthly spending cap.",
    ],
)
def test_no_credit_ends_the_run(message: str) -> None:
    verdict = verdict_on_message(message)

    assert (verdict.kind, verdict.reason, verdict.counted) == (Kind.FATAL, "billing", False)


def test_an_openai_shaped_insufficient_quota_ends_the_run() -> None:
    body = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}

    assert judge(*answered(body, status=429)).reason == "billing"


@pytest.mark.parametrize(
    ("message", "zero"),
    [
        ("limit: 0, model: gemini-2.5-pro", True),
        ("Quota exceeded for metric: x/requests, limit: 0", True),
        ("limit: 0.5", False),
        ("limit: 10", False),
        ("limit: 01", False),
    ],
)
def test_a_limit_of_zero_is_no_quota_at_all(message: str, zero: bool) -> None:
    assert (verdict_on_message(message).reason == "zero_quota") is zero


@pytest.mark.parametrize("message", ["quota GenerateRequestsPerDay", "requests_per_day reached", "Daily limit reached"])
def test_a_day_is_known_by_the_prose_alone(message: str) -> None:
    verdict = verdict_on_message(message + ", retry in 32s")

    assert (verdict.kind, verdict.quota, verdict.wait_s) == (Kind.PARKED, "requests/day", None)


def test_a_metric_in_the_prose_names_the_quota() -> None:
    prose = "Quota exceeded for metric: g/generate_content_paid_tier_input_token_count, limit: 1000, model: m"
    verdict = verdict_on_message(prose)

    assert (verdict.kind, verdict.quota, verdict.quota_value) == (Kind.THROTTLED, "input_tokens/min", 1000)
    assert verdict.quota_id == "g/generate_content_paid_tier_input_token_count"


def test_a_period_we_do_not_pace_is_named_but_not_ours() -> None:
    verdict = verdict_on_message("", [{"violations": [{"quotaId": "RequestsPerHour"}]}])

    assert (verdict.kind, verdict.quota, verdict.quota_id) == (Kind.THROTTLED, None, "RequestsPerHour")


def test_details_are_read_in_either_spelling_and_any_order() -> None:
    camel = [{"violations": [{"quotaId": "RequestsPerMinute", "quotaValue": "5"}]}, {"retryDelay": "3s"}]
    snake = [{"retry_delay": "3s"}, {"violations": [{"quota_id": "RequestsPerMinute", "quota_value": 5}]}]

    assert verdict_on_message("", camel) == verdict_on_message("", snake)


def test_embedded_violations_are_told_apart() -> None:
    text = """b'{"violations":[{"quotaId": "A", "quotaValue": "1"}, {"quotaId": "B", "quotaValue": "2"}]}'"""

    assert violations({}, text) == [Violation(quota_id="A", value=1), Violation(quota_id="B", value=2)]


@pytest.mark.parametrize(
    "odd", [[{"violations": 7}], [{"violations": [3, None, {}]}], [{"violations": {"quotaId": 1}}]]
)
def test_odd_details_name_nothing(odd: list[Any]) -> None:
    assert violations({"details": odd}, "") == []


def test_every_minute_quota_that_ran_out_is_told() -> None:
    requests = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "10"}
    tokens = {"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier", "quotaValue": "250000"}
    verdict = verdict_on_message("", [{"violations": [requests, tokens]}, {"retryDelay": "7s"}])

    assert (verdict.kind, verdict.quota, verdict.quota_value) == (Kind.THROTTLED, "requests/min", 10)
    assert verdict.also == (("input_tokens/min", 250_000),)


def test_what_ran_out_beside_a_day_is_told_too() -> None:
    verdict = verdict_on("429-day-and-minute-python-genai-2044")

    assert verdict.kind is Kind.PARKED
    assert verdict.also == (("input_tokens/min", 250_000),)


def test_the_quota_that_is_paced_comes_before_one_that_is_not() -> None:
    hour, minute = {"quotaId": "RequestsPerHour"}, {"quotaId": "RequestsPerMinute", "quotaValue": "5"}
    verdict = verdict_on_message("", [{"violations": [hour, minute]}])

    assert (verdict.quota, verdict.quota_id, verdict.quota_value) == ("requests/min", "RequestsPerMinute", 5)
    assert verdict.also == ()


def test_a_second_is_over_in_a_second() -> None:
    verdict = verdict_on_message("", [{"violations": [{"quotaId": "GenerateRequestsPerSecond"}]}])

    assert (verdict.quota, verdict.wait_s) == (None, 1.0)


@pytest.mark.parametrize(
    ("message", "quota", "value", "wait_s"),
    [
        (
            "Rate limit reached for m in org-1 on requests per min (RPM): Limit 3, Used 3. Please try again in 20s.",
            "requests/min",
            3,
            20,
        ),
        (
            "Rate limit reached for m on tokens per min (TPM): Limit: 10000, Used 9500. Please try again in 120ms.",
            "input_tokens/min",
            10_000,
            0.12,
        ),
        ("Rate limit reached for m on requests per day (RPD): Limit 200, Used 200.", "requests/day", 200, None),
    ],
)
def test_openais_words_name_the_quota(message: str, quota: str, value: int, wait_s: float | None) -> None:
    body = {"error": {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    verdict = judge(*answered(body, status=429))

    assert (verdict.quota, verdict.quota_value) == (quota, value)
    assert verdict.wait_s == pytest.approx(wait_s)


SPENT = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}


@pytest.mark.parametrize(
    ("headers", "quota", "value", "wait_s"),
    [
        (SPENT, "requests/min", 60, 1),
        ({f"llm_provider-{name}": value for name, value in SPENT.items()}, "requests/min", 60, 1),
        (SPENT | {"retry-after": "3"}, "requests/min", 60, 3),
        (SPENT | {"x-ratelimit-limit-requests": "0"}, "requests/min", None, 1),
        (SPENT | {"x-ratelimit-reset-requests": "17h3m"}, None, 60, 61_380),
        (SPENT | {"x-ratelimit-remaining-requests": "7"}, None, None, 0.361532506),
        (
            {"x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "-20"},
            "input_tokens/min",
            150_000,
            0.361532506,
        ),
    ],
)
def test_headers_name_the_quota_where_the_body_does_not(
    headers: dict[str, str], quota: str | None, value: int | None, wait_s: float
) -> None:
    verdict = verdict_on("429-openai-shape", headers)

    assert (verdict.kind, verdict.quota, verdict.quota_value) == (Kind.THROTTLED, quota, value)
    assert verdict.wait_s == pytest.approx(wait_s if wait_s < 1 else max(wait_s, 0.361532506))
