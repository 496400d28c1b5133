"""What does the user want to take out of a run, and what came of it?"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batcher.records import Status

OPEN = "open"
"""Beside the statuses: a task that has no outcome yet."""


class Format(enum.StrEnum):
    """For what."""

    TRL_SFT = "trl-sft"
    OPENAI_SFT = "openai-sft"
    GEMINI_TUNING = "gemini-tuning"
    SHAREGPT = "sharegpt"
    GEMINI_BATCH = "gemini-batch"
    CSV = "csv"


CHOICES = (*map(str, Status), OPEN)
_CHAT_STATUSES = frozenset({str(Status.OK)})
_DEFAULTS: Mapping[Format, frozenset[str]] = {
    Format.GEMINI_BATCH: frozenset({str(Status.FAILED), OPEN}),
    Format.CSV: frozenset(map(str, Status)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be exported where.

    Attributes:
        target: None for standard output.
        statuses: which rows; empty takes the format's own choice.
        columns: of `data/`, in this order; empty takes the format's own choice.
        where: column -> text that the rows must have in it; an empty text means null, too.
        force: replace a file that is there.
        every_candidate: make an example of each candidate, not of the first alone.
    """

    to: Format
    target: Path | None
    statuses: frozenset[str] = frozenset()
    columns: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    every_candidate: bool = False

    @property
    def wanted(self) -> frozenset[str]:
        """The statuses that go out."""
        return self.statuses or _DEFAULTS.get(self.to, _CHAT_STATUSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export came to.

    Attributes:
        target: the file; `-` for standard output.
        written: rows that are in it.
        tasks: rows that there are, or will be.
        left_out: reason -> rows.
        open: tasks without an answer in a finished part.
        running: a process owns the run now.
        size_bytes: of the file; None for standard output.
        notes: one line for each surprise.
    """

    to: Format
    target: str
    written: int
    tasks: int
    left_out: Mapping[str, int]
    open: int
    running: bool
    size_bytes: int | None
    notes: tuple[str, ...]
