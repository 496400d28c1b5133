"""The broker's house and its guests on one loop, over a real unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from batcher.pacing.leased import LeasedWindow
from batcher.pacing.lessee import Lessee
from batcher.pacing.links import SOCKET, STATE, bound
from batcher.pacing.shared import Sharing
from batcher.pacing.statefolder import StateFolder
from tests.fakes import FakeClock


@pytest.fixture
def folder(state_home: Path) -> StateFolder:
    return StateFolder(state_home / "batcher")


class Run:
    """What one run of a host is made of here: its part of the quotas, and one window that takes from it."""

    def __init__(self, sharing: Sharing, logged: list[str]) -> None:
        self.sharing = sharing
        self.logged = logged
        self.lessee: Lessee = sharing.lessee
        self.stirred = asyncio.Event()
        self.window: LeasedWindow = self.lessee.window("lane", "requests/min", 6000, self.stirred.set)

    async def take(self, amount: int = 1) -> None:
        """Take units as a lane does: at once, or when they have come."""
        now_s = asyncio.get_running_loop().time
        while not self.window.fits(now_s(), amount):
            self.stirred.clear()
            await self.stirred.wait()
        self.window.add(now_s(), amount)


@contextlib.asynccontextmanager
async def a_run(folder: StateFolder, name: str = "r", **more: Any) -> AsyncIterator[Run]:
    logged: list[str] = []
    now = asyncio.get_running_loop().time
    sharing = Sharing(folder, run=name, named=str, now=now, wall_us=FakeClock(follow=now), log=logged.append, **more)
    async with sharing:
        yield Run(sharing, logged)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  what is waited for has no event
        await asyncio.sleep(0.01)


def kept(folder: StateFolder) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((folder.path / STATE).read_bytes())
    return found


async def test_the_first_is_the_broker_and_the_others_come_to_it(folder):
    async with a_run(folder) as first, a_run(folder) as second, a_run(folder) as third:
        for run in (first, second, third):
            await run.take(3)
        assert [run.sharing.is_broker for run in (first, second, third)] == [True, False, False]
        assert first.logged == second.logged == third.logged == []
    assert not (folder.path / SOCKET).exists()
    assert kept(folder)["closed"]
    assert sum(amount for _, amount in kept(folder)["pools"]["lane requests/min"]["used"]) == 9


async def test_a_run_that_takes_nothing_touches_nothing(folder):
    async with a_run(folder):
        await asyncio.sleep(0.01)
    assert not folder.path.exists()


async def test_what_is_there_is_its_owners_alone(folder):
    async with a_run(folder) as run:
        await run.take()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o077 for path in folder.path.iterdir()} == {0}


async def test_when_the_broker_leaves_another_goes_on_from_what_it_knew(folder):
    async with a_run(folder) as second:
        async with a_run(folder) as first:
            await first.take(20)
            await second.take(10)
            assert first.sharing.is_broker
        await until(lambda: second.sharing.is_broker)
        await second.take()
    used = kept(folder)["pools"]["lane requests/min"]["used"]
    assert sum(amount for _, amount in used) >= 31


async def test_the_next_run_of_the_evening_knows_what_the_last_one_sent(folder):
    async with a_run(folder) as first:
        await first.take(50)
    async with a_run(folder) as second:
        await second.take()
    assert sum(amount for _, amount in kept(folder)["pools"]["lane requests/min"]["used"]) == 51


async def test_a_broker_that_was_killed_leaves_a_socket_that_nobody_serves(folder):
    folder.make()
    bound(folder.path / SOCKET).close()
    async with a_run(folder) as run:
        await run.take()
        assert run.sharing.is_broker


async def test_a_frozen_broker_is_replaced_and_gives_nothing_when_it_thaws(folder):
    """Who has been suspended holds its socket, and answers nobody."""
    folder.make()
    frozen = bound(folder.path / SOCKET)
    async with a_run(folder, answers_within_s=0.05) as run:
        await run.take()
        assert run.sharing.is_broker
    frozen.close()


async def test_a_broker_whose_place_was_taken_becomes_a_guest(folder):
    async with a_run(folder) as first:
        await first.take()
        (folder.path / SOCKET).unlink()
        async with a_run(folder) as second:
            await second.take()
            assert second.sharing.is_broker
            await until(lambda: not first.sharing.is_broker)
            await first.take()
            assert not first.sharing.is_broker


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"{}\n", b'{"report": 1, "minutes": [{}], "days": []}\n', b"\xff\n"]
)
async def test_a_stranger_is_hung_up_on(folder, line):
    async with a_run(folder) as run:
        await run.take()
        reader, writer = await asyncio.open_unix_connection(folder.path / SOCKET)
        writer.write(line)
        assert await reader.read() == b""
        writer.close()
        await run.take()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.parent.write_text(""), "Not a directory"),
        (lambda path: (path / SOCKET).mkdir(parents=True), "Is a directory"),
    ],
)
async def test_where_nothing_can_be_shared_a_run_says_so_and_goes_on(folder, spoil, why):
    spoil(folder.path)
    async with a_run(folder) as run:
        await run.take(100)
        assert run.logged == [
            f"quotas are not shared with other runs: {folder.path}: {why}; this run goes on by itself"
        ]


async def test_a_path_that_is_too_long_for_a_socket_is_said(folder):
    long = StateFolder(folder.path / ("d" * 90))
    async with a_run(long) as run:
        await run.take(100)
        assert "the path is too long for a socket; XDG_STATE_HOME may name a shorter one" in run.logged[0]


async def test_a_disk_that_is_full_leaves_the_runs_by_themselves(folder):
    async with a_run(folder) as first, a_run(folder) as second:
        await first.take()
        await second.take()
        (folder.path / STATE).unlink()
        (folder.path / STATE).mkdir()  # nothing can take its place
        await until(lambda: bool(first.logged and second.logged))
        await first.take(1000)
        await second.take(1000)
