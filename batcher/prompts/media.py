"""Which pictures, sounds and documents does a row bring, and where in its request do they stand?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batcher.errors import JobError
from batcher.gemini.inline import (
    TAKEN,
    Medium,
    Uploaded,
    from_bare_base64,
    from_base64,
    from_data_url,
    medium_of,
    openai_part,
    refuse_remote,
    shortened,
    uploaded,
)
from batcher.gemini.tokens import MediumTokens, medium_tokens
from batcher.job.spec import Job
from batcher.prompts.beneath import TooLongError, read_beneath
from batcher.prompts.template import Template
from batcher.records import Row
from batcher.rows.shapes import nearest

NAMES = ("image", "images", "audio", "pdf")
"""Columns that are media without being named in the job."""

# Stands for a medium, the n-th of its column, while a template is rendered. No JSON and no Parquet text can hold a lone
# surrogate.
_BEGINS, _ENDS = "\udc01", "\udc02"
_MARKS = re.compile("\udc01([0-9]+),([0-9]+)\udc02")


class TooLargeError(Exception):
    """A row's media do not fit into one request; the text is for the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSource:
    """What planning knows of an input's media.

    Attributes:
        texts: columns that hold text in every row, which may be paths or just words.
        root: the folder that paths are relative to; None when the input files lie in several.
    """

    texts: frozenset[str] = frozenset()
    root: Path | None = None


@dataclass(slots=True)
class Found:
    """The media of one row, column by column.

    Attributes:
        room_bytes: what else fits into the request, before base64.
    """

    room_bytes: int
    by_column: dict[str, list[Medium | Uploaded]] = field(default_factory=dict)

    def all(self) -> list[Medium | Uploaded]:
        """All of them, in the order of the columns."""
        return [medium for media in self.by_column.values() for medium in media]

    def tokens(self) -> MediumTokens:
        """What those cost whose bytes are here, likely and at most."""
        here = [medium for medium in self.all() if isinstance(medium, Medium)]
        each = [medium_tokens(medium.mime_type, medium.data, len(medium.data)) for medium in here]
        return MediumTokens(sum(one.likely for one in each), sum(one.bound for one in each))


def media_columns(
    job: Job, columns: Collection[str], texts: Collection[str], template: Template | None
) -> tuple[str, ...]:
    """Say which columns are media: those that the job names, else those that are called so.

    A column of text that the template prints is printed, whatever it is called.

    Raises:
        JobError: a column that the job names is not there.
    """
    named = job.prompt.media
    if named is None:
        printed = template.named if template is not None else frozenset()
        return tuple(name for name in columns if name in NAMES and not (name in texts and name in printed))
    for name in named:
        if columns and name not in columns:
            raise JobError(
                f"[prompt] media: column {name!r} not found{nearest(name, columns)}",
                hint=f"its columns: {', '.join(columns)}",
            )
    return named


class Media:
    """Reads the media columns of rows.

    Args:
        job: complete.
        columns: from `media_columns`, in the order in which media are sent.
        source: what planning knows.
    """

    def __init__(self, job: Job, columns: Sequence[str], source: MediaSource) -> None:
        self.columns = tuple(columns)
        self._root = source.root
        self._optional = job.prompt.media_optional
        self._doubt = "; prompt.media = [] if it is none" if job.prompt.media is None else ""
        self._after = job.prompt.media_place == "after"
        self._most_bytes = job.limits.max_request_bytes

    def marked(self, row: Row) -> Row:
        """The row for a template: a mark in place of each medium, so that it stands where it is printed."""
        marks = {name: _marks(at, row.values.get(name)) for at, name in enumerate(self.columns)}
        return row._replace(values={**row.values, **marks})

    def read(self, row: Row) -> Found:
        """Read what a row brings.

        Raises:
            ValueError: a value is no medium, or there is none at all; the text says which column.
            TooLargeError: they do not fit into one request.
        """
        found = Found(self._most_bytes * 3 // 4)
        for name in self.columns:
            try:
                found.by_column[name] = list(self._media(row.values.get(name), found))
            except ValueError as error:
                raise ValueError(f"column {name!r}: {error}") from None
            except TooLongError as error:
                raise TooLargeError(
                    f"column {name!r}: its media have {error.size_bytes:,} bytes and more;"
                    f" a request takes {self._most_bytes:,}, base64 and all (limits.max_request_bytes)"
                ) from None
        if not self._optional and not found.all():
            columns = " and ".join(map(repr, self.columns))
            raise ValueError(f"no medium in {columns} (prompt.media_optional = true asks without)")
        return found

    def parts(self, prompt: str, found: Found) -> list[dict[str, Any]]:
        """Order text and media: a medium stands where the template printed it, else before the text or after it.

        Of a column that is printed in part, e.g. `{{ images[0] }}`, nothing else is sent.
        """
        pieces = _MARKS.split(prompt)
        printed = {int(at) for at in pieces[1::3]}
        rest = [_part(each) for at, media in enumerate(found.by_column.values()) if at not in printed for each in media]
        parts = [{"text": pieces[0]}] if pieces[0] else []
        for at, n, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            try:
                parts.append(_part(found.by_column[self.columns[int(at)]][int(n)]))
            except LookupError:  # the row's own text looks like a mark of ours
                raise ValueError("its text has lone surrogates, which cannot be sent") from None
            parts += [{"text": text}] if text else []
        return [*parts, *rest] if self._after else [*rest, *parts]

    def placed(self, contents: list[dict[str, Any]], found: Found) -> list[dict[str, Any]]:
        """Put media into contents.

        They go where a place waits for one (`gemini.inline.PLACE`), in order, else into the first turn of the user.

        Raises:
            ValueError: there are places, and not as many as media.
        """
        parts = [_part(medium) for medium in found.all()]
        places = sum(_is_place(part) for content in contents for part in content["parts"])
        if places and places != len(parts):
            columns = ", ".join(map(repr, self.columns))
            raise ValueError(f"{places} places for media in the contents, and {len(parts)} media in {columns}")
        if places:
            left = iter(parts)
            return [
                {**content, "parts": [next(left) if _is_place(part) else part for part in content["parts"]]}
                for content in contents
            ]
        first = next((at for at, content in enumerate(contents) if content.get("role", "user") == "user"), 0)
        own = contents[first]["parts"]
        filled = {**contents[first], "parts": [*own, *parts] if self._after else [*parts, *own]}
        return [*contents[:first], filled, *contents[first + 1 :]]

    def _media(self, value: Any, found: Found) -> Iterator[Medium | Uploaded]:
        for each in value if isinstance(value, list) else (value,):
            if not _is_nothing(each):
                yield self._medium(each, found)

    def _medium(self, value: Any, found: Found) -> Medium | Uploaded:
        if isinstance(value, Mapping):
            if not value.keys().isdisjoint(_ADDRESSES):
                return uploaded(value)
            value = _held(value)
        if isinstance(value, str):
            medium = self._of_text(value, found.room_bytes)
        elif isinstance(value, bytes):
            medium = medium_of(value)
        else:
            decoded = " of numbers, decoded already" if isinstance(value, list) else ""
            raise ValueError(f"found {type(value).__name__}{decoded}; {_WANTED}")  # noqa: TRY004  a row's fault
        found.room_bytes -= len(medium.data)
        if found.room_bytes < 0:
            raise TooLongError(self._most_bytes * 3 // 4 - found.room_bytes)
        return medium

    def _of_text(self, text: str, room_bytes: int) -> Medium:
        if text[:5].lower() == "data:":
            return from_data_url(text)
        return from_bare_base64(text) or self._file(text, room_bytes)

    def _file(self, path: str, room_bytes: int) -> Medium:
        refuse_remote(path)
        if self._root is None:
            raise ValueError(f"{shortened(path)}: the input files lie in several folders; say input.media_root")
        try:
            return medium_of(read_beneath(self._root, path, most_bytes=room_bytes))
        except ValueError as error:
            raise ValueError(f"{shortened(path)}: {error}{self._doubt}") from None


_WANTED = f"wanted {TAKEN} as bytes, as a path, as a data: URL, as {{bytes, path}}, or {{file_uri, mime_type}}"
_ADDRESSES = frozenset({"file_uri", "fileUri"})


class _Marks(Sequence[str]):
    """The media of a list, for a template: each by its number, or all of them where the list is printed."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._all = marks

    def __str__(self) -> str:
        return "".join(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, at: Any) -> Any:
        return self._all[at]


def _mark(column: int, n: int) -> str:
    return f"{_BEGINS}{column},{n}{_ENDS}"


def _marks(column: int, value: Any) -> Any:
    if not isinstance(value, list):
        return None if _is_nothing(value) else _mark(column, 0)
    return _Marks([_mark(column, n) for n in range(sum(not _is_nothing(each) for each in value))])


def _part(medium: Medium | Uploaded) -> dict[str, Any]:
    """Write a canonical part, but for its bytes; see `gemini/splice.py`."""
    if isinstance(medium, Uploaded):
        told = {"mime_type": medium.mime_type, "file_uri": medium.file_uri}
        return {"file_data": {name: value for name, value in told.items() if value is not None}}
    return {"inline_data": {"mime_type": medium.mime_type, "data": medium.data}}


def part_alone(item: Mapping[str, Any]) -> dict[str, Any]:
    """Make a part of a chat beside which no column brings media; see `gemini.inline.openai_part`.

    Raises:
        ValueError: it waits for one, or cannot be sent.
    """
    part = openai_part(item)
    if _is_place(part):
        raise ValueError("a place for a medium, and no column of media; prompt.media names one")
    return part


def _is_place(part: Mapping[str, Any]) -> bool:
    return part.get("inline_data") == {}


def _is_nothing(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping) and bool(value) and all(held is None for held in value.values())
    )


def _held(value: Mapping[str, Any]) -> Any:
    """Give what `{bytes, path}` holds, as Hugging Face stores a medium: the bytes where there are any, else the path.

    JSON has no bytes, so there they are base64.
    """
    data, path = value.get("bytes"), value.get("path")
    if isinstance(data, str):
        return from_base64(data)
    if data is not None or path is not None:
        return path if data is None else data
    if "array" in value:
        raise ValueError("found a sound that was decoded already; wanted {bytes, path}, from Audio(decode=False)")
    raise ValueError(f"found an object of {', '.join(map(repr, value)) or 'nothing'}; {_WANTED}")
