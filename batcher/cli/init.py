"""`init`: a copy of a ready job to start from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batcher.cli.say import Voice, colour, voice, voice_options, width
from batcher.job.copy import Copied, Ready, copy_job, ready_jobs
from batcher.job.find import FIRST_JOB
from batcher.reports.paper import drawn, grid, safe


@click.command(short_help="Copy a ready job to start from.")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--from", "source", metavar="JOB", help="The ready job; NAME is then what yours is called.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="DIR", help="Its folder.  [default: NAME]")
@click.option("--list", "listed", is_flag=True, help="Name the ready jobs.")
@voice_options
def init(*, name: str | None, source: str | None, out: Path | None, listed: bool, **given: Any) -> int:
    """Copy the folder of a ready job, hello unless another is named: a commented job.toml, its prompt, its rows.

    Nothing is ever overwritten, and nothing is asked. The copy runs at once on the emulator: batcher demo.

    \b
      batcher init                                          hello, into hello/
      batcher init --list
      batcher init humaneval                                into humaneval/
      batcher init capitals --from hello -o jobs/capitals
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    if listed:
        return _list(said, ready_jobs())
    wanted = source or name or FIRST_JOB
    copied = copy_job(wanted, out or Path(name or wanted))
    said.result(_lines(copied), _document(copied))
    return 0


def _list(said: Voice, jobs: Sequence[Ready]) -> int:
    rows = [(safe(job.name, "bold"), safe(job.about)) for job in jobs]
    lines = [f"{len(jobs)} ready jobs", "", *drawn([grid(rows)], width=width(), colour=colour())]
    lines += ["", "  next  batcher init NAME"]
    said.result(lines, {"jobs": [_job(job) for job in jobs]})
    return 0


def _lines(copied: Copied) -> list[str]:
    lines = [f"copied {copied.job.name} to {copied.folder}/: {', '.join(copied.files)}", ""]
    for package in copied.job.needs:
        lines += [f"note: its data is in the package {package}: python -m pip install {package}", ""]
    return [*lines, f"  try   {_command('demo', copied)}  (on the emulator)", f"  next  {_command('plan', copied)}"]


def _document(copied: Copied) -> dict[str, Any]:
    return {
        **_job(copied.job),
        "folder": str(copied.folder),
        "files": list(copied.files),
        "try_command": _command("demo", copied),
        "next_command": _command("plan", copied),
    }


def _job(job: Ready) -> dict[str, Any]:
    return {"name": job.name, "about": job.about, "model": job.model, "needs": list(job.needs)}


def _command(verb: str, copied: Copied) -> str:
    return f"batcher {verb} {shlex.quote(str(copied.folder / 'job.toml'))}"
