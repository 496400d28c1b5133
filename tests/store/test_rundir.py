from __future__ import annotations

import datetime as dt
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batcher.errors import Exit, RunLocked, StorageError
from batcher.store.rundir import Lock, RunDir, lock_owner
from tests.disks import small_disk

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
HOLDER = """
import datetime as dt, sys
from pathlib import Path
from batcher.store.rundir import Lock
lock = Lock(Path(sys.argv[1]), now=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    made = RunDir.at(tmp_path / "out")
    made.make()
    return made


@pytest.fixture
def other_process(rundir: RunDir) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(rundir.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


def test_what_was_made_can_be_taken_away(tmp_path):
    rundir = RunDir.at(tmp_path / "deep" / "out")
    made = rundir.make()
    (rundir.state / "index").write_bytes(b"half a plan")

    rundir.unmake(made)

    assert made[:2] == (tmp_path / "deep", tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_made_is_taken_away(tmp_path):
    rundir = RunDir.at(tmp_path / "out", tmp_path / "state")
    (rundir.attempts).mkdir(parents=True)
    made = rundir.make()
    (rundir.out / "mine.txt").touch()

    rundir.unmake(made)

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["attempts", "mine.txt", "out"]
    assert not set(made) & {rundir.out, rundir.attempts}


def test_a_folder_that_has_got_other_things_since_stays(tmp_path):
    rundir = RunDir.at(tmp_path / "new" / "out")
    made = rundir.make()
    (tmp_path / "new" / "another-run").mkdir()

    rundir.unmake(made)

    assert [path.name for path in tmp_path.rglob("*")] == ["new", "another-run"]


def test_what_is_there_already_is_not_ours_to_remove(rundir):
    assert rundir.make() == ()


def test_everything_has_its_place(rundir):
    out = rundir.out

    assert rundir.part(0, 122) == out / "data" / "train-00000-of-00123.parquet"
    assert rundir.part(122, 122) == out / "data" / "train-00122-of-00123.parquet"
    assert rundir.ledger(7, 2) == out / "attempts" / "attempts-00007-g2.parquet"
    assert rundir.block_file(7) == out / ".state" / "blocks" / "00007.arrow"
    assert [path.relative_to(out).as_posix() for path in (rundir.manifest, rundir.prices, rundir.success)] == [
        "run.json",
        "prices.json",
        "_SUCCESS",
    ]
    assert {path.relative_to(rundir.state).as_posix() for path in (rundir.journal, rundir.index, rundir.spool)} == {
        "journal.db",
        "index",
        "input",
    }
    assert (rundir.status.name, rundir.lock.name) == ("status.json", "lock")


def test_the_folders_are_made_once_and_the_state_is_ours_alone(rundir):
    rundir.make()

    made = sorted(path.relative_to(rundir.out).as_posix() for path in rundir.out.rglob("*"))
    assert made == [".state", ".state/blocks", ".state/input", ".tmp", "attempts", "data"]
    assert stat.S_IMODE(rundir.state.stat().st_mode) == 0o700


def test_the_state_may_lie_elsewhere(tmp_path):
    rundir = RunDir.at(tmp_path / "out", tmp_path / "fast")
    rundir.make()

    assert rundir.journal == tmp_path / "fast" / "journal.db"
    assert not (tmp_path / "out" / ".state").exists()


def test_an_unwritable_output_is_said(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match=r"out: cannot be written: Not a directory") as refused:
        RunDir.at(tmp_path / "file" / "out").make()
    assert "-o" in refused.value.hint


def test_only_parts_and_ledgers_are_listed_in_order(rundir):
    for no in (2, 0, 1):
        rundir.part(no, 2).touch()
        rundir.ledger(no, 1).touch()
    (rundir.data / "train-00001-of-00003.parquet.crc").touch()
    (rundir.data / "train-other.parquet").touch()
    (rundir.attempts / "attempts-1-g1.parquet").touch()

    assert rundir.parts() == tuple(rundir.part(no, 2) for no in range(3))
    assert rundir.ledgers() == tuple(rundir.ledger(no, 1) for no in range(3))


def test_what_an_earlier_session_was_building_goes(rundir):
    (rundir.tmp / "train-00001-of-00003.parquet").write_text("half")
    rundir.clear_tmp()

    assert list(rundir.tmp.iterdir()) == []


def test_success_comes_and_goes(rundir):
    rundir.mark_success()
    assert rundir.success.read_bytes() == b""
    rundir.unmark_success()
    rundir.unmark_success()
    assert not rundir.success.exists()


# --- the manifest


def test_a_manifest_comes_back_as_written(rundir):
    assert rundir.read_manifest() is None
    rundir.write_manifest({"run_id": "r", "job": {"name": "größer"}})
    rundir.write_manifest({"run_id": "r", "tasks": 2**53})

    assert rundir.read_manifest() == {"format_version": 1, "run_id": "r", "tasks": 2**53}
    assert rundir.manifest.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("content", [b"", b'{"format_ver', b"\xff\xfe", b"[1]", b"{}", b'{"format_version": 2}'])
def test_a_damaged_or_later_manifest_is_refused(rundir, content):
    rundir.manifest.write_bytes(content)

    with pytest.raises(StorageError, match=r"run\.json: not a"):
        rundir.read_manifest()


# --- the lock


def test_nobody_owns_a_run_that_was_never_locked(rundir):
    assert lock_owner(rundir.lock) is None


def test_a_lock_says_who_holds_it(rundir):
    lock = Lock(rundir.lock, now=NOW)

    assert lock_owner(rundir.lock) == {"pid": os.getpid(), "since": "2026-01-02T03:04:05+00:00"}
    lock.release()
    assert lock_owner(rundir.lock) is None


def test_a_second_process_is_told_whose_the_run_is(rundir, other_process):
    with pytest.raises(RunLocked) as refused:
        Lock(rundir.lock, now=NOW)

    assert refused.value.exit_code is Exit.LOCKED
    assert (refused.value.pid, refused.value.since) == (other_process.pid, "2026-01-02T03:04:05+00:00")
    assert refused.value.message == (
        f"{rundir.out}: process {other_process.pid}, started 2026-01-02T03:04:05+00:00, owns this run; nothing was sent"
    )
    assert lock_owner(rundir.lock) == {"pid": other_process.pid, "since": "2026-01-02T03:04:05+00:00"}


def test_a_lock_is_free_once_its_process_is_killed(rundir, other_process):
    other_process.kill()
    other_process.wait()

    assert lock_owner(rundir.lock) is None
    Lock(rundir.lock, now=NOW).release()


def test_a_refusal_leaves_the_owners_lock_as_it_was(rundir):
    lock = Lock(rundir.lock, now=NOW)
    for _ in range(3):
        with pytest.raises(RunLocked):
            Lock(rundir.lock, now=NOW)

    assert lock_owner(rundir.lock) is not None
    lock.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_a_lock_that_does_not_say_whose_it_is_still_holds(rundir, content):
    lock = Lock(rundir.lock, now=NOW)
    rundir.lock.write_bytes(content)

    with pytest.raises(RunLocked, match="another process, owns this run") as refused:
        Lock(rundir.lock, now=NOW)
    assert refused.value.pid is None
    lock.release()


def test_a_state_that_cannot_be_written_is_told(tmp_path):
    rundir = RunDir.at(tmp_path / "out", tmp_path / "disk" / "state")
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        rundir.make()
        disk.protect()
        with pytest.raises(StorageError) as refused:
            Lock(rundir.lock, now=NOW)
    assert refused.value.message == f"{rundir.state}: cannot be written: Read-only file system; nothing was sent"
