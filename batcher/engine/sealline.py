"""Which finished block is sealed next? The first whose rows lack no answer that another block's part has to give."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from batcher.engine.work import Work


class SealLine:
    """Blocks in the order in which they were finished; one that shares answers of another waits for its part.

    None waits for ever: answers are shared with earlier rows only, and a block that is being asked waits for nobody.

    Args:
        finished: where finished blocks arrive.
        sealed: numbers of the blocks that have their part already.
    """

    def __init__(self, finished: asyncio.Queue[Work], sealed: Iterable[int]) -> None:
        self._finished = finished
        self._sealed = set(sealed)
        self._waiting: list[Work] = []

    async def next(self) -> Work:
        """Wait for the next block to seal."""
        for at, work in enumerate(self._waiting):
            if work.needs <= self._sealed:
                return self._waiting.pop(at)
        while True:
            work = await self._finished.get()
            if work.needs <= self._sealed:
                return work
            work.done = set()  # it may be a long wait
            self._waiting.append(work)

    def sealed(self, work: Work) -> None:
        """Take note that a block has its part now."""
        self._sealed.add(work.no)
