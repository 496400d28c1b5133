"""Does the state folder fit the parts? The journal of what is in no part yet, the plan, the files of open blocks.

Read only while nobody owns the run: the lock is shared with readers for so long, and whoever would start the run is
told that it is owned.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from batcher.audit.findings import Findings
from batcher.audit.index import read_ranges
from batcher.audit.journal import FROZEN, OPEN, SEALED, BlockRow, JournalCheck
from batcher.audit.manifest import Facts
from batcher.audit.wal import wal_fault
from batcher.audit.walk import Sealed, Walk
from batcher.audit.wholefile import one_line

_LOOSE = "a ledger file that no part answers for"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """What the state folder told: whether a process runs the run, and how many outcomes wait for their part."""

    is_running: bool = False
    waiting: int = 0


def audit_state(
    facts: Facts, walk: Walk, loose: Sequence[tuple[int, int, Path]], findings: Findings, *, finished: bool
) -> StateSeen:
    """Look at the state folder; `loose` are (block, generation, path) of ledger files without their part."""
    with _shared(facts.state / "lock") as is_ours:
        if not is_ours:
            findings.note("a process runs it now: its journal was left alone, and totals will be compared at the end")
            return StateSeen(is_running=True)
        blocks, waiting = _journal(facts, walk, findings)
    for no, generation, path in loose:
        row = None if blocks is None else blocks.get(no)
        if no not in walk.sealed and (finished or (row is not None and row.state == SEALED)):
            continue  # its part is gone, which is said of the part
        is_being_sealed = row is not None and (
            (row.state, row.generation) == (FROZEN, generation) or row.reparsed == generation
        )
        if finished or (blocks is not None and not is_being_sealed):
            findings.add("foreign", path, _LOOSE, "a part of that generation, or a block that is being sealed")
        elif blocks is None:
            findings.note(f"{path.name} has no part yet; without the journal nobody can tell whether that is right")
    return StateSeen(waiting=waiting)


def _journal(facts: Facts, walk: Walk, findings: Findings) -> tuple[Mapping[int, BlockRow] | None, int]:
    path, sealed = facts.state / "journal.db", walk.sealed
    try:
        is_there = path.exists()
    except OSError:
        is_there = False
    if not is_there:
        findings.note(f"{facts.state} has no journal to look at: only what is in parts can be told")
        return None, 0
    _check_rest(path, findings)
    ranges = read_ranges(facts.state / "index", facts.samples, findings)
    if ranges is None:
        return None, 0
    _check_ranges(facts, ranges, sealed, findings)
    before = len(findings)
    try:
        with _opened(path) as connection:
            if not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
                return {}, 0  # planned, and never begun
            check = JournalCheck(connection, path, ranges, sealed, findings, signed=facts.is_signed)
            check.check(all_asked=not walk.may_borrow)
    except (sqlite3.Error, ValueError, TypeError, KeyError, OverflowError) as error:
        findings.add("journal", path, one_line(error), "a whole journal")
        return None, 0
    if check.leftovers:
        findings.note(f"{check.leftovers:,} outcomes are in a part and in the journal: the next start clears them")
    if len(findings) == before:
        _check_blocks(facts, check.blocks, sealed, findings)
    return check.blocks, check.waiting


def _check_rest(path: Path, findings: Findings) -> None:
    """A journal that was closed in order has a digest; one that was not has a log."""
    try:
        expected = path.with_suffix(".digest").read_text("ascii", "replace")
    except FileNotFoundError:
        expected = None
    if expected is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        if found != expected:
            findings.add("bytes", path, f"blake2b {found}", f"blake2b {expected}, as it was closed")
    log = path.with_name(f"{path.name}-wal")
    fault = wal_fault(log)
    if fault is not None:
        doubt = "" if fault.is_certain else " (the last write before a kill or a power cut looks like this, too)"
        findings.add("journal", log, fault.found, f"a whole log{doubt}")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The journal, for reading; what SQLite needs beside it to read a log is gone afterwards."""
    log, index = (path.with_name(f"{path.name}-{what}") for what in ("wal", "shm"))
    has_log, had_index = log.exists() and log.stat().st_size > 0, index.exists()
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=0, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
        if has_log and not had_index:
            index.unlink(missing_ok=True)


@contextmanager
def _shared(lock: Path) -> Iterator[bool]:
    """Hold the run's lock as a reader; False when a process owns the run."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        yield True  # nobody ever started it, or the state is gone
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


def _check_ranges(facts: Facts, ranges: Sequence[range], sealed: Mapping[int, Sealed], findings: Findings) -> None:
    index = facts.state / "index"
    tasks = ranges[-1].stop if ranges else 0
    if (len(ranges), tasks) != (facts.blocks, facts.tasks):
        said = f"{len(ranges)} blocks of {tasks} tasks"
        findings.add("manifest", index, said, f"{facts.blocks} blocks of {facts.tasks} tasks, as run.json says")
        return
    for no, part in sealed.items():
        found = range(part.stamp.first_task, part.stamp.first_task + part.stamp.tasks)
        if 1 <= no <= len(ranges) and found != ranges[no - 1]:
            said = f"block {no} has tasks {ranges[no - 1].start} to {ranges[no - 1].stop - 1}"
            findings.add("tasks", index, said, f"as its part says: {found.start} to {found.stop - 1}")


def _check_blocks(
    facts: Facts, blocks: Mapping[int, BlockRow], sealed: Mapping[int, Sealed], findings: Findings
) -> None:
    """Each block has what its state says: a part, or the plan of what is still to be asked."""
    journal = facts.state / "journal.db"
    for no, row in blocks.items():
        part = sealed.get(no)
        said = f"block {no} is {row.state}, generation {row.generation}"
        has = f"its part is of generation {part.stamp.generation}" if part else "it has no part"
        generation = part.stamp.generation if part else 0
        fits = {
            SEALED: generation in {row.generation, row.reparsed}
            and part is not None
            and part.stamp.digest == row.digest,
            OPEN: generation == row.generation - 1,
            FROZEN: generation in (row.generation - 1, row.generation),
        }
        if not fits[row.state]:
            findings.add("journal", journal, f"{said}; {has}", "a part and a journal that agree")
        if row.state != SEALED:
            _check_plan(facts.state / "blocks" / f"{no:05d}.arrow", row.digest, findings)
    for no in sorted(sealed.keys() - blocks.keys()):
        findings.add("journal", journal, f"block {no} has a part and no row", "a part and a journal that agree")


def _check_plan(path: Path, digest: str, findings: Findings) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        findings.add("missing", path, "no such file", "the plan of an open block")
    except (OSError, pa.ArrowException) as error:
        findings.add("bytes", path, one_line(error), "the plan of an open block")
    else:
        if found != digest:
            findings.add("bytes", path, f"blake2b {found}", f"blake2b {digest}, as it was written")
