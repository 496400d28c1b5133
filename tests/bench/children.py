"""How are the measured processes started, pinned and weighed? Each runs alone; the kernel says what it used.

The client has core 0 and the server core 1, so that neither takes time from the other; a machine without the two, or
without affinity, measures unpinned and says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

CLIENT_CORE, SERVER_CORE = 0, 1
PINNED = hasattr(os, "sched_setaffinity") and {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(0)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A process that has ended.

    Attributes:
        wall_s: from start to exit.
        cpu_s: user and system, its children included.
        rss_mb: the most memory it ever held.
        stdout: what it printed.
    """

    wall_s: float
    cpu_s: float
    rss_mb: float
    code: int
    stdout: bytes


def weigh(arguments: Sequence[str], *, log: Path) -> Weighed:
    """Run `python -m ARGUMENTS` on the client's core to its end; its stderr goes to `log`."""
    started = time.perf_counter()
    child = begin(arguments, log=log)
    assert child.stdout is not None
    with child.stdout:
        stdout = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Weighed(
        wall_s=time.perf_counter() - started,
        cpu_s=used.ru_utime + used.ru_stime,
        rss_mb=used.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024),
        code=child.returncode,
        stdout=stdout,
    )


def begin(arguments: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m ARGUMENTS` on the client's core; whoever starts it waits for it."""
    with log.open("ab") as errors, _on(CLIENT_CORE):
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, stderr=errors, env=_environment(), cwd=ROOT
        )


@contextmanager
def serving(**options: float) -> Iterator[str]:
    """The fake endpoint on the server's core; gives its base URL."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with _on(SERVER_CORE):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.fast_server", *flags], stdout=subprocess.PIPE, cwd=ROOT
        )
    try:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.terminate()
        child.communicate()


def seen(base_url: str) -> dict[str, int]:
    """What the fake endpoint has counted since the last `forget`."""
    with urllib.request.urlopen(f"{base_url}/stats", timeout=10) as reply:
        counts: dict[str, int] = orjson.loads(reply.read())
    return counts


def forget(base_url: str) -> None:
    """Make the fake endpoint count from zero."""
    urllib.request.urlopen(f"{base_url}/reset", data=b"", timeout=10).close()


@contextmanager
def _on(core: int) -> Iterator[None]:
    """What is started inside inherits the core."""
    if not PINNED:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _environment() -> dict[str, str]:
    return {**os.environ, "GEMINI_API_KEY": "bench", "PYTHONHASHSEED": "0"}
