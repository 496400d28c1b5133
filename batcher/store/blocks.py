"""Which state is a block in, and what has the journal of it? Functions for `Journal.call`, on the writer thread.

(absent) → OPEN → FROZEN → SEALED → OPEN (generation + 1, by a retry) → …
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from batcher.gemini.origin import IS_DOWN
from batcher.money.totals import Totals
from batcher.records import Attempt, Billed, Kind, NoReplyKind, Outcome, Place, Status
from batcher.store.failpoints import FailPoints
from batcher.store.frames import checked, pack_attempt, unchecked, unpack_attempt, unpack_outcome

CLEAR_TASKS = 1024  # deleted a commit, so that answers never wait long behind a seal


class State(enum.StrEnum):
    """What a block's row in the journal says."""

    OPEN = "open"
    FROZEN = "frozen"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow:
    """One block as the journal knows it.

    Attributes:
        digest: of its block file.
        totals: of its part; None until it was sealed once.
    """

    no: int
    state: State
    generation: int
    digest: str
    totals: Totals | None


def is_sealed(row: BlockRow | None) -> bool:
    """Whether the journal says that a block has its part."""
    return row is not None and row.state is State.SEALED


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An unfinished task's past: how many attempts it had, how many of them counted, how many answers were invalid."""

    attempts: int
    counted: int
    invalid: int = 0


def read_blocks(connection: sqlite3.Connection) -> dict[int, BlockRow]:
    """All blocks that were ever opened, by number."""
    rows = connection.execute("select no, state, generation, digest, totals from block order by no").fetchall()
    return {row[0]: _block_row(*row) for row in rows}


def _block_row(no: int, state: str, generation: int, digest: str, totals: bytes | None) -> BlockRow:
    what = f"block {no}"
    known = unchecked(digest.encode(), f"{no} {state} {generation}", what).decode()
    read = Totals.from_json(orjson.loads(unchecked(totals, str(no), what))) if totals else None
    return BlockRow(no=no, state=State(state), generation=generation, digest=known, totals=read)


def put_block(
    no: int, state: State, generation: int, digest: str, totals: Totals | None = None
) -> Callable[[sqlite3.Connection], None]:
    """Write a block's state; its totals stay when none are given."""

    def work(connection: sqlite3.Connection) -> None:
        packed = checked(orjson.dumps(totals.as_json()), str(no)) if totals is not None else None
        marked = checked(digest.encode(), f"{no} {state} {generation}").decode()
        connection.execute(
            "insert into block values (?, ?, ?, ?, ?) on conflict(no) do update set state=excluded.state,"
            " generation=excluded.generation, digest=excluded.digest, totals=coalesce(excluded.totals, totals)",
            (no, state, generation, marked, packed),
        )

    return work


def put_blocks(rows: Iterable[BlockRow]) -> Callable[[sqlite3.Connection], None]:
    """Write the states of many blocks in one commit."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        for row in rows:
            put_block(row.no, row.state, row.generation, row.digest, row.totals)(connection)
        connection.execute("commit")

    return work


def reopen_block(no: int, generation: int, digest: str, asked: Iterable[int]) -> Callable[[sqlite3.Connection], None]:
    """Open a sealed block again for some of its tasks, in one commit with the list of them."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        put_block(no, State.OPEN, generation, digest)(connection)
        key, tasks = _asked_key(no), orjson.dumps(sorted(asked))
        connection.execute("insert or replace into meta values (?, ?)", (key, checked(tasks, key)))
        connection.execute("commit")

    return work


def read_asked(no: int) -> Callable[[sqlite3.Connection], frozenset[int] | None]:
    """The tasks that a reopened block asks; None for a block that asks all of them."""

    def work(connection: sqlite3.Connection) -> frozenset[int] | None:
        key = _asked_key(no)
        row = connection.execute("select value from meta where key = ?", (key,)).fetchone()
        return frozenset(orjson.loads(unchecked(row[0], key, f"list of block {no}"))) if row else None

    return work


def _asked_key(no: int) -> str:
    return f"asked-{no}"


def read_done(first: int, stop: int) -> Callable[[sqlite3.Connection], set[int]]:
    """The tasks of a range that have an outcome."""

    def work(connection: sqlite3.Connection) -> set[int]:
        rows = connection.execute("select task from done where task >= ? and task < ?", (first, stop))
        return {task for (task,) in rows}

    return work


def read_begun(first: int, stop: int) -> Callable[[sqlite3.Connection], dict[int, Begun]]:
    """The past of the unfinished tasks of a range."""

    def work(connection: sqlite3.Connection) -> dict[int, Begun]:
        begun: dict[int, Begun] = {}
        for attempt in read_unfinished(first, stop)(connection):
            before = begun.get(attempt.task, Begun(attempts=0, counted=0))
            begun[attempt.task] = Begun(
                attempts=attempt.n,
                counted=before.counted + _counted(attempt),
                invalid=before.invalid + (attempt.verdict is Kind.INVALID),
            )
        return begun

    return work


def read_unfinished(first: int, stop: int) -> Callable[[sqlite3.Connection], list[Attempt]]:
    """The attempts of a range whose tasks have no outcome yet."""

    def work(connection: sqlite3.Connection) -> list[Attempt]:
        rows = connection.execute(
            "select task, n, record from attempt where task >= ? and task < ?"
            " and task not in (select task from done where task >= ? and task < ?) order by task, n",
            (first, stop, first, stop),
        )
        return [unpack_attempt(*row) for row in rows]

    return work


def _counted(attempt: Attempt) -> bool:
    """Whether it used up a try, as `gemini/refusal.py` judged it: a request that never reached the server did not.

    Nor did one that found the endpoint down: it was the probe of an outage, or as good as one. What the endpoint was
    then says nothing about the row now.
    """
    if attempt.verdict is Kind.THROTTLED:
        return attempt.billed is Billed.MAYBE  # in the middle of a stream
    untried = attempt.http_status is None and (attempt.billed is Billed.NO or attempt.reason == NoReplyKind.STALE.value)
    return attempt.verdict is Kind.RETRY and not untried and attempt.reason not in IS_DOWN


def read_sent(since_us: int) -> Callable[[sqlite3.Connection], list[tuple[int, str, Place | None]]]:
    """(task, model, place) of each attempt since then that may have reached the server; a lost one's model is empty."""

    def work(connection: sqlite3.Connection) -> list[tuple[int, str, Place | None]]:
        rows = connection.execute("select task, n, record from attempt order by task, n")
        tried = (unpack_attempt(*row) for row in rows)
        return [(a.task, a.model, a.place) for a in tried if a.started_at >= since_us and _reached(a)]

    return work


def _reached(attempt: Attempt) -> bool:
    return attempt.http_status is not None or attempt.billed is not Billed.NO


def read_answers(first: int, stop: int) -> Callable[[sqlite3.Connection], tuple[list[Outcome], list[list[Attempt]]]]:
    """The finished tasks of a range in order, each with its attempts."""

    def work(connection: sqlite3.Connection) -> tuple[list[Outcome], list[list[Attempt]]]:
        done = connection.execute(
            "select task, record from done where task >= ? and task < ? order by task", (first, stop)
        ).fetchall()
        tried = connection.execute(
            "select task, n, record from attempt where task >= ? and task < ? order by task, n", (first, stop)
        ).fetchall()
        outcomes = [unpack_outcome(task, record) for task, record in done]
        attempts: dict[int, list[Attempt]] = {outcome.task: [] for outcome in outcomes}
        for task, n, record in tried:
            if task in attempts:
                attempts[task].append(unpack_attempt(task, n, record))
        return outcomes, list(attempts.values())

    return work


def read_ended(tasks: Iterable[int]) -> Callable[[sqlite3.Connection], dict[int, tuple[Outcome, list[Attempt]]]]:
    """Some finished tasks, each with its attempts."""

    def work(connection: sqlite3.Connection) -> dict[int, tuple[Outcome, list[Attempt]]]:
        found: dict[int, tuple[Outcome, list[Attempt]]] = {}
        for task in sorted(set(tasks)):
            outcomes, attempts = read_answers(task, task + 1)(connection)
            found |= {outcome.task: (outcome, tried) for outcome, tried in zip(outcomes, attempts, strict=True)}
        return found

    return work


def clear_block(first: int, stop: int, failpoints: FailPoints) -> list[Callable[[sqlite3.Connection], None]]:
    """The pieces of work that take a sealed block's rows out of the journal."""

    def piece(start: int) -> Callable[[sqlite3.Connection], None]:
        end = min(start + CLEAR_TASKS, stop)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("begin immediate")
            for table in ("done", "attempt", "admitted"):
                connection.execute(f"delete from {table} where task >= ? and task < ?", (start, end))  # noqa: S608  three names, above
            connection.execute("commit")
            failpoints.hit("journal-half-cleared")

        return work

    return [piece(start) for start in range(first, stop, CLEAR_TASKS)]


def forget_asked(no: int) -> Callable[[sqlite3.Connection], None]:
    """A reopened block is sealed again: its list has served."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("delete from meta where key = ?", (_asked_key(no),))

    return work


def recover_lost(connection: sqlite3.Connection) -> int:
    """Turn every admitted attempt without a record into a `lost` one, maybe billed at its reserve; count them.

    Nobody knows whether they reached the server: the process died between the send and the journal.
    """
    rows = connection.execute(
        "select a.task, a.n, a.reserve_input, a.reserve_output, a.at from admitted a"
        " left join attempt t on t.task = a.task and t.n = a.n where t.task is null"
    ).fetchall()
    lost = [(task, n, pack_attempt(_lost(task, n, *rest))) for task, n, *rest in rows]
    connection.execute("begin immediate")
    connection.executemany("insert into attempt values (?, ?, ?)", lost)
    connection.execute("commit")
    return len(lost)


def _lost(task: int, n: int, reserve_input: int, reserve_output: int, at: int) -> Attempt:
    return Attempt(
        task=task,
        n=n,
        model="",
        started_at=at,
        latency_ms=None,
        first_byte_ms=None,
        http_status=None,
        verdict=Kind.LOST,
        reason="lost",
        quota_id=None,
        waited_ms=0.0,
        billed=Billed.MAYBE,
        service_tier=None,
        reserve_input=reserve_input,
        reserve_output=reserve_output,
    )


def withdraw_unsent(in_flight: frozenset[tuple[int, int]]) -> Callable[[sqlite3.Connection], None]:
    """Before a clean end: forget admissions that were never sent; those of (task, n) left in flight on purpose stay."""

    def work(connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "select a.task, a.n from admitted a"
            " left join attempt t on t.task = a.task and t.n = a.n where t.task is null"
        ).fetchall()
        withdraw([row for row in rows if row not in in_flight])(connection)

    return work


def withdraw(unsent: Iterable[tuple[int, int]]) -> Callable[[sqlite3.Connection], None]:
    """Forget admissions that were never sent."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("begin immediate")
        connection.executemany("delete from admitted where task = ? and n = ?", unsent)
        connection.execute("commit")

    return work


def read_rest(connection: sqlite3.Connection) -> tuple[list[Outcome], list[list[Attempt]]]:
    """Everything the journal holds: outcomes, and the attempts of every task, finished or not."""
    outcomes = [unpack_outcome(*row) for row in connection.execute("select task, record from done")]
    attempts: dict[int, list[Attempt]] = {}
    for task, n, record in connection.execute("select task, n, record from attempt order by task, n"):
        attempts.setdefault(task, []).append(unpack_attempt(task, n, record))
    return outcomes, [attempts.pop(outcome.task, []) for outcome in outcomes] + list(attempts.values())


def read_statuses(connection: sqlite3.Connection) -> dict[Status, int]:
    """How many unsealed tasks ended how."""
    statuses: dict[Status, int] = {}
    for task, record in connection.execute("select task, record from done"):
        status = unpack_outcome(task, record).status
        statuses[status] = statuses.get(status, 0) + 1
    return statuses


def read_endings(first: int, stop: int) -> Callable[[sqlite3.Connection], dict[int, Status]]:
    """How each finished task of a range ended."""

    def work(connection: sqlite3.Connection) -> dict[int, Status]:
        rows = connection.execute("select task, record from done where task >= ? and task < ?", (first, stop))
        return {task: unpack_outcome(task, record).status for task, record in rows}

    return work
