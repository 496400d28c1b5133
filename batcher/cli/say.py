"""How does a verb speak? Data to stdout, narration to stderr, as `--json`, `-q` and `-v` ask."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

from batcher.reports.plain import json_text, plain

TYPED = "batcher.typed"
"""Where click's `Context.meta` keeps the arguments of this command."""

Verb = TypeVar("Verb", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What the user wants to hear.

    Attributes:
        as_json: one document on stdout and no prose.
        quiet: errors only.
        verbose: where each setting came from, too.
    """

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def narrate(self, line: str) -> None:
        """Say a line to whoever watches."""
        if not self.quiet:
            click.echo(plain(line), err=True)

    def detail(self, line: str) -> None:
        """Say a line to whoever asked for more."""
        if self.verbose:
            click.echo(plain(line), err=True)

    def print(self, lines: Sequence[str]) -> None:
        """Say lines that are a part of what came out."""
        if not self.quiet:
            for line in lines:
                click.echo(plain(line))

    def result(self, lines: Sequence[str], document: Mapping[str, Any]) -> None:
        """Say what came out: prose for people, or the same as JSON; the first line is the verdict."""
        if self.as_json:
            click.echo(json_text(document))
        elif not self.quiet:
            click.secho(plain(lines[0]), bold=True)
            for line in lines[1:]:
                click.echo(plain(line))


def width(stream: TextIO | None = None) -> int:
    """Give the columns of the terminal behind a stream, stdout unless given; 0 when there is none."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else 0


def colour(stream: TextIO | None = None) -> bool:
    """Say whether a stream, stdout unless given, is a terminal that wants colours (no-color.org)."""
    return (
        (stream or sys.stdout).isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    )


def voice_options(verb: Verb) -> Verb:
    """Add the flags that `voice` reads."""
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("-v", "--verbose", is_flag=True, help="Say where each setting comes from."),
        click.option("-q", "--quiet", is_flag=True, help="Errors only."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, no prose."),
    ):
        verb = option(verb)
    return verb


def voice(given: Mapping[str, Any]) -> Voice:
    """Read the flags; `--debug` has been read before any verb began (`cli/app.py`)."""
    return Voice(as_json=given["as_json"], quiet=given["quiet"] or given["as_json"], verbose=given["verbose"])
