"""Kept replies are read again after a fix of the parser: nothing is sent, and a kill leaves the old part or the new."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.cli.app import call
from batcher.emulator.server import Emulator
from batcher.engine.reparse import reparse
from batcher.engine.reparsed import Reparsed
from batcher.engine.today import _of_ledger
from batcher.records import Status
from batcher.store.blocks import read_blocks
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome, unpack_attempt, unpack_outcome
from batcher.store.journal import connect
from batcher.store.parts import read_footer
from batcher.store.rundir import Lock, RunDir
from batcher.store.signed import UNSIGNED, sign_parquet
from tests.whole import runs
from tests.whole.runs import data, emulator_settings, ledger, manifest, total

MARKS = ("[blocked]", "[safety]", "[maxtokens]", "[400]", "[503]", "[cut]", "[once-cut]")
ROWS = [*runs.sums(12), *({"id": mark, "prompt": f"{mark} What is 3 + 4?"} for mark in MARKS)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture
def finished(tmp_path: Path, emulator: Emulator) -> Path:
    """A finished run that has kept its replies."""
    return a_run(tmp_path, emulator)


def a_run(folder: Path, emulator: Emulator, **settings: Any) -> Path:
    source = runs.write_lines(folder / "rows.jsonl", ROWS)
    job = runs.a_job(
        emulator.url, source, **{"output.raw": True, "retry.attempts": 2, "retry.invalid_attempts": 1}, **settings
    )
    runs.run(job, folder / "out")
    return folder / "out"


def again(out: Path, *, dry_run: bool = False) -> Reparsed:
    return reparse(out, dry_run=dry_run, progress=lambda _, __: None, failpoints=FailPoints())


def everything(out: Path) -> dict[str, tuple[int, bytes]]:
    """Every file but those that a lock and a journal touch, with what it is and holds."""
    files = (path for path in out.rglob("*") if path.is_file() and ".state" not in path.parts)
    return {str(path.relative_to(out)): (path.stat().st_ino, path.read_bytes()) for path in files}


Change = Callable[[dict[str, Any]], dict[str, Any]]


def as_an_older_parser_wrote_it(path: Path, change: Change) -> None:
    """Write a part or a ledger file with other values, as its own: same rows, same footer."""
    with pq.ParquetFile(path) as file:
        table, footer = file.read(), file.metadata.metadata[b"batcher"]
    rows = [row | change(row) for row in table.to_pylist()]
    path.unlink()
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=table.schema))
        writer.add_key_value_metadata({b"batcher": orjson.dumps(orjson.loads(footer) | {"blake2b": UNSIGNED})})
    sign_parquet(path)


def the_part(out: Path) -> Path:
    return max((out / "data").glob("*.parquet"))


def the_ledger(out: Path) -> Path:
    return min((out / "attempts").glob("*-00001-g*.parquet"))


def misread(row: dict[str, Any]) -> dict[str, Any]:
    """A parser that lost the text, called it invalid and counted a token too many."""
    if row["status"] != "ok":
        return {}
    usage = row["usage_metadata"] | {"candidates_token_count": row["usage_metadata"]["candidates_token_count"] + 1}
    candidates = [{**each, "text": None} for each in row["candidates"]]
    return {
        "status": "invalid",
        "error_kind": "invalid_json",
        "response": None,
        "candidates": candidates,
        "usage_metadata": usage,
        "output_tokens": row["output_tokens"] + 1,
        "cost_usd": row["cost_usd"] + Decimal("0.0000025"),
        "wasted_usd": row["wasted_usd"] + Decimal("0.0000025"),
    }


def misread_by_the_ledger(row: dict[str, Any]) -> dict[str, Any]:
    if row["reason"] != "ok":
        return {}
    return {
        "candidates_token_count": row["candidates_token_count"] + 1,
        "cost_usd": row["cost_usd"] + Decimal("0.0000025"),
    }


# --- nothing to do


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"samples": 2},
        {"endpoint.stream": "sse"},
        {"output.schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
        {"output.store_prompt": False},
        {"model": "gemini-3.1-flash-image", "generation.response_modalities": ["TEXT", "IMAGE"]},
        {"endpoint.provider": "visioncoder", "endpoint.auth": "bearer"},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_what_is_read_as_it_was_is_not_written(tmp_path: Path, emulator: Emulator, settings: dict[str, Any]) -> None:
    out = a_run(tmp_path, emulator, **settings)
    before = everything(out)

    found = again(out)

    assert (found.differ, found.parts, found.by_column) == (0, 0, {})
    assert found.reread > 12
    assert found.reread + found.without_raw + found.unknown == data(out).num_rows
    assert everything(out) == before


def test_a_run_that_was_retried_is_read_as_it_was(finished: Path) -> None:
    runs.retry(finished, Status.FAILED, Status.TRUNCATED)
    before = everything(finished)

    assert again(finished).differ == 0
    assert everything(finished) == before


# --- a parser that was mended


def test_a_part_that_was_misread_becomes_what_it_should_have_been(finished: Path, emulator: Emulator) -> None:
    right, sent, paid = data(finished), emulator.totals().requests, total(ledger(finished), "cost_usd")
    as_an_older_parser_wrote_it(the_part(finished), misread)
    assert data(finished) != right

    found = again(finished)

    good = right["status"].to_pylist().count("ok")
    assert (found.differ, found.parts, found.changed) == (good, 1, {("invalid", "ok"): good})
    assert found.by_column["response"] == found.by_column["cost_usd"] == found.by_column["status"] == good
    assert data(finished) == right
    assert total(ledger(finished), "cost_usd") == paid
    assert emulator.totals().requests == sent
    assert read_footer(the_part(finished)).stamp.generation == 2
    assert (finished / "_SUCCESS").exists()
    assert manifest(finished)["reparsed"][0]["rows"] == good
    assert again(finished).differ == 0


def test_a_ledger_that_was_misread_is_corrected_and_never_rewritten(finished: Path) -> None:
    right, entries, totals = data(finished), ledger(finished), manifest(finished)["summary"]["totals"]
    as_an_older_parser_wrote_it(the_part(finished), misread)
    as_an_older_parser_wrote_it(the_ledger(finished), misread_by_the_ledger)
    as_it_is = the_ledger(finished).read_bytes()
    sent = _of_ledger([the_ledger(finished)], 0)

    again(finished)

    assert data(finished) == right
    assert the_ledger(finished).read_bytes() == as_it_is
    now = ledger(finished)
    for name in ("cost_usd", "candidates_token_count", "prompt_token_count", "reserve_usd"):
        assert total(now, name) == total(entries, name)
    corrected = [row for row in now.to_pylist() if row["role"] == "correction"]
    assert {row["candidates_token_count"] for row in corrected} == {-1}
    assert {row["cost_usd"] for row in corrected} == {Decimal("-0.0000025")}
    assert {row["http_status"] for row in corrected} == {None}
    assert len(corrected) == now.num_rows - entries.num_rows
    assert manifest(finished)["summary"]["totals"] == totals == totals_of_the_journal(finished)
    assert read_footer(the_part(finished)).totals.as_json() == totals
    assert again(finished).differ == 0
    assert len(list((finished / "attempts").iterdir())) == 2
    assert _of_ledger(list((finished / "attempts").iterdir()), 0) == sent  # a correction is no request of today


def totals_of_the_journal(out: Path) -> dict[str, Any]:
    with closing(connect(RunDir.at(out).journal)) as journal:
        (row,) = read_blocks(journal).values()
    assert row.totals is not None
    return row.totals.as_json()


def test_a_paid_answer_that_was_taken_for_a_broken_one_is_an_answer(finished: Path) -> None:
    right = data(finished)
    failed = {
        "status": "failed",
        "error_kind": "bad_body",
        "error_message": "no JSON",
        "response": None,
        "candidates": [],
        "usage_metadata": None,
        "finish_reason": None,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": Decimal(0),
        "wasted_usd": Decimal(0),
        "model_version": None,
        "response_id": None,
        "service_tier": None,
    }
    maybe = {name: None for name in ledger(finished).schema.names if name.endswith("token_count")}
    maybe |= {"verdict": "retry", "reason": "bad_body", "billed": "maybe", "cost_usd": None}
    as_an_older_parser_wrote_it(the_part(finished), lambda row: failed if row["id"] == "q3" else {})
    as_an_older_parser_wrote_it(the_ledger(finished), lambda row: maybe if row["task"] == 3 else {})

    found = again(finished)

    assert found.changed == {("failed", "ok"): 1}
    assert data(finished) == right
    (correction,) = [row for row in ledger(finished).to_pylist() if row["role"] == "correction"]
    assert (correction["verdict"], correction["billed"]) == ("ok", "yes")
    assert total(ledger(finished), "cost_usd") == total(right, "cost_usd")


def test_a_dry_run_says_the_same_and_writes_nothing(finished: Path) -> None:
    as_an_older_parser_wrote_it(the_part(finished), misread)
    before = everything(finished)

    would = again(finished, dry_run=True)
    assert everything(finished) == before
    did = again(finished)

    assert (would.differ, would.by_column, would.changed, would.parts) == (
        did.differ,
        did.by_column,
        did.changed,
        did.parts,
    )


def test_rows_without_their_reply_are_left_alone_and_counted(finished: Path) -> None:
    right = data(finished).to_pylist()
    as_an_older_parser_wrote_it(
        the_part(finished), lambda row: misread(row) | ({"raw": None} if row["id"] in {"q1", "q2"} else {})
    )

    found = again(finished)

    assert found.without_raw == 2 + 1  # of one no reply ever came
    now = {row["id"]: row for row in data(finished).to_pylist()}
    assert [row["id"] for row in right if now[row["id"]] != row] == ["q1", "q2"]
    assert now["q1"]["status"] == "invalid"


# --- killed, and others at work

POINTS = ["success-removed", "part-built", "ledger-published", "part-published", "sealed", "before-success"]
KILLS = [*((point, "reparse") for point in POINTS), ("ledger-published", "run"), ("part-published", "run")]


@pytest.mark.parametrize(("point", "then"), KILLS)
def test_a_kill_leaves_the_old_part_or_the_new_one(tmp_path: Path, emulator: Emulator, point: str, then: str) -> None:
    out = a_run(tmp_path, emulator)
    right, paid, totals = data(out), total(ledger(out), "cost_usd"), manifest(out)["summary"]["totals"]
    as_an_older_parser_wrote_it(the_part(out), misread)
    as_an_older_parser_wrote_it(the_ledger(out), misread_by_the_ledger)
    wrong = data(out)

    killed = runs.call("reparse", out, BATCHER_FAILPOINT=point)
    assert killed.returncode == -9
    assert data(out) in (wrong, right)

    if then == "run":  # any start brings parts, ledger and journal together
        sent = emulator.totals().requests
        job = runs.a_job(emulator.url, tmp_path / "rows.jsonl", **{"output.raw": True, "retry.attempts": 2})
        runs.run(job, out)
        assert emulator.totals().requests == sent
        assert total(ledger(out), "cost_usd") == total(data(out), "cost_usd")
    again(out)
    assert data(out) == right
    assert total(ledger(out), "cost_usd") == paid
    assert manifest(out)["summary"]["totals"] == totals == totals_of_the_journal(out)
    assert (out / "_SUCCESS").exists()
    runs.retry(out, Status.FAILED)
    assert data(out).num_rows == right.num_rows


def test_a_run_that_somebody_owns_is_left_alone(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lock = Lock(RunDir.at(finished).lock, now=dt.datetime.now(dt.UTC))
    try:
        assert call(["reparse", str(finished)]) == 7
    finally:
        lock.release()
    assert "owns this run" in capfd.readouterr().err


# --- answers that are in no part yet


def test_answers_in_the_journal_are_judged_again(tmp_path: Path, emulator: Emulator) -> None:
    source = runs.write_lines(tmp_path / "rows.jsonl", ROWS)
    out = tmp_path / "out"
    argv = runs.run_argv(source, out, emulator.url, "--set", "retry.attempts=2")
    assert runs.call(*argv, BATCHER_FAILPOINT="frozen").returncode == -9
    with closing(connect(RunDir.at(out).journal)) as journal:
        task, n = an_answer_called_broken(journal)

    found = again(out)

    assert (found.differ, found.changed) == (1, {("failed", "ok"): 1})
    assert found.open > 0
    with closing(connect(RunDir.at(out).journal)) as journal:
        outcome, attempt = of_task(journal, task, n)
    assert (outcome.status, outcome.answered, attempt.verdict, attempt.billed) == ("ok", n, "ok", "yes")
    assert runs.call(*argv).returncode in {0, 1}
    assert data(out)["status"].to_pylist()[task] == "ok"


def of_task(journal: sqlite3.Connection, task: int, n: int) -> tuple[Any, Any]:
    (done,) = journal.execute("select record from done where task = ?", (task,)).fetchone()
    (tried,) = journal.execute("select record from attempt where task = ? and n = ?", (task, n)).fetchone()
    return unpack_outcome(task, done), unpack_attempt(task, n, tried)


def an_answer_called_broken(journal: sqlite3.Connection) -> tuple[int, int]:
    """What a parser would have written that took a good answer for a broken one."""
    for (task,) in journal.execute("select task from done order by task").fetchall():
        (record,) = journal.execute("select record from done where task = ?", (task,)).fetchone()
        good = unpack_outcome(task, record)
        if good.status is Status.OK:
            break
    outcome, attempt = of_task(journal, task, good.attempts)
    bad = outcome._replace(status=Status.FAILED, answered=0, error_kind="bad_body", error_message="no JSON")
    retried = attempt._replace(verdict="retry", reason="bad_body", billed="maybe")
    journal.execute("insert or replace into done values (?, ?)", (task, pack_outcome(bad)))
    journal.execute("insert or replace into attempt values (?, ?, ?)", (task, attempt.n, pack_attempt(retried)))
    return task, attempt.n


# --- the command


def test_the_command_says_what_changed(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    as_an_older_parser_wrote_it(the_part(finished), lambda row: {"response": "?"} if row["id"] in {"q1", "q2"} else {})
    capfd.readouterr()

    assert call(["reparse", str(finished), "--dry-run"]) == 0
    assert capfd.readouterr().out.startswith("reparsed: 2 of 18 rows would differ; nothing was written\n")
    assert call(["reparse", str(finished)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "reparsed: 2 of 18 rows differ"
    assert "  columns   response 2" in lines
    assert "  parts     1 rewritten" in lines
    assert call(["reparse", str(finished), "--json"]) == 0
    told = orjson.loads(capfd.readouterr().out)
    assert (told["differ"], told["by_column"], told["parts"], told["exit_code"]) == (0, {}, 0, 0)


def test_a_run_that_kept_nothing_says_what_to_set(tmp_path: Path, emulator: Emulator, capfd: Any) -> None:
    out = tmp_path / "out"
    source = runs.write_lines(tmp_path / "rows.jsonl", runs.sums(3))
    runs.run(runs.a_job(emulator.url, source), out)
    before = everything(out)

    assert call(["reparse", str(out)]) == 2
    assert capfd.readouterr().err.splitlines() == [
        f"error: {out}: no row has its raw reply, so that nothing can be read again",
        "  the next run keeps them with --set output.raw=true",
    ]
    assert everything(out) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capfd: Any) -> None:
    assert call(["reparse", str(tmp_path)]) == 2
    assert f"{tmp_path}: not a run directory" in capfd.readouterr().err
