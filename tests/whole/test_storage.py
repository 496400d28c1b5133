"""The promises of the storage hold for any order of what can happen to it: beside a dictionary that cannot crash.

1: an answer whose commit returned is never asked again, and is what the part says. 2: every row once, in order. 3: what
is in `data/` can be read at any moment. And an attempt that was admitted and has no record is lost, maybe billed.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batcher.errors import RunLocked, StorageError
from batcher.store.disk import publish_new
from batcher.store.rundir import Lock
from tests.whole.storage import BAD, CONCURRENCY, NOW, ROWS, SAMPLES, TASKS_A_BLOCK, Dying, KilledHereError, Storage

TASKS = ROWS * SAMPLES
BLOCKS = -(-TASKS // TASKS_A_BLOCK)
BAD_TASKS = frozenset(range(BAD * SAMPLES, (BAD + 1) * SAMPLES))
SEAL_POINTS = ("frozen", "part-built", "ledger-published", "part-published", "sealed", "journal-half-cleared")
picks = st.integers(0, 10)
blocks = st.integers(1, BLOCKS)


def tasks_of(no: int) -> range:
    return range((no - 1) * TASKS_A_BLOCK, min(no * TASKS_A_BLOCK, TASKS))


class StorageMachine(RuleBasedStateMachine):
    """The real journal, parts and run directory.

    Attributes:
        known: task -> answer (None: failed) that is safe and must not be asked again.
        before: what was known before a `recover`: of it, what the journal has is known still.
        unsure: answers whose commit did not return before the process died.
        lost_state: whether `run` must refuse until `recover` was called.
        damaged: blocks whose part cannot be read.
    """

    @initialize()
    def begin(self) -> None:
        self.storage = Storage(Path(tempfile.mkdtemp(prefix="storage-")))
        self.known: dict[int, str | None] = {}
        self.unsure: dict[int, str] = {}
        self.before: dict[int, str | None] = {}
        self.admitted: set[tuple[int, int]] = set()
        self.recorded: set[tuple[int, int]] = set()
        self.lost_state = False
        self.lost_ledger = False
        self.damaged: set[int] = set()
        self.gone: set[int] = set()
        self.texts = 0
        self.refused: Lock | None = None
        self.read: list[tuple[str, int, int]] = []
        self.storage.start()

    @property
    def alive(self) -> bool:
        return hasattr(self, "storage") and self.storage.alive

    @property
    def dead(self) -> bool:
        return hasattr(self, "storage") and not self.storage.alive

    # --- what a process does

    @precondition(lambda self: self.alive)
    @rule(pick=picks)
    def open_block(self, pick: int) -> None:
        waiting = [no for no in self.storage.unsealed() if no not in self.storage.works]
        if waiting:
            self.open(waiting[pick % len(waiting)])

    def open(self, no: int) -> None:
        before = set(self.storage.out)
        ended = self.storage.open(no)
        asked = set(self.storage.out) - before
        assert asked == {task for task in tasks_of(no) if task not in self.known} - BAD_TASKS
        self.admitted |= {(task, self.storage.out[task]) for task in asked}
        self.known |= {outcome.task: None for outcome in ended}

    @precondition(lambda self: self.alive and self.storage.out)
    @rule(pick=picks, ok=st.booleans())
    def answer(self, pick: int, *, ok: bool) -> None:
        task = self.pick(pick)
        self.recorded.add((task, self.storage.out[task]))
        text = self.text() if ok else None
        self.storage.finish(task, text)
        self.known[task] = text

    @precondition(lambda self: self.alive and self.storage.out)
    @rule()
    def answer_all(self) -> None:
        for task in list(self.storage.out):
            self.recorded.add((task, self.storage.out[task]))
            self.known[task] = text = self.text()
            self.storage.finish(task, text)

    @precondition(lambda self: self.alive and self.storage.out)
    @rule(pick=picks)
    def attempt_fails(self, pick: int) -> None:
        task = self.pick(pick)
        self.recorded.add((task, self.storage.out[task]))
        self.storage.retry(task)
        self.admitted.add((task, self.storage.out[task]))

    @precondition(lambda self: self.alive and self.storage.sealable())
    @rule(pick=picks)
    def seal(self, pick: int) -> None:
        self.storage.seal(self.one_of(self.storage.sealable(), pick))

    @precondition(lambda self: self.alive and self.storage.sealable())
    @rule(pick=picks, point=st.sampled_from(SEAL_POINTS))
    def seal_that_is_reported_failed(self, pick: int, point: str) -> None:
        """Whatever of it happened, the next try finds it."""
        no = self.one_of(self.storage.sealable(), pick)
        with contextlib.suppress(KilledHereError):  # a point that an earlier try is past is not met
            self.storage.seal(no, Dying({point: 1}))
        self.storage.rundir.clear_tmp()
        if no in self.storage.sealable():
            self.storage.seal(no)

    @precondition(lambda self: self.alive and self.storage.sealable())
    @rule(pick=picks, point=st.sampled_from(SEAL_POINTS))
    def seal_and_crash(self, pick: int, point: str) -> None:
        with contextlib.suppress(KilledHereError):  # a point that an earlier try is past is not met
            self.storage.seal(self.one_of(self.storage.sealable(), pick), Dying({point: 1}))
        self.storage.crash()

    @precondition(lambda self: self.alive and self.storage.sealable())
    @rule(pick=picks, with_part=st.booleans())
    def seal_that_comes_late(self, pick: int, *, with_part: bool) -> None:
        """The process is dead, and then the disk gives its files their names."""
        no = self.one_of(self.storage.sealable(), pick)
        with contextlib.suppress(KilledHereError):  # a point that an earlier try is past is not met
            self.storage.seal(no, Dying({"part-built": 1}))
        self.storage.crash()
        rundir = self.storage.rundir
        for built in sorted(rundir.tmp.iterdir()):  # the ledger first
            if built.name.startswith("attempts-"):
                publish_new(built, rundir.attempts / built.name)
            elif with_part and not publish_new(built, rundir.data / built.name):
                built.replace(rundir.data / built.name)

    @precondition(lambda self: self.alive)
    @rule()
    def ask_failed_again(self) -> None:
        before = set(self.storage.unsealed())
        self.storage.ask_failed_again()
        for no in set(self.storage.unsealed()) - before:
            for task in tasks_of(no):
                if self.known.get(task, "") is None:
                    del self.known[task]

    @precondition(lambda self: self.alive and self.refused is not self.storage.lock)
    @rule()
    def a_second_owner_is_refused(self) -> None:
        self.refused = self.storage.lock  # once a life: it waits a little before it gives up
        with pytest.raises(RunLocked):
            Lock(self.storage.rundir.lock, now=NOW)

    # --- how it ends

    @precondition(lambda self: self.alive)
    @rule(pick=picks, more=st.integers(0, 2))
    def crash(self, pick: int, more: int) -> None:
        for _ in range(min(more, len(self.storage.out))):
            task = self.pick(pick)
            self.unsure[task] = text = self.text()
            self.storage.finish(task, text, wait=False)
        self.storage.crash()

    @precondition(lambda self: self.alive)
    @rule()
    def close(self) -> None:
        self.storage.close()

    # --- what happens to the files meanwhile

    @precondition(lambda self: self.dead and not self.lost_state)
    @rule()
    def lose_the_state(self) -> None:
        shutil.rmtree(self.storage.rundir.state)
        self.lost_state = True
        self.unsure = {}
        self.admitted = self.recorded = set()

    @precondition(lambda self: self.dead)
    @rule(no=blocks, how=st.sampled_from(["lose", "damage"]))
    def lose_or_damage_a_part(self, no: int, how: str) -> None:
        path = self.storage.rundir.part(no, BLOCKS)
        if not path.exists() or no in self.damaged:
            return
        if how == "lose":
            path.unlink()
            self.gone.add(no)
        else:
            damage(path)
            self.damaged.add(no)

    @precondition(lambda self: self.dead)
    @rule(pick=picks)
    def lose_a_ledger_file(self, pick: int) -> None:
        if files := self.storage.rundir.ledgers():
            self.one_of(list(files), pick).unlink()
            self.lost_ledger = True

    # --- how it goes on

    @precondition(lambda self: self.dead)
    @rule()
    def start(self) -> None:
        if self.lost_state:
            with pytest.raises(StorageError, match="state is gone"):
                self.storage.start()
            self.storage.lock.release()
        self.storage.recover()
        self.settle()
        self.storage.start()
        self.resolve()

    @precondition(lambda self: self.dead and not (self.lost_state or self.damaged or self.gone or self.lost_ledger))
    @rule()
    def start_without_recovering(self) -> None:
        self.storage.start()
        self.resolve()

    def settle(self) -> None:
        """What is known after `recover`: what the parts say, and of the other blocks what the journal has."""
        self.before = dict(self.known)
        for no in range(1, BLOCKS + 1):
            if self.lost_state or no in self.damaged | self.gone:
                there = self.storage.rows_of(no) or {}
                self.known = {task: text for task, text in self.known.items() if task not in tasks_of(no)} | dict(there)
        self.lost_state, self.lost_ledger, self.damaged, self.gone = False, False, set(), set()

    def resolve(self) -> None:
        done = self.storage.done()
        self.known |= {task: text for task, text in self.before.items() if task in done}
        self.before = {}
        self.known |= {task: text for task, text in self.unsure.items() if task in done}
        self.unsure = {}

    # --- what holds at any moment

    @precondition(lambda self: hasattr(self, "storage"))
    @invariant()
    def whatever_is_there_can_be_read(self) -> None:
        data = self.storage.rundir.data
        files = [path for path in sorted(data.iterdir()) if int(path.name[6:11]) not in self.damaged]
        there_now = [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
        if there_now == self.read:
            return
        self.read = there_now
        table = ds.dataset([str(path) for path in files], format="parquet").to_table()
        assert table.schema.equals(self.storage.plan.schema)
        tasks = table.column("task").to_pylist()
        assert tasks == sorted(set(tasks))
        for path in files:
            there = pq.read_table(path, columns=["task"]).column("task").to_pylist()
            assert there in ([], list(tasks_of(int(path.name[6:11]))))

    def teardown(self) -> None:
        if not hasattr(self, "storage"):
            return
        try:
            if not self.alive:
                self.start()
            self.finish()
            self.check_the_end()
        finally:
            self.storage.end()

    def finish(self) -> None:
        for no in self.storage.unsealed():
            if no not in self.storage.works:
                self.open(no)
        self.answer_all()
        for no in self.storage.sealable():
            self.storage.seal(no)

    def check_the_end(self) -> None:
        assert self.storage.unsealed() == []
        rows = pq.read_table(self.storage.rundir.data)
        assert rows.column("task").to_pylist() == list(range(TASKS))
        assert rows.column("response").to_pylist() == [self.known[task] for task in range(TASKS)]
        assert rows.column("id").to_pylist() == [
            "row-5" if n == BAD else f"q{n}" for n in range(ROWS) for _ in range(SAMPLES)
        ]
        ledger = pq.read_table(self.storage.rundir.attempts)
        numbers: dict[int, list[int]] = {task: [] for task in range(TASKS)}
        for task, n in zip(ledger.column("task").to_pylist(), ledger.column("attempt").to_pylist(), strict=True):
            numbers[task].append(n)
        for task, attempts in zip(range(TASKS), rows.column("attempts").to_pylist(), strict=True):
            assert sorted(numbers[task]) == list(range(1, attempts + 1)), task
        keys = {(task, n) for task, found in numbers.items() for n in found}
        assert self.recorded <= keys
        self.check_lost(ledger)

    def check_lost(self, ledger: object) -> None:
        lost = ledger.filter(pc.equal(ledger.column("verdict"), "lost"))
        lost = lost.filter(pc.equal(lost.column("reason"), "lost"))
        assert set(lost.column("billed").to_pylist()) <= {"maybe"}

    # --- small words

    def pick(self, pick: int) -> int:
        return self.one_of(sorted(self.storage.out), pick)

    @staticmethod
    def one_of(things: list, pick: int):
        return things[pick % len(things)]

    def text(self) -> str:
        self.texts += 1
        return f"answer {self.texts}"


def damage(path: Path) -> None:
    """One bit of the column of answers."""
    meta = pq.read_metadata(path).row_group(0)
    (chunk,) = (c for c in map(meta.column, range(meta.num_columns)) if c.path_in_schema == "id")
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start + chunk.total_compressed_size - 3] ^= 4
    path.write_bytes(content)


# --- what the machine found, as short as it goes


@pytest.fixture
def machine():
    machine = StorageMachine()
    machine.begin()
    machine.open_block(0)
    machine.answer_all()
    yield machine
    machine.teardown()


def test_a_part_that_came_late_and_whose_ledger_is_gone_is_sealed_again(machine):
    machine.seal_that_comes_late(0, with_part=True)
    machine.lose_a_ledger_file(0)
    machine.start()


def test_the_same_without_recover(machine):
    machine.seal_that_comes_late(0, with_part=True)
    machine.lose_a_ledger_file(0)
    machine.lost_ledger = False
    machine.start_without_recovering()


def test_a_part_that_came_late_and_is_gone_again_is_in_the_journal_still(machine):
    machine.seal_that_comes_late(0, with_part=True)
    machine.lose_or_damage_a_part(1, "lose")
    machine.start()


def test_a_seal_that_was_past_its_point_already(machine):
    machine.seal_and_crash(0, "part-published")
    machine.start()
    machine.open_block(0)
    machine.seal_that_is_reported_failed(0, "part-published")


_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=20)


def test_any_order_of_a_few():
    """The same ones every day, and what fails is told as it was met: looking for a shorter one takes minutes."""
    few = settings(_SETTINGS, max_examples=16, derandomize=True, phases=[Phase.explicit, Phase.generate])
    run_state_machine_as_test(StorageMachine, settings=few)


@pytest.mark.slow
@pytest.mark.timeout(6_000)
def test_any_order_of_two_thousand():
    run_state_machine_as_test(StorageMachine, settings=settings(_SETTINGS, max_examples=2_000))


assert CONCURRENCY < TASKS
