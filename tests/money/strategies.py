"""Usages as endpoints report them: consistent ones, and any at all."""

from __future__ import annotations

from hypothesis import strategies as st

from batcher.money.usage import Buckets
from batcher.records import Usage

counts = st.integers(0, 2_000_000)
any_count = st.none() | st.integers(-10, 3_000_000)
any_details = st.dictionaries(
    st.sampled_from(["TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "SMELL"]), st.integers(-10, 3_000_000)
)

any_usage = st.builds(
    Usage,
    prompt_token_count=any_count,
    candidates_token_count=any_count,
    total_token_count=any_count,
    cached_content_token_count=any_count,
    tool_use_prompt_token_count=any_count,
    thoughts_token_count=any_count,
    prompt_tokens_details=any_details,
    candidates_tokens_details=any_details,
    cache_tokens_details=any_details,
    tool_use_prompt_tokens_details=any_details,
)

any_buckets = st.builds(
    Buckets,
    fresh_input=counts,
    cached_input=counts,
    visible_output=counts,
    thinking=counts,
    audio_fresh_input=counts,
    audio_cached_input=counts,
    image_output=counts,
    video_output=counts,
)


@st.composite
def consistent_usages(draw: st.DrawFn) -> Usage:
    """A reply whose counts and details agree, as Google's do."""
    text, audio = draw(counts), draw(st.just(0) | counts)
    cached_text, cached_audio = draw(st.integers(0, text)), draw(st.integers(0, audio))
    visible, image, video = draw(counts), draw(st.just(0) | counts), draw(st.just(0) | counts)
    tool, tool_audio, thoughts = draw(counts), draw(st.just(0) | counts), draw(counts)
    prompt, candidates = text + audio, visible + image + video
    return Usage(
        prompt_token_count=prompt,
        candidates_token_count=candidates,
        total_token_count=prompt + candidates + tool + tool_audio + thoughts,
        cached_content_token_count=cached_text + cached_audio,
        tool_use_prompt_token_count=tool + tool_audio,
        thoughts_token_count=thoughts,
        prompt_tokens_details=_present(TEXT=text, AUDIO=audio),
        candidates_tokens_details=_present(TEXT=visible, IMAGE=image, VIDEO=video),
        cache_tokens_details=_present(TEXT=cached_text, AUDIO=cached_audio),
        tool_use_prompt_tokens_details=_present(TEXT=tool, AUDIO=tool_audio),
    )


def _present(**details: int) -> dict[str, int]:
    return {modality: tokens for modality, tokens in details.items() if tokens}
