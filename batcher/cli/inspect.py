"""`inspect`: what is this file, and what would be asked of it?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import voice, voice_options
from batcher.job.load import load_job
from batcher.reports.inspection import exit_code, inspection_json, inspection_lines

_MODEL = "gemini-2.5-flash"
_SETTINGS: Mapping[str, str] = {
    "input_format": "input.format",
    "shape": "input.shape",
    "id_column": "input.id",
    "template": "prompt.template",
    "system": "prompt.system",
}
_FLAGS: Mapping[str, str] = {
    "input_format": "--format",
    "shape": "--shape",
    "template": "--template",
    "system": "--system",
}


@click.command(short_help="What a file holds, and the first request it makes.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--format", "input_format", metavar="NAME", help="jsonl, json, csv, tsv, text or parquet.")
@click.option("--shape", metavar="NAME", help="What a row is, where its keys do not say: messages, prompt, ….")
@click.option("--id", "id_column", metavar="COLUMN", help="The column that names a row.")
@click.option("--template", metavar="TEXT", help="Jinja2 over the row's columns: 'Hi {{ name }}'.")
@click.option("--system", metavar="TEXT", help="System instruction.")
@voice_options
@click.pass_context
def inspect(ctx: click.Context, /, files: tuple[str, ...], **given: Any) -> int:
    """Say what a file is, by its first 64 rows: container, shape, columns, and the first request. Nothing is sent.

    \b
      batcher inspect prompts.jsonl
      batcher inspect data/ --json                           a folder of shards, for a script
      zcat rows.csv.gz | batcher inspect - --format csv
    """  # noqa: D301  click wants the character, not the letters
    flags = {setting: given[name] for name, setting in _SETTINGS.items()}
    job = load_job(None, flags={"model": _MODEL, "input.files": files, **flags}, sets=(), environ=os.environ).job
    found = engine_of(ctx).inspect(job)
    typed = _repeated(files, given)
    voice(given).result(inspection_lines(found, typed), inspection_json(found, typed))
    return exit_code(found)


def _repeated(files: tuple[str, ...], given: Mapping[str, Any]) -> list[str]:
    """Give what a run of the same input is told."""
    told = [word for file in files for word in ("-i", file)]
    told += [word for name, flag in _FLAGS.items() if given[name] is not None for word in (flag, given[name])]
    told += ["--set", f"input.id={given['id_column']}"] if given["id_column"] is not None else []
    return [*told, "-m", _MODEL, "-o", f"out/{_name(files[0])}"]


def _name(file: str) -> str:
    return Path(file).name.partition(".")[0].strip("-*?[]") or "run"
