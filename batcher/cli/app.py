"""Which verb was typed? The door of the command: verbs load when called, errors become lines and exit codes."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import NoReturn

import click

from batcher.cli.discretion import be_discreet, discreet
from batcher.cli.say import TYPED
from batcher.errors import BatcherError, Exit, PlanChanged, UserError
from batcher.reports.plain import json_text, plain

EXIT_PIPE = 141  # as a shell reports SIGPIPE

VERBS: Mapping[str, tuple[str, str]] = {
    "demo": ("batcher.cli.demo:demo", "See it work in a minute, without a key."),
    "init": ("batcher.cli.init:init", "Copy a ready job to start from."),
    "plan": ("batcher.cli.plan:plan", "What a run would do and cost; sends nothing."),
    "run": ("batcher.cli.run:run", "Ask every row; the same command again continues."),
    "inspect": ("batcher.cli.inspect:inspect", "What a file holds, and the first request it makes."),
    "status": ("batcher.cli.look:status", "How far a run is."),
    "show": ("batcher.cli.look:show", "The last prompts and answers of a run."),
    "retry": ("batcher.cli.run:retry", "Ask again what did not end well."),
    "reparse": ("batcher.cli.reparse:reparse", "Read a run's kept replies again."),
    "recover": ("batcher.cli.recover:recover", "Bring back a run whose state or files are lost or damaged."),
    "audit": ("batcher.cli.audit:audit", "Prove that a run directory is as it says."),
    "export": ("batcher.cli.export:export", "A run in somebody else's format."),
    "schema": ("batcher.cli.job:schema", "The JSON Schema of a job file, for editors."),
    "doctor": ("batcher.cli.doctor:doctor", "Say whether this machine is ready."),
    "limits": ("batcher.cli.limits:limits", "What is known of an endpoint's limits."),
    "emulate": ("batcher.cli.emulate:emulate", "Gemini on localhost."),
}
"""Verb -> where its code is, and what help says of it; so `--help` loads none of them."""


class Verbs(click.Group):
    """A group whose verbs are imported when they are called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what was typed: a run that stopped early says it again as the next command."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Name the verbs, in the order in which people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Load one verb; None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name][0]} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was meant."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" Verbs: {', '.join(VERBS)}."
            ctx.fail(f"No such verb {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of verbs without loading any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, said) for verb, (_, said) in VERBS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"batcher {importlib.metadata.version('batcher-gemini')}")
        ctx.exit()


@click.group(
    cls=Verbs,
    subcommand_metavar="VERB …",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def app() -> None:
    """Run a million prompts against a Gemini-compatible endpoint, right to the row and to the cent.

    \b
      batcher demo                                          the first minute, no key needed
      batcher run jobs/hello/job.toml                       a job file
      batcher run -i prompts.jsonl -m gemini-2.5-flash -o out/first
      batcher status out/first                              how far it is
    """  # noqa: D301  click wants the character, not the letters


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    argv = sys.argv[1:]
    be_discreet(os.environ, in_full="--debug" in argv)
    sys.exit(call(argv))


def call(argv: Sequence[str], *, obj: object = None) -> int:
    """Run one command.

    Args:
        argv: without the program's name.
        obj: what verbs find as `ctx.obj`; see `cli/engine.py`.

    Returns:
        The exit code. What went wrong has been said: on stderr, or with `--json` as one document on stdout.
    """
    try:
        result = app.main(list(argv), prog_name="batcher", standalone_mode=False, obj=obj)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return Exit.USAGE
    except click.ClickException as error:
        return _say(_typed_wrong(error), as_json="--json" in argv)
    except BatcherError as error:
        if "--debug" in argv:
            click.echo(plain(discreet(traceback.format_exc())), err=True, nl=False)
        return _say(error, as_json="--json" in argv)
    except click.Abort:
        return Exit.INTERRUPT
    except BrokenPipeError:
        return _reader_left()
    return int(result or 0)


def _typed_wrong(error: click.ClickException) -> UserError:
    """Turn what click says into what we say."""
    message = error.format_message()
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    verb = ctx.command_path if ctx is not None else "batcher"
    return UserError(message[:1].lower() + message[1:], hint=f"{verb} --help")


def _say(error: BatcherError, *, as_json: bool) -> int:
    exit_code = int(error.exit_code)
    differences = error.differences if isinstance(error, PlanChanged) else ()
    if as_json:
        said = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        document = {"error": said | {"differences": list(differences)} if differences else said}
        click.echo(discreet(json_text(document | {"exit_code": exit_code})))
        return exit_code
    for line in error.message.splitlines():
        click.echo(plain(discreet(f"error: {line}")), err=True)
    for line in (*differences, *error.hint.splitlines()):
        click.echo(plain(discreet(f"  {line}")), err=True)
    return exit_code


def _reader_left() -> int:
    """End quietly when the reader of stdout has gone (`batcher show | head`); Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_PIPE
