"""How does a budget stand, in a few words?"""

from __future__ import annotations

from collections.abc import Iterator

from batcher.engine.progress import Spending
from batcher.reports.money import dollars


def budget(spending: Spending | None) -> str:
    """Say it in full: `$0.0312 of $0.05 spent · $0.004 held`; empty without a cap."""
    return " · ".join(filter(None, _parts(spending))) if spending is not None else ""


def budget_briefly(spending: Spending) -> str:
    """Say it within a line of progress: `$0.0312 + $0.004 held of $0.05`."""
    said = []
    if spending.cap_usd is not None:
        said.append(f"{dollars(spending.spent_usd)} + {dollars(spending.held_usd)} held of {dollars(spending.cap_usd)}")
    if spending.cap_tokens is not None:
        said.append(f"{spending.spent_tokens:,} + {spending.held_tokens:,} held of {spending.cap_tokens:,} tokens")
    return " · ".join(said)


def _parts(spending: Spending) -> Iterator[str]:
    if spending.cap_usd is not None:
        yield f"{dollars(spending.spent_usd)} of {dollars(spending.cap_usd)} spent"
        yield f"{dollars(spending.held_usd)} held" if spending.held_usd else ""
    if spending.cap_tokens is not None:
        yield f"{spending.spent_tokens:,} of {spending.cap_tokens:,} tokens used"
        yield f"{spending.held_tokens:,} held" if spending.held_tokens else ""
