"""What a stream says is what the unary reply would have said, however it was cut into chunks and written down."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.refusal import OK, judge
from batcher.gemini.reply import Cut, Unreadable, read
from batcher.gemini.stream import _folded, _plain, fold
from batcher.records import Answer, Billed, Candidate, Kind, Reply, Usage
from tests.examples import a_few
from tests.gemini.bodies import seen, seen_stream
from tests.gemini.messages import FORMATS, array, ndjson, replies, sse, streamed, whole_messages

forms = st.sampled_from(sorted(FORMATS))


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": words}], "role": "model"}, **fields}]}


def parts(*bits: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(bits)}, **fields}]}


def usage(**counts: int) -> dict[str, Any]:
    return {"usageMetadata": counts}


def first(*chunks: Any) -> Candidate:
    return read(sse([*chunks, {"candidates": [{"finishReason": "STOP"}]}])).candidates[0]


def as_far_as_read(body: bytes, *, asked: bool = True) -> tuple[Answer, bool]:
    """What a body says, and whether it is all."""
    try:
        return read(body, streamed=asked), True
    except Cut as cut:
        return cut.answer, False
    except Unreadable:
        return Answer(), False


# --- laws


@a_few
@given(whole_messages(), st.data(), forms)
def test_the_chunks_of_a_reply_add_up_to_it(message: dict[str, Any], data: st.DataObject, form: str) -> None:
    chunks = data.draw(streamed(message))

    assert read(FORMATS[form](chunks), streamed=True) == read(orjson.dumps(message))


@st.composite
def nearly_plain(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chunks of plain text, some of them with something that plain ones do not have."""
    said = {"modelVersion": "m", "usageMetadata": {"promptTokenCount": 3}, "responseId": "r", "created": 7}
    odd = st.sampled_from(
        [
            {"index": 0},
            {"index": 1},
            {"index": None},
            {"finishReason": "STOP"},
            {"finish_reason": "FINISH_REASON_UNSPECIFIED"},
            {"finishReason": None},
            {"tokenCount": 3},
            {"content": {"parts": [{"text": "b", "thought": True}], "role": "model"}},
            {"content": {"parts": {"text": "b"}, "role": "model"}},
            {"content": {"parts": [{"text": "b"}]}},
            {"content": {"parts": [{"text": "b"}], "role": None}},
            {"content": {"parts": [], "role": "model"}},
        ]
    )
    chunks = []
    for _ in range(draw(st.integers(0, 4))):
        candidate = {"content": {"parts": [{"text": draw(st.text(max_size=3))}], "role": "model"}}
        kept = {key: value for key, value in said.items() if draw(st.integers(0, 5))}
        if not draw(st.integers(0, 5)):
            kept["usageMetadata"] = draw(
                st.sampled_from([None, {}, {"promptTokenCount": None}, {"totalTokenCount": 4}, []])
            )
        chunks.append(kept | {"candidates": [candidate | (draw(odd) if not draw(st.integers(0, 3)) else {})]})
    return chunks


@a_few
@given(nearly_plain() | st.lists(replies, max_size=4))
def test_a_plain_stream_is_folded_as_any_other(chunks: list[dict[str, Any]]) -> None:
    assert _plain(chunks) in (None, _folded(chunks))


@pytest.mark.parametrize("dialect", ["camel", "snake"])
def test_a_stream_of_plain_text_is_plain(dialect: str) -> None:
    usage, reason = ("usageMetadata", "finishReason") if dialect == "camel" else ("usage_metadata", "finish_reason")
    content = {"parts": [{"text": "a"}], "role": "model"}
    chunks = [
        {"candidates": [{"content": content, "index": 0}], usage: {"promptTokenCount": 3}},
        {"candidates": [{"content": content}]},
        {"candidates": [{"content": content, reason: "STOP"}], usage: {"promptTokenCount": 3, "totalTokenCount": 9}},
    ]
    assert _plain(chunks) == _folded(chunks)
    assert _plain(chunks) is not None
    assert _plain([*chunks, chunks[0]]) is None


@a_few
@given(st.lists(replies, min_size=1, max_size=4))
def test_the_three_formats_say_the_same(chunks: list[dict[str, Any]]) -> None:
    one, other, third = (as_far_as_read(write(chunks)) for write in FORMATS.values())

    assert one == other == third


@a_few
@given(st.lists(replies, max_size=4), st.integers(0, 4))
def test_folding_the_beginning_first_changes_nothing(chunks: list[dict[str, Any]], cut: int) -> None:
    assert fold([fold(chunks[:cut]), *chunks[cut:]]) == fold(chunks)


@given(replies | whole_messages())
def test_one_chunk_is_the_message(message: dict[str, Any]) -> None:
    for position, candidate in enumerate(message.get("candidates", ())):
        candidate["index"] = position

    assert as_far_as_read(orjson.dumps(message))[0] == read(orjson.dumps(message))
    assert read(orjson.dumps(fold([message]))) == read(orjson.dumps(message))


@a_few
@given(whole_messages(), st.data(), forms)
def test_no_beginning_of_a_stream_is_taken_for_all(message: dict[str, Any], data: st.DataObject, form: str) -> None:
    message.pop("promptFeedback", None)  # a prompt that is blocked has no more to come
    chunks = data.draw(streamed(message))[:-1]  # nothing shows that a last chunk with the usage alone is missing
    body = FORMATS[form](chunks)
    all_of_it = read(body, streamed=True)
    answer, is_all = as_far_as_read(body[: data.draw(st.integers(0, len(body)))])

    begun = {each.index for each in answer.candidates}
    if is_all:  # of those that have begun; that there would have been another, nothing says
        assert begun
        assert answer.candidates == tuple(each for each in all_of_it.candidates if each.index in begun)
        assert answer == all_of_it or len(begun) < len(all_of_it.candidates)
    for part in answer.candidates:
        whole = next(each for each in all_of_it.candidates if each.index == part.index)
        assert (whole.text or "").startswith(part.text or "")
        assert (whole.thoughts or "").startswith(part.thoughts or "")


@given(st.lists(replies, min_size=2, max_size=4), forms, st.integers(1, 30))
def test_what_is_read_back_is_what_was_read_live(chunks: list[dict[str, Any]], form: str, lost: int) -> None:
    """The seal does not know whether a stream was asked for; it must come to the same usage all the same."""
    for body in (FORMATS[form](chunks), FORMATS[form](chunks)[:-lost], FORMATS[form](chunks[:1])):
        assert as_far_as_read(body, asked=True)[0] == as_far_as_read(body, asked=False)[0]


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_or_unreadable(body: bytes, asked: bool) -> None:
    for start in (b"", b"data: {", b'[{"candidates":', b'{"a":1}\n{'):
        with contextlib.suppress(Unreadable):
            assert isinstance(read(start + body, streamed=asked), Answer)


# --- what was seen


def test_a_stream_as_it_was_recorded() -> None:
    answer = read(seen_stream("200-stream-max-tokens-2026-09-12"))

    assert answer == Answer(
        candidates=(
            Candidate(
                index=0,
                role="model",
                text="# Bicycles have two",
                parts='[{"text":"# Bicycles have two"},{"text":"","thoughtSignature":"c2lnbmF0dXJl"}]',
                finish_reason="MAX_TOKENS",
            ),
        ),
        usage=Usage(
            prompt_token_count=20,
            candidates_token_count=4,
            total_token_count=24,
            prompt_tokens_details={"TEXT": 20},
            service_tier="standard",
        ),
        model_version="gemini-3.8-flash",
        response_id="r-stream",
    )


def test_a_last_chunk_with_the_usage_alone_keeps_the_candidates() -> None:
    """docker/docker-agent#2848, BerriAI/litellm#29167: taking the last chunk for the answer left none."""
    for tail in (usage(totalTokenCount=9), {"candidates": [], **usage(totalTokenCount=9)}):
        answer = read(sse([text("yes", finishReason="STOP"), tail]))

        assert [each.text for each in answer.candidates] == ["yes"]
        assert answer.usage == Usage(total_token_count=9)


def test_a_later_chunk_without_usage_does_not_erase_it() -> None:
    """ankit373/hydra#858: usage repeats and the last one counts, field by field."""
    chunks = [
        text("a") | usage(promptTokenCount=4, candidatesTokenCount=1, thoughtsTokenCount=7),
        text("b") | usage(promptTokenCount=4, candidatesTokenCount=3),
        text("c", finishReason="STOP") | {"usageMetadata": None},
    ]

    assert read(ndjson(chunks)).usage == Usage(prompt_token_count=4, candidates_token_count=3, thoughts_token_count=7)


def test_a_missing_index_is_candidate_0_and_its_end_needs_no_parts() -> None:
    """jeremychone/rust-genai#161."""
    chunks = [text("a", index=0), text("b"), {"candidates": [{"finishReason": "STOP"}]}]

    assert read(array(chunks)).candidates == (Candidate(index=0, role="model", text="ab", finish_reason="STOP"),)


def test_candidates_may_end_before_the_stream_does() -> None:
    chunks = [
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "one"}]}, "finish_reason": "STOP"}]},
        text("ze"),
        text("ro", finish_reason="MAX_TOKENS"),
    ]

    found = [(each.index, each.text, each.finish_reason) for each in read(sse(chunks)).candidates]
    assert found == [(0, "zero", "MAX_TOKENS"), (1, "one", "STOP")]


def test_a_finish_reason_is_not_taken_back() -> None:
    tail = {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]}

    assert read(sse([text("a", finishReason="STOP"), tail])).candidates[0].finish_reason == "STOP"
    assert first(text("a", finishReason="FINISH_REASON_UNSPECIFIED"), text("b", finishReason=None)).text == "ab"


CODE = {"executableCode": {"language": "PYTHON", "code": "print("}}
THOUGHT = {"text": "b", "thought": True}
SIGNED = {"text": "b", "thoughtSignature": "c2ln"}
CALL = {"functionCall": {"name": "f", "args": {}}}


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ([{"text": "a"}, CALL], [CALL, {"text": "b"}], [{"text": "a"}, CALL, CALL, {"text": "b"}]),
        ([CALL, {"text": "a"}], [{"text": "b"}, CALL], [CALL, {"text": "ab"}, CALL]),
        ([CALL, {"text": "a"}], [{"text": "b"}, {"text": "c"}], [CALL, {"text": "ab"}, {"text": "c"}]),
        (
            [CALL, {"text": "a"}],
            [{"text": "b", "thought": True}],
            [CALL, {"text": "a"}, {"text": "b", "thought": True}],
        ),
        ([CALL, {"text": "a"}], [{"text": "b", "thought": False}], [CALL, {"text": "ab"}]),
        ([CALL, {"text": "a"}], [SIGNED], [CALL, {"text": "a"}, SIGNED]),
        ([CALL, SIGNED], [{"text": "c"}], [CALL, SIGNED, {"text": "c"}]),
        (
            [CODE],
            [{"executableCode": {"code": "1)"}}],
            [{"executableCode": {"language": "PYTHON", "code": "print(1)"}}],
        ),
        (
            [{"codeExecutionResult": {"output": "1"}}],
            [{"codeExecutionResult": {"output": "2", "outcome": "OUTCOME_OK"}}],
            [{"codeExecutionResult": {"output": "12", "outcome": "OUTCOME_OK"}}],
        ),
        ([CODE], [{"executableCode": {"id": "x", "code": "2"}}], [CODE, {"executableCode": {"id": "x", "code": "2"}}]),
        ([CODE], [{"codeExecutionResult": {"output": "2"}}], [CODE, {"codeExecutionResult": {"output": "2"}}]),
        ([CODE], ["bare", 7], [CODE, "bare", 7]),
    ],
)
def test_what_goes_on_is_joined_and_nothing_else(before: list[Any], after: list[Any], joined: list[Any]) -> None:
    assert orjson.loads(first(parts(*before), parts(*after)).parts or "") == joined


def test_many_pieces_are_one_text() -> None:
    pieces = [f"{n} " for n in range(2000)]

    assert first(*[text(piece) for piece in pieces]).text == "".join(pieces)


def test_of_the_other_fields_the_last_stands() -> None:
    chunks = [
        text("a", tokenCount=1, avgLogprobs=-2.0, finishMessage="x", groundingMetadata={"webSearchQueries": ["q"]}),
        text("b", tokenCount=2, avgLogprobs=-1.0, finishMessage=None),
        {"modelVersion": "m-2", "responseId": "r"} | text("c", finishReason="STOP"),
    ]
    answer = read(sse([{"modelVersion": "m-1", "created": 5}, *chunks]))

    assert (answer.model_version, answer.response_id, answer.created, answer.web_searches) == ("m-2", "r", 5, 1)
    candidate = answer.candidates[0]
    assert (candidate.token_count, candidate.avg_logprobs, candidate.finish_message) == (2, -1.0, "x")
    assert candidate.grounding_metadata == '{"webSearchQueries":["q"]}'


def test_ratings_are_one_a_category_and_what_was_blocked_stays_blocked() -> None:
    before = [{"category": "A", "probability": "HIGH", "blocked": True}, {"category": "B", "probability": "LOW"}]
    after = [{"category": "A", "probability": "LOW"}, {"category": "C", "probability": "LOW", "blocked": False}]

    found = first(text("a", safetyRatings=before), text("b", safetyRatings=after)).safety_ratings
    assert found == (("A", "LOW", True), ("B", "LOW", None), ("C", "LOW", False))


@pytest.mark.parametrize("repeated", [True, False])
def test_every_source_is_cited_once(repeated: bool) -> None:
    one, other = {"startIndex": 0, "endIndex": 5, "uri": "u"}, {"startIndex": 5, "endIndex": 9, "uri": "v"}
    chunks = [
        text("a", citationMetadata={"citationSources": [one]}),
        text("b", citationMetadata={"citationSources": [one, other] if repeated else [other]}),
    ]

    assert first(*chunks).citation_sources == ((0, 5, "u", None), (5, 9, "v", None))


def test_the_feedback_of_the_first_chunk_stays() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}

    answer = read(sse([blocked, {"promptFeedback": {"safetyRatings": []}} | usage(promptTokenCount=3)]))
    assert (answer.block_reason, answer.usage) == ("SAFETY", Usage(prompt_token_count=3))


# --- judged


def judged(body: bytes, *, asked: bool = True) -> Any:
    try:
        answer: Any = read(body, streamed=asked)
    except Unreadable as error:
        answer = error
    return judge(Reply(status=200, headers={}, body=body), answer)


CUT = {
    "no finish reason": (sse([text("a"), text("b")]), "candidate 0 has no finish reason"),
    "one of two": (
        sse([text("a", finishReason="STOP"), {"candidates": [{"index": 1, "content": {}}]}]),
        "candidate 1 has no finish reason",
    ),
    "one line of many": (ndjson([text("a")]), "candidate 0 has no finish reason"),
    "half a line": (ndjson([text("a", finishReason="STOP"), text("b")])[:-9], "chunk 2 is not whole"),
    "half the first line": (b'{"candidates": [{"con', "chunk 1 is not whole"),
    "half an event": (sse([text("a"), text("b")])[:-9], "an event after chunk 1 is not whole"),
    "an open array": (array([text("a", finishReason="STOP")])[:-1], "the array is not closed"),
    "no body": (b"", "nothing came"),
    "only a sign of life": (b": still here\n\n", "nothing came"),
    "an empty array": (b"[]", "nothing came"),
    "the beginning of a field": (b"data:", "nothing came"),
    "an unsaid reason": (
        sse([text("a", finishReason="FINISH_REASON_UNSPECIFIED")]),
        "candidate 0 has no finish reason",
    ),
}


@pytest.mark.parametrize(("body", "why"), CUT.values(), ids=CUT.keys())
def test_a_stream_without_its_end_is_asked_again_and_may_have_been_billed(body: bytes, why: str) -> None:
    verdict = judged(body)

    assert (verdict.kind, verdict.reason, verdict.billed) == (Kind.RETRY, "cut_stream", Billed.MAYBE)
    assert (verdict.counted, verdict.most) == (True, None)
    assert verdict.message == f"the stream ended too early: {why}"


def test_the_usage_of_a_cut_stream_is_known_as_far_as_it_was_told() -> None:
    with pytest.raises(Cut) as cut:
        read(sse([text("a") | usage(promptTokenCount=4, candidatesTokenCount=1), text("b")]))

    assert cut.value.answer.usage == Usage(prompt_token_count=4, candidates_token_count=1)


def test_a_stream_that_is_whole_is_judged_like_any_reply() -> None:
    assert judged(sse([text("a"), text("b", finishReason="STOP")])) is OK
    assert judged(sse([text("a"), {"candidates": [{"finishReason": "SAFETY"}]}])).kind is Kind.BLOCKED
    assert judged(sse([{"promptFeedback": {"blockReason": "OTHER"}}])).reason == "OTHER"
    assert judged(sse([usage(promptTokenCount=3)])).reason == "empty"


def test_one_object_is_a_whole_reply_when_no_stream_was_asked_for() -> None:
    assert judged(orjson.dumps(text("a")), asked=False) is OK
    assert judged(orjson.dumps(text("a")), asked=True).reason == "cut_stream"
    assert judged(b"<html>").reason == "bad_body"
    assert judged(b"<html>", asked=False).reason == "bad_body"
    assert judged(b"", asked=False).reason == "bad_body"
    assert judged(b"[]", asked=False).reason == "bad_body"


ERRORS = [
    ({"code": 503, "message": "high demand", "status": "UNAVAILABLE"}, Kind.RETRY, "http_503"),
    ({"code": 429, "message": "Resource has been exhausted"}, Kind.THROTTLED, "capacity"),
    ({"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}, Kind.REFUSED, "bad_request"),
    ({"status": "UNAUTHENTICATED", "message": "who?"}, Kind.FATAL, "unauthenticated"),
    ({"message": "something broke"}, Kind.RETRY, "error_in_200"),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("error", "kind", "reason"), ERRORS)
def test_an_error_in_the_middle_is_judged_as_if_it_stood_alone_but_may_have_been_billed(
    error: dict[str, Any], kind: Kind, reason: str, form: str
) -> None:
    alone, later = judged(FORMATS[form]([{"error": error}])), judged(FORMATS[form]([text("a"), {"error": error}]))

    assert (alone.kind, alone.reason, later.kind, later.reason) == (kind, reason, kind, reason)
    assert (later.message, later.wait_s) == (alone.message, alone.wait_s)
    assert later.billed is Billed.MAYBE
    assert later.counted is (kind is not Kind.FATAL)  # or a stream that is throttled half-way is paid for without end


@pytest.mark.parametrize(
    "body",
    [
        sse([text("a")]) + seen("200-error-inside"),  # bare, over several lines
        sse([text("a")]) + b"event: error\r\n" + sse([orjson.loads(seen("200-error-inside"))]),
        ndjson([text("a")]) + seen("200-error-inside"),
        ndjson([text("a")]) + seen("200-error-inside") + ndjson([text("b", finishReason="STOP")]),
        array([text("a")])[:-1] + b"," + seen("200-error-inside"),  # and nobody closed the array
    ],
)
def test_an_error_is_found_however_it_breaks_in(body: bytes) -> None:
    assert (judged(body).kind, judged(body).reason) == (Kind.RETRY, "http_503")


@pytest.mark.parametrize("error", [{"detail": "gone"}, {"message": "gone"}, {"error": "gone"}])
def test_the_errors_of_proxies_are_errors_in_a_stream_too(error: dict[str, Any]) -> None:
    assert read(sse([text("a"), error])).error == {"code": None, "message": "gone", "status": None, "details": []}
