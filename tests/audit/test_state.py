"""What the journal of an unfinished run may hold, and what it may not."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from batcher.audit.run import audit
from batcher.emulator.server import Emulator
from batcher.errors import Exit, RunLocked
from batcher.store.disk import digest_of
from batcher.store.frames import checked
from batcher.store.rest import digest_file
from batcher.store.rundir import Lock
from tests.audit.test_forged import told
from tests.whole.runs import a_job, call, emulator_settings, proved, retry, run, run_argv, sums, write_lines

ROWS = 300  # two blocks: 256 and 44


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    asked = sums(ROWS)
    asked[290]["prompt"] += " [400]"
    return write_lines(tmp_path_factory.mktemp("state") / "rows.jsonl", asked)


def killed_at(point: str, emulator: Emulator, rows: Path) -> Path:
    out = rows.parent / point
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT=point).returncode == -9
    return out


@pytest.fixture(scope="module")
def half_done(emulator, rows) -> Path:
    """The second block is frozen and has no part; what was asked is in the journal and nowhere else."""
    return killed_at("frozen:2", emulator, rows)


@pytest.fixture
def out(half_done, tmp_path) -> Path:
    shutil.copytree(half_done, tmp_path / "out")
    return tmp_path / "out"


def doctor(out: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Change the journal behind everybody's back, and close it in good order."""
    path = out / ".state" / "journal.db"
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement, values if "?" in statement else ())
    connection.commit()
    connection.close()
    digest_file(path).write_text(digest_of(path))


def test_a_killed_run_is_proved_for_what_it_has(half_done):
    before = {path: path.read_bytes() for path in half_done.rglob("*") if path.is_file()}
    found = proved(half_done)

    assert (
        found.verdict == f"unfinished; what is there is proved: 256 of {ROWS} tasks in 1 part, 44 more in the journal"
    )
    assert (found.proved.waiting, found.exit_code) == (44, Exit.DONE)
    assert {path: path.read_bytes() for path in half_done.rglob("*") if path.is_file()} == before, "nothing is changed"


@pytest.mark.parametrize("point", ["planned", "block-written", "ledger-published", "part-published", "sealed"])
def test_what_a_kill_leaves_between_two_steps_is_in_order(emulator, rows, point):
    found = proved(killed_at(point, emulator, rows))

    if point in ("part-published", "sealed"):
        assert found.notes == ("256 outcomes are in a part and in the journal: the next start clears them",)


def test_a_retry_that_was_killed_is_in_order(emulator, rows, tmp_path):
    run(a_job(emulator.url, rows), tmp_path / "out")
    killed = call("retry", tmp_path / "out", BATCHER_FAILPOINT="reopened")
    assert killed.returncode == -9, killed.stderr

    assert not proved(tmp_path / "out").is_finished
    retry(tmp_path / "out")
    proved(tmp_path / "out")


CASES = [
    ("delete from attempt where task = 260", "task 260: 0 attempts, the last is number None; the last is number 1"),
    ("update attempt set n = 2 where task = 260", "task 260: attempt 2 does not fit its checksum; a record as written"),
    ("update done set task = 1260 where task = 260", "task 1260: the outcome does not fit its checksum"),
    ("update attempt set task = 999 where task = 260", "task 999: attempt 1 does not fit its checksum"),
    ("update admitted set reserve_output = 1 where task = 260", "attempt 1 was admitted with"),
    ("delete from admitted where task = 260", "attempt 1 was admitted with None and None tokens"),
    ("insert into admitted values (1260, 1, 0, 0, 0)", "task 1260: a task of the journal; tasks 0 to 299"),
    ("delete from done where task = 260", "block 2 is frozen with 43 outcomes; 44 outcomes"),
    ("update block set state = 'open' where no = 1", "block 1: open, generation 1: does not fit its checksum"),
    ("update block set generation = 3 where no = 1", "block 1: sealed, generation 3: does not fit its checksum"),
    ("update block set totals = replace(totals, '256', '257') where no = 1", "block 1: its totals do not fit"),
    ("delete from block where no = 1", "block 1 has a part and no row"),
    ("delete from block where no = 2", "a task of block 2, which was never opened; tasks of open blocks"),
    ("drop table done", "no such table: done; a whole journal"),
]


@pytest.mark.parametrize(("statement", "wanted"), CASES, ids=[case[0][:40] for case in CASES])
def test_a_journal_that_does_not_fit(out, statement, wanted):
    doctor(out, statement)
    found = audit(out)

    assert found.exit_code is Exit.STORAGE
    assert any(wanted in line and line.startswith(".state/journal.db") for line in told(found)), told(found)


def test_a_block_that_is_open_though_its_part_is_there(out):
    mark = checked(b"0" * 32, "1 open 1").decode()
    doctor(out, "update block set state = 'open', digest = ? where no = 1", values=(mark,))

    assert any("block 1 is open, generation 1; its part is of generation 1" in line for line in told(audit(out)))


def test_a_plan_of_an_open_block_that_is_gone(out):
    (plan,) = (out / ".state" / "blocks").iterdir()
    plan.unlink()

    assert told(audit(out)) == [".state/blocks/00002.arrow: no such file; the plan of an open block"]


def test_a_ledger_file_that_no_part_answers_for(out):
    shutil.copyfile(out / "attempts/attempts-00001-g1.parquet", out / "attempts/attempts-00001-g2.parquet")

    lines = told(audit(out))
    assert any("attempts-00001-g2.parquet: a ledger file that no part answers for" in line for line in lines), lines


def test_a_run_that_goes_on_is_left_alone(out):
    lock = Lock(out / ".state" / "lock", now=dt.datetime.now(dt.UTC))
    try:
        found = proved(out)
    finally:
        lock.release()
    assert found.notes == ("a process runs it now: its journal was left alone, and totals will be compared at the end",)
    assert found.proved.tasks == 256


def test_whoever_would_start_a_run_while_its_journal_is_read_is_told(out, monkeypatch):
    """Seen from inside: while SQLite has the journal open, the lock is taken."""
    refused = []

    def trace(connection: sqlite3.Connection) -> None:
        with pytest.raises(RunLocked):
            Lock(out / ".state" / "lock", now=dt.datetime.now(dt.UTC))
        refused.append(connection)

    connect = sqlite3.connect

    def watched(*args, **options):
        connection = connect(*args, **options)
        trace(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    proved(out)
    assert refused
