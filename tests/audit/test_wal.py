"""A log of SQLite: in order, cut off, or damaged; and nothing that a kill leaves is taken for damage for sure."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from batcher.audit.wal import wal_fault

PAGE = 4096
FRAME = PAGE + 24


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A log that began anew once: behind its end are frames of its life before."""
    path = tmp_path_factory.mktemp("wal") / "journal.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"pragma page_size={PAGE}")
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t(a integer primary key, b blob)")
    for number in range(30):
        connection.execute("insert into t values (?, ?)", (number, bytes(3000)))
    connection.execute("pragma wal_checkpoint(restart)")
    connection.execute("begin")
    for number in range(30, 36):
        connection.execute("insert into t values (?, ?)", (number, b"x" * 3000))
    connection.execute("commit")
    connection.execute("insert into t values (99, 'y')")
    kept = path.with_name("kept-wal")
    shutil.copyfile(f"{path}-wal", kept)
    connection.close()
    return kept


def live_frames(log: Path) -> int:
    content = log.read_bytes()
    salts = content[16:24]
    frames = range(32, len(content), FRAME)
    return sum(content[at + 8 : at + 16] == salts for at in frames)


def fault_of(content: bytes, tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(content)
    return wal_fault(path)


def test_a_log_in_order_has_no_fault(log, tmp_path):
    assert wal_fault(log) is None
    assert wal_fault(tmp_path / "none") is None
    assert fault_of(b"", tmp_path) is None
    assert 0 < live_frames(log) < (log.stat().st_size - 32) // FRAME, "the log has an end, and an earlier life"


def test_every_flipped_bit_of_the_log_shows_and_in_the_middle_it_is_certain(log, tmp_path):
    content, chance = log.read_bytes(), random.Random(1)
    live = live_frames(log)
    last = 32 + (live - 1) * FRAME
    for bit in [*range(0, 32 * 8, 7), *(chance.randrange(32 * 8, (last + FRAME) * 8) for _ in range(80))]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        fault = fault_of(bytes(damaged), tmp_path)
        assert fault is not None, bit
        if bit // 8 < last - FRAME:
            assert fault.is_certain, (bit, fault)


def test_a_log_that_was_cut_off_shows_but_nobody_is_accused(log, tmp_path):
    content = log.read_bytes()
    live = live_frames(log)
    cut_in_a_frame = fault_of(content[: 32 + (live - 1) * FRAME + 100], tmp_path)
    assert cut_in_a_frame is not None
    assert cut_in_a_frame.found == f"the log ends in the middle of a write, at frame {live - 1}"
    assert not cut_in_a_frame.is_certain
    in_a_commit = fault_of(content[: 32 + 3 * FRAME], tmp_path)
    assert in_a_commit is not None
    assert not in_a_commit.is_certain
    assert fault_of(content[: 32 + (live - 1) * FRAME], tmp_path) is None, "as if the last commit had never been"


def test_a_log_without_its_header_is_damaged(log, tmp_path):
    short = fault_of(log.read_bytes()[:20], tmp_path)
    other = fault_of(b"SQLite format 3\0" + bytes(100), tmp_path)
    assert short == other
    assert short is not None
    assert short.found == "the log has no header"
    assert short.is_certain
