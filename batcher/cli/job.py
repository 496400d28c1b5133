"""`schema`: what may stand in a job file."""

from __future__ import annotations

import json

import click

from batcher.job.spec import Job


@click.command(short_help="The JSON Schema of a job file, for editors.")
def schema() -> int:
    """Print the JSON Schema of a job file, for editors that complete from one.

    \b
      batcher schema > batcher.schema.json
      and as the first line of job.toml:  #:schema ./batcher.schema.json
    """  # noqa: D301  click wants the character, not the letters
    click.echo(json.dumps(Job.model_json_schema(), indent=2, ensure_ascii=False))
    return 0
