"""What is one request, however it was spelled?

Canonical is a GenerateContentRequest in snake_case, generation settings nested under `generation_config`, without
`model` and `stream`, which say where and how it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batcher.gemini.spelling import to_snake

# Every field of GenerationConfig that the API or its SDK knows: on top of a body they are told from the rest by name.
GENERATION_FIELDS = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "candidate_count",
        "max_output_tokens",
        "stop_sequences",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "response_logprobs",
        "logprobs",
        "response_mime_type",
        "response_schema",
        "response_json_schema",
        "_response_json_schema",
        "response_format",
        "response_modalities",
        "media_resolution",
        "speech_config",
        "thinking_config",
        "image_config",
        "translation_config",
        "enable_enhanced_civic_answers",
        "enable_affective_dialog",
        "audio_transcription_config",
        "audio_timestamp",
        "routing_config",
        "model_selection_config",
    }
)
_TRANSPORT_FIELDS = ("model", "stream")


def canonical(body: Mapping[str, Any]) -> dict[str, Any]:
    """Fold a GenerateContentRequest to its canonical form.

    Args:
        body: camelCase, snake_case or a mix, generation settings nested or on top. A field that holds null counts as
            absent. What the user wrote as data (call arguments, function responses, labels, schema property names,
            JSON schemas) is kept as it is, shared with `body`, not copied.

    Raises:
        ValueError: this cannot be a request; the text says where, what was found and what was wanted.
    """
    try:
        folded = to_snake(body)
    except RecursionError:
        raise ValueError("nested too deeply to be a request") from None
    for name in _TRANSPORT_FIELDS:
        folded.pop(name, None)
    _check_contents(folded)
    if "system_instruction" in folded:
        _check_content(folded["system_instruction"], "system_instruction")
    generation = _generation(folded)
    if generation:
        folded["generation_config"] = generation
    return folded


def _generation(folded: dict[str, Any]) -> dict[str, Any]:
    """Take the generation settings out of a folded body, from both places where they may stand."""
    nested = folded.pop("generation_config", {})
    if not isinstance(nested, dict):
        raise _wrong("generation_config", "an object", nested)
    on_top = {name: folded.pop(name) for name in [name for name in folded if name in GENERATION_FIELDS]}
    twice = sorted(nested.keys() & on_top.keys())
    if twice:
        raise ValueError(f"{twice[0]}: given twice, on top and in generation_config")
    return nested | on_top


def _check_contents(folded: Mapping[str, Any]) -> None:
    contents = folded.get("contents")
    if not isinstance(contents, list):
        raise _wrong("contents", "a list", contents)
    if not contents:
        raise ValueError("contents: expected at least one content, found an empty list")
    for position, content in enumerate(contents):
        _check_content(content, f"contents[{position}]")


def _check_content(content: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise _wrong(where, 'an object such as {"parts": [{"text": "…"}]}', content)
    parts = content.get("parts")
    if not isinstance(parts, list):
        raise _wrong(f"{where}.parts", "a list", parts)
    for position, part in enumerate(parts):
        if not isinstance(part, dict):
            raise _wrong(f"{where}.parts[{position}]", "an object", part)
        if not isinstance(part.get("text", ""), str):
            raise _wrong(f"{where}.parts[{position}].text", "text", part["text"])


def _wrong(where: str, wanted: str, found: Any) -> ValueError:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    name = "nothing" if found is None else names.get(type(found), type(found).__name__)
    return ValueError(f"{where}: expected {wanted}, found {name}")
