"""Which columns can hold what is asked, and which shape does each make of a row?

A new shape is a member of `InputShape`, a line in `CARRIERS`, and the code in `rows/conversion.py` that asks with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batcher.job.spec import InputShape
from batcher.rows.chats import is_chat, is_sharegpt, split
from batcher.rows.jsontext import glimpsed

ID_KEYS = ("id", "key", "custom_id", "task_id")

# Fields of a GenerateContentRequest that may stand beside `contents` in a row, in both spellings. `labels` and `store`
# are left out: as names of a user's own column they are likelier than as request fields.
REQUEST_FIELDS = frozenset({
    "contents",
    "systemInstruction", "system_instruction",
    "generationConfig", "generation_config",
    "tools",
    "toolConfig", "tool_config",
    "safetySettings", "safety_settings",
    "cachedContent", "cached_content",
    "serviceTier", "service_tier",
    "model",
})  # fmt: skip

Samples = Sequence[Mapping[str, Any]]
Columns = Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A column that can hold what is asked.

    Attributes:
        key: the column.
        fits: whether a value can be asked with; JSON text counts as what it says.
        tell: which shapes the rows can be that carry it; more than one is for the user to decide.
        kinds: the shapes that the user may say it has.
        rank: only the carriers of the lowest rank among those found count.
        id_keys: where the name of a row may stand, likeliest first.
    """

    key: str
    fits: Callable[[Any], bool]
    tell: Callable[[Samples, Columns], Sequence[InputShape]]
    kinds: tuple[InputShape, ...]
    rank: int = 0
    id_keys: tuple[str, ...] = ID_KEYS

    def found_in(self, samples: Samples) -> bool:
        """Whether any row carries it."""
        values = [sample.get(self.key) for sample in samples]
        return any(self.fits(value) or self.fits(glimpsed(value)) for value in values)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_array(value: Any) -> bool:
    return isinstance(value, list)


def _is_asked(value: Any) -> bool:
    return isinstance(value, str) or is_chat(value)


def _is_body(value: Any) -> bool:
    return isinstance(value, Mapping) and ("messages" in value or "model" in value)


def _of_request(_: Samples, columns: Columns) -> Sequence[InputShape]:
    return (InputShape.GEMINI_BATCH,) if "key" in columns else (InputShape.VERTEX_BATCH,)


def _of_contents(samples: Samples, _: Columns) -> Sequence[InputShape]:
    """Contents that end with an answer are examples to learn from; where only some do, nobody can tell."""
    carried = [contents for sample in samples if isinstance(contents := glimpsed(sample.get("contents")), list)]
    answered = [bool(split(contents)[1]) for contents in carried if contents]
    if not any(answered):
        return (InputShape.CONTENTS,)
    return (InputShape.GEMINI_TUNING,) if all(answered) else (InputShape.CONTENTS, InputShape.GEMINI_TUNING)


def _of_chat(key: str) -> Callable[[Samples, Columns], Sequence[InputShape]]:
    def tell(samples: Samples, _: Columns) -> Sequence[InputShape]:
        is_theirs = any(is_sharegpt(glimpsed(sample.get(key))) for sample in samples)
        return (InputShape.SHAREGPT,) if is_theirs else (InputShape.MESSAGES,)

    return tell


def _of_prompt(_: Samples, columns: Columns) -> Sequence[InputShape]:
    if {"chosen", "rejected"} <= set(columns):
        return (InputShape.PREFERENCE,)
    return (InputShape.PROMPT_COMPLETION,) if "completion" in columns else (InputShape.PROMPT,)


def _of_input(_: Samples, columns: Columns) -> Sequence[InputShape]:
    """An `input` by itself could be anything; what it is asked for stands beside it."""
    if "ideal" in columns:
        return (InputShape.OPENAI_EVALS,)
    return (InputShape.INSPECT,) if "target" in columns else ()


def _always(kind: InputShape) -> Callable[[Samples, Columns], Sequence[InputShape]]:
    return lambda _samples, _columns: (kind,)


CARRIERS = (
    Carrier(
        key="request",
        fits=_is_object,
        tell=_of_request,
        kinds=(InputShape.GEMINI_BATCH, InputShape.VERTEX_BATCH),
        id_keys=("key", *ID_KEYS),
    ),
    Carrier(
        key="contents",
        fits=_is_array,
        tell=_of_contents,
        kinds=(InputShape.CONTENTS, InputShape.GEMINI_TUNING),
    ),
    Carrier(
        key="body",
        fits=_is_body,
        tell=_always(InputShape.OPENAI_BATCH),
        kinds=(InputShape.OPENAI_BATCH,),
        id_keys=("custom_id", *ID_KEYS),
    ),
    Carrier(
        key="messages",
        fits=is_chat,
        tell=_of_chat("messages"),
        kinds=(InputShape.MESSAGES, InputShape.SHAREGPT),
    ),
    Carrier(
        key="conversations",
        fits=is_chat,
        tell=_of_chat("conversations"),
        kinds=(InputShape.SHAREGPT, InputShape.MESSAGES),
    ),
    Carrier(
        key="prompt",
        fits=_is_asked,
        tell=_of_prompt,
        kinds=(InputShape.PREFERENCE, InputShape.PROMPT_COMPLETION, InputShape.PROMPT),
    ),
    Carrier(key="instruction", fits=_is_text, tell=_always(InputShape.ALPACA), kinds=(InputShape.ALPACA,)),
    Carrier(
        key="input",
        fits=_is_asked,
        tell=_of_input,
        kinds=(InputShape.OPENAI_EVALS, InputShape.INSPECT),
        rank=1,
    ),
    Carrier(key="text", fits=_is_text, tell=_always(InputShape.PROMPT), kinds=(InputShape.PROMPT,), rank=2),
)
"""Most specific first; the order is that of messages."""

ANSWERS = "response"
TELLING_COLUMNS = frozenset({carrier.key for carrier in CARRIERS} | {*ID_KEYS, ANSWERS})
"""The columns whose values tell a shape; of others only the name is looked at."""
