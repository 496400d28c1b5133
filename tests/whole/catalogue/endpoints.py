"""Endpoints that go wrong in one way, and the shortest way to a run against one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.progress import Summary
from batcher.errors import Exit
from tests.whole.runs import a_job, data, ledger, run, write_lines

BAD = "[bad]"
"""What a prompt says that meets the fault."""


@contextlib.contextmanager
def emulator_with(*script: Rule, port: int = 0, **settings: Any) -> Iterator[Emulator]:
    with Emulator(Settings(seed=7, faults=Faults(script=script), **settings), port=port).in_thread() as emulator:
        yield emulator


def port_of(emulator: Emulator) -> int:
    """Where another one may stand later: the same endpoint, put right."""
    return int(emulator.url.rpartition(":")[2])


def always(kind: FaultKind, **fault: Any) -> Rule:
    """Every prompt that says `BAD` meets it, each time."""
    return Rule(fault=Fault(kind=kind, **fault), contains=BAD)


def first(times: int, kind: FaultKind, **fault: Any) -> Rule:
    return Rule(fault=Fault(kind=kind, **fault), contains=BAD, first=times)


def rows_with(*bad: int, of: int = 6) -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "prompt": f"{BAD if n in bad else ''} What is {n} * 7?"} for n in range(of)]


class Ran:
    """A finished run: its summary, its rows and its ledger."""

    def __init__(self, out: Path, summary: Summary) -> None:
        self.out = out
        self.summary = summary
        self.rows = data(out).to_pylist()
        self.attempts = ledger(out).to_pylist()

    def tried(self, task: int) -> list[tuple[str, str, str]]:
        """Verdict, reason and bill of each attempt of a task."""
        return [(a["verdict"], a["reason"], a["billed"]) for a in self.attempts if a["task"] == task]

    def others_are_ok(self, *bad: int) -> bool:
        return all(
            row["status"] == "ok" and str(n * 7) in row["response"] and row["attempts"] == 1
            for n, row in enumerate(self.rows)
            if n not in bad
        )


def ran(emulator: Emulator | str, tmp_path: Path, rows: list[dict[str, Any]], **settings: Any) -> Ran:
    """Run to the end, eight at a time; failed rows are tolerated."""
    url = emulator if isinstance(emulator, str) else emulator.url
    file = write_lines(tmp_path / "rows.jsonl", rows)
    options = {"limits.concurrency": 8, "run.max_failed": "100%"} | settings
    summary = run(a_job(url, file, **options), tmp_path / "out")
    assert summary.exit_code == Exit.DONE, summary.verdict
    return Ran(tmp_path / "out", summary)
