"""Each row of the error tables, and the laws that hold for whatever a server sends."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.refusal import OK, Verdict, judge, status_of
from batcher.records import Answer, Billed, Candidate, Kind, NoReply, NoReplyKind, Reply, Status
from tests.gemini.bodies import answered, replied

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def verdict_on(name: str, headers: dict[str, str] | None = None) -> Verdict:
    return judge(*replied(name, headers), now=NOON)


def candidate(**fields: Any) -> dict[str, Any]:
    return {"candidates": [fields]}


def text(words: str = "yes") -> dict[str, Any]:
    return {"parts": [{"text": words}], "role": "model"}


# HTTP status and body seen -> kind, reason, billed, counted
SEEN = [
    ("200-flat-dialect-sample", Kind.OK, "ok", Billed.YES, True),
    ("200-max-tokens-while-thinking-2026-09-12", Kind.OK, "MAX_TOKENS", Billed.YES, True),
    ("200-cached-image-prompt", Kind.OK, "ok", Billed.YES, True),
    ("200-blocked-prompt", Kind.BLOCKED, "PROHIBITED_CONTENT", Billed.YES, True),
    ("200-error-inside", Kind.RETRY, "http_503", Billed.NO, True),
    ("400-api-key-invalid", Kind.FATAL, "bad_key", Billed.NO, False),
    ("400-location", Kind.FATAL, "precondition", Billed.NO, False),
    ("400-unknown-name-stream", Kind.REFUSED, "bad_request", Billed.NO, True),
    ("400-invalid-argument", Kind.REFUSED, "bad_request", Billed.NO, True),
    ("400-context-overflow", Kind.REFUSED, "context_overflow", Billed.NO, True),
    ("400-context-overflow-older", Kind.REFUSED, "context_overflow", Billed.NO, True),
    ("400-payload-too-large", Kind.REFUSED, "request_too_large", Billed.NO, True),
    ("401-key-as-bearer", Kind.FATAL, "unauthenticated", Billed.NO, False),
    ("402-prepaid", Kind.FATAL, "billing", Billed.NO, False),
    ("403-no-key", Kind.FATAL, "forbidden", Billed.NO, False),
    ("403-file-expired-python-genai-1218", Kind.REFUSED, "file_unavailable", Billed.NO, True),
    ("404-model", Kind.FATAL, "not_found", Billed.NO, False),
    ("422-extra-forbidden", Kind.REFUSED, "unprocessable", Billed.NO, True),
    ("429-input-tokens-per-minute-2026-09-12", Kind.THROTTLED, "rate_limit", Billed.NO, False),
    ("429-requests-per-minute-free", Kind.THROTTLED, "rate_limit", Billed.NO, False),
    ("429-requests-per-day-2026", Kind.PARKED, "day_quota", Billed.NO, False),
    ("429-requests-per-day-short-delay", Kind.PARKED, "day_quota", Billed.NO, False),
    ("429-day-and-minute-python-genai-2044", Kind.PARKED, "day_quota", Billed.NO, False),
    ("429-zero-quota", Kind.FATAL, "zero_quota", Billed.NO, False),
    ("429-capacity-python-genai-2065", Kind.THROTTLED, "capacity", Billed.NO, False),
    ("429-capacity-vertex", Kind.THROTTLED, "capacity", Billed.NO, False),
    ("429-openai-shape", Kind.THROTTLED, "capacity", Billed.NO, False),
    ("429-litellm-embedded", Kind.THROTTLED, "rate_limit", Billed.NO, False),
    ("500-internal", Kind.RETRY, "http_500", Billed.NO, True),
    ("503-overloaded", Kind.RETRY, "http_503", Billed.NO, True),
    ("504-deadline", Kind.RETRY, "http_504", Billed.MAYBE, True),
]


@pytest.mark.parametrize(("name", "kind", "reason", "billed", "counted"), SEEN, ids=[row[0] for row in SEEN])
def test_bodies_seen_in_the_wild(name: str, kind: Kind, reason: str, billed: Billed, counted: bool) -> None:
    verdict = verdict_on(name)

    assert (verdict.kind, verdict.reason, verdict.billed, verdict.counted) == (kind, reason, billed, counted)


# HTTP status without a body we know -> kind, reason, billed
BARE = [
    (301, Kind.FATAL, "redirect", Billed.NO),
    (304, Kind.FATAL, "redirect", Billed.NO),
    (400, Kind.REFUSED, "bad_request", Billed.NO),
    (401, Kind.FATAL, "unauthenticated", Billed.NO),
    (402, Kind.FATAL, "billing", Billed.NO),
    (403, Kind.FATAL, "forbidden", Billed.NO),
    (404, Kind.FATAL, "not_found", Billed.NO),
    (405, Kind.FATAL, "not_served", Billed.NO),
    (407, Kind.FATAL, "unauthenticated", Billed.NO),
    (408, Kind.RETRY, "http_408", Billed.NO),
    (409, Kind.RETRY, "http_409", Billed.NO),
    (410, Kind.FATAL, "not_found", Billed.NO),
    (413, Kind.REFUSED, "request_too_large", Billed.NO),
    (418, Kind.REFUSED, "bad_request", Billed.NO),
    (422, Kind.REFUSED, "unprocessable", Billed.NO),
    (425, Kind.RETRY, "http_425", Billed.NO),
    (429, Kind.THROTTLED, "capacity", Billed.NO),
    (451, Kind.REFUSED, "bad_request", Billed.NO),
    (499, Kind.RETRY, "http_499", Billed.NO),
    (500, Kind.RETRY, "http_500", Billed.NO),
    (501, Kind.FATAL, "not_served", Billed.NO),
    (502, Kind.RETRY, "http_502", Billed.NO),
    (503, Kind.RETRY, "http_503", Billed.NO),
    (504, Kind.RETRY, "http_504", Billed.MAYBE),
    (520, Kind.RETRY, "http_520", Billed.NO),
    (529, Kind.RETRY, "http_529", Billed.NO),
    (101, Kind.RETRY, "http_101", Billed.MAYBE),
]


@pytest.mark.parametrize(("status", "kind", "reason", "billed"), BARE)
def test_a_status_speaks_for_itself_when_the_body_is_html(status: int, kind: Kind, reason: str, billed: Billed) -> None:
    verdict = judge(*answered(b"<html>\r\n<h1>No.</h1></html>", status=status))

    assert (verdict.kind, verdict.reason, verdict.billed) == (kind, reason, billed)
    assert verdict.counted is (kind not in (Kind.FATAL, Kind.THROTTLED))
    assert verdict.message.startswith("<html>") or kind is Kind.FATAL


# what went wrong below HTTP, sent -> kind, billed, counted, wait_s, most
LOST = [
    (NoReplyKind.DNS, False, Kind.RETRY, Billed.NO, False, None, None),
    (NoReplyKind.REFUSED, False, Kind.RETRY, Billed.NO, False, None, None),
    (NoReplyKind.CONNECT_TIMEOUT, False, Kind.RETRY, Billed.NO, False, None, None),
    (NoReplyKind.TLS_HANDSHAKE, False, Kind.RETRY, Billed.NO, False, None, None),
    (NoReplyKind.TLS_CERTIFICATE, False, Kind.FATAL, Billed.NO, False, None, None),
    (NoReplyKind.FORBIDDEN_ADDRESS, False, Kind.FATAL, Billed.NO, False, None, None),
    (NoReplyKind.STALE, True, Kind.RETRY, Billed.MAYBE, False, 0.0, None),
    (NoReplyKind.DISCONNECTED, True, Kind.RETRY, Billed.MAYBE, True, None, None),
    (NoReplyKind.DISCONNECTED, False, Kind.RETRY, Billed.NO, False, None, None),
    (NoReplyKind.READ_TIMEOUT, True, Kind.RETRY, Billed.MAYBE, True, None, None),
    (NoReplyKind.DEADLINE, True, Kind.RETRY, Billed.MAYBE, True, None, None),
    (NoReplyKind.BODY_DEADLINE, True, Kind.RETRY, Billed.MAYBE, True, None, None),
    (NoReplyKind.CUT, True, Kind.RETRY, Billed.MAYBE, True, None, None),
    (NoReplyKind.TOO_LARGE, True, Kind.RETRY, Billed.MAYBE, True, None, 2),
    (NoReplyKind.BAD_HTTP, True, Kind.RETRY, Billed.MAYBE, True, None, None),
]


@pytest.mark.parametrize("row", LOST, ids=lambda row: f"{row[0].value}-{row[1]}")
def test_what_went_wrong_below_http(
    row: tuple[NoReplyKind, bool, Kind, Billed, bool, float | None, int | None],
) -> None:
    lost, sent, kind, billed, counted, wait_s, most = row

    verdict = judge(NoReply(kind=lost, sent=sent, first_byte=False, detail="gone\x1b[31m"), None)

    assert verdict == Verdict(
        kind=kind,
        reason=lost.value,
        billed=billed,
        counted=counted,
        wait_s=wait_s,
        most=most,
        message="gone [31m",
    )


def test_every_way_to_lose_a_reply_is_in_the_table() -> None:
    assert {row[0] for row in LOST} == set(NoReplyKind)


# body of a 200 -> kind, reason, status of the row
ENDINGS = [
    (candidate(content=text(), finishReason="STOP"), Kind.OK, "ok", Status.OK),
    (candidate(content=text()), Kind.OK, "ok", Status.OK),
    (candidate(finishReason="STOP"), Kind.OK, "ok", Status.OK),
    (candidate(content={"parts": [{"functionCall": {"name": "f"}}]}), Kind.OK, "ok", Status.OK),
    (candidate(content=text(), finishReason="stop"), Kind.OK, "ok", Status.OK),
    (candidate(content=text(), finishReason="FUNCTION_CALL"), Kind.OK, "ok", Status.OK),
    (candidate(content=text(), finishReason="A_NEW_REASON"), Kind.OK, "ok", Status.OK),
    (candidate(content=text(), finishReason="OTHER"), Kind.OK, "ok", Status.OK),
    (candidate(content=text(), finishReason="MAX_TOKENS"), Kind.OK, "MAX_TOKENS", Status.TRUNCATED),
    (candidate(content=text(), finishReason="CONTINUATION"), Kind.OK, "CONTINUATION", Status.TRUNCATED),
    (candidate(finishReason="MALFORMED_FUNCTION_CALL"), Kind.OK, "MALFORMED_FUNCTION_CALL", Status.INVALID),
    (candidate(finishReason="UNEXPECTED_TOOL_CALL"), Kind.OK, "UNEXPECTED_TOOL_CALL", Status.INVALID),
    *[
        (candidate(content=text(), finishReason=reason), Kind.BLOCKED, reason, Status.BLOCKED)
        for reason in (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        )
    ],
    (candidate(finishReason="OTHER"), Kind.BLOCKED, "OTHER", Status.BLOCKED),
    (candidate(content={}, finishReason="NO_IMAGE"), Kind.BLOCKED, "NO_IMAGE", Status.BLOCKED),
    (candidate(finishReason="A_NEW_REASON"), Kind.BLOCKED, "A_NEW_REASON", Status.BLOCKED),
    ({"promptFeedback": {"blockReason": "SAFETY"}}, Kind.BLOCKED, "SAFETY", Status.BLOCKED),
    ({"prompt_feedback": {"block_reason": "OTHER"}, "candidates": [{}]}, Kind.BLOCKED, "OTHER", Status.BLOCKED),
    ({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}, Kind.RETRY, "empty", Status.FAILED),
    ({"candidates": []}, Kind.RETRY, "empty", Status.FAILED),
    ({}, Kind.RETRY, "empty", Status.FAILED),
    (candidate(content={}), Kind.RETRY, "empty", Status.FAILED),
    (candidate(content=text(""), finishReason="FINISH_REASON_UNSPECIFIED"), Kind.RETRY, "empty", Status.FAILED),
    ({"candidates": [{}, {"content": text()}]}, Kind.OK, "ok", Status.OK),
    ({"usageMetadata": {"promptTokenCount": 3}}, Kind.RETRY, "empty", Status.FAILED),
]


@pytest.mark.parametrize(("body", "kind", "reason", "status"), ENDINGS)
def test_how_an_answer_ends_its_row(body: dict[str, Any], kind: Kind, reason: str, status: Status) -> None:
    reply, answer = answered(body)
    verdict = judge(reply, answer)

    assert isinstance(answer, Answer)
    assert (verdict.kind, verdict.reason) == (kind, reason)
    assert status_of(verdict, answer) is status


def test_the_first_candidate_decides() -> None:
    reply, answer = answered(
        {
            "candidates": [
                {"index": 1, "content": text(), "finishReason": "STOP"},
                {"index": 0, "finishReason": "SAFETY", "finishMessage": "no\nway"},
            ]
        }
    )

    verdict = judge(reply, answer)

    assert (verdict.kind, verdict.reason, verdict.message) == (Kind.BLOCKED, "SAFETY", "no way")


def test_a_plain_answer_costs_no_verdict() -> None:
    assert judge(*answered(candidate(content=text(), finishReason="STOP"))) is OK
    assert judge(*answered(candidate(content=text(), finishReason="MAX_TOKENS"))) is judge(
        *answered(candidate(finishReason="MAX_TOKENS"))
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"candidates": [{"content": {"par', b"[]", b"[1, 2]", b"\xff", b"7"]
)
def test_a_200_that_cannot_be_read_is_asked_again_and_may_have_been_billed(body: bytes) -> None:
    verdict = judge(*answered(body))

    assert (verdict.kind, verdict.reason, verdict.billed, verdict.most) == (Kind.RETRY, "bad_body", Billed.MAYBE, 2)


def test_nothing_known_of_a_200_is_unreadable_too() -> None:
    assert judge(Reply(status=200, headers={}, body=b"{}"), None).reason == "bad_body"


def test_an_empty_answer_is_asked_again_and_may_have_been_billed() -> None:
    verdict = judge(*answered({"candidates": []}))

    assert (verdict.billed, verdict.counted, verdict.most) == (Billed.MAYBE, True, 2)


# error object in a 200 -> kind, reason
INSIDE = [
    ({"code": 429, "message": "Resource has been exhausted"}, Kind.THROTTLED, "capacity"),
    ({"code": "429", "message": "slow down"}, Kind.THROTTLED, "capacity"),
    ({"code": 8, "message": "quota"}, Kind.THROTTLED, "capacity"),
    ({"status": "RESOURCE_EXHAUSTED"}, Kind.THROTTLED, "capacity"),
    ({"code": 400, "message": "bad"}, Kind.REFUSED, "bad_request"),
    ({"code": 3, "message": "bad"}, Kind.REFUSED, "bad_request"),
    ({"code": 401}, Kind.FATAL, "unauthenticated"),
    ({"status": "unavailable"}, Kind.RETRY, "http_503"),
    ({"code": 200, "message": "?"}, Kind.RETRY, "error_in_200"),
    ({"message": "something broke"}, Kind.RETRY, "error_in_200"),
    ("something broke", Kind.RETRY, "error_in_200"),
]


@pytest.mark.parametrize(("error", "kind", "reason"), INSIDE)
def test_an_error_in_a_200_is_judged_by_its_code(error: Any, kind: Kind, reason: str) -> None:
    plain = judge(*answered({"error": error}))
    wrapped = judge(*answered([{"error": error}]))

    assert (plain.kind, plain.reason) == (kind, reason)
    assert (wrapped.kind, wrapped.reason) == (kind, reason)


def test_503_that_says_resource_exhausted_is_a_rate_limit() -> None:
    body = {"error": {"code": 503, "message": "busy", "status": "RESOURCE_EXHAUSTED"}}

    assert judge(*answered(body, status=503)).kind is Kind.THROTTLED


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://user:secret@evil.example:8443/v1beta?key=abc", "to evil.example"),
        ("/elsewhere?key=abc", "without naming another host"),
        ("http://[broken", "without naming another host"),
        ("", "without naming another host"),
    ],
)
def test_a_redirect_is_told_by_its_host_alone(location: str, where: str) -> None:
    verdict = judge(*answered(b"moved to https://evil.example/?key=abc", status=307, headers={"location": location}))

    assert verdict.message == f"HTTP 307: the endpoint redirects {where}; redirects are not followed"


def test_a_bad_key_is_known_by_its_reason_whatever_the_words() -> None:
    body = {"error": {"code": 400, "message": "?", "details": [{"reason": "API_KEY_INVALID"}]}}

    assert judge(*answered(body, status=400)).reason == "bad_key"


def test_a_bad_key_is_known_through_a_proxy_that_embeds_the_refusal() -> None:
    inner = r"BadRequestError - {\"details\": [{\"reason\": \"API_KEY_INVALID\"}]}"

    assert judge(*answered({"error": {"message": inner, "code": "400"}}, status=400)).reason == "bad_key"


def test_a_prompt_that_quotes_the_refusal_of_a_key_kills_no_run() -> None:
    body = {"error": {"code": 400, "message": 'Unsupported text: "API key not valid"', "status": "INVALID_ARGUMENT"}}

    assert judge(*answered(body, status=400)).kind is Kind.REFUSED


def test_messages_are_one_short_line() -> None:
    body = {"error": {"code": 400, "message": "a\n\x1b[2Jb\u202e" + "x" * 2000}}

    message = judge(*answered(body, status=400)).message

    assert message.startswith("a [2Jb x")
    assert len(message) == 500


def test_only_what_may_be_asked_again_carries_a_hint() -> None:
    hinted = {"retry-after": "7"}

    assert judge(*answered(b"", status=503, headers=hinted)).wait_s == 7
    assert judge(*answered(b"", status=429, headers=hinted)).wait_s == 7
    assert judge(*answered(b"", status=400, headers=hinted)).wait_s is None
    assert judge(*answered(b"", status=401, headers=hinted)).wait_s is None


def test_a_date_counts_from_the_clock_given() -> None:
    reply, answer = answered(b"", status=503, headers={"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"})

    assert judge(reply, answer, now=NOON).wait_s == 30
    assert judge(reply, answer).wait_s is None


def test_a_failed_row_stays_failed_whatever_its_last_answer_says() -> None:
    verdict = Verdict(kind=Kind.RETRY, reason="empty", billed=Billed.MAYBE)

    assert status_of(verdict, Answer(candidates=(Candidate(index=0, finish_reason="STOP"),))) is Status.FAILED
    assert status_of(OK, None) is Status.OK


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**13) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
error_values = st.fixed_dictionaries(
    {},
    optional={
        "code": json_values | st.sampled_from([8, 400, 403, 429, "429", 503]),
        "message": json_values | st.sampled_from(["Please retry in 9s.", "limit: 0", "PerDay", "API key not valid"]),
        "status": json_values | st.sampled_from(["RESOURCE_EXHAUSTED", "UNAVAILABLE"]),
        "details": json_values
        | st.lists(
            st.fixed_dictionaries(
                {}, optional={"retryDelay": json_values, "violations": json_values, "reason": json_values}
            )
        ),
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "error": json_values | error_values,
        "candidates": json_values
        | st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["content", "finishReason", "finish_reason", "index", "safetyRatings", "citationMetadata"]
                ),
                json_values,
            ),
            max_size=2,
        ),
        "promptFeedback": json_values,
        "usageMetadata": json_values,
        "detail": json_values,
    },
)
headers_of_any_kind = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "llm_provider-retry-after", "location"]),
    st.text(max_size=20)
    | st.sampled_from(
        ["-5", "0", "1e308", "nan", "inf", "Thu, 01 Jan 1970 00:00:00 GMT", "Sun, 99 Nov 99999 12:00:00"]
    ),
)


@given(st.integers(0, 700), headers_of_any_kind, st.binary(max_size=40) | bodies)
def test_any_reply_gets_a_verdict(status: int, headers: dict[str, str], body: bytes | dict[str, Any]) -> None:
    reply, answer = answered(body, status=status, headers=headers)

    verdict = judge(reply, answer, now=NOON)

    assert verdict.wait_s is None or (verdict.wait_s >= 0 and math.isfinite(verdict.wait_s))
    assert len(verdict.message) <= 500
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in verdict.message)
    assert verdict.counted or verdict.kind in (Kind.THROTTLED, Kind.PARKED, Kind.FATAL)
    row = status_of(verdict, answer if isinstance(answer, Answer) else None)
    assert (row is Status.BLOCKED) is (verdict.kind is Kind.BLOCKED)


@given(bodies)
def test_a_success_is_judged_the_same_with_or_without_the_one_element_array(body: dict[str, Any]) -> None:
    plain, wrapped = judge(*answered(body)), judge(*answered([body]))

    assert (plain.kind, plain.reason) == (wrapped.kind, wrapped.reason)
