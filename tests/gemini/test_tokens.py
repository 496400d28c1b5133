"""Guesses are near, bounds are above."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.request import text_request
from batcher.gemini.tokens import (
    CONTEXT_TOKENS,
    IMAGE_TOKENS,
    estimate_tokens,
    input_bound,
    medium_tokens,
    output_bound,
    text_bound,
    usual_output,
    utf8_bytes,
)
from tests.media import KINDS, a_document, a_flac, a_picture, a_sound

texts = st.text(max_size=200)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("42", 2),
        ("x" * 3200, 700),
        ("日本語", 3),
        ("안녕하세요", 4),
        ("привет", 2),
        ("né", 1),
        ("🙂🙂", 3),
        ("GPU 温度", 3),
    ],
)
def test_estimates_know_the_script(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("The committee met on Thursday to discuss the annual budget and the new library building.", 16),
        ("Комитет собрался в четверг, чтобы обсудить годовой бюджет.", 16),
        ("اجتمعت اللجنة يوم الخميس لمناقشة الميزانية السنوية", 16),
        ("समिति की बैठक गुरुवार को वार्षिक बजट पर चर्चा करने के लिए हुई", 14),
        ("คณะกรรมการประชุมกันเมื่อวันพฤหัสบดีเพื่อหารือเกี่ยวกับงบประมาณประจำปี", 20),
        ("委员会于星期四开会讨论年度预算", 9),
        ("委員会は木曜日に年間予算について話し合うために開かれました", 14),
        ("위원회는 목요일에 연간 예산을 논의하기 위해 모였습니다", 15),
        ("def add(a: int, b: int) -> int:\n    return a + b\n", 21),
        ('{"id": 1001, "price": 12.5, "tags": ["new", "sale"]}', 27),
        ("12345, 67890, 24680, 13579", 26),
    ],
)
def test_estimates_are_near_what_a_tokenizer_counts(text: str, counted: int) -> None:
    """Counted with Gemma 3's vocabulary."""
    assert estimate_tokens(text) == pytest.approx(counted, rel=0.3)


@given(st.lists(st.sampled_from(["a", "7", "语", "🙂", "\n"]), max_size=4000))
def test_a_long_text_is_summed_as_a_short_one(characters: list[str]) -> None:
    """No sum wraps where the pieces of a long text meet."""
    text = "".join(characters)
    weights = {"a": 7, "7": 32, "语": 23, "🙂": 38, "\n": 30}

    assert estimate_tokens(text) == -(-sum(weights[each] for each in characters) // 32)


def test_the_longest_sums_do_not_wrap() -> None:
    assert estimate_tokens("7" * 1_000_000) == 1_000_000
    assert estimate_tokens("🙂" * 320_000) == 380_000


@given(texts, texts)
def test_an_estimate_adds_up_and_stays_below_the_bytes(one: str, other: str) -> None:
    together = estimate_tokens(one + other)

    assert (
        estimate_tokens(one) + estimate_tokens(other) - 1 <= together <= estimate_tokens(one) + estimate_tokens(other)
    )
    assert together <= utf8_bytes(one + other) <= text_bound(one + other)


def test_a_lone_surrogate_can_be_counted() -> None:
    assert utf8_bytes("\ud800") == 3
    assert estimate_tokens("\ud800") == 1


@given(texts, st.none() | texts, st.dictionaries(texts, texts, max_size=3))
def test_the_bounds_hold_all_text(prompt: str, system: str | None, schema: dict[str, str]) -> None:
    base = {"generation_config": {"response_json_schema": schema}}
    in_schema = sum(utf8_bytes(text) for pair in schema.items() for text in pair)
    in_prompt = utf8_bytes(prompt) + utf8_bytes(system or "")

    assert text_bound(prompt, system) >= in_prompt
    assert input_bound(base) >= in_schema
    assert input_bound(text_request(base, prompt, system)) >= in_schema + in_prompt


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"inline_data": {"mime_type": "image/png", "data": "A" * 99_999}}, IMAGE_TOKENS),
        ({"file_data": {"mime_type": "image/jpeg", "file_uri": "files/x"}}, IMAGE_TOKENS),
        ({"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}}, CONTEXT_TOKENS),
        ({"file_data": {"file_uri": "https://youtu.be/x"}}, CONTEXT_TOKENS),
        ({"inline_data": {"mime_type": "image/png", "data": b64(a_picture())}}, 2_240),
        ({"inline_data": {"mime_type": "image/png", "data": b64(a_picture(960, 540))}}, 2_240),
        ({"inline_data": {"mime_type": "image/png", "data": b64(a_picture(3000, 400))}}, 258 * 12 * 2),
        ({"inline_data": {"mime_type": "image/png", "data": "not base64"}}, IMAGE_TOKENS),
        ({"inline_data": {"mime_type": "audio/wav", "data": b64(a_sound(2))}}, 97),
        ({"inline_data": {"mime_type": "audio/mp3", "data": b64(b"ID3" + bytes(10_000))}}, 32 * 11),
        ({"inline_data": {"mime_type": "application/pdf", "data": b64(a_document())}}, CONTEXT_TOKENS),
        ({"inline_data": {"mime_type": "text/plain", "data": b64(b"hello")}}, 6),
        ({"inline_data": 7}, 0),
    ],
)
def test_media_are_bounded_by_their_headers(part: dict[str, Any], tokens: int) -> None:
    with_part = {"contents": [{"parts": [{"text": "look"}, part]}]}
    without = {"contents": [{"parts": [{"text": "look"}]}]}

    assert input_bound(with_part) - input_bound(without) == tokens


@pytest.mark.parametrize(
    ("mime_type", "data", "likely"),
    [
        ("image/png", a_picture(384, 384), 258),
        ("image/png", a_picture(385, 10), 258),
        ("image/jpeg", a_picture(960, 540, kind="jpeg"), 2 * 258),
        ("image/png", a_picture(3000, 400), 4 * 258),
        ("image/heic", KINDS["image/heic"], 258),
        ("audio/wav", a_sound(2), 65),
        ("audio/flac", a_flac(160_000), 321),
        ("audio/ogg", bytes(160_000), 320),
        ("video/mp4", bytes(500_000), 526),
        ("application/pdf", a_document(3), 3 * 258),
        ("application/pdf", bytes(120_000), 2 * 258),
        ("text/plain", b"hello", 2),
    ],
)
def test_media_are_estimated_by_tiles_seconds_and_pages(mime_type: str, data: bytes, likely: int) -> None:
    found = medium_tokens(mime_type, data, len(data))

    assert found.likely == likely
    assert likely <= found.bound <= CONTEXT_TOKENS


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=60), st.integers(0, 2**40))
def test_whatever_a_medium_says_its_bound_is_above_its_guess(mime_type: str, rest: bytes, size: int) -> None:
    found = medium_tokens(mime_type, KINDS[mime_type][:40] + rest, size)

    assert 0 < found.likely <= found.bound <= CONTEXT_TOKENS


def test_cached_content_may_fill_the_window() -> None:
    assert input_bound({"cached_content": "cachedContents/x"}) > CONTEXT_TOKENS


def test_the_bound_of_a_request_does_not_touch_it() -> None:
    request = {"contents": [{"parts": [{"inline_data": {"data": "AAAA"}}]}]}
    input_bound(request)

    assert request == {"contents": [{"parts": [{"inline_data": {"data": "AAAA"}}]}]}


@pytest.mark.parametrize(
    ("model", "generation_config", "tokens"),
    [
        ("gemini-2.5-flash", {}, 65_536),
        ("models/gemini-2.5-flash", {"max_output_tokens": 100}, 100),
        ("gemini-2.5-flash", {"max_output_tokens": 100, "candidate_count": 4}, 400),
        ("gemini-2.5-flash", {"candidate_count": 2}, 131_072),
        ("gemini-3-pro-preview", {}, 65_536),
        ("gemini-2.0-flash", {}, 8_192),
        ("gemini-1.5-pro", {}, 8_192),
        ("gemini-2.0-flash-thinking-exp", {}, 65_536),
        ("someone-elses-model", {}, 65_536),
        ("gemini-2.5-flash", {"max_output_tokens": "many", "candidate_count": True}, 65_536),
        ("gemini-2.5-flash", {"max_output_tokens": 0, "candidate_count": -1}, 65_536),
    ],
)
def test_output_bounds(model: str, generation_config: dict[str, Any], tokens: int) -> None:
    assert output_bound(model, generation_config) == tokens


@pytest.mark.parametrize(
    ("model", "config", "low", "high"),
    [
        ("gemini-2.5-flash", {}, 5, 2_800),
        ("models/gemini-2.5-flash", {"thinking_config": {"thinking_budget": 0}}, 5, 800),
        ("gemini-3.6-flash", {"thinking_config": {"thinking_budget": 512}}, 5, 2_800),
        ("gemini-2.0-flash", {}, 5, 800),
        ("gemini-2.0-flash-thinking-exp", {}, 5, 2_800),
        ("gemini-2.5-flash-lite", {}, 5, 800),
        ("gemini-2.5-flash", {"candidate_count": 4}, 20, 5_200),
        ("gemini-2.5-flash", {"max_output_tokens": 64}, 5, 64),
        ("gemini-2.5-flash", {"max_output_tokens": 2}, 2, 2),
    ],
)
def test_an_unseen_answer_is_a_word_or_a_page(model: str, config: dict[str, Any], low: int, high: int) -> None:
    assert usual_output(model, config) == (low, high)
    assert high <= output_bound(model, config)
