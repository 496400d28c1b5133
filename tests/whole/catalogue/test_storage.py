"""D34 to D38: a disk that is full, failing or read-only, a part that breaks while it is built, readers all along."""

import subprocess
import sys
import threading

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from batcher.engine.local import Options, run_job
from batcher.errors import Exit, StorageError
from batcher.job.key import Secret
from batcher.store.failpoints import FailPoints
from batcher.store.reserve import LEAST_BYTES
from tests.disks import small_disk
from tests.whole.catalogue.started import EXIT_BUG, Started, check_journal, holding
from tests.whole.runs import (
    KEY,
    Watched,
    a_job,
    call,
    column,
    command,
    environment,
    manifest,
    run,
    run_argv,
    settled,
    sums,
    write_lines,
)

ROWS = 400
OUT = 8  # requests at once


@pytest.fixture
def rows(tmp_path):
    return write_lines(tmp_path / "rows.jsonl", sums(ROWS))


def check_finished(out, rows=ROWS):
    assert column(out, "task") == list(range(rows))
    assert column(out, "status") == ["ok"] * rows
    assert (out / "_SUCCESS").exists()
    assert list((out / ".tmp").iterdir()) == []
    assert not (out / ".state/reserve").exists()


def at(text):
    """A point that raises there."""
    return FailPoints.parse(text)


# --- D34


def check_full(verdict, notes, out, emulator):
    """It stopped for the disk, and everything that was asked is on it."""
    sent = emulator.totals().requests
    assert verdict == f"{out}/.state: the disk is full; {sent} of {ROWS} answers are safe on disk"
    assert "free some disk and run the same command again: every committed answer is safe" in notes
    assert 0 < sent < ROWS
    assert check_journal(out) == (0, sent)
    assert not (out / "_SUCCESS").exists()


def test_d34_on_a_full_disk_what_is_out_is_kept_and_nothing_is_paid_twice(emulator, rows, tmp_path):
    """A disk that fills up while journaling: sending stops, what is out is kept, exit 6; then nothing is re-paid."""
    with small_disk(tmp_path / "disk", LEAST_BYTES + 900_000) as disk:
        out = disk.path / "out"

        ended = call(*run_argv(rows, out, emulator.url))

        assert ended.returncode == Exit.STORAGE, ended.stderr
        assert "Traceback" not in ended.stderr
        check_full(ended.stdout.splitlines()[0], ended.stdout, out, emulator)
        disk.grow(64 << 20)
        assert run(a_job(emulator.url, rows), out).exit_code == Exit.DONE
        assert emulator.totals().requests == ROWS
        check_finished(out)


def test_d34_the_same_where_no_disk_can_be_mounted(emulator, rows, tmp_path):
    """The same, when SQLite is made to say that the disk is full."""
    out = tmp_path / "out"

    ended = run(a_job(emulator.url, rows, limits__concurrency=OUT), out, failpoints=at("before-commit:12=full"))

    assert ended.exit_code == Exit.STORAGE
    check_full(ended.verdict, ended.notes, out, emulator)
    assert run(a_job(emulator.url, rows), out).sent == ROWS - ended.sent
    assert emulator.totals().requests == ROWS
    check_finished(out)


def test_d34_a_disk_without_room_for_what_would_be_out_is_told_before_anything_is_sent(emulator, rows, tmp_path):
    """Where the answers in flight could not be kept, nothing is sent: exit 6 with how much is wanted."""
    with small_disk(tmp_path / "disk", LEAST_BYTES) as disk:
        out, job = disk.path / "out", a_job(emulator.url, rows, limits__concurrency=OUT)

        with pytest.raises(StorageError) as refused:
            run(job, out)

        wanted = "No space left on device (1 MiB wanted); nothing was sent"
        assert refused.value.message == f"{out}/.state: no room to keep answers in: {wanted}"
        assert emulator.totals().requests == 0
        disk.grow(64 << 20)
        assert run(job, out).exit_code == Exit.DONE
        check_finished(out)
        disk.fill()
        assert (run(job, out).exit_code, emulator.totals().requests) == (Exit.DONE, ROWS)  # which needs no room


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 4, 6, 9])
def test_d34_a_disk_that_is_full_while_planning_is_told(emulator, rows, tmp_path, pages):
    """Wherever planning meets the end of the disk: exit 6, nothing is sent, and with some room the run goes its way."""
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        out, job = disk.path / "out", a_job(emulator.url, rows)
        disk.fill(but_pages=pages)
        with pytest.raises(StorageError, match="No space left on device"):
            run(job, out)
        assert emulator.totals().requests == 0
        assert (out / "run.json").exists() or [path.name for path in disk.path.iterdir()] == ["ballast"]
        disk.clean_up()
        disk.grow(32 << 20)
        assert (run(job, out).exit_code, emulator.totals().requests) == (Exit.DONE, ROWS)


# --- D35

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


def check_failed(verdict, notes, out, emulator):
    """It stopped for the disk, keeps what was acknowledged, and lost no more than what was out; it goes on."""
    broken = f"{out}/.state/journal.db: the journal cannot be written: disk I/O error"
    assert verdict.startswith(f"{broken}; ")
    hint = "see to the disk (`dmesg` tells more) and run the same command again: every committed answer is safe"
    assert hint in notes
    _, done = check_journal(out)
    assert 0 < done < ROWS
    assert done - OUT <= int(verdict.removeprefix(f"{broken}; ").partition(" of ")[0]) <= done
    asked = settled(emulator).requests
    assert asked <= done + OUT

    again = run(a_job(emulator.url, out.parent / "rows.jsonl"), out)
    assert (again.exit_code, again.sent) == (Exit.DONE, ROWS - done)
    assert emulator.totals().requests == asked + ROWS - done
    check_finished(out)


def test_d35_an_io_error_on_commit_ends_the_run_at_once(emulator, rows, tmp_path):
    """EIO on commit: exit 6, the file is not written again; afterwards every acknowledged answer is there."""
    out = tmp_path / "out"

    ended = run(a_job(emulator.url, rows, limits__concurrency=OUT), out, failpoints=at("before-commit:12=io-error"))

    assert ended.exit_code == Exit.STORAGE
    assert (out / ".state/journal.db-wal").exists()  # as it was: not copied into the database, not synced again
    check_failed(ended.verdict, ended.notes, out, emulator)


def test_d35_an_io_error_from_the_kernel_is_no_other(emulator, rows, tmp_path):
    """The same when it is the kernel that refuses a write: no file may grow beyond 1.2 MB."""
    out = tmp_path / "out"
    argv = command(*run_argv(rows, out, emulator.url))
    limited = [sys.executable, "-c", LIMITED, str(LEAST_BYTES + 200_000), *argv]

    ended = subprocess.run(limited, env=environment(), capture_output=True, text=True, check=False)

    assert ended.returncode == Exit.STORAGE, ended.stderr
    assert "Traceback" not in ended.stderr
    check_failed(ended.stdout.splitlines()[0], ended.stdout, out, emulator)


def test_d35_with_the_journal_gone_nobody_waits_for_what_cannot_be_kept(rows, tmp_path):
    """Requests are out at an endpoint that never answers: the run ends all the same, and they count as maybe billed."""
    out = tmp_path / "out"
    with holding() as (emulator, held):
        argv = run_argv(rows, out, emulator.url)
        # The second look-ahead is refused while the first eight are out.
        with Started(argv, BATCHER_FAILPOINT="before-commit:2=io-error") as started:
            ended = started.ends()
        assert ended.returncode == Exit.STORAGE, ended.stderr
        held.let_go()
        assert run(a_job(emulator.url, rows), out).exit_code == Exit.DONE
    check_finished(out)


def test_d35_an_output_that_became_read_only_is_told(emulator, rows, tmp_path):
    """A run directory that can no longer be written is exit 6 before anything is sent."""
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        out = disk.path / "out"
        argv = run_argv(rows, out, emulator.url)
        assert call(*argv, BATCHER_FAILPOINT="after-commit:5").returncode < 0
        sent = settled(emulator).requests
        disk.protect()

        ended = call(*argv)

        assert ended.returncode == Exit.STORAGE
        assert ended.stderr.splitlines() == [
            f"error: {out}/.state: cannot be written: Read-only file system; nothing was sent",
            "  make it writable, or name another folder with -o (or output.state_dir for the state)",
        ]
        assert emulator.totals().requests == sent


@pytest.mark.parametrize(("read_only", "flag"), [("out", "-o"), ("state", "output.state_dir")])
def test_d35_a_read_only_disk_takes_no_run(emulator, rows, tmp_path, read_only, flag):
    """An output, or a state set apart, on a read-only disk is exit 6 before anything is sent, and names the folder."""
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        folders = {"out": tmp_path / "out", "state": tmp_path / "state"} | {read_only: disk.path / read_only}
        disk.protect()

        with pytest.raises(StorageError) as refused:
            run(a_job(emulator.url, rows, output__state_dir=str(folders["state"])), folders["out"])

        assert refused.value.message == f"{folders[read_only]}: cannot be written: Read-only file system"
        assert refused.value.hint == f"name another folder with {flag}"
        assert emulator.totals().requests == 0
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "state").exists()


# --- D37


def check_unseen(out, emulator, rows):
    """Nothing of the part that broke is visible or in the way; the next start seals it without asking again."""
    assert [path.name for path in (out / "data").iterdir()] == [f"train-00000-of-0000{1 + len(blocks_of(out))}.parquet"]
    assert list((out / ".tmp").iterdir()) == []
    assert not (out / "_SUCCESS").exists()
    _, done = check_journal(out)
    asked = settled(emulator).requests

    assert run(a_job(emulator.url, out.parent / "rows.jsonl"), out).exit_code == Exit.DONE

    assert emulator.totals().requests == asked + rows - done
    check_finished(out, rows)


def blocks_of(out):
    return range(manifest(out)["blocks"])


@pytest.mark.parametrize(
    ("point", "fault", "said"),
    [
        ("part-built", "enospc", "No space left on device"),
        ("part-built", "eio", "Input/output error"),
        ("ledger-published", "eio", "Input/output error"),
    ],
)
def test_d37_a_part_that_breaks_while_it_is_built_is_never_seen(emulator, rows, tmp_path, point, fault, said):
    """An exception while a part is built: nothing under data/, .tmp is empty, and the next start seals it unasked."""
    out = tmp_path / "out"

    ended = run(a_job(emulator.url, rows, limits__concurrency=OUT), out, failpoints=at(f"{point}={fault}"))

    assert ended.exit_code == Exit.STORAGE
    assert ended.verdict.startswith(f"{out}: a part cannot be written: {said}; ")
    assert check_journal(out) == (0, emulator.totals().requests)
    check_unseen(out, emulator, ROWS)


def test_d37_a_part_that_breaks_for_a_reason_that_nobody_foresaw_is_never_seen(emulator, rows, tmp_path):
    """The same where the exception is a bug of ours: exit 70, and what was paid for is kept."""
    out = tmp_path / "out"

    ended = call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="part-built=bug")

    assert ended.returncode == EXIT_BUG
    assert "error: a bug in batcher: RuntimeError: nobody foresaw this" in ended.stderr
    check_unseen(out, emulator, ROWS)


def test_d37_a_part_that_breaks_between_two_row_groups_is_never_seen(emulator, tmp_path):
    """The same with half of it written: a Parquet writer that is left would make a whole file of half the rows."""
    out = tmp_path / "out"
    big = [{"prompt": f"What is {n} * 7? " + "x" * 1_000_000} for n in range(18)]
    rows = write_lines(tmp_path / "rows.jsonl", big)

    ended = run(a_job(emulator.url, rows), out, failpoints=at("part-half-written=enospc"))

    assert ended.exit_code == Exit.STORAGE
    check_unseen(out, emulator, 18)
    assert emulator.totals().requests == 18


# --- D38


class Reading:
    """Reads `data/` as pyarrow, DuckDB and pandas do, in a thread of its own and whenever it is told to."""

    def __init__(self, data):
        self._data = data
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_on)
        self.rows_seen = []
        self.errors = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _read_on(self):
        while not self._over.wait(0.1):
            self.read()

    def read(self, _=None):
        """One look by each; nothing to see before the first part is there."""
        if not any(self._data.glob("*.parquet")):
            return
        try:
            self._look()
        except Exception as error:  # noqa: BLE001  whatever a reader may meet
            self.errors.append(repr(error))

    def _look(self):
        arrow = ds.dataset(self._data).to_table(columns=["task"]).column("task").to_pylist()
        with duckdb.connect() as connection:
            duck = [task for (task,) in connection.sql(f"select task from '{self._data}/*.parquet'").fetchall()]
        panda = pd.read_parquet(self._data)["task"].tolist()
        for tasks in (arrow, duck, panda):
            assert len(set(tasks)) == len(tasks)
        assert len(arrow) <= len(duck) <= len(panda)  # one after the other: parts only come
        self.rows_seen.append(len(panda))


def test_d38_whoever_reads_meets_no_error_and_no_row_twice(emulator, tmp_path):
    """pyarrow, DuckDB and pandas read from the first moment to the last: no error, no duplicate, only more rows."""
    out = tmp_path / "out"
    rows = write_lines(tmp_path / "rows.jsonl", sums(1_200))
    with Reading(out / "data") as reading:
        job = a_job(emulator.url, rows, limits__concurrency=OUT)
        summary = run_job(
            job,
            key=Secret(KEY, source="a test"),
            out=out,
            options=Options(show=reading.read, log=Watched().logged.append),
        )
        reading.read()

    assert (summary.exit_code, reading.errors) == (Exit.DONE, [])
    assert reading.rows_seen[-1] == 1_200
    assert set(reading.rows_seen) > {1_200}  # and before that, of the blocks that were there
