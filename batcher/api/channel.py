"""How do outcomes get from the run's thread to the reader's loop, and never too many of them?"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

from batcher.engine.outcomes import TaskOutcome

_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Channel:
    """A bounded buffer between two loops. The run asks for room before it asks a task; the reader gives it back.

    So what is asked and what waits to be read are bounded together, and a reader who stands still stops the asking.

    Args:
        capacity: tasks asked or unread at once; one chunk of a run is let through however large it is.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._unread: deque[TaskOutcome] = deque()
        self._taken = 0
        self._closed = False
        self._over = False
        self._reader: _Waiter | None = None
        self._writers: list[_Waiter] = []

    def told(self, outcome: TaskOutcome) -> None:
        """Take an outcome; dropped when nobody reads any more."""
        with self._lock:
            if not self._closed:
                self._unread.append(outcome)
            reader, self._reader = self._reader, None
        _wake(reader)

    async def room(self, tasks: int) -> bool:
        """Wait until so many more may come; False when nobody reads any more."""
        while True:
            with self._lock:
                if self._closed:
                    return False
                if not self._taken or self._taken + tasks <= self._capacity:
                    self._taken += tasks
                    return True
                waiter = _waiter()
                self._writers.append(waiter)
            await waiter[1].wait()

    async def next(self) -> TaskOutcome | None:
        """Wait for an outcome; None when there will be no more."""
        while True:
            with self._lock:
                if self._unread:
                    self._taken -= 1
                    writers, self._writers = self._writers, []
                    outcome = self._unread.popleft()
                    break
                if self._closed or self._over:
                    return None
                waiter = self._reader = _waiter()
            await waiter[1].wait()
        _wake(*writers)
        return outcome

    def finish(self) -> None:
        """No more outcomes come; those that are here can still be read."""
        with self._lock:
            self._over = True
            reader, self._reader = self._reader, None
        _wake(reader)

    def close(self) -> None:
        """Nobody reads any more: drop what is here and let the run go on to its end."""
        with self._lock:
            self._closed = True
            self._unread.clear()
            waiters = [*self._writers, self._reader]
            self._writers, self._reader = [], None
        _wake(*waiters)


def _waiter() -> _Waiter:
    return asyncio.get_running_loop(), asyncio.Event()


def _wake(*waiters: _Waiter | None) -> None:
    for waiter in waiters:
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left who waits
                waiter[0].call_soon_threadsafe(waiter[1].set)
