"""`recover`: bring back a run whose state or files are lost or damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import Watch, engine_of
from batcher.cli.say import Voice, voice, voice_options
from batcher.engine.recovered import AskedAgain, Confirm
from batcher.reports.recover import question, recovered_json, recovered_lines


@click.command(short_help="Bring back a run whose state or files are lost or damaged.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--yes", is_flag=True, help="Ask rows again that were paid for, without a question.")
@voice_options
@click.pass_context
def recover(ctx: click.Context, /, out: Path, *, yes: bool, **given: Any) -> int:
    """Mend a run directory: its state, parts and ledger. Nothing is sent; what is lost is asked by the next run.

    \b
      state lost     rebuilt from run.json, the input and the parts: finished parts count, the other rows are asked
      part lost or   rows that cannot be read are asked again by the next run; told with what they had cost, and
      damaged        done only when confirmed
      ledger lost    written again from the parts, as far as these know it
    \b
      batcher recover out/first
      batcher recover out/first --yes                       in a script
      cat rows.jsonl | batcher recover out/first            where the rows were piped in
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    watch = Watch(show=lambda _: None, log=said.narrate)
    found = engine_of(ctx).recover(out, confirm=_confirm(said, yes=yes), watch=watch)
    said.result(recovered_lines(found), recovered_json(found))
    return 0


def _confirm(said: Voice, *, yes: bool) -> Confirm:
    """Show the cost; then ask whoever sits there. Nobody does behind a pipe, and what takes JSON answers nothing."""

    def confirm(again: AskedAgain) -> bool:
        said.narrate(question(again))
        if yes:
            return True
        if said.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return click.confirm("go on?", default=False, err=True)

    return confirm
