"""What is wrong with a run directory, and how is it counted? One line each, capped; the counts are never capped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from batcher.errors import Exit

MOST_OF_A_KIND = 5
"""Findings of one kind that are told one by one; a disk that rots does not do it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        kind: what sort of thing, for a program: `bytes`, `missing`, `foreign`, `schema`, `tasks`, `ledger`, `bill`,
            `totals`, `journal`, `manifest`, `prices`.
        where: the file, as its path in the run directory.
        task: the first task that it concerns, None where it is about the whole file.
        found, wanted: in words.
        times: how many rows of the file have it.
    """

    kind: str
    where: str
    found: str
    wanted: str
    task: int | None = None
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What was looked at.

    Attributes:
        parts, ledgers: whole files of `data/` and `attempts/`; the anchor is none.
        tasks: in parts.
        waiting: tasks with an outcome that is in no part yet.
        attempts: rows of the ledger.
        cost_usd: of the ledger, exact; a lower bound where prices are unknown.
        read_bytes: of all files.
    """

    parts: int = 0
    ledgers: int = 0
    tasks: int = 0
    waiting: int = 0
    attempts: int = 0
    cost_usd: Decimal = Decimal(0)
    read_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """How an audit went.

    Attributes:
        tasks: of the plan; None when run.json does not say.
        is_finished: whether the run says that every task has its outcome.
        findings: some of what is wrong; `counts` has all of it by kind.
        notes: what could not be looked at, and why that is no fault.
        next_command: what to type; empty when there is nothing to do.
    """

    run_dir: str
    tasks: int | None
    is_finished: bool
    proved: Proved
    findings: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    next_command: str = ""

    @property
    def exit_code(self) -> Exit:
        """6 for anything that is wrong."""
        return Exit.STORAGE if self.counts else Exit.DONE

    @property
    def verdict(self) -> str:
        """The one line that everybody reads."""
        if wrong := sum(self.counts.values()):
            return f"not as it must be: {wrong:,} {'finding' if wrong == 1 else 'findings'}"
        tasks, parts = self.proved.tasks, f"{self.proved.parts:,} {'part' if self.proved.parts == 1 else 'parts'}"
        if self.is_finished:
            return f"proved: {tasks:,} of {self.tasks:,} tasks in {parts}"
        more = f", {self.proved.waiting:,} more in the journal" if self.proved.waiting else ""
        return f"unfinished; what is there is proved: {tasks:,} of {self.tasks:,} tasks in {parts}{more}"


class Findings:
    """Gathers what is wrong, and what is only to be known.

    Args:
        out: the run directory; files are named from there.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._told: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []

    def __len__(self) -> int:
        return self.counts.total()

    @property
    def told(self) -> tuple[Finding, ...]:
        """Those that are told one by one, in the order in which they were met."""
        return tuple(self._told)

    def add(  # noqa: PLR0913  the fields of a finding
        self, kind: str, where: Path, found: str, wanted: str, *, task: int | None = None, times: int = 1
    ) -> None:
        """Take one finding."""
        self.counts[kind] += 1
        if self.counts[kind] <= MOST_OF_A_KIND:
            named = str(where.relative_to(self._out)) if where.is_relative_to(self._out) else str(where)
            self._told.append(Finding(kind=kind, where=named, found=found, wanted=wanted, task=task, times=times))

    def note(self, line: str) -> None:
        """Take something that is no fault, once."""
        if line not in self.notes:
            self.notes.append(line)
