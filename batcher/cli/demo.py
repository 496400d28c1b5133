"""`demo`: the emulator and a job, the first one unless another is named, in one process."""

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
from batcher.job.find import FIRST_JOB, find_job, packaged_jobs
from batcher.job.key import Secret
from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.reports.answers import first_rows
from batcher.reports.rows import row_lines

_OUT = Path("out/demo")
_SEED = 7
_LATENCY = Latency.between(0.05, 0.25)  # long enough to look real, short enough to watch
_ROWS_SHOWN = 3


@click.command(short_help="See it work in a minute, without a key.")
@click.argument("job", required=False, type=click.Path(path_type=Path), metavar="[JOB.toml]")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="OUT", help="[default: out/demo, or OUT.demo]")
@click.option("--fresh", is_flag=True, help="Remove the demo of before and start again.")
@voice_options
@click.pass_context
def demo(ctx: click.Context, /, job: Path | None, out: Path | None, *, fresh: bool, **given: Any) -> int:
    """Run a job against the emulator, the first one of twenty prompts if none is named: no key, no network, no cost.

    The answers are made up. What a job of yours is told goes to a run directory beside its own, OUT.demo.

    \b
      batcher demo
      batcher demo --fresh
      batcher demo capitals/job.toml
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    path = _path(job)
    out = out or (_OUT if job is None else _beside(path))
    if fresh:
        _remove(out)
    with Emulator(Settings(seed=_SEED, latency=_LATENCY)).in_thread() as emulator:
        said.narrate(f"asking the emulator on {emulator.url}; costs are what Gemini would take")
        key = Secret("demo", source="the demo")
        with watching(said) as watch:
            summary = engine_of(ctx).run(_job(path, emulator.url, out), key=key, out=out, limit=None, watch=watch)
    _show_rows(said, out)
    return close(ctx, said, summary)


def _path(job: Path | None) -> Path:
    if job is not None:
        return find_job(job)
    path = packaged_jobs().get(FIRST_JOB)
    if path is None:
        raise JobError(f"the job {FIRST_JOB!r} did not come with this installation", hint="batcher run JOB.toml")
    return path


def _beside(path: Path) -> Path:
    """Where the demo of a job writes: never where its own answers are, for the emulator's are made up."""
    own = Path(load_job(path, flags={}, sets=(), environ={}).job.output.dir or "")
    return own.with_name(f"{own.name}.demo")


def _job(path: Path, url: str, out: Path) -> Job:
    flags = {
        "endpoint.provider": "google",
        "endpoint.base_url": url,
        "endpoint.trust_env": False,  # no proxy leads to this machine
        "output.dir": str(out),
    }
    job = load_job(path, flags=flags, sets=(), environ={}).job
    # A journal that is kept elsewhere is that of the real run.
    return job.model_copy(update={"output": job.output.model_copy(update={"state_dir": None})})


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
