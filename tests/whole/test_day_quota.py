"""A day quota holds over every start of a run, the killed ones included."""

import time

import pytest

from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator
from batcher.engine.today import pacific_midnight_before
from batcher.errors import Exit
from tests.whole.processes import Forked
from tests.whole.runs import a_job, call, emulator_settings, environment, run, run_argv, sums, write_lines

KILLED = -9


@pytest.fixture
def emulator():
    with Emulator(emulator_settings(quotas=(Quota(requests_per_day=10),))).in_thread() as emulator:
        yield emulator


@pytest.fixture
def one_day():
    """The quota is of the real day: at midnight in Los Angeles nothing can be said."""
    day = pacific_midnight_before(time.time_ns() // 1000)
    yield
    if pacific_midnight_before(time.time_ns() // 1000) != day:
        pytest.skip("the day has changed meanwhile")


@pytest.mark.usefixtures("one_day")
def test_no_start_sends_more_than_is_left_of_the_day(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(25))
    job = a_job(emulator.url, rows, limits__requests_per_day=10, limits__concurrency=4)
    sent = []
    for _ in range(3):
        summary = run(job, tmp_path / "out")
        sent.append(summary.sent)
        assert (summary.exit_code, summary.totals.done) == (Exit.STOPPED, 10)
        assert any(note.startswith("type the same command again after 20") for note in summary.notes)
    assert sent == [10, 0, 0]
    assert (emulator.totals().requests, emulator.totals().by_status) == (10, {"200": 10})


@pytest.mark.usefixtures("one_day")
def test_a_killed_start_counts_too(emulator, tmp_path):
    """What was admitted and has no answer on disk may have been sent: it counts, and the server refuses nothing."""
    rows = write_lines(tmp_path / "rows.jsonl", sums(25))
    argv = run_argv(rows, tmp_path / "out", emulator.url, "--rpd", "10")
    assert call(*argv, BATCHER_FAILPOINT="after-commit:3").returncode == KILLED
    for _ in range(2):
        assert call(*argv).returncode == Exit.STOPPED
    assert emulator.totals().requests <= 10


@pytest.mark.usefixtures("one_day")
def test_all_runs_of_a_machine_share_a_day(emulator, tmp_path):
    """At the same time and one after the other, killed or not: together they send what the day has."""
    small = write_lines(tmp_path / "small.jsonl", sums(3))
    assert call(*run_argv(small, tmp_path / "a", emulator.url, "--rpd", "10")).returncode == Exit.DONE
    rows = write_lines(tmp_path / "rows.jsonl", sums(25))
    both = [run_argv(rows, tmp_path / name, emulator.url, "--rpd", "10") for name in ("b", "c")]
    with Forked(both[0], environment()) as one, Forked(both[1], environment()) as other:
        ends = [each.ends(within_s=100) for each in (one, other)]
    assert [ended.returncode for ended in ends] == [Exit.STOPPED, Exit.STOPPED], ends
    assert all("today's quota is used up" in ended.stdout for ended in ends)
    assert (emulator.totals().requests, emulator.totals().by_status) == (10, {"200": 10})


@pytest.mark.usefixtures("one_day")
def test_what_a_killed_run_may_have_sent_counts_until_its_ledger_says(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(25))
    killed = run_argv(rows, tmp_path / "a", emulator.url, "--rpd", "10")
    assert call(*killed, BATCHER_FAILPOINT="after-commit:3").returncode == KILLED
    other = run_argv(write_lines(tmp_path / "more.jsonl", sums(25)), tmp_path / "b", emulator.url, "--rpd", "10")
    assert call(*other).returncode == Exit.STOPPED
    assert call(*killed).returncode == Exit.STOPPED
    assert 8 <= emulator.totals().requests <= 10
