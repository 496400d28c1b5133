"""How does a client reach the broker of shared quotas? Over a unix socket, or as the broker's own house."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from batcher.pacing.lease import Answer, Ask, Broker
from batcher.pacing.statefolder import StateFolder
from batcher.pacing.wire import answer_of, ask_of

SOCKET, STATE = "quotas.sock", "quotas.json"
LINE_BYTES = 1 << 20
_BACKLOG = 256


class Lost(Exception):  # noqa: N818  what happened; nobody sees it
    """The broker is gone, or we are no longer it."""


class Remote:
    """A connection to the broker in another process.

    Attributes:
        socket_id: which socket it led to.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, socket_id: int, answers_within_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.socket_id = socket_id
        self._answers_within_s = answers_within_s

    async def lease(self, ask: Ask) -> Answer:
        """Have an ask answered.

        Raises:
            Lost: the broker is gone.
            TimeoutError: it is there, and says nothing.
        """
        try:
            self._writer.write(orjson.dumps(ask, option=orjson.OPT_NON_STR_KEYS) + b"\n")
            async with asyncio.timeout(self._answers_within_s):
                await self._writer.drain()
                line = await self._reader.readline()
            return answer_of(orjson.loads(line))
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:  # a line that is cut off or too long is no answer, too
            raise Lost from error

    async def close(self, last_word: Ask) -> None:
        """Say the last word and go."""
        with contextlib.suppress(Lost, TimeoutError):
            await self.lease(last_word)
        self.drop()

    def drop(self) -> None:
        """Hang up."""
        self._writer.close()


class Own:
    """The broker in this process, and its door for the others.

    Args:
        folder: where its socket and its memory are.
        listening: bound and in its place.
        said: what the broker before it wrote down; empty when there was none.
        now, wall_us: monotonic seconds; microseconds since the epoch.
    """

    _US = 0  # our own number among the clients

    def __init__(
        self,
        folder: StateFolder,
        listening: socket.socket,
        said: Mapping[str, Any],
        *,
        now: Callable[[], float],
        wall_us: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._now = now
        self._wall_us = wall_us
        since_s = max(wall_us() - said.get("at_us", 0), 0) / 1e6
        self._broker = Broker(said, now_s=now(), since_s=since_s)
        self._listening = listening
        self._socket_id = socket_id_of(folder.path / SOCKET)
        self._numbers = itertools.count(self._US + 1)
        self._server: asyncio.Server | None = None
        self._guests: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Let others in."""
        self._server = await asyncio.start_unix_server(self._serve, sock=self._listening, limit=LINE_BYTES)

    async def lease(self, ask: Ask) -> Answer:
        """See `Remote.lease`."""
        return self._lease(self._US, ask)

    async def close(self, last_word: Ask) -> None:
        """See `Remote.close`; the others find the next broker among themselves."""
        with contextlib.suppress(Lost, OSError), self._folder.locked(SOCKET):
            self._lease(self._US, last_word)
            self._broker.leave(self._US, now_s=self._now())
            self._write(closed=True)
            (self._folder.path / SOCKET).unlink()
        self.drop()

    def drop(self) -> None:
        """Let nobody in, and those who are in go."""
        if self._server is not None:
            self._server.close()
        for guest in self._guests:
            guest.close()

    def _lease(self, client: int, ask: Ask) -> Answer:
        if socket_id_of(self._folder.path / SOCKET) != self._socket_id:
            self.drop()
            raise Lost
        answer = self._broker.lease(client, ask, now_s=self._now())
        if self._broker.is_owed(self._now()):
            self._write()
        return answer

    def _write(self, *, closed: bool = False) -> None:
        at_us = self._wall_us()
        said = self._broker.snapshot(now_s=self._now(), wall_us=at_us, closed=closed)
        self._folder.write(STATE, said | {"at_us": at_us})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = next(self._numbers)
        self._guests.add(writer)
        try:
            while line := await reader.readline():
                writer.write(orjson.dumps(self._lease(client, ask_of(orjson.loads(line)))) + b"\n")
                await writer.drain()
        except (OSError, ValueError, Lost):
            pass  # whoever is there will find it gone, and come again
        finally:
            self._guests.discard(writer)
            self._broker.leave(client, now_s=self._now())
            writer.close()


def socket_id_of(path: Path) -> int | None:
    """Tell one socket of that name from another; None when there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def is_served(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its backlog is full: somebody holds it
        except OSError:
            return False
        return True


def name_beside(path: Path) -> Path:
    """Where a socket is made before it takes its place."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def bound(path: Path) -> socket.socket:
    """Make a socket that listens, in the place of whatever was there: one step, so that nobody finds none."""
    beside = name_beside(path)
    beside.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(beside))
        beside.chmod(0o600)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
        beside.replace(path)
    except BaseException:
        listening.close()
        beside.unlink(missing_ok=True)
        raise
    return listening
