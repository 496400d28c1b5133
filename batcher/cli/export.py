"""`export`: a run in somebody else's format."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import Voice, voice, voice_options
from batcher.datasets.order import CHOICES, Exported, Format, Order
from batcher.errors import UserError
from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.reports.export import export_json, export_lines, progress_line

_EVERY_S = 10.0
_ALL = "all"


def _where(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    for value in values:
        if not re.match(r"[^=]+=", value):
            raise click.BadParameter(f"found {value!r}, wanted COLUMN=VALUE")
    return dict(value.split("=", 1) for value in values)


def _columns(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (value or "").split(",") if name.strip()))


@click.command(short_help="A run in somebody else's format.")
@click.argument("out", type=click.Path(path_type=Path, exists=True), metavar="OUT")
@click.option(
    "--to", required=True, type=click.Choice([str(each) for each in Format]), help="For what.", metavar="FORMAT"
)
@click.option("-o", "--out", "target", required=True, metavar="FILE", help="Where to; - is standard output.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([*CHOICES, _ALL]),
    help="Which rows; repeatable.  [default: ok; csv: all; gemini-batch: failed and open]",
)
@click.option("--columns", callback=_columns, metavar="A,B", help="csv: these; trl-sft: these beside messages.")
@click.option(
    "--where", multiple=True, callback=_where, metavar="COLUMN=VALUE", help="Only rows that say so; repeatable."
)
@click.option(
    "--candidates",
    type=click.Choice(["first", _ALL]),
    default="first",
    show_default=True,
    help="Where a row has several: an example of which.",
)
@click.option("--force", is_flag=True, help="Replace FILE.")
@voice_options
@click.pass_context
def export(  # noqa: PLR0913  one a flag
    ctx: click.Context, /, out: Path, to: str, target: str, statuses: tuple[str, ...], *, force: bool, **given: Any
) -> int:
    """Write the rows of a run as what others read; the run may be under way.

    \b
      trl-sft        messages for TRL and most trainers: .parquet or .jsonl
      openai-sft     OpenAI fine-tuning: .jsonl
      gemini-tuning  Gemini tuning: .jsonl
      sharegpt       conversations of from and value: .jsonl
      gemini-batch   requests still to be answered, for the Batch API: .jsonl; OUT may also be a JOB.toml
      csv            for spreadsheets: .csv
    \b
      batcher export out/first --to trl-sft -o train.parquet
      batcher export out/first --to csv -o rows.csv --columns id,status,cost_usd
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    if target == "-" and said.as_json:
        raise UserError("--json and -o - both want standard output; wanted one of the two")
    order = Order(
        to=Format(to),
        target=None if target == "-" else Path(target),
        statuses=_wanted(statuses, to),
        columns=given["columns"],
        where=given["where"],
        force=force,
        every_candidate=given["candidates"] == _ALL,
    )
    engine = engine_of(ctx)
    stdout = sys.stdout.buffer
    progress = progress_of(said, time.monotonic)
    if out.is_dir():
        exported = engine.export(out, order, stdout=stdout, progress=progress)
    else:
        exported = engine.export_job(_job(out, order), order, stdout=stdout, progress=progress)
    _say(said, exported)
    return 0


def _job(path: Path, order: Order) -> Job:
    if order.to is not Format.GEMINI_BATCH:
        raise UserError(
            f"{path}: is a file; {order.to} wants a run directory with answers in it",
            hint=f"batcher run {path}, then batcher export OUT --to {order.to}",
        )
    return load_job(path, flags={}, sets=(), environ=os.environ).job


def _say(said: Voice, exported: Exported) -> None:
    lines = export_lines(exported)
    if exported.target != "-":
        said.result(lines, export_json(exported))
        return
    for line in (lines[0], *(line for line in lines if line.startswith("note: "))):
        said.narrate(line)


def _wanted(statuses: tuple[str, ...], to: str) -> frozenset[str]:
    """Read `--status`; `all` is every status that the format can have."""
    if _ALL not in statuses:
        return frozenset(statuses)
    return frozenset(CHOICES) if to == Format.GEMINI_BATCH else frozenset(CHOICES[:-1])


def progress_of(said: Voice, now: Callable[[], float]) -> Callable[[int, int], None]:
    """Say now and then how far it is."""
    last = now()

    def progress(seen: int, tasks: int) -> None:
        nonlocal last
        if now() - last >= _EVERY_S:
            last = now()
            said.narrate(progress_line(seen, tasks))

    return progress
