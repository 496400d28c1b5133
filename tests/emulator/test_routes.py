from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.routes import Verb, route


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize(
    ("method", "rest", "verb", "model"),
    [
        ("POST", "models/gemini-2.5-flash:generateContent", Verb.GENERATE, "gemini-2.5-flash"),
        ("POST", "models/gemini-2.5-flash%3AgenerateContent", Verb.GENERATE, "gemini-2.5-flash"),
        ("POST", "models/gemini-2.5-flash:streamGenerateContent", Verb.STREAM, "gemini-2.5-flash"),
        ("POST", "models/gemini-2.5-flash:countTokens", Verb.COUNT, "gemini-2.5-flash"),
        ("POST", "models/gemini-2.5-flash", Verb.FLAT, "gemini-2.5-flash"),
        ("GET", "models/gemini-2.5-flash", Verb.GET_MODEL, "gemini-2.5-flash"),
        ("GET", "models", Verb.LIST_MODELS, ""),
        ("GET", "models/", Verb.LIST_MODELS, ""),
    ],
)
def test_what_the_service_serves(version: str, method: str, rest: str, verb: Verb, model: str) -> None:
    found = route(method, f"/{version}/{rest}")
    assert (found.verb, found.version, found.model) == (verb, version, model)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", ""),
        ("POST", "/v2/models/gemini-2.5-flash:generateContent"),
        ("POST", "/v1beta/tunedModels/gemini-2.5-flash:generateContent"),
        ("POST", "/v1beta/models/:generateContent"),
        ("POST", "/v1beta/models/a/b:generateContent"),
        ("POST", "/v1beta/models/gemini-2.5-flash:embedContent"),
        ("GET", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("PUT", "/v1beta/models/gemini-2.5-flash"),
        ("POST", "/v1beta/models"),
    ],
)
def test_everything_else_leads_nowhere(method: str, path: str) -> None:
    assert route(method, path).verb is Verb.UNKNOWN


def test_the_query_brings_the_key_and_leaves_the_path() -> None:
    found = route("POST", "/v1/models/gemini-2.5-pro:generateContent?alt=json&key=a%2Bb")
    assert found.query_key == "a+b"
    assert found.path == "/v1/models/gemini-2.5-pro:generateContent"
    assert found.asked_verb == "generateContent"


def test_without_a_query_there_is_no_key() -> None:
    assert not route("GET", "/v1/models").query_key


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), st.text(max_size=60))
def test_no_target_is_too_odd_to_be_taken_apart(method: str, target: str) -> None:
    assert route(method, target).verb in Verb
