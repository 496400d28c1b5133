"""What was said before the answers of a row? All that was asked, as turns of text.

`data/` has the rendered prompt (of a row that brought `contents`, the text of its last user turn). Where that is not
all that was asked, the request itself is made again from the input.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from batcher.errors import BatcherError
from batcher.gemini.canonical import canonical
from batcher.records import Problem, Request

Message = dict[str, str]
"""`role` (system, user or assistant) and `content`."""

_ROLES = {"user": "user", "model": "assistant"}
_LACKS = "what is left is `prompt` and the job's system instruction"
_TEXT_FIELDS = frozenset({"text", "thought", "thought_signature"})


class Gap(enum.StrEnum):
    """Why a row is no conversation in text; the words of the report."""

    NO_ANSWER = "without text in the answer"
    MORE_ANSWER = "with media or calls in the answer"
    NO_PROMPT = "whose prompt was not stored"
    NO_TEXT = "with media or calls in the prompt"


class Asked(NamedTuple):
    """What the plan asks for one row of the input.

    Attributes:
        id: as in `data/`.
        made: the request, or why there is none.
    """

    ordinal: int
    id: str
    made: Request | Problem


class Answered(NamedTuple):
    """The columns of one row of `data/` that say what was asked."""

    ordinal: int
    prompt: str | None
    request_hash: bytes | None


COLUMNS = Answered._fields


class Turns:
    """Says what was asked before an answer, from the cheapest source that is proven right by the row's `request_hash`.

    Where asking the stored prompt under the job's own settings gives that hash, the prompt is all there was. Else the
    request is made again from the input. Where that is gone or different, what is stored has to do; `notes` says so.

    Args:
        system: the job's instruction, the same for every row; None when there is none.
        proof: prompt -> the hash that asking it as one text gives; None when it cannot be asked.
    """

    def __init__(self, system: str | None, proof: Callable[[str], bytes | None]) -> None:
        self._before: list[Message] = [{"role": "system", "content": system}] if system else []
        self._proof = proof
        self._asked: Iterator[Asked] = iter(())
        self._current: Asked | None = None
        self._why = ""
        self._lost = 0
        self._other = 0

    def take(self, asked: Iterator[Asked]) -> None:
        """Go on with the rows of another block; they are only read when a row needs them."""
        self._asked, self._current = asked, None

    def of(self, row: Answered) -> list[Message] | Gap:
        """Give what was said before the answer."""
        if row.prompt is not None and self._proof(row.prompt) == row.request_hash:
            return self._stored(row.prompt)
        asked = self._find(row.ordinal)
        made = asked.made if asked is not None else None
        if isinstance(made, Request):
            if made.request_hash == row.request_hash:
                return _turns_of_body(made.body)
            if made.prompt is not None and made.prompt == row.prompt:
                self._other += 1
                return _turns_of_body(made.body)
        if row.prompt is None:
            return Gap.NO_PROMPT
        self._lost += 1
        return self._stored(row.prompt)

    def notes(self) -> list[str]:
        """Say which rows are not what was asked, and why."""
        notes = []
        if self._lost:
            rows, they = _rows(self._lost), "it was" if self._lost == 1 else "they were"
            why = f" ({self._why})" if self._why else ""
            notes.append(f"{rows} could not be made again as {they} asked{why}: {_LACKS}")
        if self._other:
            rows, were, their = _rows(self._other), *(("was", "its") if self._other == 1 else ("were", "their"))
            notes.append(f"{rows} {were} retried with other settings: {their} system instruction is the run's")
        return notes

    def _stored(self, prompt: str) -> list[Message]:
        return [*self._before, {"role": "user", "content": prompt}]

    def _find(self, ordinal: int) -> Asked | None:
        try:
            while self._current is None or self._current.ordinal < ordinal:
                self._current = next(self._asked)
        except StopIteration:
            return None
        except BatcherError as error:
            self._why, self._asked = error.message, iter(())
            return None
        return self._current if self._current.ordinal == ordinal else None


def turns_of(request: Mapping[str, Any]) -> list[Message] | Gap:
    """Read the turns of a canonical request, its system instruction first.

    Thoughts are left out. A turn that holds anything but text makes the whole row a gap: without its picture the answer
    would teach something else.
    """
    spoken = [(content.get("role") or "user", content["parts"]) for content in request["contents"]]
    if "system_instruction" in request:
        spoken.insert(0, ("system", request["system_instruction"]["parts"]))
    turns: list[Message] = []
    for role, parts in spoken:
        text = _text(parts)
        known = "system" if not turns and role == "system" else _ROLES.get(role)
        if text is None or known is None:
            return Gap.NO_TEXT
        turns.append({"role": known, "content": text})
    return turns


def _text(parts: Sequence[Mapping[str, Any]]) -> str | None:
    if any("text" not in part or part.keys() - _TEXT_FIELDS for part in parts):
        return None
    return "".join(part["text"] for part in parts if not part.get("thought"))


def _turns_of_body(body: bytes) -> list[Message] | Gap:
    return turns_of(canonical(orjson.loads(body)))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
