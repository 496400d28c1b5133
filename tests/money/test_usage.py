"""Every billed token is in one bucket, whatever the endpoint says."""

from __future__ import annotations

import pytest
from hypothesis import given

from batcher.money.usage import Buckets, buckets
from batcher.records import Usage
from tests.money.strategies import any_buckets, any_usage, consistent_usages


def _positive(count: int | None) -> int:
    return max(0, count or 0)


@given(any_usage)
def test_input_is_prompt_and_tool_use_whatever_the_details_claim(usage):
    prompt, tool = usage.prompt_token_count, usage.tool_use_prompt_token_count

    assert buckets(usage).billed_input == _positive(prompt) + _positive(tool)


@given(any_usage)
def test_output_is_candidates_and_thoughts_that_are_not_already_candidates(usage):
    prompt, tool = _positive(usage.prompt_token_count), _positive(usage.tool_use_prompt_token_count)
    candidates, thoughts = _positive(usage.candidates_token_count), _positive(usage.thoughts_token_count)
    inside = prompt + tool + candidates == usage.total_token_count

    assert buckets(usage).billed_output == (candidates if inside else candidates + thoughts)


@given(any_usage)
def test_no_bucket_is_negative_and_the_sum_is_the_bill(usage):
    found = buckets(usage)

    assert min(tuple(found)) >= 0
    assert sum(tuple(found)) == found.billed_input + found.billed_output


@given(consistent_usages())
def test_details_that_agree_are_taken_at_their_word(usage):
    found = buckets(usage)
    cached, prompt, tool = (
        details.get("AUDIO", 0)
        for details in (usage.cache_tokens_details, usage.prompt_tokens_details, usage.tool_use_prompt_tokens_details)
    )

    assert found.audio_cached_input == cached
    assert found.audio_fresh_input == prompt - cached + tool
    assert found.cached_input + found.audio_cached_input == usage.cached_content_token_count
    assert found.image_output == usage.candidates_tokens_details.get("IMAGE", 0)
    assert found.video_output == usage.candidates_tokens_details.get("VIDEO", 0)
    assert found.thinking == usage.thoughts_token_count


@given(any_buckets, any_buckets)
def test_adding_adds_every_bucket(a, b):
    assert tuple(a + b) == tuple(x + y for x, y in zip(a, b, strict=True))
    assert tuple(a + b) == tuple(x + y for x, y in zip(a, b, strict=True))
    assert (a + b).billed_output == a.billed_output + b.billed_output


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(Usage(), Buckets(), id="nothing said"),
        pytest.param(
            Usage(
                prompt_token_count=326,
                cached_content_token_count=173,
                candidates_token_count=63,
                thoughts_token_count=154,
                total_token_count=543,
                prompt_tokens_details={"TEXT": 68, "IMAGE": 258},
                cache_tokens_details={"TEXT": 137, "IMAGE": 36},
            ),
            Buckets(fresh_input=153, cached_input=173, visible_output=63, thinking=154),
            id="cached is inside the prompt, thoughts beside the candidates (a recorded reply)",
        ),
        pytest.param(
            Usage(
                prompt_token_count=74,
                candidates_token_count=103,
                thoughts_token_count=293,
                tool_use_prompt_token_count=155,
                total_token_count=625,
            ),
            Buckets(fresh_input=229, visible_output=103, thinking=293),
            id="tool use is input beside the prompt (a recorded reply)",
        ),
        pytest.param(
            Usage(prompt_token_count=20, thoughts_token_count=3, total_token_count=23),
            Buckets(fresh_input=20, thinking=3),
            id="an empty answer that only thought (a recorded reply)",
        ),
        pytest.param(
            Usage(prompt_token_count=100, candidates_token_count=50, thoughts_token_count=30, total_token_count=150),
            Buckets(fresh_input=100, visible_output=20, thinking=30),
            id="the total says that thoughts are inside the candidates",
        ),
        pytest.param(
            Usage(prompt_token_count=100, candidates_token_count=50, thoughts_token_count=30),
            Buckets(fresh_input=100, visible_output=50, thinking=30),
            id="no total, so thoughts are beside the candidates",
        ),
        pytest.param(
            Usage(prompt_token_count=638, total_token_count=638), Buckets(fresh_input=638), id="a blocked prompt"
        ),
        pytest.param(
            Usage(prompt_token_count=10, cached_content_token_count=40, candidates_token_count=1),
            Buckets(cached_input=10, visible_output=1),
            id="more cached than asked: cut down to the prompt",
        ),
        pytest.param(
            Usage(prompt_token_count=-5, candidates_token_count=7, cached_content_token_count=-1),
            Buckets(visible_output=7),
            id="a negative count is no count",
        ),
        pytest.param(
            Usage(prompt_token_count=1000, cached_content_token_count=300, prompt_tokens_details={"AUDIO": 900}),
            Buckets(cached_input=100, audio_cached_input=200, audio_fresh_input=700),
            id="no cache details: what does not fit into the rest of the prompt was audio",
        ),
        pytest.param(
            Usage(
                prompt_token_count=100,
                cached_content_token_count=50,
                prompt_tokens_details={"TEXT": 100},
                cache_tokens_details={"AUDIO": 20},
            ),
            Buckets(fresh_input=50, cached_input=30, audio_cached_input=20),
            id="audio that only the cache details mention",
        ),
        pytest.param(
            Usage(candidates_token_count=1300, candidates_tokens_details={"IMAGE": 1290, "DOCUMENT": 4}),
            Buckets(visible_output=10, image_output=1290),
            id="a picture and its caption",
        ),
    ],
)
def test_shapes_met_in_the_wild(usage, expected):
    assert buckets(usage) == expected
