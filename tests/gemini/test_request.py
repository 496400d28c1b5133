"""What is sent is the canonical request in the endpoint's own words, and the fast path sends the same bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.request import (
    TextEncoder,
    auth_header,
    canonical,
    clean_key,
    encode,
    path,
    request_hash,
    text_request,
)
from batcher.job.spec import Auth, Dialect, Stream
from tests.examples import a_few
from tests.gemini.requests import bases, requests

MODEL = "gemini-2.5-flash"
# Marks and quotes are what a splice could trip over.
prompts = st.text(max_size=50) | st.sampled_from(["", "#", "##", '"#"', '"', "\\", "\x00", "\u2028", "🙂", "é\n"])
dialects = st.sampled_from(Dialect)


def base_of(body: dict[str, Any]) -> dict[str, Any]:
    folded = canonical({**body, "contents": [{"parts": []}]})
    return {name: value for name, value in folded.items() if name != "contents"}


REQUEST = canonical(
    {
        "generationConfig": {"temperature": 0, "topP": 0.5, "responseSchema": {"properties": {"first_name": {}}}},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
        "safetySettings": [{"category": "C", "threshold": "OFF"}],
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}],
        "systemInstruction": {"parts": [{"text": "brief"}]},
    }
)


def test_google_gets_nested_camel_case_and_nothing_it_does_not_know() -> None:
    assert orjson.loads(encode(REQUEST, dialect=Dialect.GOOGLE, model=MODEL)) == {
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}],
        "systemInstruction": {"parts": [{"text": "brief"}]},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
        "safetySettings": [{"category": "C", "threshold": "OFF"}],
        "generationConfig": {"temperature": 0, "topP": 0.5, "responseSchema": {"properties": {"first_name": {}}}},
    }


def test_flat_has_everything_on_top_in_snake_case() -> None:
    assert orjson.loads(encode(REQUEST, dialect=Dialect.FLAT, model=f"models/{MODEL}")) == {
        "stream": False,
        "model": MODEL,
        "contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AA=="}}]}],
        "system_instruction": {"parts": [{"text": "brief"}]},
        "tools": [{"function_declarations": [{"name": "f"}]}],
        "safety_settings": [{"category": "C", "threshold": "OFF"}],
        "temperature": 0,
        "top_p": 0.5,
        "response_schema": {"properties": {"first_name": {}}},
    }


def test_the_bytes_of_a_plain_prompt() -> None:
    request = text_request({}, "hi", "brief")

    assert encode(request, dialect=Dialect.GOOGLE, model=MODEL) == (
        b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"brief"}]}}'
    )
    assert encode(text_request({}, "hi"), dialect=Dialect.FLAT, model=MODEL) == (
        b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"stream":false,"model":"gemini-2.5-flash"}'
    )


@a_few
@given(requests, dialects)
def test_what_is_encoded_folds_back(body: dict[str, Any], dialect: Dialect) -> None:
    request = canonical(body)

    assert canonical(orjson.loads(encode(request, dialect=dialect, model=MODEL))) == request


@a_few
@given(bases, dialects, st.booleans(), prompts, st.none() | prompts)
def test_the_fast_path_sends_and_hashes_the_same(
    body: dict[str, Any], dialect: Dialect, stream: bool, prompt: str, system: str | None
) -> None:
    base = base_of(body)
    fast = TextEncoder(base, dialect=dialect, model=MODEL, stream=stream)
    whole = text_request(base, prompt, system)

    assert fast.encode(prompt, system) == encode(whole, dialect=dialect, model=MODEL, stream=stream)
    assert fast.hash(prompt, system) == request_hash(whole, MODEL)


def test_a_base_that_holds_the_marks_is_spliced_all_the_same() -> None:
    base = {"system_instruction": {"parts": [{"text": "#"}, {"text": "##"}]}, "labels": {"#": '"###"'}}
    fast = TextEncoder(base, dialect=Dialect.GOOGLE, model=MODEL)

    assert fast.encode("#") == encode(text_request(base, "#"), dialect=Dialect.GOOGLE, model=MODEL)


def test_a_base_brings_no_contents() -> None:
    with pytest.raises(ValueError, match="contents of its own"):
        TextEncoder({"contents": []}, dialect=Dialect.GOOGLE, model=MODEL)


@a_few
@given(requests)
def test_the_hash_is_blind_to_spelling_order_and_dialect(body: dict[str, Any]) -> None:
    request = canonical(body)
    turned = dict(reversed(request.items()))
    resent = canonical(orjson.loads(encode(request, dialect=Dialect.FLAT, model=MODEL)))

    assert request_hash(turned, MODEL) == request_hash(resent, f"models/{MODEL}") == request_hash(request, MODEL)


@given(st.lists(prompts, min_size=2, max_size=2, unique=True))
def test_the_hash_tells_prompts_models_and_places_apart(two: list[str]) -> None:
    one, other = two
    hashes = {
        request_hash(text_request({}, one), MODEL),
        request_hash(text_request({}, other), MODEL),
        request_hash(text_request({}, one), "gemini-2.5-pro"),
        request_hash(text_request({}, one, other), MODEL),
        request_hash(text_request({}, other, one), MODEL),
    }

    assert {len(value) for value in hashes} == {16}
    assert len(hashes) == 5


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_refused(bad: str) -> None:
    fast = TextEncoder({}, dialect=Dialect.GOOGLE, model=MODEL)
    writers = [
        lambda: fast.encode(bad),
        lambda: fast.encode("a", bad),
        lambda: fast.hash(bad),
        lambda: fast.hash("a", bad),
        lambda: encode(text_request({}, bad), dialect=Dialect.GOOGLE, model=MODEL),
        lambda: request_hash(text_request({}, bad), MODEL),
    ]

    for write in writers:
        with pytest.raises(ValueError, match="surrogates not allowed"):
            write()


@pytest.mark.parametrize("bad", [b"bytes", 2**70, {1: 2}])
def test_what_json_cannot_carry_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="cannot be sent as JSON"):
        encode({"labels": {"a": bad}}, dialect=Dialect.GOOGLE, model=MODEL)


@pytest.mark.parametrize("text", ["\x00", "\u2028\u2029", "🙂", "a\r\nb", "\ufeff", '{{"x"}}'])
def test_every_other_text_arrives_as_it_was(text: str) -> None:
    sent = orjson.loads(TextEncoder({}, dialect=Dialect.GOOGLE, model=MODEL).encode(text))

    assert sent["contents"][0]["parts"][0]["text"] == text


@pytest.mark.parametrize(
    ("model", "verbless", "expected"),
    [
        ("gemini-2.5-flash", False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine-1", False, "/v1beta/tunedModels/mine-1:generateContent"),
        ("gemini-2.5-flash", True, "/v1beta/models/gemini-2.5-flash"),
        ("vertex_ai/gemini-2.5-flash@001", False, "/v1beta/models/vertex_ai/gemini-2.5-flash@001:generateContent"),
    ],
)
def test_paths(model: str, verbless: bool, expected: str) -> None:
    assert path(model, api_version="v1beta", verbless=verbless) == expected


@pytest.mark.parametrize(
    ("stream", "verbless", "expected"),
    [
        (Stream.OFF, False, ":generateContent"),
        (Stream.SSE, False, ":streamGenerateContent?alt=sse"),
        (Stream.JSON, False, ":streamGenerateContent"),
        (Stream.SSE, True, "?alt=sse"),
        (Stream.JSON, True, ""),
    ],
)
def test_a_stream_is_asked_for_in_the_path(stream: Stream, verbless: bool, expected: str) -> None:
    where = path("gemini-2.5-flash", api_version="v1", verbless=verbless, stream=stream)

    assert where == f"/v1/models/gemini-2.5-flash{expected}"


@a_few
@given(requests)
def test_only_the_flat_dialect_says_in_the_body_whether_it_wants_a_stream(body: dict[str, Any]) -> None:
    request = canonical(body)
    whole, streamed = (encode(request, dialect=Dialect.FLAT, model=MODEL, stream=wanted) for wanted in (False, True))

    assert orjson.loads(streamed) == orjson.loads(whole) | {"stream": True}
    assert canonical(orjson.loads(streamed)) == request
    assert "stream" not in orjson.loads(encode(request, dialect=Dialect.GOOGLE, model=MODEL, stream=True))


@pytest.mark.parametrize(
    "model", ["", "models/", "../x", "a/../b", "a?b", "a#b", "a b", "a\nb", "/a", "a//b", "é", "a%2f"]
)
def test_a_model_that_would_change_the_path_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="model: expected a name"):
        path(model, api_version="v1")


def test_the_header_that_carries_the_key() -> None:
    assert auth_header(Auth.BEARER, "k") == ("Authorization", "Bearer k")
    assert auth_header(Auth.X_GOOG_API_KEY, "k") == ("x-goog-api-key", "k")


def test_a_key_is_stripped() -> None:
    assert clean_key(" \tAIza-x_1\r\n") == "AIza-x_1"


@pytest.mark.parametrize("raw", ["", " \n", "sec ret", "sec\nret", "sec\x00ret", "sécret", "secret\u200b"])
def test_a_bad_key_is_refused_and_never_repeated(raw: str) -> None:
    with pytest.raises(ValueError, match="the API key") as problem:
        clean_key(raw)
    assert "sec" not in str(problem.value)
    assert "ret" not in str(problem.value)
