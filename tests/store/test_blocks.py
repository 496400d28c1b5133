from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from batcher.errors import StorageError
from batcher.money.totals import Tokens, Totals
from batcher.records import Attempt, Billed, Kind, NoReplyKind, Outcome, Status
from batcher.store.blocks import (
    CLEAR_TASKS,
    Begun,
    BlockRow,
    State,
    clear_block,
    forget_asked,
    put_block,
    read_answers,
    read_asked,
    read_begun,
    read_blocks,
    read_done,
    read_rest,
    read_sent,
    read_statuses,
    recover_lost,
    reopen_block,
    withdraw_unsent,
)
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import connect
from tests.builders import an_attempt, an_outcome

TOTALS = Totals(
    by_status={Status.OK: 3, Status.FAILED: 1},
    attempts=5,
    throttled=1,
    tokens=Tokens(input=10, output=20, cached=3, thinking=4),
    cost_usd=Decimal("0.000000000000001"),
    wasted_usd=Decimal("0.1"),
    unpriced=1,
    maybe_billed=2,
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "journal.db")) as connection:
        yield connection


def finish(journal: sqlite3.Connection, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        journal.execute("insert or replace into done values (?, ?)", (outcome.task, pack_outcome(outcome)))


def tried(journal: sqlite3.Connection, *attempts: Attempt) -> None:
    for attempt in attempts:
        journal.execute("insert into attempt values (?, ?, ?)", (attempt.task, attempt.n, pack_attempt(attempt)))


def admit(journal: sqlite3.Connection, *admissions: tuple[int, int]) -> None:
    for task, n in admissions:
        journal.execute("insert into admitted values (?, ?, ?, ?, ?)", (task, n, 30 + task, 1000 + task, 1_000_000))


def admitted(journal: sqlite3.Connection) -> list[tuple[int, int]]:
    return journal.execute("select task, n from admitted order by task, n").fetchall()


# --- states


def test_a_block_comes_back_as_it_was_put(journal):
    put_block(2, State.OPEN, 1, "aa")(journal)
    put_block(1, State.SEALED, 3, "bb", TOTALS)(journal)

    assert read_blocks(journal) == {
        1: BlockRow(no=1, state=State.SEALED, generation=3, digest="bb", totals=TOTALS),
        2: BlockRow(no=2, state=State.OPEN, generation=1, digest="aa", totals=None),
    }


def test_totals_stay_when_none_are_given(journal):
    put_block(1, State.SEALED, 1, "aa", TOTALS)(journal)
    put_block(1, State.OPEN, 2, "bb")(journal)

    assert read_blocks(journal)[1] == BlockRow(no=1, state=State.OPEN, generation=2, digest="bb", totals=TOTALS)


def test_a_reopened_block_knows_whom_it_asks(journal):
    put_block(1, State.SEALED, 1, "aa", TOTALS)(journal)
    assert read_asked(1)(journal) is None
    reopen_block(1, 2, "bb", [7, 3])(journal)

    assert read_asked(1)(journal) == frozenset({3, 7})
    assert read_asked(2)(journal) is None
    assert read_blocks(journal)[1].state is State.OPEN
    assert not journal.in_transaction
    forget_asked(1)(journal)
    assert read_asked(1)(journal) is None


# --- what was done, what was begun


def test_the_done_of_a_range(journal):
    finish(journal, *(an_outcome(task=task) for task in (1, 4, 5, 9)))

    assert read_done(4, 9)(journal) == {4, 5}


def test_an_unfinished_task_knows_its_attempts_and_which_of_them_counted(journal):
    tried(
        journal,
        an_attempt(task=1, n=1, verdict=Kind.RETRY, reason="http_500", http_status=500),
        an_attempt(task=1, n=2, verdict=Kind.THROTTLED, reason="rate_limit", http_status=429),
        an_attempt(task=1, n=3, verdict=Kind.RETRY, reason="read_timeout", http_status=None, billed=Billed.MAYBE),
        an_attempt(task=2, n=1, verdict=Kind.LOST, http_status=None),
        an_attempt(task=3, n=1, verdict=Kind.RETRY, http_status=503),
        an_attempt(task=9, n=1, verdict=Kind.RETRY, http_status=503),
    )
    finish(journal, an_outcome(task=3))

    assert read_begun(1, 9)(journal) == {1: Begun(attempts=3, counted=2), 2: Begun(attempts=1, counted=0)}


def test_answers_that_missed_the_schema_are_counted_apart(journal):
    missed = {"verdict": Kind.INVALID, "billed": Billed.YES, "http_status": 200}
    tried(
        journal,
        an_attempt(n=1, reason="invalid_json", **missed),
        an_attempt(n=2, verdict=Kind.RETRY, reason="http_500", http_status=500),
        an_attempt(n=3, reason="schema_mismatch", **missed),
    )

    assert read_begun(0, 1)(journal) == {0: Begun(attempts=3, counted=1, invalid=2)}


@pytest.mark.parametrize(
    "kind",
    [
        NoReplyKind.DNS,
        NoReplyKind.REFUSED,
        NoReplyKind.CONNECT_TIMEOUT,
        NoReplyKind.TLS_HANDSHAKE,
        NoReplyKind.STALE,
    ],
)
def test_a_connection_that_never_opened_does_not_count_after_a_restart_either(kind, journal):
    tried(journal, an_attempt(verdict=Kind.RETRY, reason=kind.value, http_status=None, billed=Billed.NO))

    assert read_begun(0, 1)(journal) == {0: Begun(attempts=1, counted=0)}


@pytest.mark.parametrize(
    ("http_status", "billed", "reason", "counted"),
    [
        (500, Billed.NO, "http_500", 1),
        (503, Billed.NO, "http_503", 0),  # the endpoint was down: that says nothing about the row
        (200, Billed.MAYBE, "empty", 1),
        (None, Billed.MAYBE, "cut_body", 1),
        (None, Billed.MAYBE, "stale_connection", 0),
        (None, Billed.NO, "read_timeout", 0),  # nothing had been sent
    ],
)
def test_what_counts_counts_after_a_restart_too(http_status, billed, reason, counted, journal):
    tried(journal, an_attempt(verdict=Kind.RETRY, reason=reason, http_status=http_status, billed=billed))

    assert read_begun(0, 1)(journal) == {0: Begun(attempts=1, counted=counted)}


@pytest.mark.parametrize(("billed", "counted"), [(Billed.NO, 0), (Billed.MAYBE, 1)])
def test_being_throttled_counts_only_in_the_middle_of_a_stream(billed, counted, journal):
    tried(journal, an_attempt(verdict=Kind.THROTTLED, reason="capacity", http_status=200, billed=billed))

    assert read_begun(0, 1)(journal) == {0: Begun(attempts=1, counted=counted)}


def test_what_was_sent_since_then_is_what_may_have_reached_the_server(journal):
    now = 5_000_000
    tried(
        journal,
        an_attempt(task=0, started_at=now - 1),
        an_attempt(task=1, started_at=now),
        an_attempt(task=2, started_at=now, http_status=429, billed=Billed.NO),
        an_attempt(task=3, started_at=now, http_status=None, billed=Billed.NO),
        an_attempt(task=3, n=2, started_at=now, http_status=None, billed=Billed.MAYBE, model="m"),
    )
    journal.execute("insert into admitted values (4, 1, 9, 9, ?)", (now + 7,))
    recover_lost(journal)

    flash = an_attempt().model
    assert read_sent(now)(journal) == [(1, flash, None), (2, flash, None), (3, "m", None), (4, "", None)]


def test_answers_come_in_order_each_with_its_attempts(journal):
    finish(journal, an_outcome(task=3, attempts=2), an_outcome(task=2), an_outcome(task=8), an_outcome(task=4))
    first, second = an_attempt(task=3, n=1, reason="http_503"), an_attempt(task=3, n=2)
    other, open_one = an_attempt(task=2, n=1), an_attempt(task=5, n=1)
    tried(journal, second, first, other, open_one, an_attempt(task=8))

    outcomes, attempts = read_answers(2, 8)(journal)
    assert outcomes == [an_outcome(task=2), an_outcome(task=3, attempts=2), an_outcome(task=4)]
    assert attempts == [[other], [first, second], []]


def test_a_damaged_record_is_never_read_as_another(journal):
    finish(journal, an_outcome())
    journal.execute("update done set record = substr(record, 1, length(record) - 1)")

    with pytest.raises(StorageError, match="outcome of task 0 is damaged"):
        read_answers(0, 1)(journal)


def test_the_rest_is_everything_that_is_there(journal):
    finish(journal, an_outcome(task=3), an_outcome(task=1, status=Status.FAILED))
    tried(journal, an_attempt(task=3), an_attempt(task=7, n=1), an_attempt(task=7, n=2))

    outcomes, attempts = read_rest(journal)
    assert {outcome.task for outcome in outcomes} == {1, 3}
    pairs = dict(zip([outcome.task for outcome in outcomes], attempts, strict=False))
    assert pairs == {1: [], 3: [an_attempt(task=3)]}
    assert attempts[2:] == [[an_attempt(task=7, n=1), an_attempt(task=7, n=2)]]
    assert read_statuses(journal) == {Status.OK: 1, Status.FAILED: 1}


# --- clearing


def test_a_sealed_block_is_cleared_in_pieces_and_its_neighbours_stay(journal):
    stop = 1000 + CLEAR_TASKS + 10
    for task in (999, 1000, 1000 + CLEAR_TASKS, stop - 1, stop):
        finish(journal, an_outcome(task=task))
        tried(journal, an_attempt(task=task))
        admit(journal, (task, 1))
    pieces = clear_block(1000, stop, FailPoints())
    assert len(pieces) == 2
    pieces[0](journal)
    assert read_done(0, 10_000)(journal) == {999, 1000 + CLEAR_TASKS, stop - 1, stop}
    for piece in [*pieces, *pieces]:  # each may be repeated after a kill
        piece(journal)

    assert read_done(0, 10_000)(journal) == {999, stop}
    assert admitted(journal) == [(999, 1), (stop, 1)]
    assert [task for task, _ in journal.execute("select task, n from attempt order by task")] == [999, stop]


# --- admitted, and then?


def test_what_was_admitted_and_never_heard_of_may_have_been_billed(journal):
    admit(journal, (1, 1), (1, 2), (2, 1))
    tried(journal, an_attempt(task=1, n=1, verdict=Kind.RETRY))
    assert recover_lost(journal) == 2

    lost = [attempt for tried_for in read_rest(journal)[1] for attempt in tried_for if attempt.verdict is Kind.LOST]
    assert [(a.task, a.n, a.billed, a.reserve_input, a.reserve_output, a.started_at) for a in lost] == [
        (1, 2, Billed.MAYBE, 31, 1001, 1_000_000),
        (2, 1, Billed.MAYBE, 32, 1002, 1_000_000),
    ]
    assert all(a.http_status is None and a.body == b"" and a.latency_ms is None for a in lost)
    assert recover_lost(journal) == 0
    assert read_begun(0, 9)(journal)[1] == Begun(attempts=2, counted=1)


def test_a_clean_end_forgets_what_was_never_sent(journal):
    admit(journal, (1, 1), (2, 1), (3, 1), (3, 2))
    tried(journal, an_attempt(task=1))
    withdraw_unsent(frozenset({(3, 2)}))(journal)

    assert admitted(journal) == [(1, 1), (3, 2)]
    assert recover_lost(journal) == 1
