"""Which tokens of a reply are billed, and as what? Buckets that never overlap.

Facts (Gemini API, `UsageMetadata`): cached tokens are a part of the prompt; tool-use prompt tokens are beside it and
billed as input; thoughts are beside the candidates and billed as output, except on endpoints that count them as both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from batcher.records import Usage


class Buckets(NamedTuple):
    """Billed tokens of one or more replies. No token is in two buckets, so their sum is what was billed.

    Only the modalities that some current model prices apart have a bucket of their own; text, documents, pictures and
    video in the prompt share one, and speech that a model answers shares one with text.

    Attributes:
        fresh_input: prompt and tool-use prompt tokens, neither cached nor audio.
        cached_input: prompt tokens read from a cache, not audio.
        visible_output: candidate tokens, neither picture nor video, thoughts not among them.
        thinking: thought tokens.
        audio_fresh_input: audio prompt tokens, not cached.
        audio_cached_input: audio prompt tokens read from a cache.
        image_output: candidate tokens that are a picture.
        video_output: candidate tokens that are a video.
    """

    fresh_input: int = 0
    cached_input: int = 0
    visible_output: int = 0
    thinking: int = 0
    audio_fresh_input: int = 0
    audio_cached_input: int = 0
    image_output: int = 0
    video_output: int = 0

    @property
    def billed_input(self) -> int:
        """Input tokens on the bill; the long-context price goes by this number."""
        return self.fresh_input + self.cached_input + self.audio_fresh_input + self.audio_cached_input

    @property
    def billed_output(self) -> int:
        """Output tokens on the bill."""
        return self.visible_output + self.thinking + self.image_output + self.video_output

    def __add__(self, other: Buckets) -> Buckets:  # type: ignore[override]  # a sum of bills, not a longer tuple
        return Buckets(
            fresh_input=self.fresh_input + other.fresh_input,
            cached_input=self.cached_input + other.cached_input,
            visible_output=self.visible_output + other.visible_output,
            thinking=self.thinking + other.thinking,
            audio_fresh_input=self.audio_fresh_input + other.audio_fresh_input,
            audio_cached_input=self.audio_cached_input + other.audio_cached_input,
            image_output=self.image_output + other.image_output,
            video_output=self.video_output + other.video_output,
        )


def buckets(usage: Usage) -> Buckets:
    """Sort the counts of one reply into buckets.

    Args:
        usage: as the endpoint gave it. A missing or negative count is 0.

    Returns:
        Buckets whose input is prompt + tool-use prompt and whose output is candidates + thoughts. Details that exceed
        their own count are cut down to it (cached > prompt included), because the totals are what is billed.
    """
    # Runs once a reply, hence the flat shape: a helper call a count doubled its cost.
    prompt = usage.prompt_token_count or 0
    cached = usage.cached_content_token_count or 0
    tool = usage.tool_use_prompt_token_count or 0
    candidates = usage.candidates_token_count or 0
    thinking = usage.thoughts_token_count or 0
    if prompt < 0 or cached < 0 or tool < 0 or candidates < 0 or thinking < 0:
        return buckets(_without_negatives(usage))
    cached = min(cached, prompt)
    if thinking and prompt + candidates + tool == usage.total_token_count:
        # Some endpoints count thoughts as candidates; the total gives them away.
        thinking = min(thinking, candidates)
        candidates -= thinking
    plain = Buckets(prompt - cached + tool, cached, candidates, thinking)  # by place: half the cost
    if (
        _AUDIO in usage.prompt_tokens_details
        or _AUDIO in usage.cache_tokens_details
        or _AUDIO in usage.tool_use_prompt_tokens_details
    ):
        plain = _with_audio(plain, usage, prompt=prompt)
    details = usage.candidates_tokens_details
    if _IMAGE in details or _VIDEO in details:
        plain = _with_pictures(plain, details)
    return plain


_AUDIO, _IMAGE, _VIDEO = "AUDIO", "IMAGE", "VIDEO"


def _without_negatives(usage: Usage) -> Usage:
    """No endpoint means a negative count; whatever it means, it must not lower the bill."""
    return replace(
        usage,
        prompt_token_count=max(0, usage.prompt_token_count or 0),
        cached_content_token_count=max(0, usage.cached_content_token_count or 0),
        tool_use_prompt_token_count=max(0, usage.tool_use_prompt_token_count or 0),
        candidates_token_count=max(0, usage.candidates_token_count or 0),
        thoughts_token_count=max(0, usage.thoughts_token_count or 0),
    )


def _with_audio(plain: Buckets, usage: Usage, *, prompt: int) -> Buckets:
    said_cached = _detail(usage.cache_tokens_details, _AUDIO, at_most=plain.cached_input)
    in_prompt = max(said_cached, _detail(usage.prompt_tokens_details, _AUDIO, at_most=prompt))
    in_tools = max(0, usage.tool_use_prompt_tokens_details.get(_AUDIO, 0))
    # Cache details are often missing; cached tokens that do not fit into the rest of the prompt were audio for sure.
    cached = max(said_cached, plain.cached_input - (prompt - in_prompt))
    fresh = min(plain.fresh_input, in_prompt - cached + in_tools)
    return plain._replace(
        fresh_input=plain.fresh_input - fresh,
        audio_fresh_input=fresh,
        cached_input=plain.cached_input - cached,
        audio_cached_input=cached,
    )


def _with_pictures(plain: Buckets, details: Mapping[str, int]) -> Buckets:
    image = _detail(details, _IMAGE, at_most=plain.visible_output)
    video = _detail(details, _VIDEO, at_most=plain.visible_output - image)
    return plain._replace(visible_output=plain.visible_output - image - video, image_output=image, video_output=video)


def _detail(details: Mapping[str, int], modality: str, *, at_most: int) -> int:
    return max(0, min(details.get(modality, 0), at_most))
