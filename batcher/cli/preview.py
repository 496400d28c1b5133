"""`run --show`: the rows that were asked, one by one, and what all of them would come to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import TYPED, Voice, colour, width
from batcher.engine.outlook import Forecast
from batcher.engine.progress import Summary
from batcher.errors import BatcherError
from batcher.job.load import Loaded
from batcher.reports.answers import first_rows
from batcher.reports.forecast import forecast_json, full_run
from batcher.reports.panels import row_panels
from batcher.rows.readers import STDIN

_ROWS_SHOWN = 5  # without --limit


def show_rows(
    ctx: click.Context, said: Voice, loaded: Loaded, summary: Summary, *, limit: int | None
) -> dict[str, Any]:
    """Print the first rows of a run and, after a preview, what the full run would come to.

    Returns:
        The same for `--json`: `shown`, and `full_run` with the fields of `batcher plan --json`.
    """
    rows = first_rows(Path(summary.run_dir), limit or _ROWS_SHOWN)
    shown = row_panels(rows, width=width(), colour=colour())
    said.print(["", *shown, *([""] if shown and shown[-1] else [])])
    document: dict[str, Any] = {"shown": rows}
    if limit is None:
        return document
    command = full_command(ctx.meta.get(TYPED, ()))
    found = _forecast(ctx, said, loaded)
    if found is not None:
        said.print([full_run(found), ""])
    return document | {"full_run": found and forecast_json(found, next_command=command)}


def full_command(typed: Sequence[str]) -> str:
    """The command that asks all rows, of one that asked the first."""
    words, skip = [], False
    for word in typed:
        if not skip and word != "--show" and not word.startswith("--limit"):
            words.append(word)
        skip = word == "--limit"
    return shlex.join(["batcher", *words])


def _forecast(ctx: click.Context, said: Voice, loaded: Loaded) -> Forecast | None:
    """The full run, after its preview has taught us; None when it is unknown or would be refused, which is said."""
    if STDIN in loaded.job.input.files:
        said.narrate("note: of the full run nothing is known: standard input was read once; batcher plan reads it, too")
        return None
    try:
        return engine_of(ctx).forecast(loaded, out=Path(loaded.job.output.dir or ""), limit=None)
    except BatcherError as error:
        said.narrate(f"note: of the full run: {error.message}")
        return None
