"""Where do the pictures in README come from? `python -m tests.tools.make_pictures` draws them.

The figures are one imagined run, consistent with each other and with the prices of 2026-11, drawn by what draws on a
terminal. No font travels with a picture and none is fetched: rich's own template names a host.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from batcher.engine.progress import Phase, Snapshot, Summary, Tokens, Totals
from batcher.errors import Exit
from batcher.records import Status
from batcher.reports.live import block_lines
from batcher.reports.terminal import summary_lines

FOLDER = Path(__file__).parents[2] / ".github" / "pictures"
COLUMNS = 72
TYPED = "$ batcher run job.toml"

TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def under_way() -> Snapshot:
    """100,000 rows of 100 tokens, a bit over two minutes in, with 30,000 requests a minute allowed."""
    totals = Totals(
        by_status={Status.OK: 61_202, Status.TRUNCATED: 14, Status.FAILED: 3},
        attempts=61_390,
        throttled=12,
        tokens=Tokens(input=6_121_900, output=4_897_520, thinking=2_448_760),
        cost_usd=Decimal("14.080370"),
        wasted_usd=Decimal("0.003128"),
    )
    return Snapshot(
        phase=Phase.ASKING,
        tasks=100_000,
        done_before=0,
        totals=totals,
        in_flight=431,
        waiting=6,
        limited_by="requests/min",
        elapsed_s=122.9,
        rate_per_s=498.2,
        eta_s=77.8,
        p50_ms=823.0,
        p95_ms=1_612.0,
        projected_usd=Decimal("23.000000"),
    )


def ended() -> Summary:
    """The same run at its end."""
    totals = Totals(
        by_status={Status.OK: 99_973, Status.TRUNCATED: 22, Status.FAILED: 5},
        attempts=100_281,
        throttled=19,
        tokens=Tokens(input=10_000_412, output=7_999_860, thinking=4_000_118),
        cost_usd=Decimal("22.9997736"),
        wasted_usd=Decimal("0.0050984"),
    )
    return Summary(
        verdict="done: 99,973 of 100,000 ok, 22 truncated, 5 failed",
        exit_code=Exit.DONE,
        run_dir="out/job",
        rows=100_000,
        samples=1,
        tasks=100_000,
        totals=totals,
        sent=100_281,
        elapsed_s=201.3,
        rows_per_s=497.9,
        limited_by="requests/min",
        next_command="batcher retry out/job",
        p50_ms=823.0,
        p95_ms=1_612.0,
    )


def picture(lines: Sequence[Text], *, title: str) -> str:
    """Draw lines of a terminal as SVG; the same lines give the same picture."""
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, highlight=False)
    drawn = console.export_svg(title=title, code_format=TEMPLATE, unique_id=title.replace(" ", "-"))
    return "\n".join(line.rstrip() for line in drawn.splitlines() if line.strip()) + "\n"


def pictures() -> Iterator[tuple[Path, str]]:
    """Each picture with where it belongs."""
    live = block_lines(under_way(), columns=COLUMNS, rows=24)
    verdict, *others = summary_lines(ended())
    summary = [Text(verdict, "bold"), *map(Text, others)]
    for name, title, lines in (("live", "while it runs", live), ("summary", "when it has ended", summary)):
        yield FOLDER / f"{name}.svg", picture([Text(TYPED), Text(), *lines], title=title)


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, drawn in pictures():
        path.write_text(drawn, encoding="utf-8")
        print(f"{path.relative_to(FOLDER.parents[1])}: {len(drawn):,} bytes")


if __name__ == "__main__":
    main()
