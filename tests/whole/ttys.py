"""The command on a terminal of its own: what is typed goes in, what is seen comes out."""

from __future__ import annotations

import codecs
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from typing import IO, Self

from tests.reports.terminals import FakeTerminal
from tests.whole.runs import environment

# The terminal becomes the command's own, so that Ctrl-C reaches it as it reaches a person's.
_TAKE_IT = "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class OnTty:
    """A command whose stderr, and stdout unless it is given, is a terminal.

    Args:
        argv: of `batcher`.
        environ: over the test's own; `CI` is unset unless it is here.
        stdout: somewhere else for stdout.
    """

    def __init__(self, *argv: str, environ: Mapping[str, str] | None = None, stdout: IO[bytes] | None = None) -> None:
        self.terminal = FakeTerminal(columns=100, rows=30)
        outer, inner = pty.openpty()
        termios.tcsetwinsize(inner, (30, 100))
        known = {"TERM": "xterm-256color", "CI": "", "NO_COLOR": "", "FORCE_COLOR": ""} | dict(environ or {})
        self._outer = outer
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_IT, sys.executable, "-m", "batcher", *argv],
            env={name: value for name, value in environment(**known).items() if value or name not in known},
            stdin=inner,
            stdout=stdout or inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self._outer)

    @property
    def raw(self) -> str:
        return "".join(self.terminal.written)

    def type(self, keys: str) -> None:
        os.write(self._outer, keys.encode())

    def until(self, seen: Callable[[list[str]], bool]) -> None:
        """Read until the screen shows it; the command must not end before."""
        while not seen(self.terminal.screen):
            assert self._read(), self.terminal.lines

    def ends(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(30)

    def _read(self) -> bool:
        try:
            arrived = os.read(self._outer, 65536)
        except OSError:  # Linux's way of saying that the other end is closed
            arrived = b""
        self.terminal.write(self._decoder.decode(arrived).replace("\r\n", "\n"))
        return bool(arrived)
