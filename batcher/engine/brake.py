"""How does another thread stop a run? A brake that holds at any moment, also before the run's loop is there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from batcher.engine.halt import Halt
from batcher.errors import BatcherError


class Brake:
    """Stops one run from outside of its loop; every method may be called from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may interrupt the thread that holds it
        self._why: BatcherError | None = None
        self._drain_s: float | None = None
        self._hurry = False
        self._on: tuple[asyncio.AbstractEventLoop, Halt] | None = None

    @property
    def pulled(self) -> bool:
        """Whether somebody wants the run to end."""
        return self._why is not None

    def stop(self, why: BatcherError, drain_s: float | None = None) -> None:
        """End the run in good order; the first reason stays.

        Args:
            why: what the run says of its end.
            drain_s: how long what is in flight may take; None for as long as its own deadlines allow.
        """
        with self._lock:
            if self._why is None:
                self._why, self._drain_s = why, drain_s
            self._pass_on()

    def hurry_up(self) -> None:
        """Leave a draining run now: what is in flight is abandoned and counts as maybe billed."""
        with self._lock:
            self._hurry = True
            self._pass_on()

    def check(self) -> None:
        """Where there is no loop yet, end here.

        Raises:
            BatcherError: the reason, when there is one.
        """
        if self._why is not None:
            raise self._why

    @contextlib.contextmanager
    def on(self, halt: Halt) -> Iterator[None]:
        """Act on the session that runs on this loop."""
        with self._lock:
            self._on = (asyncio.get_running_loop(), halt)
            self._pass_on()
        try:
            yield
        finally:
            with self._lock:
                self._on = None

    def _pass_on(self) -> None:
        if self._on is not None and self._why is not None:
            loop, halt = self._on
            loop.call_soon_threadsafe(self._act, halt)

    def _act(self, halt: Halt) -> None:
        if self._on is None:
            return  # the session has ended since
        if self._why is not None:
            halt.stop(self._why, self._drain_s)
        if self._hurry:
            halt.hurry_up()
