"""Google's own client reads and writes the same protocol: where it speaks, we agree with it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.gemini.reply import read
from batcher.gemini.request import canonical, encode
from batcher.job.spec import Dialect
from batcher.records import Answer, Candidate
from tests.gemini.bodies import seen
from tests.gemini.messages import sse, streamed, whole_messages
from tests.gemini.requests import requests

NAMES_OF_FINISH = [reason.value for reason in types.FinishReason]


def theirs(body: bytes) -> types.GenerateContentResponse:
    fields = orjson.loads(body)
    fields.get("usageMetadata", {}).pop("serviceTier", None)  # its converter takes this one out of the way first
    return types.GenerateContentResponse.model_validate(fields)


def finish_of(candidate: types.Candidate) -> str | None:
    return candidate.finish_reason.value if candidate.finish_reason else None


def visible_text(candidate: types.Candidate) -> str:
    parts = (candidate.content and candidate.content.parts) or []
    return "".join(part.text for part in parts if part.text is not None and not part.thought)


def assert_same(ours: Answer, other: types.GenerateContentResponse) -> None:
    assert len(ours.candidates) == len(other.candidates or [])
    for candidate, its in zip(ours.candidates, other.candidates or [], strict=True):
        assert_same_candidate(candidate, its)
    assert ours.model_version == other.model_version
    assert ours.response_id == other.response_id
    assert_same_usage(ours, other.usage_metadata)


def assert_same_candidate(ours: Candidate, other: types.Candidate) -> None:
    assert (ours.text or "") == visible_text(other)
    assert ours.finish_reason == finish_of(other)
    assert ours.finish_message == other.finish_message
    assert ours.token_count == other.token_count


def assert_same_usage(ours: Answer, other: types.GenerateContentResponseUsageMetadata | None) -> None:
    if other is None:
        assert ours.usage is None
        return
    assert ours.usage is not None
    assert ours.usage.prompt_token_count == other.prompt_token_count
    assert ours.usage.candidates_token_count == other.candidates_token_count
    assert ours.usage.total_token_count == other.total_token_count
    assert ours.usage.cached_content_token_count == other.cached_content_token_count
    assert ours.usage.tool_use_prompt_token_count == other.tool_use_prompt_token_count
    assert ours.usage.thoughts_token_count == other.thoughts_token_count
    assert ours.usage.prompt_tokens_details == by_modality(other.prompt_tokens_details)
    assert ours.usage.cache_tokens_details == by_modality(other.cache_tokens_details)


def by_modality(details: list[types.ModalityTokenCount] | None) -> dict[str, int]:
    return {item.modality.value: item.token_count for item in details or () if item.modality and item.token_count}


@pytest.mark.parametrize(
    "name", ["200-cached-image-prompt", "200-max-tokens-while-thinking-2026-09-12", "200-blocked-prompt"]
)
def test_recorded_replies(name: str) -> None:
    assert_same(read(seen(name)), theirs(seen(name)))


counts = st.integers(1, 10**9)
generated = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "content": st.fixed_dictionaries(
                        {"role": st.just("model")},
                        optional={
                            "parts": st.lists(
                                st.fixed_dictionaries({"text": st.text()}, optional={"thought": st.booleans()}),
                                max_size=3,
                            )
                        },
                    ),
                    "finishReason": st.sampled_from(NAMES_OF_FINISH),
                    "finishMessage": st.text(),
                    "tokenCount": counts,
                },
            ),
            max_size=2,
        ),
        "usageMetadata": st.fixed_dictionaries(
            {},
            optional={
                "promptTokenCount": counts,
                "candidatesTokenCount": counts,
                "totalTokenCount": counts,
                "cachedContentTokenCount": counts,
                "toolUsePromptTokenCount": counts,
                "thoughtsTokenCount": counts,
                "promptTokensDetails": st.lists(
                    st.fixed_dictionaries({"modality": st.just("TEXT"), "tokenCount": counts}), max_size=1
                ),
            },
        ),
        "modelVersion": st.text(),
        "responseId": st.text(),
    },
)


@given(generated)
def test_any_reply_in_googles_spelling(body: dict[str, Any]) -> None:
    raw = orjson.dumps(body)

    assert_same(read(raw), theirs(raw))


@settings(max_examples=20)
@given(whole_messages(), st.data())
def test_any_stream_in_googles_spelling(message: dict[str, Any], data: st.DataObject) -> None:
    """What it hands over chunk by chunk is what we make of the whole."""
    chunks = data.draw(streamed({"candidates": message["candidates"]}))
    handed = [each for chunk in chunks for each in theirs(orjson.dumps(chunk)).candidates or []]

    for ours in read(sse(chunks)).candidates:
        its = [each for each in handed if (each.index or 0) == ours.index]
        assert (ours.text or "") == "".join(visible_text(each) for each in its)
        assert [ours.finish_reason] == [finish_of(each) for each in its if each.finish_reason]


def test_the_mixed_body_that_it_sends_is_folded() -> None:
    # Outer keys in camelCase, those of its own types in snake_case: what it puts on the wire.
    image = types.Part.from_bytes(data=b"\x00", mime_type="image/png").model_dump(mode="json", exclude_none=True)
    body = {
        "contents": [{"role": "user", "parts": [{"inlineData": image["inline_data"]}, {"text": "what is it?"}]}],
        "generationConfig": types.GenerationConfig(top_k=40, max_output_tokens=5).model_dump(exclude_none=True),
    }

    assert canonical(body) == {
        "contents": [
            {
                "role": "user",
                "parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}, {"text": "what is it?"}],
            }
        ],
        "generation_config": {"top_k": 40.0, "max_output_tokens": 5},
    }


@settings(max_examples=20)
@given(requests)
def test_it_understands_what_we_send(body: dict[str, Any]) -> None:
    sent = orjson.loads(encode(canonical(body), dialect=Dialect.GOOGLE, model="m"))
    declared = sent.get("generationConfig", {})
    declared.pop("responseJsonSchema", None)  # the user's own JSON

    # Its types refuse fields that they do not know, so a name spelled wrong would show.
    read_back = types.GenerationConfig.model_validate(declared)

    assert read_back.max_output_tokens == declared.get("maxOutputTokens")
    assert read_back.model_dump(by_alias=True, exclude_unset=True, mode="json").keys() == declared.keys()


def test_every_finish_reason_it_knows_is_read_as_itself() -> None:
    for reason in NAMES_OF_FINISH:
        answer = read(orjson.dumps({"candidates": [{"finishReason": reason}]}))
        assert answer.candidates[0].finish_reason == reason
