"""How does a caller read outcomes as they come? An asynchronous iterator that stops its run when it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from batcher.api.call import Call, ready
from batcher.api.channel import Channel
from batcher.api.narration import Progress, narration
from batcher.api.result import Run
from batcher.api.worker import Worker
from batcher.engine.outcomes import TaskOutcome
from batcher.engine.progress import Snapshot
from batcher.engine.work import LOOK_AHEAD
from batcher.errors import Interrupted, RunStopped
from batcher.job.pool import pooled

_OPEN_FOR_EACH_SLOT = 4
_CHUNKS_ON_THE_WAY = 4  # made, queued and being sent; room for them is no room in the buffer


async def started(call: Call, progress: Progress, buffer: int | None) -> tuple[Worker, Channel | None]:
    """Start a run beside the caller's loop, which it never blocks: job and key are read on a thread, too."""
    loop = asyncio.get_running_loop()
    told = narration(progress=progress)

    def show(snapshot: Snapshot) -> None:
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody looks any more
            loop.call_soon_threadsafe(told.show, snapshot)

    def log(line: str) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(told.log, line)

    what = await asyncio.to_thread(ready, call, os.environ)
    channel = None
    if buffer is not None:
        in_work = pooled(what.job).concurrency * _OPEN_FOR_EACH_SLOT + LOOK_AHEAD * _CHUNKS_ON_THE_WAY
        channel = Channel(buffer + in_work)
    worker = Worker(what, show=show, log=log, listener=channel)
    if channel is not None:
        worker.ended.add_done_callback(lambda _: channel.finish())
    worker.start()
    return worker, channel


async def home(worker: Worker, ended: asyncio.Future[Run]) -> None:
    """Wait until a run that was told to leave has left; whoever is cancelled meanwhile hurries it up."""
    cancelled = False
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            cancelled = True
            worker.hurry_up()
    ended.exception()  # whatever it was, the caller has left
    if cancelled:
        raise asyncio.CancelledError


class OutcomeStream(AsyncIterator[TaskOutcome]):
    """The outcomes of a run as they come, for one reader; made by `batcher.stream`.

    Leaving the loop early ends the run in good order: nothing more is sent, what is in flight comes home within
    `run.drain_s`, and the same call goes on. `async with` waits for that; without it, it happens in the background.

    Attributes:
        run: the finished run, once the loop is over or the stream is closed.
    """

    def __init__(self, call: Call, *, progress: Progress, buffer: int) -> None:
        self._call = call
        self._progress = progress
        self._buffer = buffer
        self._parts: tuple[Worker, Channel] | None = None
        self._is_over = False
        self.run: Run | None = None

    async def __anext__(self) -> TaskOutcome:
        """Give the next outcome; the run starts with the first.

        Raises:
            BatcherError: what ended the run, as `batcher.run` raises it.
        """
        if self._is_over:
            raise StopAsyncIteration
        if self._parts is None:
            worker, channel = await started(self._call, self._progress, self._buffer)
            assert channel is not None
            self._parts = worker, channel
        worker, channel = self._parts
        outcome = await channel.next()
        if outcome is None:
            self._is_over = True
            self.run = await asyncio.wrap_future(worker.ended)
            raise StopAsyncIteration
        return outcome

    async def aclose(self) -> None:
        """End the run and wait until it has ended.

        Raises:
            BatcherError: what ended the run before it was told to.
        """
        self._is_over = True
        if self._parts is None or self.run is not None:
            return
        worker, _ = self._parts
        self._leave()
        await home(worker, asyncio.wrap_future(worker.ended))
        with contextlib.suppress(RunStopped, Interrupted):
            self.run = worker.ended.result()

    def _leave(self) -> None:
        if self._parts is not None:
            worker, channel = self._parts
            channel.close()
            if not worker.ended.done():
                worker.leave()

    async def __aenter__(self) -> Self:
        """Give the stream itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    def __del__(self) -> None:
        """Left without a word: the run ends all the same, and a loop that is about to end waits for it."""
        if self._parts is None or self._is_over:
            return
        self._leave()
        with contextlib.suppress(RuntimeError):  # no loop runs here: the program's end waits for the thread
            _LEAVING.add(task := asyncio.get_running_loop().create_task(_patiently(self._parts[0])))
            task.add_done_callback(_LEAVING.discard)


_LEAVING: set[asyncio.Task[None]] = set()
"""A loop holds its tasks weakly; these are held until they are done."""


async def _patiently(worker: Worker) -> None:
    """Wait for a run to leave, even when the loop is ending: it is bounded by `run.drain_s`."""
    ended = asyncio.wrap_future(worker.ended)
    while not ended.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ended])
    ended.exception()
