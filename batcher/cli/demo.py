"""`demo`: the emulator and the first job in one process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.run import close
from batcher.cli.say import Voice, voice, voice_options, width
from batcher.cli.watching import watching
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.errors import InputError, JobError
from batcher.job.find import packaged_jobs
from batcher.job.key import Secret
from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.reports.answers import first_rows
from batcher.reports.rows import row_lines

_JOB = "hello"
_SEED = 7
_LATENCY = Latency.between(0.05, 0.25)  # long enough to look real, short enough to watch
_ROWS_SHOWN = 3


@click.command(short_help="See it work in a minute, without a key.")
@click.option("-o", "--out", default="out/demo", show_default=True, type=click.Path(path_type=Path), metavar="OUT")
@click.option("--fresh", is_flag=True, help="Remove the demo of before and start again.")
@voice_options
@click.pass_context
def demo(ctx: click.Context, /, out: Path, *, fresh: bool, **given: Any) -> int:
    """Run the first job against the emulator: twenty prompts, no key, no network, no cost.

    \b
      batcher demo
      batcher demo --fresh
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    if fresh:
        _remove(out)
    with Emulator(Settings(seed=_SEED, latency=_LATENCY)).in_thread() as emulator:
        said.narrate(f"asking the emulator on {emulator.url}; costs are what Gemini would take")
        key = Secret("demo", source="the demo")
        with watching(said) as watch:
            summary = engine_of(ctx).run(_job(emulator.url, out), key=key, out=out, limit=None, watch=watch)
    _show_rows(said, out)
    return close(ctx, said, summary)


def _job(url: str, out: Path) -> Job:
    path = packaged_jobs().get(_JOB)
    if path is None:
        raise JobError(f"the job {_JOB!r} did not come with this installation", hint="batcher run JOB.toml")
    flags = {"endpoint.provider": "google", "endpoint.base_url": url, "output.dir": str(out)}
    return load_job(path, flags=flags, sets=(), environ={}).job


def _remove(out: Path) -> None:
    """Remove a run directory, and nothing that is none."""
    if not out.exists():
        return
    if not (out / "run.json").is_file():
        raise InputError(f"{out}: not a run directory, so it is not removed", hint="choose another one with -o OUT")
    shutil.rmtree(out)


def _show_rows(said: Voice, out: Path) -> None:
    if said.quiet:
        return
    for row in first_rows(out, _ROWS_SHOWN):
        click.echo("\n".join([*row_lines(row, width=width()), ""]))
