"""What could a reply say, and how could it come in chunks? Strategies, and writers of the three formats."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

counts = st.integers(0, 10**9) | st.integers(0, 10**9).map(str)
ratings = st.lists(
    st.fixed_dictionaries({}, optional={"category": st.text(), "probability": st.text(), "blocked": st.booleans()}),
    max_size=2,
)
parts = st.lists(
    st.fixed_dictionaries({"text": st.text()}, optional={"thought": st.booleans()})
    | st.fixed_dictionaries({"functionCall": st.fixed_dictionaries({"name": st.text()})}),
    max_size=3,
)
candidates = st.fixed_dictionaries(
    {},
    optional={
        "content": st.fixed_dictionaries({}, optional={"role": st.just("model"), "parts": parts}),
        "finishReason": st.sampled_from(["STOP", "SAFETY", "NEW"]),
        "finishMessage": st.text(),
        "tokenCount": counts,
        "avgLogprobs": st.floats(-100, 0),
        "safetyRatings": ratings,
        "citationMetadata": st.fixed_dictionaries(
            {"citationSources": st.lists(st.fixed_dictionaries({"startIndex": counts, "endIndex": counts}), max_size=2)}
        ),
    },
)
replies = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(candidates, max_size=3),
        "promptFeedback": st.fixed_dictionaries({}, optional={"blockReason": st.text(), "safetyRatings": ratings}),
        "usageMetadata": st.fixed_dictionaries(
            {},
            optional={
                "promptTokenCount": counts,
                "candidatesTokenCount": counts,
                "thoughtsTokenCount": counts,
                "toolUsePromptTokenCount": counts,
                "promptTokensDetails": st.lists(
                    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "IMAGE"]), "tokenCount": counts}),
                    max_size=3,
                ),
                "serviceTier": st.text(),
            },
        ),
        "modelVersion": st.text(),
        "responseId": st.text(),
        "created": counts,
    },
)


def sse(chunks: Sequence[Any], *, end: bytes = b"\r\n") -> bytes:
    return b"".join(b"data: " + orjson.dumps(chunk) + end + end for chunk in chunks)


def array(chunks: Sequence[Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(orjson.dumps(chunk, option=orjson.OPT_INDENT_2) for chunk in chunks) + b"\n]"


def ndjson(chunks: Sequence[Any]) -> bytes:
    return b"".join(orjson.dumps(chunk) + b"\n" for chunk in chunks)


FORMATS: dict[str, Callable[[Sequence[Any]], bytes]] = {"sse": sse, "array": array, "ndjson": ndjson}

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
CALL = {"functionCall": {"name": "f", "args": {"snakeOrCamel": 1}}}


@st.composite
def whole_messages(draw: st.DrawFn) -> dict[str, Any]:
    """A unary reply of which every candidate has come to an end: thoughts, a text, perhaps a call."""
    candidates = [
        {
            "index": index,
            "content": {
                "role": "model",
                "parts": [
                    *draw(st.just([]) | texts.map(lambda text: [{"text": text, "thought": True}])),
                    {"text": draw(texts)},
                    *draw(st.sampled_from([[], [CALL], [{"text": "", "thoughtSignature": "c2ln"}]])),
                ],
            },
            "finishReason": draw(st.sampled_from(["STOP", "MAX_TOKENS"])),
            "tokenCount": draw(st.integers(0, 99)),
        }
        for index in range(draw(st.integers(1, 3)))
    ]
    return draw(replies) | {"candidates": candidates}


@st.composite
def streamed(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The same reply bit by bit: usage here and there and at the end, candidates that end early, index 0 left out."""
    bits = [(candidate, draw(st.lists(st.integers(0, 12), max_size=3))) for candidate in message["candidates"]]
    said = [_told_in_bits(candidate, sorted(cuts), draw(st.booleans())) for candidate, cuts in bits]
    rest = {name: value for name, value in message.items() if name not in ("candidates", "usageMetadata")}
    usage = {"usageMetadata": message["usageMetadata"]} if "usageMetadata" in message else {}
    chunks: list[dict[str, Any]] = []
    while any(said):
        told = [each.pop(0) for each in said if each and (draw(st.booleans()) or len(said) == 1)]
        if told:
            chunks.append({"candidates": told, **rest, **({} if draw(st.booleans()) else usage)})
    return [*chunks, draw(st.sampled_from([{"candidates": []}, {}])) | rest | usage]


def _told_in_bits(candidate: dict[str, Any], cuts: list[int], ends_bare: bool) -> list[dict[str, Any]]:
    index = {} if candidate["index"] == 0 else {"index": candidate["index"]}
    ending = {name: value for name, value in candidate.items() if name not in ("index", "content")}
    parts: list[dict[str, Any]] = []
    for part in candidate["content"]["parts"]:
        if part.keys() <= {"text", "thought"}:
            edges = itertools.pairwise([0, *cuts, None])
            parts += [part | {"text": part["text"][start:end]} for start, end in edges]
        else:
            parts.append(part)
    told = [{**index, "content": {"parts": [part], "role": "model"}} for part in parts]
    if ends_bare or not told:
        return [*told, {**index, "content": {"role": "model"}, **ending}]
    return [*told[:-1], told[-1] | ending]
