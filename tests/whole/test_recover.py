"""`recover`: a run whose state, parts or ledger are lost goes on, and pays again only for what cannot be read."""

import datetime as dt
import io
import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.recover import recover_run
from batcher.errors import Exit, PlanChanged, RunLocked, StorageError, UserError
from batcher.job.spec import InputFormat, Job
from batcher.records import Status
from batcher.store.failpoints import FailPoints
from batcher.store.parts import read_footer
from batcher.store.rundir import Lock
from batcher.store.signed import UNSIGNED, sign_parquet
from tests.whole.runs import (
    a_job,
    call,
    column,
    data,
    ledger,
    manifest,
    retry,
    run,
    run_argv,
    sums,
    total,
    write_lines,
)
from tests.whole.ttys import OnTty

ROWS = 600
BLOCK = 256
KILLED = -9
CONCURRENCY = 8


class World(NamedTuple):
    emulator: Emulator
    rows: Path
    job: Job
    finished: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A finished run, the first that asks its endpoint, since what that does wrong it does to the first who asks.

    Row 5 meets a 429, the answer of 7 is cut off, and 9 is refused five times, so that its first round fails.
    """
    script = (
        Rule(fault=Fault(kind=FaultKind.EXHAUSTED, seconds=0.01), contains="What is 5 * 7?", first=1),
        Rule(fault=Fault(kind=FaultKind.CUT), contains="What is 7 * 7?", first=1),
        Rule(fault=Fault(kind=FaultKind.UNAVAILABLE), contains="What is 9 * 7?", first=5),
    )
    rows = write_lines(tmp_path_factory.mktemp("input") / "rows.jsonl", [*sums(ROWS - 1), "{broken"])
    out = tmp_path_factory.mktemp("finished") / "out"
    with Emulator(Settings(seed=7, faults=Faults(script=script))).in_thread() as emulator:
        job = a_job(emulator.url, rows, limits__concurrency=CONCURRENCY)
        summary = run(job, out)
        assert summary.totals.by_status == {Status.OK: ROWS - 2, Status.FAILED: 2}
        assert column(out, "attempts")[5:10] == [2, 1, 2, 1, 5]
        yield World(emulator, rows, job, out)


@pytest.fixture
def emulator(world):
    return world.emulator


@pytest.fixture
def rows(world):
    return world.rows


@pytest.fixture
def job(world):
    return world.job


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="module")
def once_killed(world, tmp_path_factory):
    """Killed when the first of its three blocks had been sealed."""
    out = tmp_path_factory.mktemp("killed") / "out"
    died = call(*run_argv(world.rows, out, world.emulator.url), BATCHER_FAILPOINT="sealed")
    assert died.returncode == KILLED, died.stderr
    return out


@pytest.fixture
def finished(world, out):
    return shutil.copytree(world.finished, out)


@pytest.fixture
def killed(once_killed, out):
    return shutil.copytree(once_killed, out)


class KilledHereError(Exception):
    pass


class Dying(FailPoints):
    """Ends the call where the process would be killed; a few kills of the process itself are below."""

    def hit(self, name):
        if self.armed.get(name):
            raise KilledHereError(name)


UNARMED = FailPoints()


def recover(out, *, yes=True, stdin=None, failpoints=UNARMED):
    asked = []

    def confirm(again):
        asked.append(again)
        return yes

    found = recover_run(out, confirm=confirm, log=lambda _: None, failpoints=failpoints, stdin=stdin)
    return found, asked


def check_whole(out):
    """Every row once and in order, files and totals say one thing, and nothing is left over."""
    rows, attempts = data(out), ledger(out)
    assert rows.column("task").to_pylist() == list(range(ROWS))
    statuses = rows.column("status").to_pylist()
    failed = {task for task, status in enumerate(statuses) if status != "ok"}
    assert failed in ({ROWS - 1}, {9, ROWS - 1})
    answers = enumerate(rows.column("response").to_pylist())
    assert all(str(n * 7) in text for n, text in answers if n not in failed)
    assert total(rows, "attempts") == attempts.num_rows
    assert total(rows, "cost_usd") == total(attempts, "cost_usd")
    keys = list(zip(attempts.column("task").to_pylist(), attempts.column("attempt").to_pylist(), strict=True))
    assert len(set(keys)) == len(keys)
    totals = manifest(out)["summary"]["totals"]
    assert totals["attempts"] == attempts.num_rows
    assert Decimal(totals["cost_usd"]) == total(rows, "cost_usd")
    assert Decimal(totals["wasted_usd"]) == total(rows, "wasted_usd")
    assert totals["tokens"]["input"] == total(rows, "input_tokens")
    assert totals["maybe_billed"] == pc.sum(pc.equal(attempts.column("billed"), "maybe")).as_py()
    assert (out / "_SUCCESS").exists()
    assert list((out / ".tmp").iterdir()) == []
    assert list((out / ".state" / "blocks").iterdir()) == []


def sent_by(emulator, work):
    before = emulator.totals().requests
    result = work()
    return result, emulator.totals().requests - before


def part(out, no):
    (found,) = (out / "data").glob(f"train-{no:05d}-*")
    return found


def ledger_file(out, no, generation=1):
    return out / "attempts" / f"attempts-{no:05d}-g{generation}.parquet"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def damage(path, column_name, group=0):
    """One bit in the middle of a column's pages."""
    meta = pq.read_metadata(path).row_group(group)
    (chunk,) = (c for c in map(meta.column, range(meta.num_columns)) if c.path_in_schema == column_name)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    flip(path, start + chunk.total_compressed_size - 5)


# --- the state is lost


def test_a_run_whose_state_is_lost_goes_on_where_its_parts_end(emulator, rows, killed):
    """Through the real command, from the kill to the end."""
    sealed = column(killed, "task")
    before = {path: path.read_bytes() for path in (killed / "data").iterdir()}
    shutil.rmtree(killed / ".state")

    refused, sent = sent_by(emulator, lambda: call(*run_argv(rows, killed, emulator.url)))
    assert (refused.returncode, sent) == (Exit.STORAGE, 0)
    assert refused.stderr.splitlines()[-2:] == [
        f"error: {killed}/.state: the run's state is gone; its finished parts in {killed}/data still count",
        f"  batcher recover {killed}",
    ]
    told, sent = sent_by(emulator, lambda: call("recover", killed))
    assert (told.returncode, sent) == (0, 0), told.stderr
    assert told.stdout.splitlines()[0] == f"recovered: {ROWS - len(sealed)} of {ROWS} rows are still to be asked"
    assert "1 finished part still counts" in told.stdout
    assert f"{CONCURRENCY} requests that may have been out, maybe billed: at most $" in told.stdout
    assert {path: path.read_bytes() for path in before} == before

    again, sent = sent_by(emulator, lambda: call(*run_argv(rows, killed, emulator.url)))
    assert again.returncode == Exit.ROWS_FAILED, again.stderr  # the broken line
    assert len(sealed) == BLOCK
    assert sent == ROWS - BLOCK - 1
    check_whole(killed)


def test_what_may_have_been_out_is_charged_once_for_each_slot(job, killed):
    shutil.rmtree(killed / ".state")
    found, asked = recover(killed)
    assert asked == []
    assert (found.state.charged, found.left) == (CONCURRENCY, ROWS - BLOCK)
    summary = run(job, killed)
    lost = ledger(killed).filter(pc.equal(ledger(killed).column("verdict"), "lost"))
    assert lost.num_rows == CONCURRENCY
    assert summary.totals.maybe_billed >= CONCURRENCY
    assert set(lost.column("billed").to_pylist()) == {"maybe"}
    assert total(lost, "reserve_usd") == found.charged_usd > 0
    bounds = set(lost.column("reserve_input_tokens").to_pylist())
    assert bounds == {found.state.reserve_input}


def test_a_finished_run_needs_no_more_than_its_parts(emulator, job, finished):
    before = manifest(finished)
    shutil.rmtree(finished / ".state")
    found, asked = recover(finished)
    assert (found.left, found.state.charged, asked) == (0, 0, [])
    assert (finished / "_SUCCESS").exists()
    assert manifest(finished) == before
    summary, sent = sent_by(emulator, lambda: run(job, finished))
    assert (sent, summary.sent) == (0, 0)
    assert summary.totals.as_json() == before["summary"]["totals"]
    check_whole(finished)


def test_a_run_that_had_no_part_yet_begins_again(emulator, rows, job, out):
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="after-commit:5").returncode == KILLED
    shutil.rmtree(out / ".state")
    found, _ = recover(out)
    assert (found.left, found.state.sealed) == (ROWS, 0)
    run(job, out)
    check_whole(out)


def test_only_the_index_is_lost(emulator, rows, job, out):
    """The journal is whole: what it has is not paid for again."""
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="frozen").returncode == KILLED
    (out / ".state" / "index").unlink()
    with pytest.raises(StorageError, match="state is gone"):
        run(job, out)
    found, _ = recover(out)
    assert found.state is None
    _, sent = sent_by(emulator, lambda: run(job, out))
    assert sent < ROWS - BLOCK + CONCURRENCY
    check_whole(out)


def test_a_damaged_journal_is_given_up_only_when_confirmed(job, killed):
    (killed / ".state" / "journal.db").write_bytes(b"no database" * 1000)
    (killed / ".state" / "journal.db-wal").unlink()  # it would heal what it has a copy of
    with pytest.raises(StorageError, match="the journal does not open"):
        run(job, killed)
    with pytest.raises(UserError) as refused:
        recover(killed, yes=False)
    assert refused.value.message == (
        f"{killed}: the journal is damaged, and the answers in it would be given up;"
        " not confirmed, so it stays as it is"
    )
    assert refused.value.hint == "add --yes"
    _, asked = recover(killed)
    assert [again.journal for again in asked] == [True]
    assert (killed / ".state" / "damaged" / "journal.db").exists()
    run(job, killed)
    check_whole(killed)


@pytest.mark.parametrize("sealing", ["ledger-published", "part-published"])
def test_a_seal_that_was_cut_short_counts_as_far_as_its_files_are_there(emulator, rows, job, out, sealing):
    """A ledger file without its part says what was paid for answers that are lost: they keep their number and cost."""
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT=sealing).returncode == KILLED
    shutil.rmtree(out / ".state")
    found, asked = recover(out)
    had_part = sealing == "part-published"
    assert found.again.tasks == (0 if had_part else BLOCK)
    assert len(asked) == (0 if had_part else 1)
    if not had_part:
        assert asked[0].cost_usd == total(pa.concat_tables([pq.read_table(ledger_file(out, 1))]), "cost_usd")
    run(job, out)
    check_whole(out)
    numbers = column(out, "attempts")
    assert numbers[0] == (1 if had_part else 2)


def test_a_retry_that_was_sealing_when_the_state_was_lost_is_asked_again(job, finished):
    """The ledger of the second generation is there, its part is not."""
    died = call("retry", finished, BATCHER_FAILPOINT="ledger-published:2")
    assert died.returncode == KILLED, died.stderr
    shutil.rmtree(finished / ".state")
    found, (asked,) = recover(finished)
    assert found.again.tasks == asked.tasks == 1
    run(job, finished)
    assert column(finished, "attempts")[9] == 7  # five of the run, one of the retry, one more
    check_whole(finished)
    assert read_footer(part(finished, 1)).stamp.generation == 3


@pytest.mark.parametrize("change", ["gone", "bytes", "longer"])
def test_an_input_that_is_no_longer_the_same_is_refused(rows, killed, change):
    shutil.rmtree(killed / ".state")
    before = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    content, planned_at = rows.read_bytes(), rows.stat().st_mtime_ns
    try:
        if change == "gone":
            rows.unlink()
        elif change == "bytes":
            rows.write_bytes(content.replace(b"What is 300", b"What is 301"))
        else:
            rows.write_bytes(content + b"\n")
        with pytest.raises(PlanChanged) as refused:
            recover(killed)
        assert refused.value.message == (
            f"{killed}: the input has changed since it was planned, so its rows cannot be told any more"
        )
        (line,) = refused.value.differences
        told = {"gone": f"gone ({rows})", "bytes": "SHA-256 ", "longer": f"{len(content) + 1:,} bytes"}[change]
        assert line.startswith(f"{rows}: {len(content):,} bytes as planned → {told}")
        assert refused.value.hint.splitlines() == [
            "put the file back as it was and type the same again",
            f"to start afresh: name another folder with -o, or remove {killed}",
        ]
    finally:
        rows.write_bytes(content)  # put back: another time, the same bytes
    assert {path: path.read_bytes() for path in before} == before
    os.utime(rows, ns=(1, 1))
    assert recover(killed)[0].left == ROWS - BLOCK
    os.utime(rows, ns=(planned_at, planned_at))


def test_rows_that_were_piped_in_are_piped_in_again(emulator, job, rows, out):
    piped = job.model_copy(
        update={"input": job.input.model_copy(update={"files": ("-",), "format": InputFormat.JSONL})}
    )
    content = rows.read_bytes()
    run(piped, out, stdin=io.BytesIO(content))
    shutil.rmtree(out / ".state")
    for stdin in (None, io.BytesIO(b""), io.BytesIO(b'{"prompt": "another"}\n')):
        with pytest.raises(PlanChanged, match="came through standard input") as refused:
            recover(out, stdin=stdin)
    assert refused.value.hint.splitlines()[0] == f"pipe the same rows in again: … | batcher recover {out}"
    assert recover(out, stdin=io.BytesIO(content))[0].left == 0
    assert run(piped, out).sent == 0


def test_a_run_of_somebody_else_is_not_touched(killed, out):
    lock = Lock(out / ".state" / "lock", now=dt.datetime.now(dt.UTC))
    try:
        with pytest.raises(RunLocked):
            recover(killed)
    finally:
        lock.release()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(PlanChanged, match="not a run directory"):
        recover(tmp_path)


# --- parts


def test_a_lost_part_is_asked_again(emulator, job, finished):
    before = data(finished)
    part(finished, 2).unlink()
    with pytest.raises(StorageError) as refused:
        run(job, finished)
    assert refused.value.hint == f"put them back; if they are lost: batcher recover {finished}"

    _, (asked,) = recover(finished)

    assert (asked.tasks, asked.parts) == (BLOCK, 1)
    assert asked.cost_usd == total(before.slice(BLOCK, BLOCK), "cost_usd")
    assert not (finished / "_SUCCESS").exists()
    waiting = data(finished)
    assert waiting.column("task").to_pylist() == list(range(ROWS))
    assert set(waiting.slice(BLOCK, BLOCK).column("error_kind").to_pylist()) == {"lost"}
    assert total(waiting, "cost_usd") == total(before, "cost_usd")
    _, sent = sent_by(emulator, lambda: run(job, finished))
    assert sent == BLOCK
    check_whole(finished)
    after = data(finished)
    assert after.slice(0, BLOCK) == before.slice(0, BLOCK)
    same = ["id", "prompt", "response", "status", "request_hash", "labels"]
    assert after.select(same) == before.select(same)
    assert set(after.slice(BLOCK, BLOCK).column("attempts").to_pylist()) == {2}
    assert read_footer(part(finished, 2)).stamp.generation == 2


def test_the_rows_of_a_damaged_page_are_asked_again_and_no_others(emulator, job, finished):
    """Row groups as large parts have them: one is damaged, the others are taken as they are."""
    path = part(finished, 1)
    footer = pq.read_metadata(path).metadata[b"batcher"]
    table = pq.read_table(path)
    writer = pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
    writer.write_table(table, row_group_size=64)
    writer.add_key_value_metadata({b"batcher": orjson.dumps({**orjson.loads(footer), "blake2b": UNSIGNED})})
    writer.close()
    sign_parquet(path)
    before = data(finished)
    damage(path, "response", group=2)

    _, (asked,) = recover(finished)
    assert (asked.tasks, asked.parts) == (64, 1)
    assert asked.cost_usd == total(before.slice(128, 64), "cost_usd")
    assert (finished / ".state" / "damaged" / path.name).exists()
    _, sent = sent_by(emulator, lambda: run(job, finished))

    assert sent == 64
    after = data(finished)
    for first, count in ((0, 128), (192, ROWS - 192)):
        assert after.slice(first, count) == before.slice(first, count)
    check_whole(finished)


@pytest.mark.parametrize("where", ["footer", "cut", "empty"])
def test_a_part_of_which_nothing_can_be_read_is_asked_again(emulator, job, finished, where):
    path = part(finished, 3)
    content = path.read_bytes()
    path.write_bytes({"footer": content[:-20] + bytes(20), "cut": content[: len(content) // 2], "empty": b""}[where])
    _, (asked,) = recover(finished)
    assert asked.tasks == ROWS - 2 * BLOCK
    _, sent = sent_by(emulator, lambda: run(job, finished))
    assert sent == ROWS - 2 * BLOCK - 1  # the last line is broken: it is never sent
    check_whole(finished)


def test_a_row_that_was_retried_keeps_all_it_had_used(job, finished):
    retry(finished)
    assert column(finished, "attempts")[9] == 6
    before = total(data(finished), "cost_usd")
    part(finished, 1).unlink()
    recover(finished)
    assert total(data(finished), "cost_usd") == before
    run(job, finished)
    assert [column(finished, "attempts")[n] for n in (0, 7, 9)] == [2, 3, 7]
    check_whole(finished)
    names = sorted(path.name for path in (finished / "attempts").glob("attempts-00001-*"))
    assert names == [f"attempts-00001-g{n}.parquet" for n in (1, 2, 3)]


def test_a_part_that_is_lost_while_it_is_retried(job, finished):
    """Its block was reopened for one row; now all of them are asked."""
    died = call("retry", finished, BATCHER_FAILPOINT="reopened")
    assert died.returncode == KILLED, died.stderr
    part(finished, 1).unlink()
    recover(finished)
    run(job, finished)
    assert set(column(finished, "attempts")[:BLOCK]) == {2, 3, 6}
    check_whole(finished)


def test_a_seal_whose_files_were_damaged_before_it_was_marked_is_done_again(emulator, rows, job, out):
    assert call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="part-published").returncode == KILLED
    flip(part(out, 1), 100)
    found, asked = recover(out)
    assert (asked, found.again.tasks) == ([], 0)
    assert not ledger_file(out, 1).exists()
    _, sent = sent_by(emulator, lambda: run(job, out))
    assert sent < ROWS - BLOCK + CONCURRENCY
    check_whole(out)


def test_state_and_a_part_are_lost_together(emulator, job, finished):
    shutil.rmtree(finished / ".state")
    part(finished, 1).unlink()
    found, (asked,) = recover(finished)
    assert (found.left, asked.tasks) == (BLOCK, BLOCK)
    _, sent = sent_by(emulator, lambda: run(job, finished))
    assert sent == BLOCK
    check_whole(finished)


def test_samples_and_a_template(emulator, out, tmp_path):
    rows = write_lines(tmp_path / "names.jsonl", [{"id": f"r{n}", "n": n, "more": {"a": [n]}} for n in range(300)])
    job = a_job(emulator.url, rows, samples=3, prompt__template="What is {{ n }} * 7?", limits__concurrency=8)
    run(job, out)
    before = data(out)
    shutil.rmtree(out / ".state")
    part(out, 2).unlink()
    recover(out)
    run(job, out)
    same = ["task", "ordinal", "sample", "id", "n", "more", "prompt", "status", "request_hash"]
    assert data(out).select(same) == before.select(same)


# --- the ledger


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_ledger_file_is_written_again_from_its_part(emulator, job, finished, how):
    path = ledger_file(finished, 1)
    before = pq.read_table(path)
    if how == "lost":
        path.unlink()
        with pytest.raises(StorageError) as refused:
            run(job, finished)
        assert refused.value.message == (
            f"{finished}/attempts: 1 ledger files are gone, the first is attempts-00001-g1.parquet"
        )
        assert refused.value.hint == f"put them back; if they are lost: batcher recover {finished}"
    else:
        damage(path, "model_version")
    found, asked = recover(finished)
    assert (found.ledgers, asked) == (1, [])
    after = pq.read_table(path)
    assert read_footer(path).stamp.generation == 1
    check_whole(finished)
    once = [task for task in range(BLOCK) if task not in (5, 7, 9)]
    exact = ["task", "attempt", "model", "model_version", "response_id", "latency_ms", "http_status"]
    exact += ["verdict", "billed", "prompt_token_count", "candidates_token_count", "service_tier", "price_id"]
    exact += ["cost_usd", "prompt_tokens_details", "labels"]
    for table in (before, after):
        assert table.num_rows == before.num_rows
    of = [
        table.filter(pc.is_in(table.column("task"), value_set=pa.array(once))).select(exact)
        for table in (before, after)
    ]
    assert [name for name in exact if not of[0].column(name).equals(of[1].column(name))] == []
    lost = after.filter(pc.equal(after.column("verdict"), "lost")).to_pylist()
    assert [(row["task"], row["attempt"]) for row in lost] == [(5, 1), (7, 1), *((9, n) for n in range(1, 6))]
    assert {row["reason"] for row in lost} == {"rebuilt"}
    # Which of them met the 429, and which was cut off, was in the lost file alone; how many, the totals say.
    assert [row["billed"] for row in lost].count("maybe") == 1
    assert [row["http_status"] for row in lost].count(429) == 1
    assert sent_by(emulator, lambda: run(job, finished))[1] == 0


def test_ledgers_of_two_generations_are_lost(job, finished):
    retry(finished)
    for generation in (1, 2):
        ledger_file(finished, 1, generation).unlink()
    found, _ = recover(finished)
    assert found.ledgers == 2
    check_whole(finished)


def test_a_part_and_its_ledger_are_lost(job, finished):
    """What the rows had cost is known to the journal alone: it stays in the totals, and is null in the rows."""
    paid = Decimal(manifest(finished)["summary"]["totals"]["cost_usd"])
    part(finished, 1).unlink()
    ledger_file(finished, 1).unlink()
    _, (asked,) = recover(finished)
    assert (asked.cost_usd, asked.unknown) == (0, BLOCK)
    assert data(finished).column("cost_usd").null_count == BLOCK
    summary = run(job, finished)
    assert summary.totals.cost_usd > paid
    assert column(finished, "task") == list(range(ROWS))
    assert data(finished).column("cost_usd").null_count == BLOCK


# --- at any moment


@pytest.mark.parametrize(
    "point", ["block-written", "state-rebuilt", "success-removed", "ledger-rebuilt", "part-mended", "reopened"]
)
def test_a_recover_that_is_killed_is_typed_again(emulator, job, finished, point):
    shutil.rmtree(finished / ".state")
    part(finished, 1).unlink()
    ledger_file(finished, 2).unlink()
    flip(part(finished, 3), 300)
    with pytest.raises(KilledHereError):
        recover(finished, failpoints=Dying.parse(point))
    recover(finished)
    assert duckdb.sql(f"select count(*) from '{finished}/data/*.parquet'").fetchall() == [(ROWS,)]
    _, sent = sent_by(emulator, lambda: run(job, finished))
    assert BLOCK <= sent <= ROWS - BLOCK
    check_whole(finished)


def test_a_recover_whose_process_is_killed_is_typed_again(emulator, rows, finished):
    """Through the real command; the first kill comes before the state is whole, the second in the middle of a part."""
    shutil.rmtree(finished / ".state")
    part(finished, 1).unlink()
    for point in ("block-written", "part-mended"):
        died = call("recover", finished, "--yes", BATCHER_FAILPOINT=point)
        assert died.returncode == KILLED, (died.stdout, died.stderr)
    told = call("recover", finished, "--yes", "--json")
    assert told.returncode == 0, told.stderr
    said = orjson.loads(told.stdout)
    assert (said["left"], said["asked_again"]) == (BLOCK, BLOCK)
    again, sent = sent_by(emulator, lambda: call(*run_argv(rows, finished, emulator.url)))
    assert (again.returncode, sent) == (Exit.ROWS_FAILED, BLOCK)
    check_whole(finished)


def test_nothing_is_changed_that_is_not_confirmed(emulator, job, finished):
    part(finished, 2).unlink()
    before = {path: path.read_bytes() for path in finished.rglob("*.parquet")}
    told, sent = sent_by(emulator, lambda: call("recover", finished))
    assert (told.returncode, sent) == (Exit.USAGE, 0)
    asked, *refused = told.stderr.splitlines()[-3:]
    assert asked.startswith(f"{finished}: the answers of 256 rows in 1 part are lost. They had cost $")
    assert refused == [
        f"error: {finished}: 256 rows would be asked again that were paid for; not confirmed, so it stays as it is",
        "  add --yes",
    ]
    assert {path: path.read_bytes() for path in finished.rglob("*.parquet")} == before
    assert (finished / "_SUCCESS").exists()


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", Exit.USAGE)])
def test_who_sits_there_is_asked(finished, typed, code):
    part(finished, 2).unlink()
    with OnTty("recover", str(finished)) as on:
        on.until(lambda screen: any("go on? [y/N]" in line for line in screen))
        on.type(typed)
        assert on.ends() == code
    assert part_is_there(finished, 2) == (code == 0)


def part_is_there(out, no):
    return any((out / "data").glob(f"train-{no:05d}-*"))


def test_a_whole_run_is_left_alone(job, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    told = call("recover", finished, "--json")
    assert told.returncode == 0, told.stderr
    said = orjson.loads(told.stdout)
    assert (said["verdict"], said["left"], said["state_rebuilt"]) == ("nothing is lost", 0, False)
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    quiet = {path for path in before if path.suffix in (".parquet", ".json", ".md") or path.name == "_SUCCESS"}
    assert {path: after[path] for path in quiet} == {path: before[path] for path in quiet}


def test_recover_twice_is_recover_once(job, finished):
    part(finished, 1).unlink()
    first, _ = recover(finished)
    second, asked = recover(finished)
    assert (second.left, second.again.tasks, asked) == (first.left, 0, [])
    run(job, finished)
    check_whole(finished)


def test_status_does_not_say_that_all_is_done(finished):
    part(finished, 1).unlink()
    recover(finished)
    said = call("status", finished)
    assert "recovered: 256 of 600 rows are still to be asked" in said.stdout
