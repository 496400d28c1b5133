from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from batcher.errors import StorageError
from batcher.store.blocks import read_answers, read_done
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import FEW, Journal
from batcher.store.reserve import Reserve
from tests.builders import an_attempt, an_outcome
from tests.disks import small_disk

ATTEMPT = pack_attempt(an_attempt())
OUTCOME = pack_outcome(an_outcome())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    opened = Journal(path, failpoints=FailPoints())
    yield opened
    await opened.close()


def open_journal(path: Path) -> Journal:
    return Journal(path, failpoints=FailPoints())


def rows(path: Path, table: str) -> list[tuple[int, ...]]:
    """The keys of a table, read by a connection of its own."""
    columns = {"done": "task", "attempt": "task, n", "admitted": "task, n, reserve_input, reserve_output, at"}[table]
    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            f"select {columns} from {table} order by 1, 2"
            if "," in columns
            else f"select {columns} from {table} order by 1"
        ).fetchall()
    finally:
        connection.close()


def no_room(connection: sqlite3.Connection) -> None:
    """From now on the database may not grow: what SQLite says then is what it says on a full disk."""
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")


# --- what is acknowledged is there


async def test_what_was_acknowledged_is_there_for_another_connection(path):
    journal = open_journal(path)
    await journal.admit([(1, 1, 10, 20, 30), (2, 1, 11, 21, 31)])
    await journal.retry(1, 1, ATTEMPT, (1, 2, 10, 20, 40))
    await journal.finish(1, OUTCOME, 2, ATTEMPT)
    await journal.finish(3, OUTCOME)
    await journal.attempted(2, 1, ATTEMPT)
    await journal.close()

    assert rows(path, "admitted") == [(1, 1, 10, 20, 30), (1, 2, 10, 20, 40), (2, 1, 11, 21, 31)]
    assert rows(path, "attempt") == [(1, 1), (1, 2), (2, 1)]
    assert rows(path, "done") == [(1,), (3,)]


async def test_closing_commits_what_nobody_waited_for(path):
    journal = open_journal(path)
    futures = [journal.finish(task, OUTCOME, 1, ATTEMPT) for task in range(FEW * 3)]
    await journal.close()

    assert rows(path, "done") == [(task,) for task in range(FEW * 3)]
    assert all(future.done() and future.exception() is None for future in futures)


async def test_closing_commits_even_what_its_waiters_gave_up_on(path):
    """A second signal cancels those who wait for a commit; their answers are paid for."""
    journal = open_journal(path)
    under_way = [journal.finish(task, OUTCOME) for task in range(FEW)]
    gathering = [journal.finish(task, OUTCOME) for task in range(FEW, FEW + 3)]
    assert under_way[0] is not gathering[0]
    gathering[0].cancel()
    await journal.close()

    assert rows(path, "done") == [(task,) for task in range(FEW + 3)]


async def test_closing_an_idle_journal_leaves_a_whole_file(path):
    await open_journal(path).close()

    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_it_opens_again_with_what_it_had(path):
    for task in range(3):
        journal = open_journal(path)
        assert await journal.call(read_done(0, 9)) == set(range(task))
        await journal.finish(task, OUTCOME)
        await journal.close()


async def test_the_last_word_on_a_task_stands(path):
    journal = open_journal(path)
    await journal.finish(1, OUTCOME, 1, ATTEMPT)
    later = pack_outcome(an_outcome(task=1, attempts=9)), 1, pack_attempt(an_attempt(task=1, reason="later"))
    await journal.finish(1, *later)
    outcomes, attempts = await journal.call(read_answers(0, 9))
    await journal.close()

    assert [outcome.attempts for outcome in outcomes] == [9]
    assert [[attempt.reason for attempt in tried] for tried in attempts] == [["later"]]


# --- groups


async def test_what_gathers_together_commits_together(journal):
    first, second = journal.finish(1, OUTCOME), journal.finish(2, OUTCOME)

    assert first is second
    await first


async def test_a_full_group_goes_at_once_and_the_rest_waits_for_it(journal):
    group = [journal.finish(task, OUTCOME) for task in range(FEW)]
    rest = [journal.finish(task, OUTCOME) for task in range(FEW, FEW + 5)]

    assert len(set(map(id, group))) == 1
    assert len(set(map(id, rest))) == 1
    assert group[0] is not rest[0]
    await rest[-1]
    assert group[0].done()


async def test_groups_commit_in_the_order_they_came(journal):
    finished: list[int] = []
    for task in range(FEW * 4):
        journal.finish(task, OUTCOME).add_done_callback(lambda _, task=task: finished.append(task))
        if task % 7 == 0:
            await asyncio.sleep(0)
    await journal.finish(10_000, OUTCOME)

    assert finished == sorted(finished)
    assert len(finished) == FEW * 4


async def test_a_failed_attempt_and_the_next_admission_are_one_commit(path):
    """Either both are there or none: killed between them, the next request would be paid for and forgotten."""
    journal = open_journal(path)
    assert journal.retry(1, 1, ATTEMPT, (1, 2, 0, 0, 0)) is journal._gathering.committed
    assert (len(journal._gathering.attempts), len(journal._gathering.admitted)) == (1, 1)
    await journal.close()
    assert (rows(path, "attempt"), rows(path, "admitted")) == ([(1, 1)], [(1, 2, 0, 0, 0)])


# --- work between commits


async def test_work_sees_what_was_committed_before_and_not_half_a_group(journal):
    seen: list[int] = []

    def look(connection: sqlite3.Connection) -> None:
        assert not connection.in_transaction
        seen.append(connection.execute("select count(*) from done").fetchone()[0])

    for turn in range(5):
        for task in range(FEW):
            journal.finish(turn * FEW + task, OUTCOME)
        await journal.call(look)
    assert all(count % FEW == 0 for count in seen)


async def test_work_returns_what_it_found(journal):
    await journal.finish(5, OUTCOME)

    assert await journal.call(lambda connection: connection.execute("select task from done").fetchall()) == [(5,)]


async def test_what_work_raises_reaches_the_one_who_asked(journal):
    """It ran on another thread; were it lost there, the caller would wait for ever."""

    def stumble(connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        raise KeyError("totals")

    with pytest.raises(KeyError, match="totals"):
        await journal.call(stumble)
    await journal.finish(1, OUTCOME)
    assert await journal.call(read_done(0, 9)) == {1}


async def test_damage_found_by_work_does_not_break_the_journal(journal):
    await journal.finish(1, b"damaged")

    with pytest.raises(StorageError, match="outcome of task 1 is damaged"):
        await journal.call(read_answers(0, 9))
    assert not journal.is_broken
    await journal.finish(2, OUTCOME)


# --- when the disk refuses


async def test_a_refused_commit_breaks_it_for_good(path):
    journal = open_journal(path)
    await journal.finish(1, OUTCOME, 1, ATTEMPT)
    await journal.call(no_room)
    big = pack_attempt(an_attempt(body=b"x" * 1_000_000))

    with pytest.raises(StorageError, match="the journal cannot be written: database or disk is full") as refused:
        await journal.finish(2, OUTCOME, 1, big)
    assert "run the same command again" in refused.value.hint
    assert journal.is_broken
    later = [
        journal.finish(3, OUTCOME),
        journal.admit([(4, 1, 0, 0, 0)]),
        journal.attempted(5, 1, ATTEMPT),
        journal.retry(6, 1, ATTEMPT, (6, 2, 0, 0, 0)),
    ]
    for future in later:
        with pytest.raises(StorageError, match="disk is full"):
            await future
    with pytest.raises(StorageError, match="disk is full"):
        await journal.call(read_done(0, 9))
    await journal.close()
    assert rows(path, "done") == [(1,)]
    assert rows(path, "attempt") == [(1, 1)]
    assert rows(path, "admitted") == []


async def test_a_refused_commit_fails_all_who_had_gathered_behind_it(path):
    journal = open_journal(path)
    await journal.call(no_room)
    big = pack_attempt(an_attempt(body=b"x" * 1_000_000))
    failing = [journal.finish(task, OUTCOME, 1, big) for task in range(FEW)]
    behind = [journal.finish(task, OUTCOME) for task in range(FEW, FEW + 3)]
    said = await asyncio.gather(*failing, *behind, return_exceptions=True)
    await journal.close()

    assert all(isinstance(error, StorageError) for error in said)
    assert rows(path, "done") == []


async def test_on_a_full_disk_there_is_room_for_what_was_out(tmp_path):
    """The reserve is given up, what could not be written is written, and somebody is told to stop."""
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        path = disk.path / "journal.db"
        journal = Journal(path, failpoints=FailPoints(), reserve=Reserve(disk.path / "reserve", 1 << 20))
        told = []
        journal.on_trouble(told.append)
        journal.set_aside()
        disk.fill()
        big = pack_attempt(an_attempt(body=b"x" * 100_000))
        for task in range(6):
            await journal.finish(task, OUTCOME, 1, big)
        assert (await journal.call(read_done(0, 9)), journal.is_broken) == (set(range(6)), False)
        await journal.close()
        disk.clean_up()

        (full,) = told
        assert (full.message, full.hint.partition(" and ")[0]) == (f"{path.parent}: the disk is full", "free some disk")
        assert rows(path, "done") == [(task,) for task in range(6)]


async def test_room_is_made_for_work_on_a_full_disk_too(path, tmp_path):
    reserve = Reserve(tmp_path / "reserve", 4096)
    reserve.take()
    points = FailPoints.parse("before-commit=full")
    journal = Journal(path, failpoints=points, reserve=reserve)

    def work(connection):
        points.hit("before-commit")
        return "done"

    assert await journal.call(work) == "done"
    assert not (tmp_path / "reserve").exists()
    await journal.close()


async def test_when_the_reserve_is_used_up_too_it_is_broken(path, tmp_path):
    reserve = Reserve(tmp_path / "reserve", 4096)
    journal = Journal(path, failpoints=FailPoints(), reserve=reserve)
    told = []
    journal.on_trouble(lambda error: told.append(error.message.partition(": ")[2]))
    journal.set_aside()
    await journal.call(no_room)
    big = pack_attempt(an_attempt(body=b"x" * 1_000_000))

    with pytest.raises(StorageError, match="disk is full"):
        await journal.finish(1, OUTCOME, 1, big)
    await journal.close()
    assert told == ["the disk is full", "the journal cannot be written: database or disk is full"]
    assert journal.is_broken


async def test_after_an_io_error_nothing_touches_the_file_again(path):
    """Closing SQLite copies the WAL into the database and syncs both, and a sync after a failed one may lie."""
    journal = Journal(path, failpoints=FailPoints.parse("before-commit:3=io-error"))
    for task in range(2):
        await journal.finish(task, OUTCOME, 1, ATTEMPT)
    wal = path.with_name("journal.db-wal")
    before = (path.read_bytes(), wal.read_bytes())

    with pytest.raises(StorageError, match="disk I/O error") as refused:
        await journal.finish(2, OUTCOME, 1, ATTEMPT)
    await journal.close()

    assert "dmesg" in refused.value.hint
    assert (path.read_bytes(), wal.read_bytes()) == before
    assert rows(path, "done") == [(0,), (1,)]


async def test_a_journal_in_order_is_closed_into_one_file_and_its_digest(path):
    journal = open_journal(path)
    await journal.finish(1, OUTCOME, 1, ATTEMPT)
    await journal.close()
    assert sorted(left.name for left in path.parent.iterdir()) == ["journal.db", "journal.digest"]


async def test_work_that_the_database_refuses_breaks_it_too(path):
    journal = open_journal(path)

    with pytest.raises(StorageError, match="no such table: nowhere"):
        await journal.call(lambda connection: connection.execute("insert into nowhere values (1)"))
    with pytest.raises(StorageError):
        await journal.finish(1, OUTCOME)
    assert journal.is_broken
    await journal.close()
    assert rows(path, "done") == []


async def test_what_was_gathered_when_work_was_refused_fails_and_is_not_written(path):
    journal = open_journal(path)
    waiting = journal.finish(1, OUTCOME)
    with pytest.raises(StorageError):
        await journal.call(lambda connection: connection.execute("insert into nowhere values (1)"))
    with pytest.raises(StorageError):
        await waiting
    await asyncio.sleep(0.01)
    await journal.close()

    assert rows(path, "done") == []


async def test_a_file_that_is_no_journal_is_refused(path):
    path.write_bytes(b"not a database, but long enough to look at" * 100)

    with pytest.raises(StorageError, match="the journal does not open: file is not a database"):
        open_journal(path)


async def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StorageError, match="unable to open database file"):
        open_journal(tmp_path / "missing" / "journal.db")


# --- one writer


async def test_a_second_connection_is_refused_while_it_is_open(path, journal):
    with pytest.raises(StorageError, match="database is locked"):
        open_journal(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        _, _ = rows_at_once(path)


def rows_at_once(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(path, timeout=0)
    try:
        return connection.execute("select count(*), 0 from done").fetchone()
    finally:
        connection.close()


async def test_a_second_process_is_refused_while_it_is_open(path, journal):
    program = (
        "import sys; from pathlib import Path; from batcher.errors import StorageError\n"
        "from batcher.store.journal import connect\n"
        "try: connect(Path(sys.argv[1]))\n"
        "except StorageError as error: print(error)\n"
    )
    said = await asyncio.to_thread(run_python, program, path)

    assert said.stdout.strip() == f"{path}: the journal does not open: database is locked"


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True)


async def test_it_writes_synced_and_ahead(journal):
    def pragma(name: str) -> Callable[[sqlite3.Connection], object]:
        return lambda connection: connection.execute(f"pragma {name}").fetchone()[0]

    assert await journal.call(pragma("journal_mode")) == "wal"
    assert await journal.call(pragma("synchronous")) == 2
    assert await journal.call(pragma("locking_mode")) == "exclusive"
    assert await journal.call(pragma("secure_delete")) == 0


# --- killed for real

WRITER = """
import asyncio, sys
from pathlib import Path
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal
from tests.builders import an_attempt, an_outcome

async def main():
    journal = Journal(Path(sys.argv[1]), failpoints=FailPoints.parse(sys.argv[2]))
    for task in range(100_000):
        await journal.admit([(task, 1, 1, 1, 1)])
        attempt = pack_attempt(an_attempt(task=task, body=b"%d" % task))
        await journal.finish(task, pack_outcome(an_outcome(task=task)), 1, attempt)
        print(task, flush=True)

asyncio.run(main())
"""


def acknowledged_before_death(path: Path, failpoint: str, kill_after: int | None) -> list[int]:
    command = [sys.executable, "-c", WRITER, str(path), failpoint]
    acknowledged = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            acknowledged.append(int(line))
            if len(acknowledged) == kill_after:
                writer.kill()
    assert writer.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.parametrize(
    ("failpoint", "kill_after"),
    [("", 1), ("", 40), ("before-commit:9", None), ("after-commit:20", None), ("admitted:7", None)],
)
async def test_killed_it_keeps_what_it_acknowledged(path, failpoint, kill_after):
    acknowledged = await asyncio.to_thread(acknowledged_before_death, path, failpoint, kill_after)
    journal = open_journal(path)
    outcomes, attempts = await journal.call(read_answers(0, 100_000))
    integrity = await journal.call(lambda connection: connection.execute("pragma integrity_check").fetchone())
    await journal.close()

    kept = [outcome.task for outcome in outcomes]
    assert integrity == ("ok",)
    assert kept[: len(acknowledged)] == acknowledged
    # One at a time was under way; printed lines may be lost in the pipe, commits may not.
    assert kept == list(range(len(kept)))
    if kill_after is None:
        assert len(kept) - len(acknowledged) <= 1
    assert [[attempt.body for attempt in tried] for tried in attempts] == [[b"%d" % task] for task in kept]


class Bug(FailPoints):
    def hit(self, name):
        if name == "before-commit":
            raise MemoryError


async def test_a_crash_of_the_writer_is_told_to_all_who_wait_and_to_all_who_come(path):
    journal = Journal(path, failpoints=Bug())
    waiting = journal.finish(1, OUTCOME)

    with pytest.raises(StorageError, match="the journal broke: MemoryError") as broken:
        await waiting
    assert isinstance(broken.value.__cause__, MemoryError)
    with pytest.raises(StorageError):
        await journal.finish(2, OUTCOME)
    with pytest.raises(StorageError):
        await journal.call(read_done(0, 9))
    await journal.close()
    assert rows(path, "done") == []
