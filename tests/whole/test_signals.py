"""A signal ends a run in good order: what is out comes home, what is safe is said, and the same command goes on."""

import json
import shlex
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.status import read_status
from batcher.errors import Exit
from tests.whole.runs import call, column, command, environment, ledger, manifest, run_argv, sums, write_lines

ROWS = 200
LATENCY_S = 0.1
STUCK_S = 60.0


def an_emulator(latency_s):
    return Emulator(Settings(seed=7, latency=Latency.fixed(latency_s))).in_thread()


@pytest.fixture(scope="module")
def shared():
    with an_emulator(LATENCY_S) as emulator:
        yield emulator


@pytest.fixture
def rows(tmp_path):
    return write_lines(tmp_path / "rows.jsonl", sums(ROWS))


class Started:
    """A run in a process of its own that has sent its first requests."""

    def __init__(self, argv, emulator, *, requests=10):
        self.argv = argv
        self.process = subprocess.Popen(
            command(*argv), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 30
        while emulator.totals().requests < requests:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            threading.Event().wait(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ends(self, timeout=30):
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


def check_journal(out):
    """Clean: it opens, is whole, and no request is left hanging between sent and answered."""
    with sqlite3.connect(out / ".state" / "journal.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        (hanging,) = connection.execute(
            "select count(*) from admitted a left join attempt t on t.task = a.task and t.n = a.n where t.task is null"
        ).fetchone()
        (done,) = connection.execute("select count(*) from done").fetchone()
    connection.close()
    return hanging, done


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, Exit.INTERRUPT), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_signal_drains_and_the_same_command_completes(emulator, rows, tmp_path, number, exit_code):
    out = tmp_path / "out"
    argv = run_argv(rows, out, emulator.url)
    with Started(argv, emulator, requests=20) as started:
        started.process.send_signal(number)
        returned, said, told = started.ends()

    typed = shlex.join(["batcher", *argv])
    sent = emulator.totals().requests
    hanging, done = check_journal(out)
    assert returned == exit_code, told
    assert said.splitlines()[0] == f"stopped by {number.name}; {done} of {ROWS} answers are safe on disk"
    assert typed in said.splitlines()[-1]
    assert (hanging, done) == (0, sent)
    assert sent < ROWS
    assert "Traceback" not in told
    assert read_status(out).next_command == typed
    assert manifest(out)["summary"]["exit_code"] == exit_code

    again = call(*argv, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["sent"] == ROWS - sent
    assert column(out, "task") == list(range(ROWS))
    assert emulator.totals().requests == ROWS
    assert set(ledger(out).column("billed").to_pylist()) == {"yes"}


def test_a_second_signal_leaves_at_once(rows, tmp_path):
    """The endpoint answers in a minute; what is out is given up, told as maybe billed, and asked again."""
    out = tmp_path / "out"
    with an_emulator(STUCK_S) as stuck:
        with Started(run_argv(rows, out, stuck.url), stuck, requests=8) as started:
            started.process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):  # it drains: one signal is a request, not an order
                started.process.wait(timeout=0.5)
            started.process.send_signal(signal.SIGINT)
            returned, said, told = started.ends(timeout=2)
        assert returned == Exit.INTERRUPT, told
    hanging, done = check_journal(out)
    assert (hanging, done) == (8, 0)
    assert "0 of 200 answers are safe on disk" in said


def test_a_second_process_on_the_run_is_turned_away(emulator, rows, tmp_path):
    out = tmp_path / "out"
    argv = run_argv(rows, out, emulator.url)
    with Started(argv, emulator) as started:
        second = call(*argv)
        live = read_status(out)
        started.process.send_signal(signal.SIGINT)
        returned, _, _ = started.ends()
    assert second.returncode == Exit.LOCKED
    assert f"process {started.process.pid}, started " in second.stderr
    assert "nothing was sent" in second.stderr
    assert (live.pid, live.phase) == (started.process.pid, "asking")
    assert returned == Exit.INTERRUPT
