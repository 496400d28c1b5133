"""Whatever happens between two kills, what was acknowledged is there afterwards, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batcher.money.totals import Totals
from batcher.records import Attempt, Billed, Kind, Outcome, Status
from batcher.store.blocks import (
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
    recover_lost,
    reopen_block,
    withdraw_unsent,
)
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal
from tests.builders import an_attempt, an_outcome

T = TypeVar("T")
BLOCKS, TASKS = 4, 5
EVERY = (0, BLOCKS * TASKS)
tasks = st.integers(0, BLOCKS * TASKS - 1)
blocks = st.integers(1, BLOCKS)
verdicts = st.sampled_from([Kind.RETRY, Kind.THROTTLED])
bodies = st.binary(max_size=30)


def range_of(no: int) -> tuple[int, int]:
    return (no - 1) * TASKS, no * TASKS


def lost(task: int, n: int) -> Attempt:
    return an_attempt(
        task=task,
        n=n,
        model="",
        started_at=1000,
        latency_ms=None,
        first_byte_ms=None,
        http_status=None,
        verdict=Kind.LOST,
        reason="lost",
        billed=Billed.MAYBE,
        body=b"",
    )


class JournalMachine(RuleBasedStateMachine):
    """The journal beside dictionaries that cannot crash."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="journal-"))
        self.runner = asyncio.Runner()
        self.lives = 0
        self.admitted: set[tuple[int, int]] = set()
        self.attempts: dict[tuple[int, int], Attempt] = {}
        self.done: dict[int, Outcome] = {}
        self.blocks: dict[int, BlockRow] = {}
        self.asked: dict[int, frozenset[int]] = {}
        self.open()

    def open(self) -> None:
        async def opened() -> Journal:
            return Journal(self.path, failpoints=FailPoints())

        self.journal = self.runner.run(opened())

    @property
    def path(self) -> Path:
        return self.folder / f"{self.lives}.db"

    def wait(self, future: asyncio.Future[None]) -> None:
        async def waited() -> None:
            await future

        self.runner.run(waited())

    def call(self, work: Callable[[Any], T]) -> T:
        coroutine: Coroutine[Any, Any, T] = self.journal.call(work)
        return self.runner.run(coroutine)

    def next_n(self, task: int) -> int:
        return 1 + max((n for t, n in self.attempts if t == task), default=0)

    # --- what a session does

    @rule(chosen=st.sets(tasks, min_size=1, max_size=4))
    def admit(self, chosen: set[int]) -> None:
        fresh = [(task, self.next_n(task)) for task in sorted(chosen - self.done.keys())]
        if not fresh:
            return
        self.wait(self.journal.admit([(task, n, 32, 1024, 1000) for task, n in fresh]))
        self.admitted.update(fresh)

    @rule(task=tasks, verdict=verdicts, body=bodies)
    def retry(self, task: int, verdict: Kind, body: bytes) -> None:
        if task in self.done:
            return
        n = self.next_n(task)
        attempt = an_attempt(task=task, n=n, verdict=verdict, body=body)
        self.wait(self.journal.retry(task, n, pack_attempt(attempt), (task, n + 1, 32, 1024, 1000)))
        self.attempts[task, n] = attempt
        self.admitted.add((task, n + 1))

    @rule(task=tasks, status=st.sampled_from(Status), body=bodies)
    def finish(self, task: int, status: Status, body: bytes) -> None:
        if task in self.done:
            return
        n = self.next_n(task)
        attempt, outcome = an_attempt(task=task, n=n, body=body), an_outcome(task=task, status=status, attempts=n)
        self.wait(self.journal.finish(task, pack_outcome(outcome), n, pack_attempt(attempt)))
        self.attempts[task, n], self.done[task] = attempt, outcome

    @rule(task=tasks)
    def fail_without_asking(self, task: int) -> None:
        if task not in self.done:
            outcome = an_outcome(task=task, status=Status.FAILED, answered=0, attempts=0)
            self.wait(self.journal.finish(task, pack_outcome(outcome)))
            self.done[task] = outcome

    @rule(no=blocks, state=st.sampled_from(State), generation=st.integers(1, 3), sealed=st.booleans())
    def put(self, no: int, state: State, generation: int, *, sealed: bool) -> None:
        totals = Totals(attempts=generation) if sealed else None
        self.call(put_block(no, state, generation, f"d{generation}", totals))
        before = self.blocks[no].totals if no in self.blocks else None
        self.blocks[no] = BlockRow(
            no=no, state=state, generation=generation, digest=f"d{generation}", totals=totals or before
        )

    @rule(no=blocks, chosen=st.sets(tasks, max_size=3))
    def reopen(self, no: int, chosen: set[int]) -> None:
        self.call(reopen_block(no, 9, "d9", chosen))
        before = self.blocks[no].totals if no in self.blocks else None
        self.blocks[no] = BlockRow(no=no, state=State.OPEN, generation=9, digest="d9", totals=before)
        self.asked[no] = frozenset(chosen)

    @rule(no=blocks)
    def forget(self, no: int) -> None:
        self.call(forget_asked(no))
        self.asked.pop(no, None)

    @rule(no=blocks)
    def clear(self, no: int) -> None:
        first, stop = range_of(no)
        for piece in clear_block(first, stop, FailPoints()):
            self.call(piece)
        self.admitted = {key for key in self.admitted if not first <= key[0] < stop}
        self.attempts = {key: kept for key, kept in self.attempts.items() if not first <= key[0] < stop}
        self.done = {task: kept for task, kept in self.done.items() if not first <= task < stop}

    @rule(left=st.sets(st.tuples(tasks, st.integers(1, 2)), max_size=3))
    def withdraw(self, left: set[tuple[int, int]]) -> None:
        self.call(withdraw_unsent(frozenset(left)))
        self.admitted = {key for key in self.admitted if key in self.attempts or key in left}

    # --- how a session ends, and the next one begins

    @rule(unacknowledged=st.integers(0, 5))
    def crash(self, unacknowledged: int) -> None:
        """The files as they are on the disk at this moment, to another process."""
        for number in range(unacknowledged):
            self.journal.finish(number, pack_outcome(an_outcome(task=number, status=Status.INVALID)))
        before, gone = self.path, self.journal
        self.lives += 1
        for suffix in ("", "-wal"):
            if (source := Path(f"{before}{suffix}")).exists():
                shutil.copyfile(source, f"{self.path}{suffix}")
        self.runner.run(gone.close())
        self.open()

    @rule()
    def close_and_go_on(self) -> None:
        self.runner.run(self.journal.close())
        self.open()

    @rule()
    def recover(self) -> None:
        missing = self.admitted - self.attempts.keys()
        assert self.call(recover_lost) == len(missing)
        self.attempts |= {(task, n): lost(task, n) for task, n in missing}
        assert self.call(recover_lost) == 0

    # --- what holds at any moment

    @precondition(lambda self: hasattr(self, "journal"))
    @invariant()
    def the_journal_says_what_the_model_says(self) -> None:
        outcomes, attempts = self.call(read_answers(*EVERY))
        assert {outcome.task: outcome for outcome in outcomes} == self.done
        assert [outcome.task for outcome in outcomes] == sorted(self.done)
        assert attempts == [self.tried(outcome.task) for outcome in outcomes]
        assert self.call(read_done(*EVERY)) == self.done.keys()
        assert self.call(read_blocks) == self.blocks
        _, everything = self.call(read_rest)
        assert {(a.task, a.n): a for tried in everything for a in tried} == self.attempts

    @precondition(lambda self: hasattr(self, "journal"))
    @invariant()
    def what_was_begun_is_known(self) -> None:
        begun = self.call(read_begun(*EVERY))
        assert begun.keys() == {task for task, _ in self.attempts} - self.done.keys()
        for task, past in begun.items():
            tried = self.tried(task)
            assert past.attempts == max(attempt.n for attempt in tried)
            assert past.counted == sum(attempt.verdict is Kind.RETRY for attempt in tried)
        for no in range(1, BLOCKS + 1):
            assert self.call(read_asked(no)) == self.asked.get(no)

    def tried(self, task: int) -> list[Attempt]:
        return [self.attempts[key] for key in sorted(self.attempts) if key[0] == task]

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.runner.run(self.journal.close())
            self.runner.close()
            shutil.rmtree(self.folder)


JournalMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestRecovery = JournalMachine.TestCase
