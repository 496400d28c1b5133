"""What does a row of a known shape ask, and what is its known answer? Values in, a request or a text out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import orjson

from batcher.job.spec import InputShape
from batcher.rows.carriers import REQUEST_FIELDS
from batcher.rows.chats import Medium, answer_text, chat_request, is_chat, no_medium, split
from batcher.rows.jsontext import decoded, decoded_object, glimpsed
from batcher.rows.openai_batch import batch_request, unmapped
from batcher.rows.shapes import Shape

Values = Mapping[str, Any]

_BROUGHT = frozenset({InputShape.GEMINI_BATCH, InputShape.VERTEX_BATCH, InputShape.CONTENTS, InputShape.GEMINI_TUNING})
_CHATS = frozenset({InputShape.MESSAGES, InputShape.SHAREGPT})


def columns_of(shape: Shape, columns: Collection[str]) -> frozenset[str]:
    """Give the columns that asking needs, of those that there are."""
    if shape.kind in (InputShape.CONTENTS, InputShape.GEMINI_TUNING):
        return REQUEST_FIELDS.intersection(columns)
    wanted = frozenset({shape.prompt_key} if shape.prompt_key is not None else ())
    return wanted | {"input"}.intersection(columns) if shape.kind is InputShape.ALPACA else wanted


def brings_request(shape: Shape) -> bool:
    """Say whether every row is more than a text: a request, or a chat."""
    return shape.kind in _BROUGHT or shape.kind in _CHATS or shape.kind is InputShape.OPENAI_BATCH


def needs_folding(shape: Shape) -> bool:
    """Say whether the requests of `request_of` still have to be folded: those of chats are canonical as made here."""
    return shape.kind in _BROUGHT or shape.kind is InputShape.OPENAI_BATCH


def request_of(shape: Shape, values: Values, *, medium: Medium = no_medium) -> Mapping[str, Any]:
    """Give the fields of the GenerateContentRequest that a row stands for, in either spelling; maybe with a `model`.

    Args:
        shape: whose rows bring a request; of the others, a row whose prompt is a chat.
        values: of the row.
        medium: makes parts of what a chat holds that is no text.

    Raises:
        ValueError: the row asks nothing that can be sent; the text says where, what was found and what was wanted.
    """
    key = shape.prompt_key or "request"
    if shape.kind in (InputShape.CONTENTS, InputShape.GEMINI_TUNING):
        # A table of texts has no other word for an absent field than an empty one.
        fields = {name: value for name in REQUEST_FIELDS if (value := values.get(name)) not in (None, "")}
        if shape.kind is InputShape.GEMINI_TUNING:
            fields["contents"] = _unanswered(fields.get("contents"))
        return fields
    if shape.kind in _BROUGHT:
        return decoded_object(key, values.get(key))
    if shape.kind is InputShape.OPENAI_BATCH:
        return batch_request(decoded_object(key, values.get(key)), medium=medium)
    turns = decoded(key, values.get(key))
    if shape.kind in _CHATS and is_chat(turns):
        turns, _ = split(turns)
    return chat_request(turns, where=key, medium=medium)


def text_of(shape: Shape, values: Values) -> str:
    """Give the text that a row asks.

    Raises:
        ValueError: there is none.
    """
    if shape.kind is not InputShape.ALPACA:
        return _text(shape.prompt_key, values)
    instruction, context = _text(shape.prompt_key, values), values.get("input")
    if context is None or context == "":
        return instruction
    return f"{instruction}\n\n{_text('input', values)}"


def reference_of(shape: Shape, values: Values) -> str | None:
    """Give the known answer of a row; None where it has none. What is no text is given as JSON."""
    if shape.reference_key is None:
        return None
    value = values.get(shape.reference_key)
    if shape.kind in _CHATS or shape.kind is InputShape.GEMINI_TUNING:
        turns = glimpsed(value)
        return answer_text(split(turns)[1]) if isinstance(turns, list) else None
    if value is None or isinstance(value, str):
        return value
    return answer_text(value) if is_chat(value) else orjson.dumps(value, default=str).decode()


def auditor_of(shape: Shape) -> Callable[[Values], Iterator[str]] | None:
    """Give what names the parts of a row that cannot be sent; None for a shape that sends all it knows."""
    if shape.kind is not InputShape.OPENAI_BATCH:
        return None
    key = shape.prompt_key or "body"

    def audit(values: Values) -> Iterator[str]:
        body = glimpsed(values.get(key))
        return unmapped(body) if isinstance(body, Mapping) else iter(())

    return audit


def _unanswered(contents: Any) -> Any:
    turns = decoded("contents", contents)
    return split(turns)[0] if isinstance(turns, list) else turns


def _text(key: str | None, values: Values) -> str:
    text = values.get(key) if key is not None else None
    if isinstance(text, str):
        return text
    if text is None:
        raise ValueError(f"column {key!r} is {'null' if key in values else 'missing'}")
    raise ValueError(f"column {key!r}: wanted text, found {orjson.dumps(text, default=str).decode()[:80]}")
