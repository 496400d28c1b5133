from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator import replies
from batcher.emulator.answers import Answer, Call, Candidate
from batcher.emulator.faults import Fault, FaultKind
from batcher.emulator.streams import Form, chunks, writes
from batcher.emulator.usage import Usage
from tests.emulator.builders import MODEL

TEXTS = st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=900)
CANDIDATES = st.builds(
    lambda text, thought, call, cited, tokens: Candidate(
        text=text, thought=thought, call=Call(name="f", args={"a": 1}) if call else None, cited=cited, tokens=tokens
    ),
    TEXTS, TEXTS, st.booleans(), st.booleans(), st.integers(0, 50),
)  # fmt: skip
FORMS = pytest.mark.parametrize("form", list(Form))


def answer(*candidates: Candidate, **fields: Any) -> Answer:
    usage = Usage(prompt=5, candidates=sum(each.tokens for each in candidates), thoughts=9, by_modality={"TEXT": 5})
    return Answer(**{"candidates": candidates, "usage": usage, "model": MODEL, **fields})


def spelt(found: Answer, *, snake: bool = False) -> dict[str, Any]:
    return replies.flat(found, created_s=7) if snake else replies.google(found, response_id="r")


WHALE = "whale and whale again " * 5
LONG = spelt(answer(Candidate(text=WHALE, tokens=40), Candidate(text="short", tokens=2)))


def said(told: list[dict[str, Any]], index: int) -> str:
    candidates = [each for chunk in told for each in chunk["candidates"] if each.get("index", 0) == index]
    parts = [part for each in candidates for part in each["content"].get("parts", ())]
    return "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))


def events(written: tuple[bytes, ...], form: Form) -> list[dict[str, Any]]:
    whole = b"".join(written)
    if form is Form.ARRAY:
        found: list[dict[str, Any]] = orjson.loads(whole)
        return found
    return [orjson.loads(line.removeprefix(b"data: ")) for line in whole.splitlines() if line]


@given(st.lists(CANDIDATES, max_size=3), st.booleans())
def test_the_chunks_say_what_the_whole_reply_says(candidates: list[Candidate], snake: bool) -> None:
    reply = spelt(answer(*candidates), snake=snake)
    told = chunks(reply)
    usage, finish = ("usage_metadata", "finish_reason") if snake else ("usageMetadata", "finishReason")

    for index, candidate in enumerate(candidates):
        assert said(told, index) == (candidate.text or "")
        ends = [each for chunk in told for each in chunk["candidates"] if each["index"] == index and finish in each]
        assert len(ends) == 1
        assert {**ends[0], "content": 0} == {**reply["candidates"][index], "content": 0}
    assert told[-1][usage] == reply[usage]
    assert len(told) >= (2 if any(each.get("content", {}).get("parts") for each in reply.get("candidates", ())) else 1)


def test_usage_is_on_every_chunk_and_grows() -> None:
    told = [chunk["usageMetadata"] for chunk in chunks(LONG)]
    visible = [each.get("candidatesTokenCount", 0) for each in told]

    assert len(told) > 3
    assert visible == sorted(visible)
    assert {each["promptTokenCount"] for each in told} == {5}
    assert all(each["totalTokenCount"] == 5 + 9 + each.get("candidatesTokenCount", 0) for each in told)
    assert told[-1]["candidatesTokensDetails"] == [{"modality": "TEXT", "tokenCount": 42}]


def test_a_picture_comes_whole_and_is_counted_beside_the_words() -> None:
    picture = Candidate(text=WHALE, picture=b"png", tokens=1300)
    usage = Usage(prompt=5, candidates=1300, pictures=1290, by_modality={"TEXT": 5})
    reply = spelt(Answer(candidates=(picture,), usage=usage, model=MODEL))
    told = chunks(reply)
    parts = [part for chunk in told for part in chunk["candidates"][0]["content"]["parts"]]

    assert [part["inlineData"]["data"] for part in parts if "inlineData" in part] == ["cG5n"]
    assert told[-1]["usageMetadata"] == reply["usageMetadata"]
    for chunk in told:
        details = {each["modality"]: each["tokenCount"] for each in chunk["usageMetadata"]["candidatesTokensDetails"]}
        assert set(details) == {"TEXT", "IMAGE"}
        assert sum(details.values()) <= chunk["usageMetadata"]["candidatesTokenCount"]


def test_a_candidate_with_less_to_say_ends_earlier() -> None:
    told = chunks(LONG)
    ends = [[each["index"] for each in chunk["candidates"] if "finishReason" in each] for chunk in told]

    assert ends == [[], [1], *[[]] * (len(told) - 3), [0]]


def test_the_feedback_comes_with_the_first_chunk() -> None:
    blocked = spelt(answer(block_reason="SAFETY"))
    assert chunks(blocked) == [blocked]

    told = chunks(LONG | {"promptFeedback": {"safetyRatings": []}})
    assert ["promptFeedback" in chunk for chunk in told] == [True, *[False] * (len(told) - 1)]


@FORMS
def test_each_form_is_written_as_it_is_on_the_wire(form: Form) -> None:
    written = writes(LONG, form, None)
    starts = {Form.SSE: b'data: {"', Form.NDJSON: b'{"', Form.ARRAY: b"[{\n"}

    assert written[0].startswith(starts[form])
    assert events(written, form) == chunks(LONG)
    assert len(written) == len(chunks(LONG)) + (form is Form.ARRAY)
    assert all(each.endswith(b"\r\n\r\n" if form is Form.SSE else b"\n") for each in written)


@FORMS
def test_a_cut_stream_has_no_end(form: Form) -> None:
    for reply in (LONG, spelt(answer(Candidate(text="42", tokens=1)))):
        written = writes(reply, form, Fault(kind=FaultKind.STREAM_CUT))
        told = events((*written, b"]") if form is Form.ARRAY else written, form)

        assert told == chunks(reply)[: len(told)]
        assert not any("finishReason" in each for chunk in told for each in chunk["candidates"] if not each["index"])


@FORMS
def test_an_error_comes_after_some_of_the_words(form: Form) -> None:
    found = events(writes(LONG, form, Fault(kind=FaultKind.STREAM_ERROR, code=429)), form)

    assert found[-1]["error"]["code"] == 429
    assert found[:-1] == chunks(LONG)[: len(found) - 1]
    assert 1 <= len(found) - 1 < len(chunks(LONG))


@FORMS
def test_usage_may_come_alone_on_the_last_chunk(form: Form) -> None:
    *before, last = events(writes(LONG, form, Fault(kind=FaultKind.STREAM_USAGE_TAIL)), form)

    assert (last["candidates"], last["usageMetadata"]) == ([], LONG["usageMetadata"])
    assert not any("usageMetadata" in chunk for chunk in before)
    assert said(before, 0) == WHALE


def test_candidate_0_may_not_say_that_it_is_that() -> None:
    found = events(writes(LONG, Form.SSE, Fault(kind=FaultKind.STREAM_NO_INDEX)), Form.SSE)

    assert {each.get("index") for chunk in found for each in chunk["candidates"]} == {None, 1}
    blocked = spelt(answer(block_reason="SAFETY"))
    assert events(writes(blocked, Form.SSE, Fault(kind=FaultKind.STREAM_NO_INDEX)), Form.SSE) == [blocked]


@FORMS
def test_events_may_be_split_anywhere(form: Form) -> None:
    split = writes(LONG, form, Fault(kind=FaultKind.STREAM_SPLIT))

    assert b"".join(split) == b"".join(writes(LONG, form, None))
    assert {len(piece) for piece in split[:-1]} == {7}
