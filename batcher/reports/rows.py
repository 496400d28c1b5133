"""How does one row of the output look in a terminal?"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from batcher.reports.money import dollars
from batcher.reports.plain import plain

_LONGEST_TEXT = 400
_LEAST_WIDTH = 20


def row_lines(row: Mapping[str, Any], *, width: int = 0) -> list[str]:
    """Show one row of the output: what it is, the prompt, the answer; long texts cut, control characters made harmless.

    Args:
        row: columns of `data/`; any of them may be missing.
        width: columns of the terminal, to break long lines between words; 0 leaves them whole.
    """
    name = plain(str(row.get("id") or "row")).replace("\n", " ")
    head = f"{name}  {' · '.join(facts_of(row))}"
    answer, why = answer_of(row)
    return [
        head,
        *_indented("> ", row.get("prompt"), width),
        *_indented("  ", answer, width),
        *_indented("! ", why, width),  # of an answer that is there but not what was asked for
    ]


def facts_of(row: Mapping[str, Any]) -> list[str]:
    """Say in a few words what became of a row, what it took and what it cost."""
    facts = [str(row.get("status") or "open")]
    if row.get("input_tokens") or row.get("output_tokens"):
        facts.append(f"{row.get('input_tokens') or 0:,} in, {row.get('output_tokens') or 0:,} out")
    if row.get("cost_usd"):
        facts.append(dollars(Decimal(str(row["cost_usd"]))))
    return facts


def answer_of(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give the answer of a row, or why there is none; and what is wrong with an answer that is there."""
    why = ": ".join(filter(None, (row.get("error_kind"), row.get("error_message")))) or None
    if row.get("response"):
        return str(row["response"]), why
    return why or row.get("finish_reason"), None


def _indented(mark: str, text: object, width: int) -> list[str]:
    """Set a text behind a mark; its later lines line up under the first."""
    if text is None:
        return []
    whole = plain(str(text)).strip("\n")
    shown = whole[:_LONGEST_TEXT]
    if len(whole) > len(shown):
        shown += f"…(+{len(whole) - len(shown):,} chars)"
    lines = [piece for line in shown.split("\n") for piece in _broken(line, width - 2 - len(mark))]
    return [f"  {mark if not at else ' ' * len(mark)}{line}".rstrip() for at, line in enumerate(lines)]


def _broken(line: str, width: int) -> list[str]:
    if width < _LEAST_WIDTH or len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
