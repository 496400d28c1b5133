"""`doctor`: is this machine ready?"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from batcher.asking.probe import look
from batcher.asking.transport import Target
from batcher.cli.say import colour, voice, voice_options, width
from batcher.emulator.server import Emulator
from batcher.engine import checkup
from batcher.engine.checkup import Check, Checkup
from batcher.engine.doctor import Subject, examine
from batcher.job.load import load_job
from batcher.job.spec import Auth, Job
from batcher.reports.checkup import checkup_json, checkup_lines


@click.command(short_help="Say whether this machine is ready.")
@click.argument("job", required=False, type=click.Path(path_type=Path), metavar="[JOB.toml]")
@click.option("-m", "--model", metavar="MODEL", help="Look for this model, too.")
@click.option("-o", "--out", metavar="OUT", help="Where the run would write.  [default: the job's, else out/]")
@click.option("--provider", metavar="NAME", help="google or visioncoder.")
@click.option("--base-url", metavar="URL", help="Another endpoint that speaks the same language.")
@click.option("--offline", is_flag=True, help="Leave the endpoint alone; open no connection but to this machine.")
@voice_options
def doctor(job: Path | None, *, offline: bool, **given: Any) -> int:
    """Look at this machine as a run would find it: key, endpoint, clock, disk, limits. Nothing that costs is asked.

    All that is sent is one GET for the job's model, or for the list of models, and that only when there is a key; of
    the key itself nothing is shown. Exit code 0: a run can begin; 2: something has to be mended first, and each line
    says how.

    \b
      batcher doctor
      batcher doctor jobs/hello/job.toml
      batcher doctor --offline --json
    """  # noqa: D301  click wants the character, not the letters
    loaded = _loaded(job, given)
    model = loaded.model if job is not None or given["model"] else None
    out = Path(given["out"] or (loaded.output.dir if job is not None else None) or "out")
    subject = Subject(job=loaded, out=out, model=model, environ=os.environ, offline=offline)
    found = Checkup(checks=(*examine(subject), _terminal(), _emulator()))
    voice(given).result(checkup_lines(found, width=width(), colour=colour()), checkup_json(found))
    return found.exit_code


def _loaded(path: Path | None, given: dict[str, Any]) -> Job:
    """The job, or one that is nothing but an endpoint: the layers that decide it are the same."""
    flags = {
        "model": given["model"] or (None if path is not None else "none"),
        "input.files": None if path is not None else ("-",),
        "endpoint.provider": given["provider"],
        "endpoint.base_url": given["base_url"],
        "output.dir": given["out"],
    }
    return load_job(path, flags=flags, sets=(), environ=os.environ).job


def _terminal() -> Check:
    size = shutil.get_terminal_size()
    return checkup.terminal(
        stdout=sys.stdout.isatty(),
        stderr=sys.stderr.isatty(),
        colour=colour(),
        columns=size.columns,
        lines=size.lines,
    )


def _emulator() -> Check:
    """Whether Gemini on localhost can be reached from here: the way every test and the demo go."""
    with Emulator().in_thread() as emulator:
        target = Target(
            base_url=emulator.url, api_version="v1beta", verbless=False, auth=Auth.X_GOOG_API_KEY, key="doctor"
        )
        looked = asyncio.run(look(target, None))
    if looked.reply is None or looked.reply.status != 200:
        why = looked.problem or f"HTTP {looked.reply.status if looked.reply else '-'}"
        return checkup.fail("emulator", f"not reached on 127.0.0.1: {why}", "a firewall may close loopback")
    return checkup.ok("emulator", "answers on 127.0.0.1")
