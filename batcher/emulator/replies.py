"""How is an answer written down, in Google's spelling and in the flat endpoints' one?

Google leaves out what has its default value; the flat dialect tells only what its page lists: no thoughts, no
modalities, no tier.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from batcher.emulator.answers import Answer, Candidate
from batcher.emulator.usage import Usage

_CATEGORIES = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
)
_HARMLESS = [{"category": category, "probability": "NEGLIGIBLE"} for category in _CATEGORIES]
_HARMFUL = [*_HARMLESS[:-1], {"category": _CATEGORIES[-1], "probability": "HIGH", "blocked": True}]
_SOURCE = "https://example.com/source"


def google(answer: Answer, *, response_id: str) -> dict[str, Any]:
    """The reply in camelCase."""
    body: dict[str, Any] = {}
    if answer.candidates:
        body["candidates"] = [_google_candidate(each, index, answer) for index, each in enumerate(answer.candidates)]
    if answer.block_reason:
        body["promptFeedback"] = {"blockReason": answer.block_reason}
    body["usageMetadata"] = _google_usage(answer.usage)
    body["modelVersion"] = answer.model
    body["responseId"] = response_id
    return body


def flat(answer: Answer, *, created_s: int) -> dict[str, Any]:
    """The reply in snake_case; `created_s` is the endpoint's epoch stamp."""
    body: dict[str, Any] = {
        "candidates": [_flat_candidate(each, index) for index, each in enumerate(answer.candidates)]
    }
    if answer.block_reason:
        body["prompt_feedback"] = {"block_reason": answer.block_reason}
    body["model_version"] = answer.model
    body["created"] = created_s
    body["usage_metadata"] = _flat_usage(answer.usage)
    return body


def count(usage: Usage) -> bytes:
    """The body of a countTokens reply."""
    told: dict[str, Any] = {"totalTokens": usage.prompt}
    if usage.cached:
        told["cachedContentTokenCount"] = usage.cached
    told["promptTokensDetails"] = _details(usage.by_modality)
    return orjson.dumps(told)


def model_card(model: str) -> dict[str, Any]:
    """What the service says about one of its models."""
    return {
        "name": f"models/{model}",
        "version": "001",
        "displayName": model.replace("-", " ").title(),
        "description": "An emulated model.",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": True,
    }


def _google_candidate(candidate: Candidate, index: int, answer: Answer) -> dict[str, Any]:
    parts = _parts(candidate, call="functionCall", blob=("inlineData", "mimeType"))
    told: dict[str, Any] = {
        "content": {"parts": parts, "role": "model"} if parts else {},
        "finishReason": candidate.finish,
        "index": index,
    }
    if candidate.unsafe:
        told["safetyRatings"] = _HARMFUL
    if candidate.cited:
        told["citationMetadata"] = {
            "citationSources": [{"startIndex": 0, "endIndex": 60, "uri": _SOURCE, "license": ""}]
        }
    if candidate.avg_logprobs is not None:
        told["avgLogprobs"] = candidate.avg_logprobs
    if answer.searched is not None:
        told["groundingMetadata"] = _grounding(answer.searched)
    return told


def _flat_candidate(candidate: Candidate, index: int) -> dict[str, Any]:
    parts = _parts(candidate, call="function_call", blob=("inline_data", "mime_type"))
    told: dict[str, Any] = {
        "index": index,
        "content": {"role": "model", "parts": parts},
        "finish_reason": candidate.finish,
        "safety_ratings": _HARMFUL if candidate.unsafe else _HARMLESS,
        "token_count": candidate.tokens,
    }
    if candidate.cited:
        told["citation_metadata"] = {"citation_sources": [{"uri": _SOURCE, "start": 0, "end": 60, "license": ""}]}
    return told


def _parts(candidate: Candidate, *, call: str, blob: tuple[str, str]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    told = (candidate.text, candidate.picture, candidate.call)
    if candidate.thought is not None and told != (None, None, None):
        parts.append({"text": candidate.thought, "thought": True})
    if candidate.text is not None:
        parts.append({"text": candidate.text})
    if candidate.picture is not None:
        name, mime_type = blob
        parts.append({name: {mime_type: "image/png", "data": base64.b64encode(candidate.picture).decode()}})
    if candidate.call is not None:
        parts.append({call: {"name": candidate.call.name, "args": candidate.call.args}})
    return parts


def _grounding(searched: str) -> dict[str, Any]:
    return {
        "webSearchQueries": [searched],
        "groundingChunks": [{"web": {"uri": _SOURCE, "title": "example.com"}}],
        "searchEntryPoint": {"renderedContent": "<div>search</div>"},
    }


def _google_usage(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.candidates,
        "toolUsePromptTokenCount": usage.tool_use,
        "thoughtsTokenCount": usage.thoughts,
        "totalTokenCount": usage.total,
    }
    told = {name: tokens for name, tokens in told.items() if tokens}
    told["promptTokensDetails"] = _details(usage.by_modality)
    if usage.candidates:
        by_modality = {"TEXT": usage.candidates - usage.pictures, "IMAGE": usage.pictures}
        told["candidatesTokensDetails"] = _details({name: tokens for name, tokens in by_modality.items() if tokens})
    if usage.cached:
        told["cacheTokensDetails"] = _details(_cached_by_modality(usage))
    if usage.tool_use:
        told["toolUsePromptTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.tool_use}]
    told["serviceTier"] = usage.service_tier
    return told


def _cached_by_modality(usage: Usage) -> dict[str, int]:
    """The cached tokens over the prompt's modalities, none with more than its part of the prompt."""
    left, told = usage.cached, {}
    for modality, tokens in usage.by_modality.items():
        if left:
            told[modality] = min(left, tokens)
            left -= told[modality]
    return told


def _details(by_modality: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": tokens} for modality, tokens in by_modality.items()]


def _flat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_token_count": usage.prompt,
        "candidates_token_count": usage.candidates,
        "total_token_count": usage.total,
        "cached_content_token_count": usage.cached,
        "tool_use_prompt_token_count": usage.tool_use,
    }
