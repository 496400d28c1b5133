"""`audit`: is a run directory as it says it is?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import colour, voice, voice_options, width
from batcher.reports.audit import audit_json, audit_lines, progress_line

_EVERY_S = 10.0


@click.command(short_help="Prove that a run directory is as it says.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@voice_options
@click.pass_context
def audit(ctx: click.Context, /, out: Path, **given: Any) -> int:
    """Prove what a run directory says, finished or not, by code that had no part in writing it.

    Every task once and in order; every byte and page as it was written; usage and cost of each row, of the ledger and
    of run.json the same to the last digit, and computed again from prices.json; the journal of what is in no part yet.
    Nothing is changed. A run that goes on meanwhile is looked at as far as its parts go. Exit code 0: what is there is
    right; 6: something is not, and each line says what; 2: not a run directory.

    \b
      batcher audit out/first
      batcher audit out/first --json
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    last = time.monotonic()

    def progress(seen: int, parts: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            said.narrate(progress_line(seen, parts))

    found = engine_of(ctx).audit(out, progress=progress)
    said.result(audit_lines(found, width=width(), colour=colour()), audit_json(found))
    return found.exit_code
