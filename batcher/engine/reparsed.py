"""What came of reading a run's replies again?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Reparsed:
    """What came of it.

    Attributes:
        reread: rows whose kept reply was read again.
        without_raw: rows that have none; they are as they were.
        unknown: rows whose reply no request of the run accounts for, or that a header decided; as they were.
        open: answers in the journal that were judged again.
        differ: rows that differ, those of the journal included.
        by_column: column -> rows that differ there.
        changed: (status until now, status from now on) -> rows.
        parts: parts that were rewritten, or would be.
        asked_again: parts whose rows are being asked again; they are as they were.
    """

    run_dir: str
    dry_run: bool
    tasks: int
    reread: int = 0
    without_raw: int = 0
    unknown: int = 0
    open: int = 0
    differ: int = 0
    by_column: Counter[str] = field(default_factory=Counter)
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    parts: int = 0
    asked_again: int = 0
