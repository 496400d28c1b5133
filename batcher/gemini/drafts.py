"""How is a record of a reply filled in, field by field, at the price of plain stores?

A frozen dataclass pays a guarded store for every field, absent ones too: 1.9 µs for a `Usage`, 5.4 µs for the three
records of one reply, more than reading it. A draft has the record's slots and none of its guards; `sealed` gives the
same object the record's class: 0.3 µs together. `tests/gemini/test_drafts.py` holds that a sealed draft is the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batcher.records import Answer, Candidate, Usage


class UsageDraft:
    """A `Usage` in the making."""

    __slots__ = Usage.__slots__

    def __init__(self) -> None:
        self.prompt_token_count = self.candidates_token_count = self.total_token_count = None
        self.cached_content_token_count = self.tool_use_prompt_token_count = self.thoughts_token_count = None
        self.prompt_tokens_details: dict[str, int] = {}
        self.candidates_tokens_details: dict[str, int] = {}
        self.cache_tokens_details: dict[str, int] = {}
        self.tool_use_prompt_tokens_details: dict[str, int] = {}
        self.service_tier = None

    def sealed(self) -> Usage:
        """Make this very object the frozen record."""
        draft: Any = self
        draft.__class__ = Usage
        record: Usage = draft
        return record


class CandidateDraft:
    """A `Candidate` in the making; `position` is its index until it says another."""

    __slots__ = Candidate.__slots__
    index: int | None
    role: str | None
    text: str | None
    thoughts: str | None
    parts: str | None

    def __init__(self, position: int) -> None:
        self.index = position
        self.role = self.text = self.thoughts = self.parts = None
        self.finish_reason = self.finish_message = self.token_count = self.avg_logprobs = None
        self.safety_ratings = self.citation_sources = ()
        self.grounding_metadata = None

    def sealed(self) -> Candidate:
        """Make this very object the frozen record."""
        draft: Any = self
        draft.__class__ = Candidate
        record: Candidate = draft
        return record


class AnswerDraft:
    """An `Answer` in the making."""

    __slots__ = Answer.__slots__
    candidates: tuple[Candidate, ...]
    block_reason: str | None
    prompt_safety_ratings: tuple[tuple[str | None, str | None, bool | None], ...]
    web_searches: int | None
    error: Mapping[str, Any] | None

    def __init__(self) -> None:
        self.candidates = self.prompt_safety_ratings = ()
        self.block_reason = self.usage = self.model_version = self.response_id = None
        self.created = self.web_searches = self.error = None

    def sealed(self) -> Answer:
        """Make this very object the frozen record."""
        draft: Any = self
        draft.__class__ = Answer
        record: Answer = draft
        return record
