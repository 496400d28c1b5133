"""A disk that forgets a bit: the audit says so, and no later start takes what is damaged for good."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from batcher.audit.run import audit
from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.errors import Exit, StorageError
from batcher.records import Status
from tests.whole.runs import MARKED_AT_FIRST, a_job, call, column, proved, retry, run, run_argv, sums, write_lines

ROWS = 320  # two blocks: 256 and 64
DAY, TROUBLE = 300, 5  # a row that stops the run, and one that fails at first
KILLED = -9
SLOW = [pytest.mark.slow, pytest.mark.timeout(3_000)]


def flips(fast: int, slow: int) -> pytest.MarkDecorator:
    """So many bits in every run of the tests, and many more where the storage is looked into."""
    return pytest.mark.parametrize("bits", [fast, pytest.param(slow, marks=SLOW)])


@dataclass(frozen=True)
class Run:
    """A run directory to damage, and how to go on with it."""

    out: Path
    rows: Path
    emulator: Emulator

    def files(self, *patterns: str) -> list[Path]:
        return sorted(path for pattern in patterns for path in self.out.glob(pattern) if path.stat().st_size)

    def copied(self, to: Path) -> Run:
        shutil.copytree(self.out, to)
        return Run(to, self.rows, self.emulator)

    def go_on(self) -> Exit:
        return run(a_job(self.emulator.url, self.rows, limits__concurrency=8), self.out).exit_code

    def to_the_end(self) -> Exit:
        """The emulator stops a run at its first sight of one row."""
        ended = self.go_on()
        return self.go_on() if ended is Exit.STOPPED else ended


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    times = MARKED_AT_FIRST["[5x503]"][1]
    rules = (
        Rule(fault=Fault(kind=FaultKind.DAY), contains="[day]", first=1),
        Rule(fault=Fault(kind=FaultKind.UNAVAILABLE), contains="[5x503]", first=times),
    )
    with Emulator(Settings(seed=7, faults=Faults(script=rules))).in_thread() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    asked = sums(ROWS)
    asked[DAY]["prompt"] += " [day]"
    asked[TROUBLE]["prompt"] += " [5x503]"
    return write_lines(tmp_path_factory.mktemp("damage") / "rows.jsonl", asked)


@pytest.fixture(scope="module")
def stopped(emulator, rows) -> Run:
    """The first block has a part, the second one some answers; closed in good order."""
    emulator.reset()
    made = Run(rows.parent / "stopped", rows, emulator)
    assert made.go_on() is Exit.STOPPED
    found = proved(made.out)
    assert (found.proved.parts, found.proved.tasks) == (1, 256)
    assert found.proved.waiting > 0
    return made


@pytest.fixture(scope="module")
def finished(stopped) -> Run:
    """The same run at its end, after a retry: its first part is of generation 2."""
    made = stopped.copied(stopped.out.with_name("finished"))
    assert made.go_on() is Exit.ROWS_FAILED
    assert retry(made.out).exit_code is Exit.DONE
    assert made.files("attempts/*-g2.parquet")
    assert proved(made.out).proved.tasks == ROWS
    return made


@pytest.fixture(scope="module")
def killed(emulator, rows) -> Run:
    """As kill -9 leaves it: the log of the journal is there, and no digest."""
    emulator.reset()
    made = Run(rows.parent / "killed", rows, emulator)
    argv = run_argv(rows, made.out, emulator.url)
    assert call(*argv, BATCHER_FAILPOINT="journal-half-cleared").returncode == KILLED
    assert made.files(".state/journal.db-wal")
    proved(made.out)
    return made


@pytest.fixture(scope="module")
def checkpointed(stopped) -> Run:
    """As kill -9 leaves it when its log has just been written back: everything is in the database itself."""
    made = stopped.copied(stopped.out.with_name("checkpointed"))
    (made.out / ".state" / "journal.digest").unlink()
    return made


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(path: Path, bit: int) -> bytes:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def some_bits(files: Sequence[Path], count: int) -> list[tuple[Path, int]]:
    chance = random.Random(count)
    chosen = [files[number % len(files)] for number in range(count)]
    return [(path, chance.randrange(path.stat().st_size * 8)) for path in chosen]


def cuts(files: Sequence[Path], count: int) -> list[tuple[Path, int]]:
    """Lengths to cut files to: nothing, all but one byte, and others between."""
    chance = random.Random(count)
    sizes = [(path, path.stat().st_size) for path in files]
    return [
        (path, length)
        for path, size in sizes
        for length in {0, 1, size - 1, *(chance.randrange(size) for _ in range(count // len(files)))}
    ]


def unreported(made: Run, damages: Sequence[tuple[Path, int, bytes]]) -> list[str]:
    """The damages of which the audit says nothing."""
    silent = []
    for path, at, content in damages:
        with changed(path, content):
            found = audit(made.out)
        if found.exit_code is not Exit.STORAGE or not any(path.name in finding.where for finding in found.findings):
            silent.append(f"{path.name}, {at}: {found.findings}")
    return silent


def with_flips(files: Sequence[Path], bits: int) -> list[tuple[Path, int, bytes]]:
    return [(path, bit, flipped(path, bit)) for path, bit in some_bits(files, bits)]


def with_cuts(files: Sequence[Path], bits: int) -> list[tuple[Path, int, bytes]]:
    return [(path, length, path.read_bytes()[:length]) for path, length in cuts(files, bits)]


@flips(12, 300)
def test_every_flipped_bit_and_every_cut_of_a_part_is_reported(finished, bits):
    files = finished.files("data/*", "attempts/*")
    assert len(files) == 6
    assert unreported(finished, with_flips(files, bits) + with_cuts(files, bits)) == []
    proved(finished.out)


@flips(20, 100)
def test_every_flipped_bit_and_every_cut_of_the_manifest_is_reported(stopped, bits):
    files = stopped.files("run.json")
    assert unreported(stopped, with_flips(files, bits) + with_cuts(files, bits)) == []


@flips(10, 100)
def test_every_flipped_bit_and_every_cut_of_the_price_list_and_the_index_is_reported(stopped, bits):
    files = stopped.files("prices.json", ".state/index", ".state/blocks/*")
    assert len(files) == 3
    assert unreported(stopped, with_flips(files, bits) + with_cuts(files, bits)) == []


@flips(12, 300)
def test_every_flipped_bit_and_every_cut_of_a_closed_journal_is_reported(stopped, bits):
    """Free pages and padding included: what was closed in good order has a digest of all of it."""
    files = stopped.files(".state/journal.db")
    assert not stopped.files(".state/journal.db-wal")
    assert unreported(stopped, with_flips(files, bits) + with_cuts(files, bits)) == []


@flips(6, 300)
@pytest.mark.parametrize("left", ["killed", "checkpointed"])
def test_a_flipped_bit_of_a_killed_journal_is_reported_or_means_nothing(request, left, bits, tmp_path):
    """SQLite has bits that nobody reads; whatever the audit cannot see, the next start must not be led astray by."""
    made: Run = request.getfixturevalue(left)
    unseen = 0
    for number, damage in enumerate(with_flips(made.files(".state/journal.db", ".state/journal.db-wal"), bits)):
        if not unreported(made, [damage]):
            continue
        unseen += 1
        path, bit, content = damage
        copy = made.copied(tmp_path / f"{number}")
        (copy.out / ".state" / path.name).write_bytes(content)
        assert copy.to_the_end() in (Exit.DONE, Exit.ROWS_FAILED), (path.name, bit)
        ends_right(copy, failed={TROUBLE})
    print(f"{left}: {unseen} of {bits} bits are read by nobody")


@flips(6, 40)
def test_a_start_goes_on_right_or_refuses_whatever_has_changed(stopped, bits, tmp_path):
    files = stopped.files(".state/journal.db", ".state/index", ".state/blocks/*", "run.json", "prices.json", "data/*")
    for number, (path, bit, content) in enumerate(with_flips(files, bits)):
        copy = stopped.copied(tmp_path / f"{number}")
        place = copy.out / path.relative_to(stopped.out)
        place.write_bytes(content)
        try:
            ended = copy.go_on()
        except StorageError:
            continue
        if ended is not Exit.STORAGE:
            assert path.parent.name == "data", (path.name, bit)  # what nobody reads on the way
            assert [finding.where for finding in audit(copy.out).findings if path.name in finding.where]


@flips(4, 40)
def test_a_retry_never_takes_rows_from_a_damaged_part(finished, bits, tmp_path):
    """A byte that has rotted would get a good checksum in the new part, and nobody would ever know."""
    (part,) = finished.files("data/train-00001*")
    for number, (path, bit, content) in enumerate(with_flips([part], bits)):
        copy = finished.copied(tmp_path / f"{number}")
        (copy.out / "data" / path.name).write_bytes(content)
        try:
            ended = retry(copy.out, Status.OK).exit_code
        except StorageError:
            ended = Exit.STORAGE
        assert ended is Exit.STORAGE, bit
        assert (copy.out / "data" / path.name).read_bytes() == content


def ends_right(made: Run, *, failed: set[int]) -> None:
    """Every task once, with its own answer; and the audit agrees."""
    assert column(made.out, "task") == list(range(ROWS))
    statuses, answers = column(made.out, "status"), column(made.out, "response")
    assert {task for task, status in enumerate(statuses) if status != "ok"} <= failed
    for task, (status, answer) in enumerate(zip(statuses, answers, strict=True)):
        assert status != "ok" or str(task * 7) in answer.replace(",", ""), task
    proved(made.out)
