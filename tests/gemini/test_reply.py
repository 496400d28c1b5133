"""What a body says is read in either spelling, and nothing in it can break the reader."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.reply import Unreadable, read
from batcher.gemini.spelling import snake
from batcher.records import Answer, Candidate, Usage
from tests.gemini.bodies import seen
from tests.gemini.messages import replies


def read_json(body: Any) -> Answer:
    return read(orjson.dumps(body))


def only_candidate(**fields: Any) -> Candidate:
    return read_json({"candidates": [fields]}).candidates[0]


def snake_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(key): snake_keys(item) for key, item in value.items()}
    return [snake_keys(item) for item in value] if isinstance(value, list) else value


NEGLIGIBLE = tuple(
    (f"HARM_CATEGORY_{name}", "NEGLIGIBLE", None)
    for name in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
)


def test_the_flat_dialects_own_sample() -> None:
    assert read(seen("200-flat-dialect-sample")) == Answer(
        candidates=(
            Candidate(
                index=0,
                role="model",
                text="Hi! How can I help you today?",
                finish_reason="STOP",
                token_count=10,
                safety_ratings=NEGLIGIBLE,
            ),
        ),
        usage=Usage(prompt_token_count=1, candidates_token_count=10, total_token_count=11),
    )


def test_a_limit_reached_while_thinking() -> None:
    assert read(seen("200-max-tokens-while-thinking-2026-09-12")) == Answer(
        candidates=(Candidate(index=0, finish_reason="MAX_TOKENS"),),
        usage=Usage(prompt_token_count=20, total_token_count=23, thoughts_token_count=3, service_tier="standard"),
        model_version="gemini-3.8-flash",
    )


def test_a_blocked_prompt() -> None:
    assert read(seen("200-blocked-prompt")) == Answer(
        block_reason="PROHIBITED_CONTENT",
        usage=Usage(prompt_token_count=638, total_token_count=638),
        model_version="gemini-2.5-flash",
    )


def test_cached_tokens_by_modality() -> None:
    usage = read(seen("200-cached-image-prompt")).usage

    assert usage is not None
    assert usage.prompt_tokens_details == {"TEXT": 68, "IMAGE": 258}
    assert usage.cache_tokens_details == {"TEXT": 36, "IMAGE": 137}
    assert (usage.cached_content_token_count, usage.candidates_tokens_details) == (173, {})


def test_no_field_is_required() -> None:
    assert read(b"{}") == Answer()
    assert read(b'{"candidates": [{}]}') == Answer(candidates=(Candidate(index=0),))
    assert read(b'{"usageMetadata": {}}') == Answer(usage=Usage())


def test_null_is_absent() -> None:
    body = {
        "candidates": [{"content": None, "finishReason": None, "index": None}],
        "usageMetadata": None,
        "error": None,
    }

    assert read_json(body) == Answer(candidates=(Candidate(index=0),))


def test_a_null_in_one_spelling_does_not_erase_the_other() -> None:
    assert only_candidate(finish_reason="STOP", finishReason=None).finish_reason == "STOP"


# parts -> text, thoughts, are the parts kept
PARTS: list[tuple[Any, str | None, str | None, bool]] = [
    ([{"text": "a"}], "a", None, False),
    ([{"text": "a"}, {"text": "b"}], "ab", None, False),
    ([{"text": ""}], "", None, False),
    ([], None, None, False),
    (None, None, None, False),
    ({"text": "a"}, "a", None, False),
    ([{"text": "hm", "thought": True}, {"text": "a"}], "a", "hm", False),
    ([{"text": "hm", "thought": True}], None, "hm", False),
    ([{"text": "a", "thought": False}], "a", None, False),
    ([{"text": "a", "thoughtSignature": "c2ln"}], "a", None, True),
    ([{"functionCall": {"name": "f", "args": {"snakeOrCamel": 1}}}], None, None, True),
    ([{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}}], "a", None, True),
    ([{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "b"}], "b", None, True),
    (["bare"], None, None, True),
    ([{"text": 7}], None, None, True),
    ([{}], None, None, True),
]


@pytest.mark.parametrize(("parts", "text", "thoughts", "kept"), PARTS)
def test_parts(parts: Any, text: str | None, thoughts: str | None, kept: bool) -> None:
    candidate = only_candidate(content={"parts": parts, "role": "model"})

    assert (candidate.role, candidate.text, candidate.thoughts) == ("model", text, thoughts)
    assert (None if candidate.parts is None else orjson.loads(candidate.parts)) == (parts if kept else None)


@pytest.mark.parametrize("content", [None, 7, "text", [], {}, {"parts": None}, {"role": 5}])
def test_content_of_any_shape(content: Any) -> None:
    assert only_candidate(content=content) == Candidate(index=0)


@pytest.mark.parametrize(
    ("metadata", "sources"),
    [
        (
            {"citationSources": [{"startIndex": 1, "endIndex": 5, "uri": "u", "license": "mit"}]},
            ((1, 5, "u", "mit"),),
        ),
        ({"citations": [{"startIndex": 1, "endIndex": 5, "uri": "u", "title": "t"}]}, ((1, 5, "u", None),)),
        (
            {"citation_sources": [{"uri": "u", "start": 1, "end": 5, "publication_date": "2020"}]},
            ((1, 5, "u", None),),
        ),
        ({"citationSources": [{"endIndex": "5"}, 7]}, ((None, 5, None, None),)),
        ({"citationSources": 7}, ()),
        ({}, ()),
        ([], ()),
    ],
)
def test_the_three_ways_to_cite(metadata: Any, sources: tuple[Any, ...]) -> None:
    assert only_candidate(citationMetadata=metadata).citation_sources == sources
    assert only_candidate(citation_metadata=metadata).citation_sources == sources


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (7, 7),
        ("12", 12),
        (3.0, 3),
        (10**12, 10**12),
        (-1, None),
        (10**12 + 1, None),
        (1.5, None),
        (1e300, None),
        (True, None),
        ("", None),
        ("-3", None),
        ("٣", None),
        ("9" * 5000, None),
        ([], None),
        ({}, None),
    ],
)
def test_counts(value: Any, count: int | None) -> None:
    usage = read_json({"usageMetadata": {"promptTokenCount": value}}).usage

    assert usage == Usage(prompt_token_count=count)
    assert read_json({"created": value}).created == count


@pytest.mark.parametrize(
    ("value", "number"),
    [(-0.25, -0.25), (0, 0.0), ("-1.5", -1.5), ("NaN", None), ("x", None), (True, None), ([], None)],
)
def test_log_probabilities(value: Any, number: float | None) -> None:
    assert only_candidate(avgLogprobs=value).avg_logprobs == number


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        ([{"modality": "TEXT", "tokenCount": 3}, {"modality": "TEXT", "token_count": "4"}], {"TEXT": 7}),
        ([{"tokenCount": 3}], {"MODALITY_UNSPECIFIED": 3}),
        ([{"modality": "AUDIO"}, 7, {"modality": "TEXT", "tokenCount": -1}], {}),
        ({"TEXT": 3}, {}),
        (7, {}),
    ],
)
def test_details_by_modality(details: Any, tokens: dict[str, int]) -> None:
    usage = read_json({"usageMetadata": {"candidatesTokensDetails": details}}).usage

    assert usage == Usage(candidates_tokens_details=tokens)


def test_ratings_of_prompt_and_answer() -> None:
    ratings = [{"category": "C", "probability": "HIGH", "blocked": True}, {"category": "D"}, 7]
    read_ratings = (("C", "HIGH", True), ("D", None, None))

    answer = read_json({"candidates": [{"safetyRatings": ratings}], "promptFeedback": {"safety_ratings": ratings}})

    assert answer.candidates[0].safety_ratings == answer.prompt_safety_ratings == read_ratings


@pytest.mark.parametrize(
    ("indexes", "order"),
    [([None, None], [0, 1]), ([1, 0], [0, 1]), ([3], [3]), ([-1, "x"], [0, 1]), (["2", 0], [0, 2])],
)
def test_candidates_stand_in_the_order_of_their_index(indexes: list[Any], order: list[int]) -> None:
    answer = read_json({"candidates": [{"index": index} for index in indexes]})

    assert [candidate.index for candidate in answer.candidates] == order


def test_searches_are_counted_over_all_candidates() -> None:
    grounding = {"webSearchQueries": ["a", "b"], "groundingChunks": []}
    answer = read_json({"candidates": [{"groundingMetadata": grounding}, {"grounding_metadata": {"x": 1}}, 7]})

    assert answer.web_searches == 2
    assert orjson.loads(answer.candidates[0].grounding_metadata or "") == grounding
    assert read_json({"candidates": [{}]}).web_searches is None
    assert only_candidate(groundingMetadata={}).grounding_metadata is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON: "),
        (b"<html>", "not JSON: "),
        (b'{"candidates": [{"content"', "not JSON: "),
        (b'{"text": "\xff"}', "not JSON: "),
        (b"[]", "expected a JSON object, found list"),
        (b"[{}, 1]", "expected a JSON object, found list"),
        (b'"text"', "expected a JSON object, found str"),
        (b"null", "expected a JSON object, found NoneType"),
        (b'{"candidates":[{"content":{"parts":[' + b"[" * 500 + b"]" * 500 + b"]}}]}", "cannot be kept as JSON: "),
    ],
)
def test_unreadable_bodies(body: bytes, said: str) -> None:
    with pytest.raises(Unreadable) as problem:
        read(body)
    assert str(problem.value).startswith(said)


@pytest.mark.parametrize(
    "name", ["200-cached-image-prompt", "200-max-tokens-while-thinking-2026-09-12", "200-blocked-prompt"]
)
def test_an_array_of_one_is_the_one(name: str) -> None:
    assert read(b"[" + seen(name) + b"]") == read(seen(name))


def without_parts(answer: Answer) -> Answer:
    # Parts are kept in the spelling they came in.
    kept = {name: getattr(answer, name) for name in Answer.__slots__}
    kept["candidates"] = tuple(
        Candidate(**{name: getattr(candidate, name) for name in Candidate.__slots__ if name != "parts"})
        for candidate in answer.candidates
    )
    return Answer(**kept)


@given(replies, st.data())
def test_every_spelling_reads_the_same(body: dict[str, Any], data: st.DataObject) -> None:
    mixed = {snake(key) if data.draw(st.booleans()) else key: value for key, value in body.items()}
    inner = {key: snake_keys(value) if data.draw(st.booleans()) else value for key, value in mixed.items()}
    camel_answer = without_parts(read_json(body))

    assert without_parts(read_json(snake_keys(body))) == camel_answer
    assert without_parts(read_json(inner)) == camel_answer


@given(replies, st.integers(0, 400))
def test_a_body_cut_short_is_unreadable(body: dict[str, Any], kept: int) -> None:
    whole = orjson.dumps(body)
    if kept < len(whole):
        with pytest.raises(Unreadable):
            read(whole[:kept])


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(read(body), Answer)
