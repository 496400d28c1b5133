"""A run that was stopped, killed or meddled with goes on, and asks only what was open."""

import os

import pyarrow.compute as pc
import pytest

from batcher.errors import Exit, PlanChanged, StorageError
from batcher.records import Status
from tests.whole.runs import (
    Watched,
    a_job,
    call,
    column,
    ledger,
    manifest,
    run,
    run_argv,
    settled,
    sums,
    write_lines,
)

ROWS = 40
KILLED = -9


@pytest.fixture
def rows(tmp_path):
    return write_lines(tmp_path / "rows.jsonl", [*sums(ROWS - 1), "{broken"])


def test_lost_attempts_are_told_and_counted(emulator, rows, tmp_path):
    """Killed before the first commit of answers: what was out is lost, and may have been billed."""
    out = tmp_path / "out"
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="before-commit:3").returncode == KILLED
    watched = Watched()
    summary = run(a_job(emulator.url, rows), out, watched)
    attempts = ledger(out)
    lost = attempts.filter(pc.equal(attempts.column("verdict"), "lost"))
    assert summary.totals.maybe_billed == lost.num_rows > 0
    assert set(lost.column("billed").to_pylist()) == {"maybe"}
    assert set(lost.column("model").to_pylist()) == {"gemini-2.5-flash"}
    assert lost.column("cost_usd").null_count == lost.num_rows
    assert lost.column("reserve_usd").null_count == 0
    assert any(f"{lost.num_rows} requests of the last session have no answer" in line for line in watched.logged)
    asked_twice = set(lost.column("task").to_pylist())
    numbers = dict(zip(column(out, "task"), column(out, "attempts"), strict=True))
    assert all(numbers[task] == 2 for task in asked_twice)


def test_a_finished_run_sends_nothing_and_stays_as_it_is(emulator, rows, tmp_path):
    out = tmp_path / "out"
    first = run(a_job(emulator.url, rows), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    sent = emulator.totals().requests

    again = run(a_job(emulator.url, rows), out)

    assert (again.sent, emulator.totals().requests) == (0, sent)
    assert (again.totals, again.exit_code, again.verdict) == (first.totals, first.exit_code, first.verdict)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_finished_run_whose_input_has_changed_is_refused(emulator, rows, tmp_path):
    out = tmp_path / "out"
    run(a_job(emulator.url, rows), out)
    os.utime(rows, ns=(1, 1))
    with pytest.raises(PlanChanged, match="the input has changed"):
        run(a_job(emulator.url, rows), out)


def test_a_damaged_block_file_is_a_storage_error(emulator, rows, tmp_path):
    out = tmp_path / "out"
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="after-commit:3").returncode == KILLED
    (block,) = (out / ".state" / "blocks").iterdir()
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content)
    sent = settled(emulator).requests

    summary = run(a_job(emulator.url, rows), out)

    assert summary.exit_code is Exit.STORAGE
    assert "damaged" in summary.verdict
    assert emulator.totals().requests == sent
    assert not (out / "_SUCCESS").exists()
    assert manifest(out)["summary"]["exit_code"] == Exit.STORAGE


def test_a_part_that_is_gone_is_a_storage_error(emulator, rows, tmp_path):
    out = tmp_path / "out"
    run(a_job(emulator.url, rows), out)
    (out / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(StorageError, match="train-00001-of-00002"):
        run(a_job(emulator.url, rows), out)


def test_a_run_without_its_state_is_refused(emulator, rows, tmp_path):
    out = tmp_path / "out"
    run(a_job(emulator.url, rows), out)
    (out / ".state" / "journal.db").unlink()
    with pytest.raises(StorageError, match="state is gone"):
        run(a_job(emulator.url, rows), out)


def test_it_shows_from_the_start_what_was_done_before(emulator, rows, tmp_path):
    out = tmp_path / "out"
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="frozen").returncode == KILLED
    watched = Watched()
    summary = run(a_job(emulator.url, rows), out, watched)
    asking = [snapshot for snapshot in watched.shown if snapshot.tasks == ROWS and snapshot.phase != "planning"]
    assert {snapshot.done_before for snapshot in asking} == {ROWS}
    assert summary.totals.by_status == {Status.OK: ROWS - 1, Status.FAILED: 1}
    assert summary.sent == 0
