from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator import replies
from batcher.emulator.answers import Answer, Call, Candidate
from batcher.emulator.usage import Usage
from tests.emulator.builders import MODEL

COUNTS = st.integers(0, 10_000)
USAGES = st.builds(
    lambda text, image, cached, tool_use, candidates, thoughts: Usage(
        prompt=text + image,
        cached=min(cached, text + image),
        tool_use=tool_use,
        candidates=candidates,
        thoughts=thoughts,
        by_modality={name: tokens for name, tokens in (("TEXT", text), ("IMAGE", image)) if tokens},
    ),
    COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
)  # fmt: skip


def google(found: Answer) -> dict[str, Any]:
    body = orjson.loads(orjson.dumps(replies.google(found, response_id="r1")))
    assert isinstance(body, dict)
    return body


def flat(found: Answer) -> dict[str, Any]:
    body = orjson.loads(orjson.dumps(replies.flat(found, created_s=1_750_000_000)))
    assert isinstance(body, dict)
    return body


def an_answer(*candidates: Candidate, **fields: Any) -> Answer:
    usage = Usage(prompt=5, candidates=sum(each.tokens for each in candidates), by_modality={"TEXT": 5})
    return Answer(**{"candidates": candidates, "usage": usage, "model": MODEL, **fields})


PLAIN = an_answer(Candidate(text="Hello", tokens=2))


def test_googles_spelling_leaves_out_what_has_its_default() -> None:
    assert google(PLAIN) == {
        "candidates": [
            {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 2,
            "totalTokenCount": 7,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
            "serviceTier": "standard",
        },
        "modelVersion": MODEL,
        "responseId": "r1",
    }


def test_the_flat_spelling_is_the_one_of_its_page() -> None:
    body = flat(PLAIN)
    assert set(body) == {"candidates", "model_version", "created", "usage_metadata"}
    assert body["created"] == 1_750_000_000
    assert body["usage_metadata"] == {
        "prompt_token_count": 5,
        "candidates_token_count": 2,
        "total_token_count": 7,
        "cached_content_token_count": 0,
        "tool_use_prompt_token_count": 0,
    }
    candidate = body["candidates"][0]
    assert candidate["content"] == {"role": "model", "parts": [{"text": "Hello"}]}
    assert (candidate["index"], candidate["finish_reason"], candidate["token_count"]) == (0, "STOP", 2)
    assert [each["probability"] for each in candidate["safety_ratings"]] == ["NEGLIGIBLE"] * 4


@given(USAGES)
def test_the_counts_add_up_in_both_spellings(usage: Usage) -> None:
    told = google(an_answer(usage=usage))["usageMetadata"]
    names = ("promptTokenCount", "candidatesTokenCount", "toolUsePromptTokenCount", "thoughtsTokenCount")
    assert told.get("totalTokenCount", 0) == sum(told.get(name, 0) for name in names)
    assert sum(each["tokenCount"] for each in told["promptTokensDetails"]) == told.get("promptTokenCount", 0)
    assert sum(each["tokenCount"] for each in told.get("cacheTokensDetails", [])) == told.get(
        "cachedContentTokenCount", 0
    )
    prompt = {each["modality"]: each["tokenCount"] for each in told["promptTokensDetails"]}
    assert all(each["tokenCount"] <= prompt[each["modality"]] for each in told.get("cacheTokensDetails", []))
    assert 0 not in [value for value in told.values() if isinstance(value, int)]
    short = flat(an_answer(usage=usage))["usage_metadata"]
    assert short["prompt_token_count"] == usage.prompt
    assert short["cached_content_token_count"] == usage.cached


def test_a_candidate_without_parts_has_an_empty_content() -> None:
    found = an_answer(Candidate(finish="MAX_TOKENS"))
    assert google(found)["candidates"] == [{"content": {}, "finishReason": "MAX_TOKENS", "index": 0}]
    assert flat(found)["candidates"][0]["content"] == {"role": "model", "parts": []}


def test_a_thought_comes_before_the_text_and_says_what_it_is() -> None:
    found = an_answer(Candidate(text="Hello", thought="Hm.", tokens=2))
    parts = [{"text": "Hm.", "thought": True}, {"text": "Hello"}]
    assert google(found)["candidates"][0]["content"]["parts"] == parts
    assert flat(found)["candidates"][0]["content"]["parts"] == parts


def test_a_call_is_spelt_as_the_reply_is() -> None:
    found = an_answer(Candidate(call=Call(name="weather", args={"theCity": "Oslo"}), tokens=3))
    call = {"name": "weather", "args": {"theCity": "Oslo"}}
    assert google(found)["candidates"][0]["content"]["parts"] == [{"functionCall": call}]
    assert flat(found)["candidates"][0]["content"]["parts"] == [{"function_call": call}]


def test_a_blocked_prompt_has_feedback_and_no_candidates() -> None:
    found = an_answer(block_reason="PROHIBITED_CONTENT")
    assert google(found)["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}
    assert "candidates" not in google(found)
    assert flat(found)["prompt_feedback"] == {"block_reason": "PROHIBITED_CONTENT"}
    assert flat(found)["candidates"] == []


def test_an_empty_answer_is_spelt_without_reasons() -> None:
    assert set(google(an_answer())) == {"usageMetadata", "modelVersion", "responseId"}


def test_unsafe_and_reciting_candidates_show_it_in_both_spellings() -> None:
    unsafe, cited = (
        an_answer(Candidate(finish="SAFETY", unsafe=True)),
        an_answer(Candidate(finish="RECITATION", cited=True)),
    )
    assert google(unsafe)["candidates"][0]["safetyRatings"][-1]["blocked"] is True
    assert flat(unsafe)["candidates"][0]["safety_ratings"][-1]["probability"] == "HIGH"
    source = google(cited)["candidates"][0]["citationMetadata"]["citationSources"][0]
    assert (source["startIndex"], source["endIndex"]) == (0, 60)
    source = flat(cited)["candidates"][0]["citation_metadata"]["citation_sources"][0]
    assert (source["start"], source["end"]) == (0, 60)


def test_a_search_leaves_its_traces() -> None:
    grounding = google(an_answer(Candidate(text="x"), searched="blue whales"))["candidates"][0]["groundingMetadata"]
    assert grounding["webSearchQueries"] == ["blue whales"]


def test_log_probabilities_are_told() -> None:
    assert google(an_answer(Candidate(text="x", avg_logprobs=-0.25)))["candidates"][0]["avgLogprobs"] == -0.25


def test_counting_tells_the_tokens_and_their_modalities() -> None:
    usage = Usage(prompt=263, cached=3, by_modality={"TEXT": 5, "IMAGE": 258})
    assert orjson.loads(replies.count(usage)) == {
        "totalTokens": 263,
        "cachedContentTokenCount": 3,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 258}],
    }


def test_a_models_card_has_what_clients_look_for() -> None:
    card = replies.model_card("gemini-2.5-pro")
    assert card["name"] == "models/gemini-2.5-pro"
    assert card["outputTokenLimit"] == 65_536
    assert "generateContent" in card["supportedGenerationMethods"]
