"""What is finished but not yet in a part? A SQLite journal that one thread group-commits.

The loop gathers records while the thread commits the batch before; every record of a batch waits on one future, set
after COMMIT (WAL, synchronous=FULL: acknowledged means on disk). One connection, one thread, exclusive locking: the
WAL-reset bug of SQLite before 3.51.3 needs two connections, and the lock keeps a second process out.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from batcher.errors import StorageError
from batcher.store.failpoints import FailPoints
from batcher.store.reserve import Reserve
from batcher.store.rest import DAMAGED, lay_down, wake

T = TypeVar("T")
W = TypeVar("W")

FEW = 32  # a batch of fewer lingers: groups of 8 cost twice the CPU a row of groups of 32 (measured)
LINGER_S = 0.002

# Records of attempts are appended and found through their index: kept in the order of tasks, the retry of an earlier
# one split and rewrote pages of 8 KiB, 80 µs of CPU a retry (measured).
_SCHEMA = """
create table if not exists meta(key text primary key, value blob) without rowid;
create table if not exists block(no integer primary key, state text not null, generation integer not null,
    digest text not null, totals blob);
create table if not exists done(task integer primary key, record blob not null);
create table if not exists attempt(task integer, n integer, record blob not null, primary key(task, n));
create table if not exists admitted(task integer, n integer, reserve_input integer, reserve_output integer, at integer,
    primary key(task, n)) without rowid;
"""
_AT_ONCE = (32, 8, 2, 1)


@dataclass(slots=True)
class _Batch:
    """Records that commit together, and the future of all who wait for them.

    A batch is what arrived while the one before was being committed: never more than the open tasks have to say.
    """

    committed: asyncio.Future[None]
    admitted: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    attempts: list[tuple[int, int, bytes]] = field(default_factory=list)
    done: list[tuple[int, bytes]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.admitted) + len(self.attempts) + len(self.done)


def connect(path: Path) -> sqlite3.Connection:
    """Open the journal for its one writer: WAL, synced commits, exclusive.

    Raises:
        StorageError: the file is damaged or the disk refuses it.
    """
    is_known = wake(path) or not path.exists()
    try:
        # No timeout: whoever holds the file holds it for as long as the run lasts.
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.execute("pragma page_size=8192")
        connection.execute("pragma locking_mode=exclusive")
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma fullfsync=on")  # macOS: fsync alone does not reach the platter
        connection.execute("pragma secure_delete=off")
        # Rows are deleted once their block is sealed and their pages used again: a longer WAL copies fewer of them into
        # the file, which is 1.3 µs of CPU a row (SQLite's own 1,000 pages against these 32 MiB).
        connection.execute("pragma wal_autocheckpoint=4096")
        found = "ok" if is_known else connection.execute("pragma integrity_check(1)").fetchone()[0]
        if found != "ok":
            connection.close()
            raise StorageError(f"{path}: damaged: {found}", hint=DAMAGED)
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        raise StorageError(f"{path}: the journal does not open: {error}", hint=DAMAGED) from error
    return connection


class Journal:
    """The durable record of finished tasks whose block is not sealed yet.

    Made on the running loop; every `admit`, `retry` and `finish` returns the future of the batch it joined. A failed
    commit sets a `StorageError` on that future and on every later one: after an I/O error nothing more is written to
    this file (fsync may lie). On a full disk there is one more try, in the room of the reserve.

    Args:
        path: of the database; made when it is not there.
        failpoints: armed by tests.
        reserve: given up when the disk is full; None sets nothing aside.
    """

    def __init__(self, path: Path, *, failpoints: FailPoints, reserve: Reserve | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._failpoints = failpoints
        self._reserve = reserve
        self._on_trouble: Callable[[StorageError], None] = _nobody_listens
        self._connection = connect(path)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._gathering = self._new_batch()
        self._busy = False
        self._linger: asyncio.TimerHandle | None = None
        self._broken: StorageError | None = None
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    def admit(self, admissions: Iterable[tuple[int, int, int, int, int]]) -> asyncio.Future[None]:
        """Record (task, n, reserve_input, reserve_output, at_us) before they may be sent."""
        batch = self._gathering
        batch.admitted.extend(admissions)
        return self._joined(batch)

    def retry(self, task: int, n: int, frame: bytes, admission: tuple[int, int, int, int, int]) -> asyncio.Future[None]:
        """Record a failed attempt and, in the same commit, the admission of the next."""
        batch = self._gathering
        batch.attempts.append((task, n, frame))
        batch.admitted.append(admission)
        return self._joined(batch)

    def attempted(self, task: int, n: int, frame: bytes) -> asyncio.Future[None]:
        """Record an attempt whose task stays open."""
        batch = self._gathering
        batch.attempts.append((task, n, frame))
        return self._joined(batch)

    def finish(self, task: int, outcome: bytes, n: int = 0, attempt: bytes = b"") -> asyncio.Future[None]:
        """Record an outcome with its last attempt; n = 0 for a task that was never sent."""
        batch = self._gathering
        if n:
            batch.attempts.append((task, n, attempt))
        batch.done.append((task, outcome))
        return self._joined(batch)

    @property
    def is_broken(self) -> bool:
        """Whether a commit failed; nothing more is written then."""
        return self._broken is not None

    def set_aside(self) -> None:
        """Hold the room of the reserve from now on, until the journal is closed.

        Raises:
            StorageError: there is not so much of it.
        """
        if self._reserve is not None:
            self._reserve.take()

    def on_trouble(self, told: Callable[[StorageError], None]) -> None:
        """Have `told` called, on the loop, when the disk is full or broken; `is_broken` tells which."""
        self._on_trouble = told

    def forget_gathered(self) -> None:
        """Drop the admissions that no commit has taken up yet: whoever stops sends none of them.

        They would be committed when the journal is closed, behind the work that withdraws what was not sent, and the
        next start would count them as lost.
        """
        self._gathering.admitted.clear()

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writer thread between two commits and return what it returned.

        Raises:
            StorageError: the database refused; the journal is broken from then on.
        """
        if self._broken:
            raise self._broken
        answer: asyncio.Future[T] = self._loop.create_future()
        self._work.put(lambda: self._call(work, answer))
        return await answer

    async def close(self) -> None:
        """Commit what was gathered and end the thread."""
        batch = self._gathering
        if len(batch) and not self._broken:
            # Behind the commit under way, and whether or not anyone still waits for it: a second signal cancels the
            # waiters, but what they brought is paid for.
            self._gathering = self._new_batch()
            self._work.put(lambda: self._commit(batch))
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._broken:
            self._leave_as_it_is()
        self._connection.close()
        if self._reserve is not None:
            self._reserve.give_back()
        if not self._broken:
            await asyncio.to_thread(lay_down, self._path)

    def _new_batch(self) -> _Batch:
        return _Batch(self._loop.create_future())

    def _joined(self, batch: _Batch) -> asyncio.Future[None]:
        if self._broken:
            failed: asyncio.Future[None] = self._loop.create_future()
            failed.set_exception(self._broken)
            return failed
        if not self._busy:
            if len(batch) >= FEW:
                self._flush()
            elif self._linger is None:
                self._linger = self._loop.call_later(LINGER_S, self._flush)
        return batch.committed

    def _flush(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        batch = self._gathering
        if self._busy or self._broken or not len(batch):
            return
        self._busy = True
        self._gathering = self._new_batch()
        self._work.put(lambda: self._commit(batch))

    def _committed(self, batch: _Batch, error: StorageError | None) -> None:
        self._busy = False
        if error is not None:
            self._fail(batch, error)
            self._break(error)
            return
        if not batch.committed.done():  # a second signal cancels even those who wait for a commit
            batch.committed.set_result(None)
        waiting = len(self._gathering)
        if waiting >= FEW:
            self._flush()
        elif waiting:
            self._linger = self._loop.call_later(LINGER_S, self._flush)

    def _break(self, error: StorageError) -> None:
        self._broken = error
        self._fail(self._gathering, error)
        self._on_trouble(error)

    @staticmethod
    def _fail(batch: _Batch, error: StorageError) -> None:
        if not batch.committed.done():
            batch.committed.set_exception(error)
            batch.committed.exception()  # a batch that nobody waits for is no news on stderr

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _commit(self, batch: _Batch) -> None:
        if self._broken:  # while this was queued
            self._tell(self._committed, batch, self._broken)
            return
        error = None
        try:
            self._with_room(self._insert_all, batch)
        except sqlite3.Error as cause:
            hint = _FULL if _is_full(cause) else _FAULTY
            error = self._broken = StorageError(f"{self._path}: the journal cannot be written: {cause}", hint=hint)
            self._rollback()
        except BaseException as cause:  # noqa: BLE001  a bug, or no memory: who waits for the commit must not wait for ever
            error = self._broken = StorageError(f"{self._path}: the journal broke: {type(cause).__name__}", hint=_FULL)
            error.__cause__ = cause
            self._rollback()
        self._tell(self._committed, batch, error)

    def _insert_all(self, batch: _Batch) -> None:
        self._connection.execute("begin immediate")
        if batch.admitted:
            _insert(self._connection, "admitted", batch.admitted)
        if batch.attempts:
            _insert(self._connection, "attempt", batch.attempts)
        if batch.done:
            _insert(self._connection, "done", batch.done)
        self._failpoints.hit("before-commit")
        self._connection.execute("commit")
        self._failpoints.hit("after-commit")
        if batch.admitted:
            self._failpoints.hit("admitted")

    def _with_room(self, write: Callable[[W], T], what: W) -> T:
        """Write; where the disk is full, once more in what was set aside, and say so."""
        try:
            return write(what)
        except sqlite3.Error as cause:
            if self._reserve is None or not _is_full(cause) or not self._reserve.give_back():
                raise
        self._rollback()
        self._tell(self._on_trouble, StorageError(f"{self._path.parent}: the disk is full", hint=_FULL))
        return write(what)

    def _leave_as_it_is(self) -> None:
        """Let closing the connection neither copy from the WAL nor sync: after an I/O error a sync may lie.

        Python 3.11 has no way to set SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE; a checkpoint that is interrupted before its
        first page leaves both files alone, too.
        """
        with contextlib.suppress(sqlite3.Error):  # it may be closed already
            self._connection.execute("pragma synchronous=off")
            self._connection.interrupt()

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("rollback")
            except sqlite3.Error:
                self._leave_as_it_is()
                self._connection.close()  # the next open replays the WAL up to the last whole commit

    def _call(self, work: Callable[[sqlite3.Connection], T], answer: asyncio.Future[T]) -> None:
        try:
            result = self._with_room(work, self._connection)
        except sqlite3.Error as cause:
            self._rollback()
            error = self._broken = StorageError(f"{self._path}: {cause}", hint=_FULL if _is_full(cause) else _FAULTY)
            self._tell(self._break, error)
            self._tell(_set_exception, answer, error)
        except BaseException as cause:  # noqa: BLE001  carried to whoever waits, as an executor does; else it waits for ever
            self._rollback()
            self._tell(_set_exception, answer, cause)
        else:
            self._tell(_set_result, answer, result)

    def _tell(self, tell: Callable[..., None], *what: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(tell, *what)
        except RuntimeError:  # the loop is gone: the process is ending, the commit stands
            return


_FULL = "free some disk and run the same command again: every committed answer is safe"
_FAULTY = "see to the disk (`dmesg` tells more) and run the same command again: every committed answer is safe"


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL  # Python's own errors have none


def _nobody_listens(_: StorageError) -> None:
    """A journal of its own, without a run around it."""


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert many rows with few statements.

    Each step of SQLite lets go of the interpreter's lock and has to win it back from a busy loop.
    """
    start = 0
    for most in _AT_ONCE:
        while len(rows) - start >= most:
            values = tuple(chain.from_iterable(rows[start : start + most]))
            connection.execute(_statement(table, most, len(rows[0])), values)
            start += most


@cache
def _statement(table: str, rows: int, columns: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return f"insert or replace into {table} values {', '.join([one] * rows)}"  # noqa: S608  three names, above


def _set_result(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
