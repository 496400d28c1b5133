"""Half an hour, two million rows, every fault that does not end a run, two kills: nothing grows, nothing is missing.

`BATCHER_SOAK_MINUTES` makes it shorter, and the rows fewer with it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import pytest

from tests.whole.runs import KEY, MODEL, command, environment, manifest

MINUTES = float(os.environ.get("BATCHER_SOAK_MINUTES", "30"))
ROWS = int(2_000_000 * MINUTES / 30)
SEED = 11
LOOK_EVERY_S = 2.0
SETTLED_S = 60 * min(3.0, MINUTES / 6)  # until memory is at its level

# Shares of a thousand requests. What names a minute's quota would stop everybody until it is over, and is rare.
FAULTS = {
    "429": 20,
    "503": 10,
    "500": 5,
    "502": 2,
    "504": 2,
    "408": 1,
    "400": 1,
    "html": 0.5,
    "error-in-200": 0.5,
    "drop": 3,
    "drop-paid": 1,
    "cut": 2,
    "cut-clean": 1,
    "stale": 2,
    "silence": 0.05,
    "trickle": 0.05,
    "length-short": 0.5,
    "two-lengths": 0.5,
    "long-header": 0.5,
    "many-headers": 0.2,
    "bad-utf8": 0.5,
    "blocked": 1,
    "empty": 1,
    "safety": 2,
    "max-tokens": 5,
    "recitation": 1,
    "other": 0.5,
    "new-reason": 0.5,
    "huge": 0.005,
    "gzip-bomb": 0.005,
}


@dataclass
class Levels:
    """What a process held, at moments of its life."""

    rss_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def look(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            self.rss_mb.append(process.memory_info().rss / 2**20)
            self.files.append(process.num_fds())


@contextlib.contextmanager
def emulator() -> Iterator[str]:
    """The emulator in a process of its own; its address."""
    faults = [word for kind, share in FAULTS.items() for word in ("--fault", f"{kind}={share / 1000:.6f}")]
    process = subprocess.Popen(
        command("emulate", "--seed", str(SEED), *faults),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        yield line[line.index("http://") :].split()[0]
    finally:
        process.kill()
        process.communicate()


def write_rows(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(ROWS):
            file.write(orjson.dumps({"id": f"q{number}", "prompt": f"What is {number} * 7?"}) + b"\n")


def asked(argv: list[str], *, levels: Levels, kill_after_s: float | None) -> int:
    """Run the command, looking at it now and then; its exit code."""
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        process, began_s = psutil.Process(running.pid), time.monotonic()
        while running.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(LOOK_EVERY_S)
            lived_s = time.monotonic() - began_s
            if lived_s > SETTLED_S:
                levels.look(process)
            if kill_after_s is not None and lived_s > kill_after_s:
                running.send_signal(signal.SIGKILL)
        _, stderr = running.communicate()
    if running.returncode not in {0, -signal.SIGKILL}:
        sys.stderr.write(stderr.decode()[-4_000:])
    return running.returncode


@pytest.mark.slow
@pytest.mark.timeout(9_000)  # on two cores that are busy with other things
def test_a_long_run_among_all_faults_grows_in_nothing_and_ends_right(tmp_path):
    """Memory and open files stay as they were after the first minutes; each row is there once; the audit is clean."""
    write_rows(tmp_path / "rows.jsonl")
    chance = random.Random(SEED)
    lives: list[Levels] = []
    with emulator() as url:
        argv = command(
            *("run", "-i", tmp_path / "rows.jsonl", "-m", MODEL, "-o", tmp_path / "out", "--base-url", url),
            *("--concurrency", "256", "--json", "--max-failed", "100%"),
            *("--set", "retry.max_backoff_s=2", "--set", "timeouts.first_byte_s=5", "--set", "timeouts.body_s=5"),
        )
        for kill_after_s in (*(60 * MINUTES * chance.uniform(0.2, 0.4) for _ in range(2)), None):
            lives.append(Levels())
            code = asked(argv, levels=lives[-1], kill_after_s=kill_after_s)
            assert code == (0 if kill_after_s is None else -signal.SIGKILL)
    sys.stdout.write("".join(f"\nMB {[round(mb) for mb in life.rss_mb]}\nfiles {life.files}\n" for life in lives))
    for life in lives:
        looks = len(life.rss_mb) // 3
        if looks >= 5:
            assert max(life.rss_mb[-looks:]) <= 1.15 * max(life.rss_mb[:looks]), life.rss_mb
            assert max(life.files[-looks:]) <= max(life.files[:looks]) + 20, life.files
    assert max(max(life.rss_mb, default=0) for life in lives) < 512
    done = subprocess.run(command("audit", tmp_path / "out"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    totals = manifest(tmp_path / "out")["summary"]["totals"]
    assert sum(totals["by_status"].values()) == ROWS
    sys.stdout.write(f"{ROWS:,} rows, {[max(life.rss_mb, default=0) for life in lives]} MB, {totals}\n")
    assert KEY not in (tmp_path / "out" / "run.json").read_text()
