"""Whoever watches a run sees a block that goes without a trace; whoever reads a log never sees a cursor code."""

import json
import shlex

import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.status import read_status
from batcher.errors import Exit
from tests.whole.runs import call, run_argv, sums, write_lines
from tests.whole.ttys import OnTty

ROWS = 120
LATENCY_S = 0.1
INPUT = f"input: prompt, jsonl, {ROWS} rows"  # stays above the block


@pytest.fixture(scope="module")
def emulator():
    with Emulator(Settings(seed=7, latency=Latency.fixed(LATENCY_S))).in_thread() as emulator:
        yield emulator


@pytest.fixture
def argv(emulator, tmp_path):
    return run_argv(write_lines(tmp_path / "rows.jsonl", sums(ROWS)), tmp_path / "out", emulator.url)


def is_live(screen):
    """Whether a whole block stands there: what is read from a terminal may end in the middle of one."""
    return all(any(mark in line for line in screen) for mark in ("━", "in flight", "rows/s"))


def has_block(lines):
    return any(mark in line for line in lines for mark in ("━", "─", "in flight", "Ctrl-C"))


def said(on):
    return [line for line in on.terminal.lines if line]


def test_on_a_terminal_a_run_is_shown_by_a_block_that_the_summary_replaces(argv, tmp_path):
    with OnTty(*argv) as on:
        on.until(is_live)
        block = [line for line in on.terminal.screen if line]
        told = read_status(tmp_path / "out")
        assert on.ends() == 0
    assert block[0] == INPUT
    assert [line.split()[0] for line in block[1:] if line[0] != " "][:2] == ["rows", "tokens"]
    assert "rows/s" in block[-1]
    assert told.now is not None
    assert (told.now.tasks, told.now.phase) == (ROWS, "asking")
    assert said(on)[:3] == [INPUT, f"done: {ROWS} of {ROWS} ok", f"  rows      {ROWS} ok"]
    assert not has_block(on.terminal.lines)
    assert on.terminal.cursor_shown
    assert on.terminal.wraps
    assert "\x1b[32m" in on.raw


def test_ctrl_c_leaves_a_clean_screen_and_says_how_to_go_on(argv):
    with OnTty(*argv) as on:
        on.until(is_live)
        on.type("\x03")
        assert on.ends() == Exit.INTERRUPT
    assert said(on)[0] == INPUT
    assert said(on)[1].startswith("stopped by SIGINT; ")
    assert on.terminal.lines[-1] == f"  next      {shlex.join(['batcher', *argv])}"[-len(on.terminal.lines[-1]) :]
    assert "^C" not in "".join(on.terminal.lines)
    assert not has_block(on.terminal.lines)
    assert on.terminal.cursor_shown


def test_a_terminal_in_ci_has_plain_lines(argv):
    with OnTty(*argv, environ={"CI": "true", "FORCE_COLOR": "1"}) as on:
        assert on.ends() == 0
    lines = on.terminal.lines
    assert f"asking {ROWS}" in lines
    assert sum(" of 120 · " in line for line in lines) >= 5
    assert on.terminal.codes <= {"m"}  # the verdict is bold; the cursor stays where it is


def test_a_summary_that_goes_elsewhere_leaves_word_and_no_colour_is_heard(argv, tmp_path):
    environ = {"NO_COLOR": "1"}
    with (tmp_path / "summary").open("wb") as summary, OnTty(*argv, environ=environ, stdout=summary) as on:
        on.until(is_live)
        assert on.ends() == 0
    assert "\x1b[32m" not in on.raw
    assert said(on)[0] == INPUT
    assert said(on)[1].startswith("100 %  120 of 120 · ")
    assert not has_block(on.terminal.lines)
    assert "\x1b" not in (tmp_path / "summary").read_text()


def test_in_ci_there_is_one_json_document_and_no_cursor_code(emulator, tmp_path):
    """Acceptance: 2,000 rows; the colours that are forced must not bring the cursor with them."""
    rows = write_lines(tmp_path / "rows.jsonl", sums(2_000))
    argv = [*run_argv(rows, tmp_path / "out", emulator.url), "--concurrency", "256"]
    done = call(*argv, "--json", CI="true", FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["by_status"]["ok"] == 2_000
    assert len(done.stdout.splitlines()) == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 40


def test_in_ci_prose_is_plain_lines(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(2_000))
    argv = [*run_argv(rows, tmp_path / "out", emulator.url), "--concurrency", "256"]
    done = call(*argv, CI="true", FORCE_COLOR="1", TTY_INTERACTIVE="1")
    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stderr
    assert 3 <= len(done.stderr.splitlines()) <= 40
    assert "asking 2,000" in done.stderr
