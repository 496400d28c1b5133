"""What does a run change of the process that it is in, and who puts it back when several go on at once?"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from batcher.asking.scrub import hidden
from batcher.job.held import held

_NOT_FOR_OTHERS = 0o027  # the output is mode 640; `.state/` is its owner's alone
_COLLECT_RARELY = (400_000, 50, 100)
"""A collection walks all that was made since the last one: 90 ms for what 20,000 rows under way keep. What a run keeps
is bounded and next to nothing of it is garbage (54 objects in 100,000 rows, a tenth of them asked again), so that in
order it never comes to one."""


class _Process:
    """What there is one of for all runs: the cyclic collector and Arrow's memory pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._threshold = gc.get_threshold()
        self._pool: pa.MemoryPool | None = None

    def enter(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs > 1:
                return
            self._threshold, self._pool = gc.get_threshold(), pa.default_memory_pool()
            # The collector walks every open task; what planning left behind never has to be looked at again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_COLLECT_RARELY)
            # Arrow's own keeps what it frees: 20 MB more at the peak (measured).
            pa.set_memory_pool(pa.system_memory_pool())

    def leave(self) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                pa.set_memory_pool(self._pool)
                gc.set_threshold(*self._threshold)
                gc.unfreeze()


class _Files:
    """What a process lets others do with the files that it makes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._before = 0

    def enter(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._before = os.umask(_NOT_FOR_OTHERS)
                os.umask(self._before | _NOT_FOR_OTHERS)

    def leave(self) -> None:
        with self._lock:
            self._runs -= 1
            if not self._runs:
                os.umask(self._before)


_PROCESS = _Process()
_FILES = _Files()


@contextlib.contextmanager
def of_careful_files() -> Iterator[None]:
    """Let files be made that the owner writes and the group reads, and nobody else; a stricter umask stays as it is."""
    _FILES.enter()
    try:
        yield
    finally:
        _FILES.leave()


@contextlib.contextmanager
def of_a_run() -> Iterator[None]:
    """Let the process suit a run; the last of several that leaves puts everything back."""
    _PROCESS.enter()
    try:
        yield
    finally:
        _PROCESS.leave()


def log_unawaited(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong where nobody waits for it, as asyncio does itself, without keys and without values.

    The process may be somebody's notebook: its logging and its hooks are left alone.
    """
    error = context.get("exception")
    trace = "" if error is None else "\n" + "".join(traceback.format_exception(error)).rstrip()
    logging.getLogger("asyncio").error("%s", hidden(f"{context.get('message')}{trace}", held()))
