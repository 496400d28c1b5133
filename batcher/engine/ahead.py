"""Which block is opened while another is asked? One ahead, if the disk and the sealer keep up."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping

from batcher.engine.plan import Plan
from batcher.engine.work import Chunk, Work, WorkList
from batcher.rows.blocks import Block
from batcher.store.blocks import BlockRow, is_sealed

MOST_FROZEN = 4
_MAX_JOURNAL = 8 << 30


class Ahead:
    """Opens the unsealed blocks in order and cuts them into chunks.

    Args:
        plan: what there is to do.
        rows: the blocks as the journal knows them.
        worklist: opens and cuts one.
        finished: blocks whose tasks all have an outcome, on their way to the sealer; one that has nothing left to ask
            goes there at once.

    Attributes:
        held: what keeps the next block from being opened: `sealing`, `journal` or nothing.
    """

    def __init__(
        self, plan: Plan, rows: Mapping[int, BlockRow], *, worklist: WorkList, finished: asyncio.Queue[Work]
    ) -> None:
        self._plan = plan
        self._rows = rows
        self._worklist = worklist
        self._finished = finished
        self._fits = asyncio.Event()
        self.held = ""

    def sealed_one(self) -> None:
        """A block was sealed: there may be room now."""
        self._fits.set()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Chunk after chunk; the next block is opened while this one is asked, or every slot would wait for it."""
        blocks = (block for block in self._plan.index.blocks if not is_sealed(self._rows.get(block.no)))
        opening = self._opening(next(blocks, None))
        try:
            while opening is not None:
                work = await opening
                opening = self._opening(next(blocks, None))
                async for chunk in self._worklist.chunks(work):
                    yield chunk
        finally:
            if opening is not None:
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)

    def _opening(self, block: Block | None) -> asyncio.Task[Work] | None:
        return None if block is None else asyncio.create_task(self._opened(block))

    async def _opened(self, block: Block) -> Work:
        await self._room()
        work = await self._worklist.open(block, self._rows.get(block.no))
        if not work.remaining:
            self._finished.put_nowait(work)
        return work

    async def _room(self) -> None:
        """Wait while too many blocks are frozen or the journal is too big."""
        while True:
            self._fits.clear()
            self.held = "sealing" if self._finished.qsize() > MOST_FROZEN else self._journal_held()
            if not self.held:
                return
            await self._fits.wait()

    def _journal_held(self) -> str:
        # With nothing to seal, waiting would be for ever; the disk's own limit then speaks.
        path = self._plan.rundir.journal
        size = path.stat().st_size
        if size < _MAX_JOURNAL and size < (size + shutil.disk_usage(path.parent).free) // 4:
            return ""
        return "journal" if self._finished.qsize() else ""
