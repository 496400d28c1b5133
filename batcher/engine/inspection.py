"""What has a look at an input found? A value that nothing heavy has to be loaded for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batcher.errors import UserError
from batcher.job.spec import InputShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One input file.

    Attributes:
        container: `jsonl`, `csv.gz`, …
        size_bytes: as it lies on disk.
    """

    name: str
    container: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a look at the first rows has found.

    Attributes:
        shape: None where it cannot be told; `error` then says why.
        rows: that were looked at.
        bad_rows: of which cannot be read.
        columns: name and type of each column of the input.
        id_key, prompt_key, reference_key: the columns that name a row, are asked and hold its known answer.
        request: the first request, as it would be sent; None where no row can be asked.
        where: the row that it was made from.
        problem: why the first row cannot be asked.
        notes: one line for each surprise.
        ambiguous: the shapes to choose from.
        error: what keeps the input from being run.
    """

    files: tuple[Looked, ...]
    rows: int
    columns: tuple[tuple[str, str], ...]
    shape: InputShape | None = None
    bad_rows: int = 0
    id_key: str | None = None
    prompt_key: str | None = None
    reference_key: str | None = None
    request: Mapping[str, Any] | None = None
    where: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    ambiguous: tuple[InputShape, ...] = ()
    error: UserError | None = None
