"""How do rows look to someone who reads them one by one? A box for each in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from batcher.reports.paper import drawn, safe
from batcher.reports.plain import plain
from batcher.reports.rows import answer_of, facts_of, row_lines

_LONGEST_TEXT = 2_000
_STYLES = {"ok": "green", "truncated": "yellow", "blocked": "yellow"}


def row_panels(rows: Sequence[Mapping[str, Any]], *, width: int, colour: bool) -> list[str]:
    """Show rows with their prompt, answer, tokens and cost.

    Args:
        rows: columns of `data/`; any of them may be missing.
        width: columns of the terminal; 0 when there is none, and then the lines have no boxes.
        colour: whether colours may be used.
    """
    if not width:
        return [line for row in rows for line in (*row_lines(row), "")]
    return drawn([_panel(row) for row in rows], width=width, colour=colour)


def _panel(row: Mapping[str, Any]) -> RenderableType:
    style = _STYLES.get(str(row.get("status")), "red")
    prompt, (answer, why) = row.get("prompt"), answer_of(row)
    parts: list[RenderableType] = [_text(prompt, "cyan")] if prompt is not None else []
    if parts and answer:
        parts.append(Rule(style="dim"))
    parts += [_text(answer)] if answer else []
    parts += [_text(why, style)] if why else []
    name = plain(str(row.get("id") or "row")).replace("\n", " ")
    return Panel(
        Group(*parts),
        title=Text(name, "bold"),
        title_align="left",
        subtitle=Text(" · ".join(facts_of(row)), style),
        subtitle_align="left",
        border_style=style,
    )


def _text(text: object, style: str = "") -> Text:
    whole = str(text).strip("\n")
    shown = whole[:_LONGEST_TEXT]
    return safe(shown + (f"…(+{len(whole) - len(shown):,} chars)" if len(whole) > len(shown) else ""), style)
