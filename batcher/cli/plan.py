"""`plan`: what a run would do, take and cost; nothing is sent."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.run import flags_of, run
from batcher.cli.say import TYPED, colour, voice, width
from batcher.engine.outlook import Forecast
from batcher.job.load import load_job
from batcher.reports.forecast import forecast_json, forecast_lines

_NOT_OF_PLAN = frozenset({"show"})
_ONLY_OF_PLAN = frozenset({"-v", "--verbose", "--json", "-q", "--quiet", "--debug"})


@click.command(
    short_help="What a run would do and cost; sends nothing.",
    params=[param for param in run.params if param.name not in _NOT_OF_PLAN],  # what `run` takes, `plan` takes
)
@click.pass_context
def plan(ctx: click.Context, /, job: Path | None, sets: tuple[str, ...], limit: int | None, **given: Any) -> int:
    """Say what a run would do: rows, the first prompt, tokens, cost, time, and which quota holds it back.

    Nothing is sent and nothing is written. Estimates are ranges that say where they come from; a few answers teach
    them: batcher run … --limit 5.

    \b
      batcher plan jobs/hello/job.toml
      batcher plan -i prompts.jsonl -m gemini-2.5-flash --json
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    loaded = load_job(job, flags=flags_of(given), sets=sets, environ=os.environ)
    forecast = engine_of(ctx).forecast(loaded, out=Path(loaded.job.output.dir or ""), limit=limit)
    next_command = _next(ctx.meta.get(TYPED, ()), forecast)
    lines = forecast_lines(
        forecast, next_command=next_command, width=width(), colour=colour(), all_settings=said.verbose
    )
    said.result(lines, forecast_json(forecast, next_command=next_command))
    return 0


def _next(typed: Sequence[str], forecast: Forecast) -> str:
    """The run of this plan; of its first rows only, where nobody has seen an answer yet.

    What is done already is looked at; where no row can be asked, the plan is what to type again once they are mended.
    """
    if forecast.left == 0 and forecast.resume is not None:
        return shlex.join(["batcher", "show", forecast.run_dir])
    if forecast.first is None:
        return shlex.join(["batcher", *typed])
    words = [word for word in typed[1:] if word not in _ONLY_OF_PLAN]
    is_limited = any(word.partition("=")[0] == "--limit" for word in words)
    unseen = forecast.resume is None and forecast.assumed.output_from.startswith("a guess") and not is_limited
    return shlex.join(["batcher", "run", *words, *(("--limit", "5", "--show") if unseen else ())])
