"""Whatever a run went through, the audit proves it: each verb as people type it, then `batcher audit`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.audit.run import audit
from batcher.cli.app import call
from batcher.emulator.server import Emulator
from batcher.engine.reparse import reparse
from batcher.errors import Exit
from batcher.store.failpoints import FailPoints
from batcher.store.rundir import RunDir
from tests.audit.forge import forge, twice, with_value
from tests.whole.runs import a_job, column, data, emulator_settings, ledger, proved, retry, run, sums, write_lines

ROWS = 300  # two blocks: 256 and 44
MARKED = {3: "[once-cut]", 5: "[400]", 7: "[blocked]", 9: "[maxtokens]", 270: "[503]"}
A_TOKEN_USD = Decimal("0.0000025")


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


def marked(count: int) -> list[dict[str, Any]]:
    rows = sums(count)
    for at, mark in MARKED.items():
        if at < count:
            rows[at]["prompt"] = f"{mark} {rows[at]['prompt']}"
    return rows


def a_run(folder: Path, emulator: Emulator, rows: list[dict[str, Any]], **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    source = write_lines(folder / "rows.jsonl", rows)
    run(job_of(emulator, source, **settings), folder / "out")
    return folder / "out"


def job_of(emulator: Emulator, source: Path, **settings: Any) -> Any:
    return a_job(emulator.url, source, **{"retry.attempts": 2, "limits__concurrency": 8} | settings)


def audited(out: Path) -> None:
    assert not audit(out).counts, audit(out).findings
    assert call(["audit", str(out)]) == Exit.DONE


# --- recover


@pytest.fixture
def finished(tmp_path: Path, emulator: Emulator) -> Path:
    out = a_run(tmp_path, emulator, marked(ROWS))
    audited(out)
    return out


def lose_the_state(out: Path) -> None:
    shutil.rmtree(out / ".state")


def lose_a_part(out: Path) -> None:
    RunDir.at(out).part(2, 2).unlink()


def damage_a_part(out: Path) -> None:
    """A bit of an answer in the first block: its footer is good."""
    path = RunDir.at(out).part(1, 2)
    group = pq.read_metadata(path).row_group(0)
    (chunk,) = (c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "response")
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 4
    path.write_bytes(content)


def lose_a_ledger_file(out: Path) -> None:
    RunDir.at(out).ledger(1, 1).unlink()


def damage_the_journal(out: Path) -> None:
    """A bit that SQLite does not miss: only the digest tells."""
    journal = RunDir.at(out).journal
    content = bytearray(journal.read_bytes())
    content[100 + 44] ^= 1  # in the first page, between its head and its cells
    journal.write_bytes(content)


@pytest.mark.parametrize("damage", [lose_the_state, lose_a_part, damage_a_part, lose_a_ledger_file, damage_the_journal])
def test_a_run_that_was_recovered_is_proved_before_and_after_it_goes_on(
    finished: Path, emulator: Emulator, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(finished)
    if damage is not lose_the_state:
        assert call(["audit", str(finished)]) == Exit.STORAGE
    assert call(["recover", str(finished), "--yes"]) == Exit.DONE, capsys.readouterr()
    audited(finished)
    run(job_of(emulator, finished.parent / "rows.jsonl"), finished)
    audited(finished)
    assert proved(finished).is_finished
    assert "lost" not in column(finished, "error_kind")
    assert {path.name for path in (finished / ".state").glob("journal*")} == {"journal.db", "journal.digest"}


# --- reparse


def as_an_older_parser_wrote_it(out: Path) -> None:
    """Row 0 was called invalid, and a token too many was counted and paid."""
    rundir = RunDir.at(out)
    changes: list[tuple[str, Any]] = [
        ("status", "invalid"),
        ("error_kind", "invalid_json"),
        ("response", None),
        ("candidates", lambda found: [{**each, "text": None} for each in found]),
        ("usage_metadata", lambda found: found | {"candidates_token_count": found["candidates_token_count"] + 1}),
        ("output_tokens", lambda found: found + 1),
        ("cost_usd", lambda found: found + A_TOKEN_USD),
        ("wasted_usd", lambda found: found + A_TOKEN_USD),
    ]
    for name, value in changes:
        forge(rundir.part(1, 1), with_value(name, 0, value))
    for name, value in (
        ("candidates_token_count", lambda found: found + 1),
        ("cost_usd", lambda found: found + A_TOKEN_USD),
    ):
        forge(rundir.ledger(1, 1), with_value(name, 0, value))


@pytest.fixture
def misread(tmp_path: Path, emulator: Emulator) -> Path:
    out = a_run(tmp_path, emulator, marked(20), **{"output.raw": True})
    audited(out)
    as_an_older_parser_wrote_it(out)
    return out


def test_a_run_that_was_read_again_is_proved_and_corrections_are_no_attempts(misread: Path) -> None:
    before = proved_requests(misread)
    assert call(["reparse", str(misread)]) == Exit.DONE

    audited(misread)
    assert ledger(misread).column("role").to_pylist().count("correction") == 1
    assert proved(misread).proved.attempts == before == ledger(misread).num_rows - 1
    retry(misread)  # a third generation, in which the failed row has more attempts
    audited(misread)
    assert proved(misread).proved.attempts > before


def proved_requests(out: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in RunDir.at(out).ledgers())


class KilledHereError(Exception):
    """The process would be dead now."""


class Dying(FailPoints):
    """Raises where a process would be killed."""

    def hit(self, name: str) -> None:
        if self.armed.get(name):
            raise KilledHereError(name)


@pytest.mark.parametrize("point", ["part-built", "ledger-published", "part-published", "sealed", "before-success"])
def test_a_run_whose_reparse_was_killed_is_proved_once_it_is_done(misread: Path, point: str) -> None:
    with pytest.raises(KilledHereError):
        reparse(misread, dry_run=False, progress=lambda _, __: None, failpoints=Dying({point: 1}))
    if point in {"part-published", "sealed", "before-success"}:
        audited(misread)
    else:
        assert not {"foreign", "journal"} & set(audit(misread).counts)  # the old part is wrong still, and no more
    assert call(["reparse", str(misread)]) == Exit.DONE
    audited(misread)


def changed(name: str, value: Any) -> Any:
    """Another value in the row that is a correction."""

    def change(table: pa.Table) -> pa.Table:
        return with_value(name, table.column("role").to_pylist().index("correction"), value)(table)

    return change


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("attempt", 9, "an attempt that it corrects"),
        ("role", "guess", "ask or correction"),
        ("cost_usd", Decimal("0.001"), "its tokens times its price; 0 when it was not billed, null when nobody knows"),
        ("candidates_token_count", 5, "usage as its last attempt has it"),
        ("block", 7, "block 1"),
        ("response_id", "another", "as its last attempt has it"),
    ],
)
def test_a_correction_that_is_wrong_is_found(misread: Path, name: str, value: Any, wanted: str) -> None:
    assert call(["reparse", str(misread)]) == Exit.DONE
    forge(RunDir.at(misread).ledger(1, 2), changed(name, value))
    assert wanted in {each.wanted for each in audit(misread).findings}


def test_a_corrected_attempt_that_is_there_twice_is_found(misread: Path) -> None:
    assert call(["reparse", str(misread)]) == Exit.DONE
    forge(RunDir.at(misread).ledger(1, 1), twice(0))
    assert "attempts numbered 1, 2, 3, … in each task" in {each.wanted for each in audit(misread).findings}


# --- answers that are paid for elsewhere


def test_runs_that_share_answers_are_proved(tmp_path: Path, emulator: Emulator) -> None:
    rows = marked(20)
    old = a_run(tmp_path / "old", emulator, rows)
    new = a_run(tmp_path / "new", emulator, [*rows, *rows[:4], *sums(3, start=100)], reuse=[str(old)], dedup=True)
    assert data(new).column("paid_by_run").null_count < 10
    audited(new)
    assert call(["recover", str(new)]) == Exit.DONE
    audited(new)
    retry(new)
    audited(new)


def test_a_run_whose_rows_repeat_is_proved_after_it_lost_its_state(tmp_path: Path, emulator: Emulator) -> None:
    rows = [{"id": f"q{n}", "prompt": f"What is {n % 7} * 7?"} for n in range(ROWS)]
    out = a_run(tmp_path, emulator, rows, dedup=True)
    assert ledger(out).num_rows < 20
    audited(out)
    lose_the_state(out)
    assert call(["recover", str(out)]) == Exit.DONE
    audited(out)
