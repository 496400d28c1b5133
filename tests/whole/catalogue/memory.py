"""How much memory did a run take at most? The command in a process of its own, which tells it at its end."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.whole.runs import environment, run_argv

# Not `ru_maxrss`: a child begins with what its parent had.
_TELLS = """
import sys
from batcher.cli.app import call
code = call(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("peak", code, peak.split()[1], file=sys.stderr)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """How a run ended, and the most memory it had resident."""

    exit_code: int
    mib: float
    said: str


def peak_of(rows: Path, out: Path, url: str, *more: str) -> Peak:
    """Run the command to its end."""
    argv = [sys.executable, "-c", _TELLS, *run_argv(rows, out, url, *more)]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=900, check=False)
    told = [line.split() for line in done.stderr.splitlines() if line.startswith("peak ")]
    assert told, done.stderr[-2_000:]
    return Peak(exit_code=int(told[0][1]), mib=int(told[0][2]) / 1024, said=done.stdout + done.stderr)
