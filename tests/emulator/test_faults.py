from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.faults import Asking, Fault, FaultKind, Faults, Rule, Share
from batcher.errors import UserError

REFUSED_WITH = {
    FaultKind.MINUTE_REQUESTS: 429,
    FaultKind.MINUTE_TOKENS: 429,
    FaultKind.DAY: 429,
    FaultKind.SPEND: 429,
    FaultKind.ZERO_QUOTA: 429,
    FaultKind.PREPAY: 429,
    FaultKind.EXHAUSTED: 429,
    FaultKind.REDIRECT: 302,
    FaultKind.REDIRECT_POST: 307,
    FaultKind.REDIRECT_FOR_EVER: 308,
    FaultKind.BAD_REQUEST: 400,
    FaultKind.UNAUTHENTICATED: 401,
    FaultKind.PAYMENT: 402,
    FaultKind.FORBIDDEN: 403,
    FaultKind.NOT_FOUND: 404,
    FaultKind.REQUEST_TIMEOUT: 408,
    FaultKind.INTERNAL: 500,
    FaultKind.BAD_GATEWAY: 502,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.DEADLINE: 504,
    FaultKind.ERROR_IN_200: 200,
    FaultKind.HTML: 200,
}


def asking(prompt: str = "hello", *, number: int = 1, seen: int = 0, chance: float = 0.5) -> Asking:
    return Asking(number=number, prompt=prompt, seen=seen, chance=chance)


def body_of(kind: FaultKind, **fields: Any) -> dict[str, Any]:
    refusal = Fault(kind=kind, **fields).refusal("gemini-2.5-flash")
    assert refusal is not None
    error = orjson.loads(refusal.body)["error"]
    assert isinstance(error, dict)
    return error


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_refuses_or_answers_or_drops_and_never_two_of_them(kind: FaultKind) -> None:
    refusal = Fault(kind=kind).refusal("gemini-2.5-flash")
    if kind in REFUSED_WITH:
        assert refusal is not None
        assert refusal.status == REFUSED_WITH[kind]
        assert not Fault(kind=kind).answered
    else:
        assert refusal is None
        assert Fault(kind=kind).answered is (kind is not FaultKind.DROP)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_only_refusals_of_the_four_hundreds_do_not_count_against_quotas(kind: FaultKind) -> None:
    uncounted = REFUSED_WITH.get(kind) in (400, 401, 402, 403, 404, 429)
    assert Fault(kind=kind).counted is not uncounted


@pytest.mark.parametrize(
    ("kind", "quota_id", "value"),
    [
        (FaultKind.MINUTE_REQUESTS, "GenerateRequestsPerMinutePerProjectPerModel", "1000"),
        (FaultKind.MINUTE_TOKENS, "GenerateContentPaidTierInputTokensPerModelPerMinute", "1000000"),
        (FaultKind.DAY, "GenerateRequestsPerDayPerProjectPerModel", "100"),
        (FaultKind.ZERO_QUOTA, "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0"),
    ],
)
def test_a_429_that_names_a_quota_names_the_right_one(kind: FaultKind, quota_id: str, value: str) -> None:
    violation = body_of(kind)["details"][0]["violations"][0]
    assert (violation["quotaId"], violation["quotaValue"]) == (quota_id, value)
    assert f"limit: {value}," in body_of(kind)["message"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FaultKind.SPEND, "spend-based rate limit"),
        (FaultKind.PREPAY, "prepayment credits are depleted"),
        (FaultKind.EXHAUSTED, "Resource has been exhausted (e.g. check quota)."),
    ],
)
def test_a_429_that_names_none_has_no_details(kind: FaultKind, words: str) -> None:
    assert words in body_of(kind)["message"]
    assert "details" not in body_of(kind)


def test_a_hint_replaces_the_usual_one() -> None:
    details = body_of(FaultKind.DAY, seconds=32)["details"]
    assert details[-1]["retryDelay"] == "32s"
    assert body_of(FaultKind.EXHAUSTED, seconds=1)["details"][0]["retryDelay"] == "1s"
    assert body_of(FaultKind.UNAVAILABLE, seconds=3)["details"][0]["retryDelay"] == "3s"


def test_an_error_inside_a_200_has_its_own_code() -> None:
    assert body_of(FaultKind.ERROR_IN_200)["code"] == 503
    assert body_of(FaultKind.ERROR_IN_200, code=429)["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("text", "kind", "seconds", "share"),
    [
        ("503=3%", FaultKind.UNAVAILABLE, None, 0.03),
        ("429@1=0.05", FaultKind.EXHAUSTED, 1.0, 0.05),
        ("slow@10=1%", FaultKind.SLOW, 10.0, 0.01),
        (" 429-day = 2 %", FaultKind.DAY, None, 0.02),
        ("drop=1", FaultKind.DROP, None, 1.0),
    ],
)
def test_a_share_is_read_from_text(text: str, kind: FaultKind, seconds: float | None, share: float) -> None:
    found = Share.parse(text)
    assert (found.fault.kind, found.fault.seconds) == (kind, seconds)
    assert found.share == pytest.approx(share)


def test_of_what_has_a_size_the_number_is_that() -> None:
    assert Share.parse("huge@40=1%").fault == Fault(kind=FaultKind.HUGE, size_mb=40)
    assert Share.parse("gzip-bomb@0.5=1%").fault == Fault(kind=FaultKind.GZIP_BOMB, size_mb=0.5)


def test_a_redirect_names_the_other_place() -> None:
    for kind in (FaultKind.REDIRECT, FaultKind.REDIRECT_POST, FaultKind.REDIRECT_FOR_EVER):
        refusal = Fault(kind=kind, location="http://else.where/v1").refusal("gemini-2.5-flash")
        assert refusal is not None
        assert refusal.headers == (("Location", "http://else.where/v1"),)


@pytest.mark.parametrize("text", ["", "503", "503=", "teapot=1%", "503=many", "slow@soon=1%"])
def test_a_share_that_cannot_be_read_names_what_was_found_and_what_is_known(text: str) -> None:
    with pytest.raises(UserError) as caught:
        Share.parse(text)
    assert caught.value.message == f"fault: expected KIND[@N]=SHARE, found {text!r}"
    assert "cut-clean" in caught.value.hint


@pytest.mark.parametrize("shares", [(0.7, 0.4), (-0.1, 0.2)])
def test_shares_cannot_be_more_than_everything_or_less_than_nothing(shares: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="sum to at most 1"):
        Faults(shares=tuple(Share(fault=Fault(kind=FaultKind.SLOW), share=share) for share in shares))


@given(st.lists(st.floats(0, 0.2), max_size=5), st.floats(0, 1, exclude_max=True))
def test_chance_falls_on_each_fault_by_its_share(shares: list[float], chance: float) -> None:
    kinds = list(FaultKind)[: len(shares)]
    faults = Faults(shares=tuple(Share(fault=Fault(kind=k), share=s) for k, s in zip(kinds, shares, strict=True)))
    picked = faults.pick(asking(chance=chance))
    reached = 0.0
    for kind, share in zip(kinds, shares, strict=True):
        if chance < reached + share:
            assert picked == Fault(kind=kind)
            return
        reached += share
    assert picked is None


SLOW, DROP = Fault(kind=FaultKind.SLOW), Fault(kind=FaultKind.DROP)


def test_a_rule_by_arrival_number() -> None:
    faults = Faults(script=(Rule(fault=DROP, nth=(2, 4)),))
    assert [faults.pick(asking(number=n)) is DROP for n in range(1, 6)] == [False, True, False, True, False]


def test_a_rule_by_a_part_of_the_prompt() -> None:
    faults = Faults(script=(Rule(fault=DROP, contains="river"),))
    assert faults.pick(asking("about a river in Norway")) is DROP
    assert faults.pick(asking("about a lake in Norway")) is None


def test_a_rule_for_the_first_times_of_every_prompt() -> None:
    faults = Faults(script=(Rule(fault=DROP, first=2),))
    assert [faults.pick(asking(seen=n)) is DROP for n in range(4)] == [True, True, False, False]


def test_conditions_of_a_rule_add_up_and_the_first_rule_wins() -> None:
    faults = Faults(script=(Rule(fault=DROP, contains="a", first=1), Rule(fault=SLOW, contains="a")))
    assert faults.pick(asking("a")) is DROP
    assert faults.pick(asking("a", seen=1)) is SLOW
    assert faults.pick(asking("b")) is None


def test_the_script_comes_before_the_shares() -> None:
    faults = Faults(shares=(Share(fault=SLOW, share=1.0),), script=(Rule(fault=DROP, nth=(1,)),))
    assert faults.pick(asking(number=1)) is DROP
    assert faults.pick(asking(number=2)) is SLOW


def test_no_faults_are_false() -> None:
    assert not Faults()
    assert Faults(script=(Rule(fault=SLOW),))
    assert Faults(shares=(Share(fault=SLOW, share=0.0),))
    assert Faults().pick(asking(chance=0.0)) is None
