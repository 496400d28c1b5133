"""How many tokens did a request and its answer take?

About four characters are one token, a CJK character is one; so a text never has more tokens than UTF-8 bytes, which is
what a client may rely on as an upper bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batcher.emulator.spelling import Asked

CHARS_PER_TOKEN = 4
MEDIA_TOKENS = 258
"""One inline or referenced medium, whatever its size: what a small image costs."""
TOOL_USE_TOKENS = 64
"""What a server-side tool adds to the prompt."""
_THINKING_LEAST, _THINKING_MOST = 8, 40
_CJK = re.compile(
    r"[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_SERVER_TOOLS = frozenset(
    {"google_search", "google_search_retrieval", "code_execution", "url_context", "google_maps", "file_search"}
)
_MODALITIES = {"image": "IMAGE", "audio": "AUDIO", "video": "VIDEO", "text": "TEXT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer.

    Attributes:
        prompt: of the request, cached ones included.
        cached: of which came from a cache.
        tool_use: of server-side tools, not in `prompt`.
        candidates: over all candidates, thoughts not included.
        pictures: of which for pictures.
        by_modality: modality -> tokens, together `prompt`.
    """

    prompt: int
    cached: int = 0
    tool_use: int = 0
    candidates: int = 0
    pictures: int = 0
    thoughts: int = 0
    by_modality: Mapping[str, int] = field(default_factory=dict)
    service_tier: str = "standard"

    @property
    def total(self) -> int:
        """All of it; cached tokens are counted once, within the prompt."""
        return self.prompt + self.tool_use + self.candidates + self.thoughts

    @property
    def billed_input(self) -> int:
        """What is charged as input."""
        return self.prompt + self.tool_use

    @property
    def billed_output(self) -> int:
        """What is charged as output."""
        return self.candidates + self.thoughts


def text_tokens(text: str) -> int:
    """Tokens of a text; 0 of an empty one."""
    # isascii is free for str and spares most prompts the scan.
    wide = 0 if text.isascii() else len(_CJK.findall(text))
    return wide + -(-(len(text) - wide) // CHARS_PER_TOKEN)


def text_within(text: str, tokens: int) -> str:
    """The longest beginning of a text that has at most so many tokens."""
    if text_tokens(text) <= tokens:
        return text
    low, high = 0, min(len(text), tokens * CHARS_PER_TOKEN)
    while low < high:  # tokens never fall as a text grows
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_tokens(text[:middle]) <= tokens else (low, middle - 1)
    return text[:low]


def of_request(asked: Asked) -> Usage:
    """What a request takes before anything is answered."""
    body = asked.body
    by_modality = {"TEXT": text_tokens(asked.text)}
    for content in body["contents"]:
        for part in content.get("parts", ()):
            if len(part) != 1 or "text" not in part:
                _add_part(by_modality, part)
    tools: list[dict[str, Any]] = body.get("tools", [])
    if tools:
        by_modality["TEXT"] += _json_tokens(tools)
    prompt = sum(by_modality.values())
    return Usage(
        prompt=prompt,
        # The cache's own text was never sent, so it adds nothing: what was sent must stay an upper bound.
        cached=prompt * 3 // 4 if body.get("cached_content") else 0,
        tool_use=TOOL_USE_TOKENS * sum(not _SERVER_TOOLS.isdisjoint(tool) for tool in tools),
        by_modality={modality: tokens for modality, tokens in by_modality.items() if tokens},
        service_tier=body.get("service_tier", "standard").lower(),
    )


def thinking_tokens(asked: Asked, *, model: str, drawn: int) -> int:
    """How many tokens the model thinks before it answers: a few from version 2.5 on, none when the budget is 0."""
    config: Mapping[str, Any] = asked.config.get("thinking_config", {})
    budget = config.get("thinking_budget", -1)
    if budget == 0 or (budget < 0 and not _thinks(model)):
        return 0
    some = _THINKING_LEAST + drawn % (_THINKING_MOST - _THINKING_LEAST + 1)
    return some if budget < 0 else min(some, budget)


def _thinks(model: str) -> bool:
    version = _VERSION.match(model)
    if version is None:
        return False
    number = (int(version[1]), int(version[2] or 0))
    return number >= (3, 0) or (number >= (2, 5) and "lite" not in model)


def _add_part(by_modality: dict[str, int], part: Mapping[str, Any]) -> None:
    medium = part.get("inline_data") or part.get("file_data")
    if medium is not None:
        mime_type: str = medium.get("mime_type", "")
        modality = _MODALITIES.get(mime_type.partition("/")[0], "DOCUMENT")
        by_modality[modality] = by_modality.get(modality, 0) + MEDIA_TOKENS
    spoken = {
        name: part[name]
        for name in ("function_call", "function_response", "executable_code", "code_execution_result")
        if name in part
    }
    if spoken:
        by_modality["TEXT"] += _json_tokens(spoken)


def _json_tokens(value: Any) -> int:
    return len(orjson.dumps(value)) // CHARS_PER_TOKEN
