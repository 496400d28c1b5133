"""`emulate`: Gemini on localhost, from the command line."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import click

from batcher.emulator.faults import Faults, Share
from batcher.emulator.journal import Totals
from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator, serve
from batcher.emulator.settings import Latency, Settings, Spelling
from batcher.emulator.streams import Form


class _Latency(click.ParamType[Latency]):
    name = "N|LOW-HIGH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Latency:
        if isinstance(value, Latency):
            return value
        low, dash, high = str(value).partition("-")
        try:
            low_s, high_s = float(low) / 1000, float(high if dash else low) / 1000
        except ValueError:
            low_s, high_s = math.nan, math.nan
        if not 0 <= low_s <= high_s < math.inf:
            self.fail(f"found {value!r}, wanted milliseconds such as 100 or 50-200", param, ctx)
        return Latency.between(low_s, high_s)


@click.command(short_help="Gemini on localhost.")
@click.option("--port", default=0, metavar="N", type=click.IntRange(0, 65535), help="[default: a free one]")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True)
@click.option("--seed", default=0, metavar="N", show_default=True, help="Of answers, faults and latencies.")
@click.option("--rpm", type=click.IntRange(min=1), metavar="N", help="Requests a minute, each project and model.")
@click.option("--tpm", type=click.IntRange(min=1), metavar="N", help="Input tokens a minute.")
@click.option("--rpd", type=click.IntRange(min=1), metavar="N", help="Requests a day.")
@click.option("--latency-ms", "latency", type=_Latency(), default="0", help="How long an answer takes.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A key it accepts; repeatable.  [default: any]")
@click.option("--model", "models", multiple=True, metavar="ID", help="A model it knows.  [default: every gemini-*]")
@click.option("--strict", is_flag=True, help="Refuse unknown fields as Google does, the flat dialect among them.")
@click.option(
    "--spelling", default=Spelling.AUTO.value, show_default=True, type=click.Choice([str(each) for each in Spelling])
)
@click.option(
    "--streams",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *map(str, Form)]),
    help="How streams are written.",
)
@click.option("--fault", "faults", multiple=True, metavar="KIND[@N]=SHARE", help="503=3%, 429@1=0.05; repeatable.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def emulate(host: str, port: int, **given: Any) -> int:
    """Serve Gemini's API on this machine: real shapes, quotas and faults, made-up answers, no cost.

    \b
      batcher emulate --port 8085 --seed 7
      batcher emulate --rpm 600 --tpm 400000 --latency-ms 100-400 --fault 503=3% --fault 429@1=5%

    Faults, each for a share of the requests; N is seconds (429, 503: the hint; slow; trickle: between two bytes) or MB
    (huge, gzip-bomb):

    \b
      refused     429-minute-requests 429-minute-tokens 429-day 429-spend 429-zero 429-prepay 429
                  400 401 402 403 404 408 500 502 503 504 302 307 308 error-in-200 html
      connection  drop drop-paid cut cut-clean stale silence slow trickle
      HTTP        length-short two-lengths long-header many-headers huge gzip-bomb endless bad-utf8
      answer      blocked empty safety max-tokens max-tokens-empty full-output recitation other
                  new-reason bad-json schema-mismatch
      stream      stream-cut stream-error stream-usage-tail stream-no-index stream-split
    """  # noqa: D301  click wants the character, not the letters
    totals = asyncio.run(_until_stopped(settings_of(given), host=host, port=port))
    click.echo(closing_line(totals))
    return 0


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Turn the flags into the emulator's settings.

    Raises:
        UserError: a fault is not one.
    """
    quota = Quota(requests_per_minute=given["rpm"], input_tokens_per_minute=given["tpm"], requests_per_day=given["rpd"])
    return Settings(
        seed=given["seed"],
        keys=tuple(given["keys"]),
        models=tuple(given["models"]) or None,
        spelling=Spelling(given["spelling"]),
        streams=None if given["streams"] == "auto" else Form(given["streams"]),
        strict=given["strict"],
        latency=given["latency"],
        quotas=() if quota == Quota() else (quota,),
        faults=Faults(shares=tuple(Share.parse(text) for text in given["faults"])),
    )


def ready_lines(url: str, *, keys: Sequence[str]) -> list[str]:
    """Say where it listens, and what to type so that a client finds it; a key of its own is not repeated."""
    key = "KEY   # one of the keys given" if keys else "test"
    return [f"listening on {url}", f"  export GOOGLE_GEMINI_BASE_URL={url}", f"  export GEMINI_API_KEY={key}"]


def closing_line(totals: Totals) -> str:
    """Say what it has seen."""
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(totals.by_status.items()))
    return (
        f"{totals.requests:,} requests{f' ({statuses})' if statuses else ''}, {totals.answered:,} answered, "
        f"{totals.input_tokens:,} tokens in, {totals.output_tokens:,} out"
    )


async def _until_stopped(settings: Settings, *, host: str, port: int) -> Totals:
    """Serve until Ctrl-C or SIGTERM; give what was seen."""
    running: list[Emulator] = []

    def ready(emulator: Emulator) -> None:
        running.append(emulator)
        for line in ready_lines(emulator.url, keys=settings.keys):
            click.echo(line)

    serving = asyncio.ensure_future(serve(settings, host=host, port=port, on_ready=ready))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()  # it never ends by itself: this raises why it could not begin
    return running[0].totals() if running else Totals()
