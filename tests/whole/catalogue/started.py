"""A run in a process of its own that a test stops, kills or asks about while it goes; answers that wait for a word."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from tests.whole.processes import Ended, Forked
from tests.whole.runs import environment

EXIT_BUG = 70  # as the README's table of exit codes has it
_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.02


class Started(Forked):
    """A command that is running; whatever the test does, it is dead at the end of the block."""

    def __init__(self, argv: Sequence[str | Path], *, anew: bool = False, **environ: str) -> None:
        super().__init__(argv, environment(**environ), anew=anew)

    def until(self, seen: Callable[[], Any]) -> None:
        """Wait for a state of the run; the process has to live until then."""
        pause = threading.Event()
        for _ in range(int(_PATIENCE_S / _LOOK_EVERY_S)):
            if seen():
                return
            assert self.poll() is None, self.ends()
            pause.wait(_LOOK_EVERY_S)
        raise AssertionError("it never came to that")

    def ends(self, *, within_s: float = _PATIENCE_S) -> Ended:
        """Wait for its end."""
        return super().ends(within_s=within_s)


class Held:
    """An emulator's sleep: every answer waits until the test lets them all go."""

    def __init__(self) -> None:
        self._let_go = threading.Event()

    def let_go(self) -> None:
        self._let_go.set()

    async def sleep(self, _: float) -> None:
        while not self._let_go.is_set():  # noqa: ASYNC110  told by another thread
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def holding() -> Iterator[tuple[Emulator, Held]]:
    """An emulator that counts what arrives and answers nothing until it is told to."""
    held = Held()
    with Emulator(Settings(seed=7, latency=Latency.fixed(0.001)), sleep=held.sleep).in_thread() as emulator:
        try:
            yield emulator, held
        finally:
            held.let_go()


def check_journal(out: Path) -> tuple[int, int]:
    """It opens and is whole; how many requests hang between sent and answered, and how many tasks are done."""
    with contextlib.closing(sqlite3.connect(out / ".state" / "journal.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        (hanging,) = connection.execute(
            "select count(*) from admitted a left join attempt t on t.task = a.task and t.n = a.n where t.task is null"
        ).fetchone()
        (done,) = connection.execute("select count(*) from done").fetchone()
    return hanging, done
