"""Are the parts and their ledger whole, in order, and of this run? One block at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from batcher.audit.block import Frame, compare, read_ledger, read_part
from batcher.audit.columns import data_faults, ledger_faults
from batcher.audit.corrected import requests
from batcher.audit.findings import Findings, Proved
from batcher.audit.listing import Listing
from batcher.audit.manifest import NOTHING, Facts, Totals
from batcher.audit.rows import LOST, PAID_BY
from batcher.audit.wholefile import Stamp, WholeFile, column, open_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A part, as its footer tells of it."""

    stamp: Stamp
    totals: Totals


class Walk:
    """Looks at each file of `data/` and `attempts/` once.

    Attributes:
        proved: what has been looked at.
        totals: the sums of all rows that could be read.
        sealed: the parts whose footer can be relied on, by block.
        is_complete: whether every file could be read to its end.
        may_borrow: whether rows may have an answer that was paid for elsewhere, which the journal need not have.
    """

    def __init__(self, facts: Facts, listing: Listing, frame: Frame, findings: Findings) -> None:
        self._facts = facts
        self._listing = listing
        self._frame = frame
        self._findings = findings
        self._schema: pa.Schema | None = None
        self._last, self._end = 0, 0  # the last block with a part, and the task behind it
        self.proved = Proved()
        self.totals = NOTHING
        self.sealed: dict[int, Sealed] = {}
        self.is_complete = True
        self.may_borrow = False

    def anchor(self, data: Path) -> None:
        """Look at part 0: no rows, and the schema that all parts have."""
        path = self._listing.anchor
        if path is None:
            self._findings.add("missing", data, "no part 00000", "the anchor, whose schema all parts have")
            return
        whole = self._open(path, 0)
        if whole is not None:
            self._schema = whole.schema
            self.may_borrow = PAID_BY in whole.schema.names
            self._expect(whole.path, whole.rows, 0, "rows")
            for found, wanted in data_faults(whole.schema):
                self._findings.add("schema", path, found, wanted)

    def block(self, no: int, path: Path) -> None:
        """Look at a part and at its ledger, and compare them."""
        part = self._open(path, no)
        if part is None:
            return
        self._check_range(part, no)
        self.sealed[no] = Sealed(stamp=part.stamp, totals=part.totals)
        fits = self._has_schema(part)
        rows = read_part(part, self._frame, self._findings) if fits else None
        ledgers = self._listing.ledgers.get(no, {})
        # Rows whose answers were lost are failed now, and were not when the ledger was written: it has their bill.
        has_lost = rows is not None and pc.any(pc.equal(column(rows, "error_kind"), LOST)).as_py()
        but = ("by_status", "wasted_usd") if has_lost else ()
        tables = [self._ledger(part, g, ledgers.get(g), but) for g in range(1, part.stamp.generation + 1)]
        self.proved = replace(self.proved, parts=self.proved.parts + 1, tasks=self.proved.tasks + part.rows)
        read = [table for table in tables if table is not None]
        if rows is None or len(read) < len(tables):
            self.is_complete = False
        else:
            self.totals += compare(part, rows, pa.concat_tables(read), self._frame, self._findings)

    def loose(self, no: int, ledgers: Mapping[int, Path]) -> list[tuple[int, int, Path]]:
        """Look at the ledger files of a block that no part answers for; gives (block, generation, path)."""
        known = self.sealed[no].stamp.generation if no in self.sealed else 0
        more = [(no, generation, path) for generation, path in sorted(ledgers.items()) if generation > known]
        for _, _, path in more:
            whole = self._open(path, no)
            if whole is not None and not self._ledger_faults(whole):
                read_ledger(whole, self._frame, self._findings)
        return more

    def _open(self, path: Path, no: int) -> WholeFile | None:
        whole = open_whole(path, self._findings, signed=self._facts.is_signed)
        if whole is None:
            self.is_complete = False
            return None
        self.proved = replace(self.proved, read_bytes=self.proved.read_bytes + whole.size)
        self._expect(path, whole.stamp.run_id, self._facts.run_id, "run")
        self._expect(path, whole.stamp.block, no, "block")
        return whole

    def _expect(self, path: Path, found: object, wanted: object, what: str) -> None:
        if found != wanted:
            self._findings.add("tasks", path, f"{what} {found}", f"{what} {wanted}")

    def _ledger(self, part: WholeFile, generation: int, path: Path | None, but: Sequence[str]) -> pa.Table | None:
        if path is None:
            name = f"attempts-{part.stamp.block:05d}-g{generation}.parquet"
            missing = part.path.parent.parent / "attempts" / name
            self._findings.add("missing", missing, "no such file", f"the ledger of {part.path.name}")
            return None
        whole = self._open(path, part.stamp.block)
        if whole is None or self._ledger_faults(whole):
            return None
        mine, theirs = whole.stamp, part.stamp
        self._expect(path, mine.generation, generation, "generation")
        tasks, wanted = (f"{s.first_task} to {s.first_task + s.tasks - 1}" for s in (mine, theirs))
        self._expect(path, tasks, wanted, "tasks")
        if generation == theirs.generation:
            for found, should in whole.totals.differences(part.totals, but):
                self._findings.add("totals", path, f"its footer says {found}", f"as its part says: {should}")
        rows = read_ledger(whole, self._frame, self._findings)
        sent = whole.rows if rows is None else requests(rows).num_rows
        self.proved = replace(self.proved, ledgers=self.proved.ledgers + 1, attempts=self.proved.attempts + sent)
        return rows

    def _ledger_faults(self, whole: WholeFile) -> bool:
        faults = list(ledger_faults(whole.schema))
        for found, wanted in faults:
            self._findings.add("schema", whole.path, found, wanted)
        return bool(faults)

    def _has_schema(self, part: WholeFile) -> bool:
        faults = list(data_faults(part.schema))
        for found, wanted in faults:
            self._findings.add("schema", part.path, found, wanted)
        if self._schema is not None and not part.schema.equals(self._schema):
            odd = next((f for f in part.schema if f not in list(self._schema)), None)
            self._findings.add("schema", part.path, f"column {odd}" if odd else "other columns", "those of the anchor")
        return not faults

    def _check_range(self, part: WholeFile, no: int) -> None:
        """Parts follow each other without a gap; where some are not there yet, each has at least one row."""
        stamp, samples = part.stamp, self._facts.samples
        self._expect(part.path, part.rows, stamp.tasks, "rows")
        behind = no - self._last - 1
        first, end = stamp.first_task, stamp.first_task + stamp.tasks
        if first != self._end if not behind else first < self._end + behind * samples:
            wanted = f"task {self._end}" if not behind else f"task {self._end + behind * samples} or later"
            self._findings.add("tasks", part.path, f"begins with task {first}", wanted, task=first)
        if end > self._facts.tasks or (no == self._facts.blocks and end != self._facts.tasks):
            said = f"ends before task {end}"
            self._findings.add("tasks", part.path, said, f"a run of {self._facts.tasks} tasks", task=first)
        if first % samples or stamp.tasks % samples:
            said = f"tasks {first} to {end - 1}"
            self._findings.add("tasks", part.path, said, f"all {samples} samples of each row", task=first)
        self._last, self._end = no, end
