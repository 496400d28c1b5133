"""What did the model answer? The first rows of a run, in input order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batcher.store.reading import part_file

_COLUMNS = (
    "id",
    "prompt",
    "status",
    "response",
    "finish_reason",
    "error_kind",
    "error_message",
    "input_tokens",
    "output_tokens",
    "cost_usd",
)


def first_rows(out: Path, count: int) -> list[dict[str, Any]]:
    """Read the first rows of what is sealed so far.

    Args:
        out: the run directory.
        count: how many.
    """
    rows: list[dict[str, Any]] = []
    for path in sorted((out / "data").glob("*.parquet")):
        with part_file(path) as part:
            known = [name for name in _COLUMNS if name in part.schema_arrow.names]
            for batch in part.iter_batches(batch_size=count, columns=known):
                rows += batch.to_pylist()
                if len(rows) >= count:
                    return rows[:count]
    return rows
