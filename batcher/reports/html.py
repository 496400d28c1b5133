"""What does a run look like in a notebook? One piece of HTML: no script, no link, nothing from elsewhere.

Texts of rows and models are hostile: everything goes through Jinja2's autoescape, and `mathjax_ignore` keeps notebooks
from typesetting what stands between two dollar signs. Colours are the page's own, so that light and dark both fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from batcher.engine.progress import Summary
from batcher.errors import Exit
from batcher.records import Status
from batcher.reports.money import dollars
from batcher.reports.terminal import summary_facts

_LONGEST_TEXT = 280
_LONGEST_ID = 60
_SHOWN_AS: Mapping[Exit, tuple[str, str]] = {
    Exit.DONE: ("done", "good"),
    Exit.ROWS_FAILED: ("rows failed", "fair"),
    Exit.GATE_FAILED: ("gate failed", "bad"),
    Exit.STOPPED: ("not finished", "fair"),
    Exit.HANGUP: ("not finished", "fair"),
    Exit.INTERRUPT: ("not finished", "fair"),
    Exit.TERMINATED: ("not finished", "fair"),
}
"""The badge: word and tone."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def run_html(summary: Summary, *, first: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> str:
    """Show how a run ended.

    Args:
        summary: how it ended, or how far it is.
        first: its first rows, columns of `data/`.
        failed: some rows that did not end well.
    """
    word, tone = _SHOWN_AS.get(summary.exit_code, ("failed", "bad"))
    shown = {row.get("id") for row in first}
    return _TEMPLATES.get_template("run.html.j2").render(
        word=word,
        tone=tone,
        verdict=summary.verdict,
        bar=list(_bar(summary)),
        facts=[fact for fact in summary_facts(summary) if fact[0] != "rows"],  # the bar has said it
        notes=summary.notes,
        first=[_row(row) for row in first],
        failed=[_row(row) for row in failed if row.get("id") not in shown],
    )


def _bar(summary: Summary) -> Sequence[tuple[str, str, float]]:
    """The parts of the bar, each with its name, what it says, and its share in percent."""
    counts = {str(status): summary.totals.by_status.get(status, 0) for status in Status}
    counts["open"] = max(summary.tasks - summary.totals.done, 0)
    total = sum(counts.values())
    return [(name, f"{count:,} {name}", round(100 * count / total, 2)) for name, count in counts.items() if count]


def _row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    why = ": ".join(filter(None, (row.get("error_kind"), row.get("error_message"))))
    spent = row.get("cost_usd")
    return {
        "id": _cut(row.get("id"), _LONGEST_ID),
        "status": row.get("status") or "open",
        "prompt": _cut(row.get("prompt"), _LONGEST_TEXT),
        "response": _cut(row.get("response") or why or row.get("finish_reason"), _LONGEST_TEXT),
        "is_answer": bool(row.get("response")),
        "tokens": f"{row.get('input_tokens') or 0:,} / {row.get('output_tokens') or 0:,}",
        "cost": "" if spent is None else dollars(Decimal(str(spent))),
    }


def _cut(text: object, most: int) -> str:
    whole = "" if text is None else str(text).strip()
    return whole if len(whole) <= most else f"{whole[:most]}… (+{len(whole) - most:,} chars)"
