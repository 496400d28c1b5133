"""Is what the journal holds whole, of this run, and in no part yet? Read row by row, and never written to."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batcher.audit.findings import Findings
from batcher.audit.ledger import BILLED, VERDICTS
from batcher.audit.manifest import Totals
from batcher.audit.records import facts_of, value_of
from batcher.audit.rows import STATUSES
from batcher.audit.walk import Sealed

OPEN, FROZEN, SEALED = "open", "frozen", "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow:
    """A block as the journal has it.

    Attributes:
        asked: the tasks that a retry asks, None where all are asked.
        reparsed: the generation that `reparse` was putting in the place of its part when it was killed; 0: none.
    """

    state: str
    generation: int
    digest: str
    asked: frozenset[int] | None
    reparsed: int


class JournalCheck:
    """Holds an open journal against the laws; each finding names the journal's file.

    Args:
        ranges: the tasks of each block, in order.
        sealed: the parts that are there.

    Attributes:
        blocks: rows that can be relied on.
        waiting: tasks with an outcome that is in no part yet.
        leftovers: tasks that are in a part and still in the journal, as a kill between the two leaves them.
        is_whole: whether every block's row could be relied on.
    """

    def __init__(  # noqa: PLR0913
        self,
        connection: sqlite3.Connection,
        path: Path,
        ranges: Sequence[range],
        sealed: Mapping[int, Sealed],
        findings: Findings,
        *,
        signed: bool,
    ) -> None:
        self._connection = connection
        self._path = path
        self._ranges = ranges
        self._starts = [tasks.start for tasks in ranges]
        self._sealed = sealed
        self._findings = findings
        self._signed = signed
        self.blocks: dict[int, BlockRow] = {}
        self.waiting = self.leftovers = 0
        self._done: dict[int, int] = {}  # block -> outcomes
        self.is_whole = True

    def check(self, *, all_asked: bool) -> None:
        """Look at all of it; unless `all_asked`, some outcomes of a block may come from elsewhere.

        Raises:
            sqlite3.Error: the file is no database, or not a whole one.
        """
        (said,) = self._connection.execute("pragma integrity_check(1)").fetchone()
        if said != "ok":
            self._wrong(f"integrity_check: {said}", "a whole database")
        self._read_blocks()
        self._check_outcomes()
        self._check_attempts()
        self._check_admitted()
        if self.is_whole and all_asked:
            self._check_frozen()

    def _wrong(self, found: str, wanted: str, task: int | None = None) -> None:
        self._findings.add("journal", self._path, found, wanted, task=task)

    # --- blocks

    def _read_blocks(self) -> None:
        for no, state, generation, digest, totals in self._rows(
            "select no, state, generation, digest, totals from block"
        ):
            row = self._block_row(no, state, generation, digest)
            if row is None or (totals is not None and not self._totals_fit(no, totals)):
                self.is_whole = False
            elif not 1 <= no <= len(self._ranges):
                self._wrong(f"block {no}", f"blocks 1 to {len(self._ranges)}")
            else:
                self.blocks[no] = row

    def _block_row(self, no: int, state: Any, generation: Any, digest: Any) -> BlockRow | None:
        kept = digest.encode() if isinstance(digest, str) else b""
        known = value_of(kept, f"{no} {state} {generation}") if self._signed else kept
        if known is None or state not in (OPEN, FROZEN, SEALED):
            self._wrong(f"block {no}: {state}, generation {generation}: does not fit its checksum", "a row as written")
            return None
        asked = self._asked(no)
        meant = next(self._rows("select value from meta where key = ?", f"reparsing-{no}"), None)
        return BlockRow(
            state=state,
            generation=generation,
            digest=known.decode(),
            asked=asked,
            reparsed=0 if meant is None else int(meant[0]),
        )

    def _asked(self, no: int) -> frozenset[int] | None:
        key = f"asked-{no}"
        row = next(self._rows("select value from meta where key = ?", key), None)
        if row is None:
            return None
        value = value_of(row[0], key) if self._signed else row[0]
        if value is None:
            self._wrong(f"{key} does not fit its checksum", "the tasks that a retry asks")
            return frozenset()
        return frozenset(orjson.loads(value))

    def _totals_fit(self, no: int, kept: bytes) -> bool:
        value = value_of(kept, str(no)) if self._signed else kept
        if value is None:
            self._wrong(f"block {no}: its totals do not fit their checksum", "a row as written")
            return False
        part = self._sealed.get(no)
        if part is not None and (differ := Totals.read(orjson.loads(value)).differences(part.totals)):
            row = next(self._rows("select state, generation from block where no = ?", no))
            if row == (SEALED, part.stamp.generation):
                self._wrong(f"block {no}: {differ[0][0]}", f"as its part says: {differ[0][1]}")
        return True

    # --- tasks

    def _check_outcomes(self) -> None:
        for task, record, first, last, count in self._rows(_OUTCOMES):
            facts = facts_of(record, task, 0)
            if facts is None:
                self._wrong("the outcome does not fit its checksum", "a record as written", task)
                continue
            if facts[0] not in STATUSES:
                self._wrong(f"status {facts[0]}", f"one of {', '.join(STATUSES)}", task)
            attempts = facts[2]
            if (last or 0) != attempts and (count or attempts > 0):
                self._wrong(f"{count} attempts, the last is number {last}", f"the last is number {attempts}", task)
            elif count and last - first + 1 != count:
                self._wrong(f"{count} attempts, numbered {first} to {last}", "none missing", task)
            no = self._placed(task)
            if no is not None:
                self._done[no] = self._done.get(no, 0) + 1
                self.waiting += not self._is_in_part(no)
                self.leftovers += self._is_in_part(no)

    def _check_attempts(self) -> None:
        before, expected = -1, 0
        for task, n, record, reserve_in, reserve_out in self._rows(_ATTEMPTS):
            facts = facts_of(record, task, n) if n > 0 else None
            if facts is None:
                self._wrong(f"attempt {n} does not fit its checksum", "a record as written", task)
                continue
            if facts[5] not in VERDICTS or facts[9] not in BILLED:
                self._wrong(f"attempt {n}: {facts[5]}, billed {facts[9]}", "words that the ledger knows", task)
            if (reserve_in, reserve_out) != (facts[11], facts[12]):
                said = f"attempt {n} was admitted with {reserve_in} and {reserve_out} tokens"
                self._wrong(said, f"with {facts[11]} and {facts[12]}, as its record says", task)
            no = self._placed(task)
            starts_at_1 = no is None or self.blocks[no].generation == 1
            expected = expected + 1 if task == before else (1 if starts_at_1 else n)
            if n != expected:
                self._wrong(f"attempt {n}", f"attempt {expected}", task)
            before, expected = task, n

    def _check_admitted(self) -> None:
        for task, n, reserve_in, reserve_out, at_us in self._rows(_IN_FLIGHT):
            self._placed(task)
            if n < 1 or min(reserve_in, reserve_out, at_us) < 0:
                self._wrong(f"attempt {n} admitted with {reserve_in} and {reserve_out} tokens", "counts", task)

    def _placed(self, task: int) -> int | None:
        """The block of a task, if that is one that may be in the journal."""
        no = bisect_right(self._starts, task)
        if not no or task not in self._ranges[no - 1]:
            self._wrong("a task of the journal", f"tasks 0 to {self._ranges[-1].stop - 1 if self._ranges else 0}", task)
            return None
        row = self.blocks.get(no)
        if row is None:
            if self.is_whole:
                self._wrong(f"a task of block {no}, which was never opened", "tasks of open blocks", task)
            return None
        if row.asked is not None and row.state != SEALED and task not in row.asked:
            self._wrong(f"a task of block {no} that no retry asks", "tasks that are asked", task)
        return no

    def _is_in_part(self, no: int) -> bool:
        part = self._sealed.get(no)
        return part is not None and part.stamp.generation == self.blocks[no].generation

    def _check_frozen(self) -> None:
        """A block is frozen when all its tasks have an outcome."""
        for no, row in self.blocks.items():
            wanted = len(self._ranges[no - 1]) if row.asked is None else len(row.asked)
            if row.state == FROZEN and self._done.get(no, 0) != wanted:
                self._wrong(f"block {no} is frozen with {self._done.get(no, 0)} outcomes", f"{wanted} outcomes")

    def _rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._connection.execute(sql, values)


_OUTCOMES = (
    "select d.task, d.record, min(a.n), max(a.n), count(a.n) from done d left join attempt a on a.task = d.task"
    " group by d.task order by d.task"
)
_ATTEMPTS = (
    "select t.task, t.n, t.record, a.reserve_input, a.reserve_output from attempt t"
    " left join admitted a on a.task = t.task and a.n = t.n order by t.task, t.n"
)
_IN_FLIGHT = (
    "select a.task, a.n, a.reserve_input, a.reserve_output, a.at from admitted a"
    " left join attempt t on t.task = a.task and t.n = a.n where t.task is null order by a.task, a.n"
)
