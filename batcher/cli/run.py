"""`run` and `retry`: settings from the command line, one call of the engine, one summary."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from batcher.cli.engine import engine_of
from batcher.cli.say import TYPED, Voice, voice, voice_options
from batcher.cli.watching import watching
from batcher.engine.progress import Summary
from batcher.errors import Exit
from batcher.job.complaints import shown
from batcher.job.key import Secret, read_keys
from batcher.job.load import Loaded, load_job, revised
from batcher.records import Status
from batcher.reports.terminal import summary_json, summary_lines

# Parameter -> setting. The job judges the values, so that a flag and a job file are refused in the same words.
_SETTINGS: Mapping[str, str] = {
    "input": "input.files",
    "input_format": "input.format",
    "shape": "input.shape",
    "model": "model",
    "out": "output.dir",
    "provider": "endpoint.provider",
    "base_url": "endpoint.base_url",
    "dialect": "endpoint.dialect",
    "auth": "endpoint.auth",
    "stream": "endpoint.stream",
    "concurrency": "limits.concurrency",
    "rpm": "limits.requests_per_minute",
    "tpm": "limits.input_tokens_per_minute",
    "rpd": "limits.requests_per_day",
    "max_cost_usd": "budget.max_cost_usd",
    "max_tokens": "budget.max_tokens",
    "deadline": "budget.deadline",
    "template": "prompt.template",
    "system": "prompt.system",
    "samples": "samples",
    "dedup": "dedup",
    "reuse": "reuse",
    "temperature": "generation.temperature",
    "max_output_tokens": "generation.max_output_tokens",
    "schema": "output.schema",
    "strict": "input.strict",
    "max_failed": "run.max_failed",
    "label": "labels",
}


_LISTS = frozenset({"input", "reuse"})
"""Repeatable flags; an empty list is one that was not given."""


def _pairs(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str] | None:
    for value in values:
        if not re.match(r"[^=]+=", value):
            raise click.BadParameter(f"found {value!r}, wanted NAME=VALUE")
    return dict(value.split("=", 1) for value in values) or None


def _tolerance(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    return int(value) if value is not None and value.isdecimal() else value


@click.command(short_help="Ask every row; the same command again continues.")
@click.argument("job", required=False, type=click.Path(path_type=Path), metavar="[JOB.toml]")
@click.option("-i", "--input", multiple=True, metavar="FILE", help="Rows to ask; - is standard input; repeatable.")
@click.option("--format", "input_format", metavar="NAME", help="jsonl, json, csv, tsv, text or parquet.")
@click.option("--shape", metavar="NAME", help="What a row is, where its keys do not say: messages, prompt, ….")
@click.option("-m", "--model", metavar="MODEL", help="Model id.")
@click.option("-o", "--out", metavar="OUT", help="Run directory.  [default: out/<name of the job>]")
@click.option("--provider", metavar="NAME", help="google or visioncoder.")
@click.option("--base-url", metavar="URL", help="Another endpoint that speaks the same language.")
@click.option("--dialect", metavar="NAME", help="google or flat.")
@click.option("--auth", metavar="NAME", help="x-goog-api-key or bearer.")
@click.option("--stream", metavar="KIND", help="sse or json: ask for streams.  [default: off]")
@click.option("--concurrency", type=int, metavar="N", help="Requests in flight at most.")
@click.option("--rpm", type=float, metavar="N", help="Requests a minute.")
@click.option("--tpm", type=float, metavar="N", help="Input tokens a minute.")
@click.option("--rpd", type=int, metavar="N", help="Requests a day.")
@click.option("--max-cost-usd", metavar="USD", help="Stop, resumable, before the whole run costs more.")
@click.option("--max-tokens", type=int, metavar="N", help="Stop before it is billed more tokens, in and out.")
@click.option("--deadline", metavar="WHEN", help="Send nothing after 3h, after 06:00, or after an instant.")
@click.option("--template", metavar="TEXT", help="Jinja2 over the row's columns: 'Hi {{ name }}'.")
@click.option("--system", metavar="TEXT", help="System instruction.")
@click.option("--samples", type=int, metavar="N", help="How often each row is asked.")
@click.option("--dedup", is_flag=True, default=None, help="Ask identical requests once; their rows share the answer.")
@click.option("--reuse", multiple=True, metavar="OUT", help="Take over what an older run paid for; repeatable.")
@click.option("--temperature", type=float, metavar="T")
@click.option("--max-output-tokens", type=int, metavar="N")
@click.option("--schema", metavar="FILE", help="JSON Schema of the answers, or module:Model.")
@click.option(
    "--label", multiple=True, callback=_pairs, metavar="K=V", help="On every row and ledger line; repeatable."
)
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Any setting of a job file; repeatable.")
@click.option(
    "--strict", is_flag=True, default=None, help="Refuse the input when one row cannot be read or sent whole."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Ask the first N rows only, into OUT.preview.")
@click.option("--show", is_flag=True, help="Print each row that --limit asked, and what all rows would cost.")
@click.option("--max-failed", callback=_tolerance, metavar="N|N%", help="Failed rows that still end in exit code 0.")
@voice_options
@click.pass_context
def run(ctx: click.Context, /, job: Path | None, sets: tuple[str, ...], limit: int | None, **given: Any) -> int:
    """Ask every row of a file and write one row of Parquet for each; the same command again continues.

    \b
      batcher run jobs/hello/job.toml
      batcher run jobs/hello/job.toml --limit 5 --show      look before you leap
      batcher run -i prompts.jsonl -m gemini-2.5-flash -o out/first
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    loaded = load_job(job, flags=flags_of(given), sets=sets, environ=os.environ)
    _say_settings(said, loaded)
    key = read_keys(loaded.job, os.environ)
    for each in key.all:
        _say_note(said, each.note)
    with watching(said) as watch:
        summary = engine_of(ctx).run(
            loaded.job,
            key=key,
            out=Path(loaded.job.output.dir or ""),
            limit=limit,
            watch=watch,
        )
    if not given["show"]:
        return close(ctx, said, _naming(key, summary))
    from batcher.cli.preview import full_command, show_rows  # noqa: PLC0415  rich takes 0.1 s that a run need not spend

    also = show_rows(ctx, said, loaded, summary, limit=limit)
    if limit is not None and summary.exit_code == Exit.DONE:
        summary = replace(summary, next_command=full_command(ctx.meta.get(TYPED, ())))
    return close(ctx, said, _naming(key, summary), also)


@click.command(short_help="Ask again what did not end well.")
@click.argument("out", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([str(status) for status in Status if status is not Status.OK]),
    help="Which rows; repeatable.  [default: failed]",
)
@click.option("--set", "sets", multiple=True, metavar="A.B=C", help="Another setting for these rows; repeatable.")
@voice_options
@click.pass_context
def retry(ctx: click.Context, /, out: Path, statuses: tuple[str, ...], sets: tuple[str, ...], **given: Any) -> int:
    """Ask the rows of a run again that did not end well; good rows stay as they are.

    \b
      batcher retry out/first
      batcher retry out/first --status truncated --set generation.max_output_tokens=8192
    """  # noqa: D301  click wants the character, not the letters
    said = voice(given)
    engine = engine_of(ctx)
    job = revised(engine.job(out), sets=sets, origin=str(out / "run.json"))
    key = read_keys(job, os.environ)
    for each in key.all:
        _say_note(said, each.note)
    with watching(said) as watch:
        summary = engine.retry(
            job,
            key=key,
            out=out,
            statuses=frozenset(Status(status) for status in statuses or (Status.FAILED,)),
            watch=watch,
        )
    return close(ctx, said, _naming(key, summary))


def close(ctx: click.Context, said: Voice, summary: Summary, also: Mapping[str, Any] = MappingProxyType({})) -> Exit:
    """Print how it ended; give its exit code. A run that stopped goes on by the same command, which only we know."""
    if not summary.next_command:
        summary = replace(summary, next_command=shlex.join(["batcher", *ctx.meta.get(TYPED, ())]))
    said.result(summary_lines(summary), {**summary_json(summary), **also})
    return summary.exit_code


def _naming(key: Secret, summary: Summary) -> Summary:
    """Say whose key it was when the endpoint refused us: most often another one was meant."""
    if summary.exit_code != Exit.REFUSED:
        return summary
    return replace(summary, notes=(*summary.notes, *(f"asked with the {each.origin}" for each in key.all)))


def flags_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what click parsed into settings of a job, by their dotted names."""
    return {setting: given[name] or None if name in _LISTS else given[name] for name, setting in _SETTINGS.items()}


def _say_settings(said: Voice, loaded: Loaded) -> None:
    for setting, value, source in loaded.settings():
        if source != "default" or value is not None:
            said.detail(f"{setting} = {shown(value)}  ({source})")


def _say_note(said: Voice, note: str) -> None:
    if note:
        said.narrate(f"note: {note}")
