"""Which pictures did a model make, and how are they a column? As `datasets` stores pictures, and stored once.

A picture leaves the `parts` of its candidate for the column `response_images`; in its place stands its name there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pyarrow as pa

from batcher.gemini.inline import from_base64
from batcher.gemini.mime import mime_of
from batcher.records import Answer, Candidate
from batcher.rows.features import IMAGES

Picture = tuple[bytes, str]
"""Its bytes, and its name: `<candidate>-<part>.<type>`, unique in its row."""


def pictures_apart(answers: Sequence[Answer]) -> tuple[list[Answer], list[list[Picture]]]:
    """Take the pictures out of answers: the answers without them, and the pictures of each."""
    left, taken = [], []
    for answer in answers:
        pictures: list[Picture] = []
        candidates = tuple(_without(candidate, pictures) for candidate in answer.candidates)
        left.append(replace(answer, candidates=candidates) if pictures else answer)
        taken.append(pictures)
    return left, taken


def images_column(rows: Sequence[Sequence[Picture]]) -> pa.Array:
    """The column `response_images`; empty lists where there are none."""
    return pa.array([[{"bytes": data, "path": name} for data, name in row] for row in rows], IMAGES)


def _without(candidate: Candidate, pictures: list[Picture]) -> Candidate:
    if candidate.parts is None:
        return candidate
    parts = orjson.loads(candidate.parts)
    before = len(pictures)
    kept = [_apart(part, f"{candidate.index}-{at}", pictures) for at, part in enumerate(parts)]
    return candidate if len(pictures) == before else replace(candidate, parts=orjson.dumps(kept).decode())


def _apart(part: Any, name: str, pictures: list[Picture]) -> Any:
    """Give a part back, without its picture if it has one.

    What is none by its bytes stays where it is, and so does a draft of the model's own, which is no part of its answer.
    """
    if isinstance(part, dict) and part.get("thought") is True:
        return part
    for key in ("inlineData", "inline_data"):
        held = part.get(key) if isinstance(part, dict) else None
        if not isinstance(held, dict) or (data := _picture(held.get("data"))) is None:
            continue
        name = f"{name}.{(mime_of(data) or '').partition('/')[2]}"
        pictures.append((data, name))
        return {**part, key: {**{field: held[field] for field in held if field != "data"}, "path": name}}
    return part


def _picture(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        data = from_base64(text)
    except ValueError:
        return None
    return data if (mime_of(data) or "").startswith("image/") else None
