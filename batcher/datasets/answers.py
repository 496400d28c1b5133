"""Which answers of a row can be learned from? Its first candidate, or each that ended well; text and nothing else.

An answer that calls a function, runs code or draws a picture is more than its text: what is left of it would teach
something else. Thoughts are never part of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from batcher.datasets.messages import Answered, Gap, Message, Turns

_STOP = "STOP"
_SAYS_NOTHING = frozenset({"thought", "thoughtSignature", "thought_signature"})


class Said(NamedTuple):
    """What is wanted of one of a row's `candidates`."""

    text: str | None
    parts: str | None
    finish_reason: str | None


def said_in(column: pa.Array) -> list[list[Said]]:
    """Read the column `candidates`, row by row, without the fields that an export has no use for."""
    flat = column.flatten()
    candidates = [Said(*each) for each in zip(*(flat.field(name).to_pylist() for name in Said._fields), strict=True)]
    rows, start = [], 0
    for count in pc.fill_null(pc.list_value_length(column), 0).to_pylist():
        rows.append(candidates[start : start + count])
        start += count
    return rows


class Examples:
    """Makes conversations of rows.

    Args:
        turns: say what was asked before the answers.
        every: make one of each candidate, not of the first alone. A row's status is that of its first; another is taken
            when it finished by itself (`STOP`) and `fits`.
        fits: whether a text is what the job's schema asks for.
    """

    def __init__(self, turns: Turns, *, every: bool, fits: Callable[[str], bool]) -> None:
        self._turns = turns
        self._every = every
        self._fits = fits
        self._rows = 0  # of which there are conversations
        self._made = 0
        self._further = 0  # rows with candidates after the first
        self._passed_over = 0  # candidates after the first that did not end well
        self.take = turns.take

    def of(self, row: Answered, candidates: Sequence[Said]) -> list[list[Message]] | Gap:
        """Give the conversations of a row, an answer last in each; never none.

        Args:
            row: what was asked.
            candidates: what came back.
        """
        answers = self._answers(candidates)
        if isinstance(answers, Gap):
            return answers
        turns = self._turns.of(row)
        if isinstance(turns, Gap):
            return turns
        self._rows += 1
        self._made += len(answers)
        return [[*turns, {"role": "assistant", "content": answer}] for answer in answers]

    def notes(self) -> list[str]:
        """Say what became of candidates after the first, and which turns are not what was asked."""
        notes = self._turns.notes()
        if self._further and not self._every:
            rows = "1 row has" if self._further == 1 else f"{self._further:,} rows have"
            notes.append(f"{rows} candidates after the first, which are left out: --candidates all takes them, too")
        if self._further and self._every:
            left = f"; {self._passed_over:,} that did not end well left out" if self._passed_over else ""
            notes.append(f"{self._made:,} examples of {self._rows:,} rows, one of each candidate{left}")
        return notes

    def _answers(self, candidates: Sequence[Said]) -> list[str] | Gap:
        if not candidates:
            return Gap.NO_ANSWER
        first, *others = candidates
        self._further += bool(others)
        answer = _text_alone(first)
        if not self._every:
            return answer if isinstance(answer, Gap) else [answer]
        good = [text for text in map(self._good, others) if text is not None]
        self._passed_over += len(others) - len(good)
        if isinstance(answer, Gap):
            return good or answer
        return [answer, *good]

    def _good(self, candidate: Said) -> str | None:
        text = _text_alone(candidate)
        if isinstance(text, Gap) or (candidate.finish_reason or _STOP).upper() != _STOP:
            return None
        return text if self._fits(text) else None


def _text_alone(candidate: Said) -> str | Gap:
    if candidate.parts is not None and any(map(_is_more, orjson.loads(candidate.parts))):
        return Gap.MORE_ANSWER
    return candidate.text if candidate.text and candidate.text.strip() else Gap.NO_ANSWER


def _is_more(part: Any) -> bool:
    """Whether a part that the model shows holds anything but text; a signature may stand alone."""
    if not isinstance(part, Mapping):
        return True
    return part.get("thought") is not True and "text" not in part and bool(part.keys() - _SAYS_NOTHING)
