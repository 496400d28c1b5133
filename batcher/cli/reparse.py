"""`reparse`: what a run's kept replies say to the parser of today."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.export import progress_of
from batcher.cli.say import voice, voice_options
from batcher.reports.reparse import reparse_json, reparse_lines


@click.command(short_help="Read a run's kept replies again.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@voice_options
@click.pass_context
def reparse(ctx: click.Context, /, out: Path, *, dry_run: bool, **given: Any) -> int:
    """Read the raw replies that a run has kept again, after a fix; nothing is sent, nothing is paid.

    What is made of a reply is made anew: answers, parsed JSON, status, tokens, cost. Rows without their reply stay as
    they are; so does a part in which nothing differs. Replies are kept with output.raw = true, and of rows that are in
    no part yet.

    \b
      batcher reparse out/first --dry-run
      batcher reparse out/first
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    found = engine_of(ctx).reparse(out, dry_run=dry_run, progress=progress_of(said, time.monotonic))
    said.result(reparse_lines(found), reparse_json(found))
    return 0
