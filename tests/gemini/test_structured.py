from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.refusal import status_of
from batcher.gemini.structured import canonical_json, judge_json
from batcher.records import Answer, Billed, Candidate, Kind, Status

LARGEST = 2**53
values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def answer(*texts: str | None) -> Answer:
    return Answer(candidates=tuple(Candidate(index=n, text=text) for n, text in enumerate(texts)))


def anything(value: Any) -> None:
    """Every value fits."""


def nothing(value: Any) -> str:
    return f"$: {value!r} is not wanted"


def judged(*texts: str | None, fits: Any = anything, fenced: bool = False) -> Any:
    return judge_json(answer(*texts), fits, most=3, fenced=fenced)


@given(values, st.sampled_from(["", " ", "\n", "\n\n"]))
def test_json_that_fits_is_in_order_whatever_blanks_are_around_it(value: Any, blank: str) -> None:
    assert judged(blank + json.dumps(value) + blank) is None


@pytest.mark.parametrize(
    "text", ["", "Here you are: {}", '{"a": 1', '{"a": 1} {}', '{"a": NaN}', '"\\ud800"', "1e999", "\ufeff{}"]
)
def test_what_is_no_json_says_why_and_where(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError) as wrong:
        orjson.loads(text)
    verdict = judged(text)

    assert (verdict.kind, verdict.reason, verdict.message) == (Kind.INVALID, "invalid_json", f"not JSON: {wrong.value}")


def test_no_text_is_no_json() -> None:
    assert judged(None).message == "no JSON: the answer has no text"


def test_json_in_a_fence_that_nobody_takes_off_is_told() -> None:
    assert judged("```json\n[1]\n```").message.endswith("(char 0); it stands in a code fence")


def test_what_does_not_fit_says_where() -> None:
    verdict = judged("12", fits=nothing)

    assert (verdict.kind, verdict.reason, verdict.message) == (Kind.INVALID, "schema_mismatch", "$: 12 is not wanted")


def test_an_invalid_answer_is_paid_for_and_asked_again_at_once_on_its_own_budget() -> None:
    verdict = judged("12", fits=nothing)

    assert (verdict.billed, verdict.wait_s, verdict.counted, verdict.most) == (Billed.YES, 0.0, False, 3)
    assert status_of(verdict, answer("12")) is Status.INVALID


def test_a_violation_is_one_line_of_at_most_500_characters() -> None:
    verdict = judged("[1]", fits=lambda _: "$.text: " + "long\n" * 1_000)

    assert len(verdict.message) <= 500
    assert "\n" not in verdict.message


def test_only_the_first_candidate_is_judged() -> None:
    assert judged("[]", "no JSON") is None
    assert judged("no JSON", "[]") is not None
    assert judged() is not None


@pytest.mark.parametrize(
    "text",
    ["```json\n[1]\n```", "```\n[1]\n```", " ```JSON  \n[1]```\n", "```json\n\n[1]\n\n```", "[1]"],
)
def test_a_code_fence_comes_off_where_only_the_prompt_asks_for_json(text: str) -> None:
    assert judged(text, fenced=True) is None
    assert canonical_json(text) == "[1]"
    assert (judged(text) is None) is (text == "[1]")


@pytest.mark.parametrize("text", ["Sure:\n```json\n[1]\n```", "```json\n[1]\n```\nThat is it.", "```python\n[1]\n```"])
def test_prose_around_a_fence_is_no_json_anywhere(text: str) -> None:
    assert judged(text, fenced=True).reason == "invalid_json"


@given(values, st.randoms())
def test_equal_values_are_spelt_alike_and_stay_what_they_are(value: Any, chance: Any) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            items = list(node.items())
            chance.shuffle(items)
            return {name: shuffled(inner) for name, inner in items}
        return [shuffled(inner) for inner in node] if isinstance(node, list) else node

    one = canonical_json(json.dumps(value))

    assert one == canonical_json(json.dumps(shuffled(value), indent=2, ensure_ascii=False))
    assert orjson.loads(one) == value
    assert canonical_json(one) == one


def test_no_digit_of_a_long_integer_is_lost() -> None:
    assert canonical_json('{"b": 123456789012345678901234567890, "a": "é"}') == (
        '{"a":"é","b":123456789012345678901234567890}'
    )


def test_what_is_too_deep_to_be_written_again_stays_as_it_came() -> None:
    text = "[" * 500 + "]" * 500

    assert judged(text) is None
    assert canonical_json(f"\n{text}\n") == text
    assert canonical_json(f"[{text},{'9' * 20}]") == f"[{text},{'9' * 20}]"
