"""Who shares the quotas of this host, and how do they reach the broker? A unix socket in the user's state folder.

The first run that needs the broker is it, on its own loop; the others connect. When it goes, whoever notices first is
it next, from what the last one wrote down: so does the next run of the same evening. Nobody serves two masters: a
broker that was frozen while another took its place sees that the socket is no longer its own, and gives nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from batcher.pacing.lessee import Lessee
from batcher.pacing.links import (
    LINE_BYTES,
    SOCKET,
    STATE,
    Lost,
    Own,
    Remote,
    bound,
    is_served,
    name_beside,
    socket_id_of,
)
from batcher.pacing.statefolder import StateFolder

LONGEST_PATH = 100  # bytes: the system takes 104 on macOS, 108 on Linux
_HEARTBEAT_S = 1.0
ANSWERS_WITHIN_S = 2.0
_SOMEBODY_ELSE_S = 0.05  # as long as it takes another to become the broker


class Sharing:
    """The quotas that one run shares with others, while it runs.

    Args:
        folder: the user's.
        run: its id.
        named: see `Lessee`.
        now, wall_us: monotonic seconds of the loop; microseconds since the epoch.
        log: told once when nothing can be shared, and why.
        answers_within_s: a broker that says nothing for so long is frozen, and another takes its place.

    Attributes:
        lessee: what the run holds; lanes take from it.
    """

    def __init__(  # noqa: PLR0913  the world, each part handed in
        self,
        folder: StateFolder,
        *,
        run: str,
        named: Callable[[str], str],
        now: Callable[[], float],
        wall_us: Callable[[], int],
        log: Callable[[str], None],
        answers_within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self._folder = folder
        self._now = now
        self._wall_us = wall_us
        self._log = log
        self._answers_within_s = answers_within_s
        self._lacking = asyncio.Event()
        self._link: Remote | Own | None = None
        self._work: asyncio.Task[None] | None = None
        self._deaf: int | None = None  # the socket of a broker that does not answer
        self.lessee = Lessee(run=run, named=named, lacks=self._lacking.set)

    @property
    def is_broker(self) -> bool:
        """Whether the broker is here."""
        return isinstance(self._link, Own)

    async def __aenter__(self) -> Self:
        self._work = asyncio.create_task(self._share())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._work is not None
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._work
        if self._link is not None:
            await self._link.close(self.lessee.last_word(self._now()))

    async def _share(self) -> None:
        """Keep the leases alive; when nothing can be shared, say so and go on without."""
        try:
            await self._lacking.wait()
            while True:
                self._link = await self._reach()
                await self._lease_on(self._link)
                self._link = None
                self.lessee.begin()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self._link is not None:
                self._link.drop()
                self._link = None
            self.lessee.share_no_more()
            if not isinstance(error, OSError):
                raise
            self._log(alone(self._folder.path, error))

    async def _lease_on(self, link: Remote | Own) -> None:
        """Ask once a period, and at once when something is lacking and a period has passed; until the link is lost."""
        lessee = self.lessee
        while True:
            asked_s = self._now()
            self._lacking.clear()
            try:
                answer = await link.lease(lessee.ask(asked_s))
            except Lost:
                link.drop()
                return
            except TimeoutError:
                self._deaf = link.socket_id if isinstance(link, Remote) else None
                link.drop()
                return
            lessee.answered(answer, asked_s=asked_s, now_s=self._now())
            await asyncio.sleep(max(asked_s + answer.next_s - self._now(), 0.0))
            if lessee.is_idle:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await self._lacking.wait()

    async def _reach(self) -> Remote | Own:
        """Find the broker, or be it."""
        self._folder.make()
        path = self._folder.path / SOCKET
        if len(os.fsencode(name_beside(path))) > LONGEST_PATH:
            raise OSError("the path is too long for a socket; XDG_STATE_HOME may name a shorter one")
        while True:
            if (remote := await self._connect(path)) is not None:
                return remote
            own = self._take_over(path)
            if own is not None:
                self._link = own
                await own.open()
                return own
            await asyncio.sleep(_SOMEBODY_ELSE_S)

    async def _connect(self, path: Path) -> Remote | None:
        try:
            socket_id = socket_id_of(path)
            if socket_id is None or socket_id == self._deaf:
                return None
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES)
        except (FileNotFoundError, ConnectionError, BlockingIOError):
            return None
        return Remote(reader, writer, socket_id=socket_id, answers_within_s=self._answers_within_s)

    def _take_over(self, path: Path) -> Own | None:
        """Be the broker; None when somebody else is faster."""
        with self._folder.locked(SOCKET, wait=False) as mine:
            if not mine or (socket_id_of(path) != self._deaf and is_served(path)):
                return None
            self._deaf = None
            said = self._folder.read(STATE)
            return Own(self._folder, bound(path), said, now=self._now, wall_us=self._wall_us)


def alone(folder: Path, error: OSError) -> str:
    """Say why a run shares its quotas with nobody."""
    why = error.strerror or error
    return f"quotas are not shared with other runs: {folder}: {why}; this run goes on by itself"
