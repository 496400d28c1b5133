"""The command in a process of its own, without the second that its imports take: forked from one that has them.

It is a process as any other (signals, kills, exit codes, open files). Only how it began differs, and that at its end
nothing runs that was registered with `atexit`. Beginnings by `python -m batcher` and by the installed command are for
tests/test_readme.py, tests/cli/test_app.py and others.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import batcher
from batcher.__main__ import main

_NOT_LOADED = ("batcher.__main__", "batcher.emulator")  # the command loads the emulator for two verbs only
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        module.name
        for module in pkgutil.walk_packages(batcher.__path__, "batcher.")
        if not module.name.startswith(_NOT_LOADED)
    ]
)


class Ended(NamedTuple):
    """What a process left behind; killed by a signal, its exit code is the signal's negative."""

    returncode: int
    stdout: str
    stderr: str


class Forked:
    """A command that runs.

    Args:
        argv: of `batcher`.
        environ: all of it.
        anew: begin as `python -m batcher`, imports and all; only so are its arguments seen in lists of processes.

    Attributes:
        pid: of the process.
    """

    def __init__(self, argv: Sequence[str | Path], environ: Mapping[str, str], *, anew: bool = False) -> None:
        self._said = Path(tempfile.mkdtemp(prefix="said-"))
        how = (_anew if anew else _command, [str(word) for word in argv])
        self._process = _FORKS.Process(target=_become, args=(dict(environ), str(Path.cwd()), str(self._said), *how))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever the test does, it is dead at the end of the block."""
        self.kill()
        self._process.join()
        self._process.close()
        shutil.rmtree(self._said)

    def poll(self) -> int | None:
        """Give its exit code; None while it lives."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; None when it still lives then."""
        if self.returncode is None:
            self._process.join(timeout_s)
            self.returncode = self._process.exitcode
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def ends(self, *, within_s: float) -> Ended:
        """Wait for its end and give what it said."""
        ended = self.wait(within_s)
        out, err = ((self._said / name).read_text("utf-8") for name in ("out", "err"))
        assert ended is not None, f"it still runs after {within_s} s\n{out}\n{err}"
        return Ended(ended, out, err)


def _become(
    environ: dict[str, str], cwd: str, said: str, command: Callable[[list[str]], None], argv: list[str]
) -> None:
    """Take the command's environment, folder and outputs; then be it."""
    for name, number in (("out", 1), ("err", 2)):
        opened = os.open(f"{said}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    command(argv)


def _command(argv: list[str]) -> None:
    """As the interpreter does it: an error that nobody caught is the hook's, which may leave with an exit code."""
    sys.argv = ["batcher", *argv]
    try:
        main()
    except Exception:  # noqa: BLE001  all of them
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def _anew(argv: list[str]) -> None:
    os.execv(sys.executable, [sys.executable, "-m", "batcher", *argv])
