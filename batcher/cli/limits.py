"""`limits`: what the runs of this machine have learnt of an endpoint's limits, and what they have used of today."""

from __future__ import annotations

from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import voice, voice_options
from batcher.reports.hostlimits import forgotten_json, forgotten_lines, known_json, known_lines


@click.command(short_help="What is known of an endpoint's limits.")
@click.argument("owner", required=False, metavar="[OWNER]")
@click.option("--forget", is_flag=True, help="Drop what was learnt, all of it or of OWNER.")
@voice_options
@click.pass_context
def limits(ctx: click.Context, /, owner: str | None, *, forget: bool, **given: Any) -> int:
    """Say what endpoints have told of their limits, and how many requests were sent today, by all runs of this machine.

    OWNER is whose quotas they are, as the list names it: endpoint, project or mark of the key, model.

    \b
      batcher limits
      batcher limits --forget                               they were raised: learn them again
    """  # noqa: D301  click wants the character, not the letters
    engine = engine_of(ctx)
    if forget:
        dropped = engine.forget(owner)
        voice(given).result(forgotten_lines(dropped), forgotten_json(dropped))
        return 0
    found = engine.known()
    found = found if owner is None else found.of(owner)
    voice(given).result(known_lines(found), known_json(found))
    return 0
