"""`status` and `show`: what is in a run directory, whoever runs it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import voice, voice_options, width
from batcher.reports.rows import row_lines
from batcher.reports.status import status_json, status_lines


@click.command(short_help="How far a run is.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@voice_options
@click.pass_context
def status(ctx: click.Context, /, out: Path, **given: Any) -> int:
    """Say how far a run is: done, tokens, cost, who runs it."""
    found = engine_of(ctx).status(out)
    voice(given).result(status_lines(found, now=datetime.now(UTC)), status_json(found))
    return 0


@click.command(short_help="The last prompts and answers of a run.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-n", "count", default=5, show_default=True, type=click.IntRange(min=1), metavar="N", help="How many rows."
)
@click.option("--failed", is_flag=True, help="Only rows that did not end well.")
@voice_options
@click.pass_context
def show(ctx: click.Context, /, out: Path, count: int, *, failed: bool, **given: Any) -> int:
    """Print the last prompts with their answers, tokens and cost; a run may be under way.

    \b
      batcher show out/first
      batcher show out/first --failed -n 20                 what went wrong, and where
    """  # noqa: D301  click wants the character, not the letters
    rows = engine_of(ctx).last(out, count, failed=failed)
    lines = [line for row in rows for line in (*row_lines(row, width=width()), "")][:-1]
    voice(given).result(lines or ["no such rows"], {"rows": list(rows)})
    return 0
