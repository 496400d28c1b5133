from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.usage import (
    MEDIA_TOKENS,
    TOOL_USE_TOKENS,
    Usage,
    of_request,
    text_tokens,
    text_within,
    thinking_tokens,
)
from tests.emulator.builders import nested, read

TEXTS = st.text(st.characters(codec="utf-8"), max_size=80)
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("日本語", 3),
        ("日本語 abcd", 5),
        ("한국어", 3),
        ("déjà", 1),
        ("😀", 1),
        ("\uff0c\u3002", 2),
    ],
)
def test_four_characters_or_one_cjk_character_are_a_token(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


@given(TEXTS)
def test_a_text_never_has_more_tokens_than_bytes(text: str) -> None:
    assert text_tokens(text) <= len(text.encode())


@given(TEXTS, TEXTS)
def test_tokens_never_fall_as_a_text_grows(first: str, second: str) -> None:
    assert text_tokens(first) <= text_tokens(first + second)


@given(TEXTS, st.integers(0, 30))
def test_a_cut_text_is_the_longest_beginning_that_fits(text: str, tokens: int) -> None:
    cut = text_within(text, tokens)
    assert text.startswith(cut)
    assert text_tokens(cut) <= tokens
    if cut != text:
        assert text_tokens(text[: len(cut) + 1]) > tokens


@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS)
def test_a_request_never_has_more_tokens_than_the_bytes_of_its_text(texts: list[str], system: str) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": text}]} for text in texts],
        "systemInstruction": {"parts": [{"text": system}]},
    }
    assert of_request(read(body)).prompt <= sum(len(text.encode()) for text in [*texts, system])


def test_media_have_a_fixed_amount_each_under_their_modality() -> None:
    parts = [
        {"text": "abcd"},
        IMAGE,
        IMAGE,
        {"fileData": {"mimeType": "audio/mp3", "fileUri": "u"}},
        {"inlineData": {"mimeType": "video/mp4", "data": ""}},
        {"inlineData": {"mimeType": "application/pdf", "data": ""}},
    ]
    usage = of_request(read({"contents": [{"parts": parts}]}))
    assert usage.by_modality == {
        "TEXT": 1,
        "IMAGE": 2 * MEDIA_TOKENS,
        "AUDIO": MEDIA_TOKENS,
        "VIDEO": MEDIA_TOKENS,
        "DOCUMENT": MEDIA_TOKENS,
    }
    assert usage.prompt == 1 + 5 * MEDIA_TOKENS


def test_tool_declarations_and_function_parts_are_counted() -> None:
    declared = nested("abcd", tools=[{"functionDeclarations": [{"name": "f", "description": "d" * 400}]}])
    assert of_request(read(declared)).prompt > 100
    answered = {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"x": "y" * 400}}}]}]}
    assert of_request(read(answered)).prompt > 100


@pytest.mark.parametrize("tool", ["googleSearch", "google_search", "codeExecution", "urlContext"])
def test_server_side_tools_use_tokens_outside_the_prompt(tool: str) -> None:
    usage = of_request(read(nested(tools=[{tool: {}}])))
    assert usage.tool_use == TOOL_USE_TOKENS
    assert usage.billed_input == usage.prompt + TOOL_USE_TOKENS
    assert of_request(read(nested(tools=[{"functionDeclarations": []}]))).tool_use == 0


@given(TEXTS)
def test_cached_tokens_are_a_part_of_the_prompt(text: str) -> None:
    usage = of_request(read(nested(text, cachedContent="cachedContents/x")))
    assert 0 <= usage.cached <= usage.prompt
    assert of_request(read(nested(text))).cached == 0


def test_the_tier_is_the_one_asked_for() -> None:
    assert of_request(read(nested(serviceTier="flex"))).service_tier == "flex"
    assert of_request(read(nested(serviceTier="PRIORITY"))).service_tier == "priority"
    assert of_request(read(nested())).service_tier == "standard"


COUNTS = st.integers(0, 10_000)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_total_is_what_is_billed(prompt: int, tool_use: int, candidates: int, thoughts: int) -> None:
    usage = Usage(prompt=prompt, cached=prompt // 2, tool_use=tool_use, candidates=candidates, thoughts=thoughts)
    assert usage.total == usage.billed_input + usage.billed_output == prompt + tool_use + candidates + thoughts


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("gemini-2.5-flash", True),
        ("gemini-2.5-pro", True),
        ("gemini-3-flash-preview", True),
        ("gemini-3.1-flash-lite", True),
        ("gemini-2.5-flash-lite", False),
        ("gemini-2.0-flash", False),
        ("gemini-1.5-pro", False),
        ("other", False),
    ],
)
def test_newer_models_think_a_little(model: str, thinks: bool) -> None:
    assert bool(thinking_tokens(read(nested()), model=model, drawn=12345)) is thinks


@given(st.integers(0, 2**64), st.integers(1, 30))
def test_a_budget_bounds_the_thinking(drawn: int, budget: int) -> None:
    asked = read(nested(generationConfig={"thinkingConfig": {"thinkingBudget": budget}}))
    assert 1 <= thinking_tokens(asked, model="gemini-2.5-flash-lite", drawn=drawn) <= budget


def test_a_budget_of_zero_is_no_thinking_and_minus_one_the_models_own() -> None:
    def thought(**config: Any) -> int:
        return thinking_tokens(
            read(nested(generationConfig={"thinkingConfig": config})), model="gemini-2.5-pro", drawn=7
        )

    assert thought(thinkingBudget=0) == 0
    assert thought(thinkingBudget=-1) == thought() > 0


def test_a_request_of_media_only_has_no_text_tokens() -> None:
    assert of_request(read({"contents": [{"parts": [IMAGE]}]})).by_modality == {"IMAGE": MEDIA_TOKENS}


def test_bytes_of_the_body_bound_the_tokens_of_tools_too() -> None:
    body = nested("x", tools=[{"functionDeclarations": [{"name": "f" * 50}]}])
    assert of_request(read(body)).prompt <= len(orjson.dumps(body))
