"""`retry` asks again what failed; the good rows, the bill so far and the promises stay."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.local import retry_run
from batcher.engine.status import read_status
from batcher.errors import Exit, PlanChanged
from batcher.job.key import Secret
from batcher.records import Status
from tests.whole.runs import (
    KEY,
    Watched,
    a_job,
    call,
    column,
    data,
    ledger,
    manifest,
    retry,
    run,
    sums,
    total,
    write_lines,
)

ROWS = 300
ODD = (3, 77, 150, 151, 299)
KILLED = -9


def settings():
    """Five rows meet 503 for all five attempts of the first round, and two more are cut off once."""
    five = [Rule(fault=Fault(kind=FaultKind.UNAVAILABLE), contains=f"What is {n} * 7?", first=5) for n in ODD]
    once = [Rule(fault=Fault(kind=FaultKind.CUT), contains=f"What is {n} * 7?", first=1) for n in (10, 20)]
    return Settings(seed=7, faults=Faults(script=(*five, *once)))


@pytest.fixture(scope="module")
def shared():
    with Emulator(settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture
def failed(shared, tmp_path):
    """A finished run of two blocks with five failed rows."""
    shared.reset()
    rows = write_lines(tmp_path / "rows.jsonl", sums(ROWS))
    job = a_job(shared.url, rows, limits__concurrency=8)
    summary = run(job, tmp_path / "out")
    assert summary.totals.by_status == {Status.OK: ROWS - 5, Status.FAILED: 5}
    return tmp_path / "out", job, summary


def good_rows(table):
    return table.filter(pc.invert(pc.is_in(table.column("ordinal"), value_set=pa.array(ODD, pa.int64()))))


def check_totals(out, summary):
    rows, attempts = data(out), ledger(out)
    assert summary.totals.attempts == attempts.num_rows == total(rows, "attempts")
    assert summary.totals.cost_usd == total(rows, "cost_usd") == total(attempts, "cost_usd")
    assert summary.totals.wasted_usd == total(rows, "wasted_usd")
    assert summary.totals.tokens.input == total(rows, "input_tokens")
    assert summary.totals.tokens.output == total(rows, "output_tokens")
    assert column(out, "task") == list(range(ROWS))


def test_only_what_failed_is_asked_again(failed, shared):
    out, job, first = failed
    before, sent = data(out), shared.totals().requests
    assert first.next_command == f"batcher retry {out}"
    watched = Watched()

    summary = retry(out, watched=watched)

    after = data(out)
    assert (summary.sent, shared.totals().requests - sent) == (5, 5)
    assert summary.totals.by_status == {Status.OK: ROWS}
    assert (summary.exit_code, summary.verdict) == (Exit.DONE, f"done: {ROWS} of {ROWS} ok")
    assert good_rows(after).equals(good_rows(before))
    assert [column(out, "attempts")[n] for n in ODD] == [6] * 5
    assert all(str(n * 7) in column(out, "response")[n] for n in ODD)
    check_totals(out, summary)
    assert manifest(out)["summary"]["totals"] == summary.totals.as_json()
    assert (out / "_SUCCESS").exists()
    asking = [snapshot for snapshot in watched.shown if snapshot.phase != "planning"]
    assert (asking[0].totals.done, asking[0].done_before) == (ROWS - 5, ROWS - 5)
    assert asking[-1].totals.done == ROWS
    assert run(job, out).sent == 0


def test_the_ledger_of_the_second_generation_stands_beside_the_first(failed):
    out, _, _ = failed
    first = {path.name: path.read_bytes() for path in (out / "attempts").iterdir()}
    retry(out)
    names = sorted(path.name for path in (out / "attempts").iterdir())
    assert names == [
        "attempts-00001-g1.parquet",
        "attempts-00001-g2.parquet",
        "attempts-00002-g1.parquet",
        "attempts-00002-g2.parquet",
    ]
    assert all((out / "attempts" / name).read_bytes() == content for name, content in first.items())
    attempts = ledger(out)
    of_one = attempts.filter(pc.equal(attempts.column("task"), 3))
    assert sorted(of_one.column("attempt").to_pylist()) == [1, 2, 3, 4, 5, 6]


def test_a_retry_of_what_did_not_happen_asks_nothing(failed):
    out, _, first = failed
    summary = retry(out, Status.BLOCKED)
    assert (summary.sent, summary.totals) == (0, first.totals)
    assert (out / "_SUCCESS").exists()
    assert not list(out.glob("attempts/*-g2.parquet"))


@pytest.mark.parametrize(
    "point", ["success-removed", "block-written", "reopened", "ledger-published", "part-published"]
)
def test_a_retry_that_is_killed_is_finished_by_run(failed, point):
    out, job, _ = failed
    killed = call("retry", out, BATCHER_FAILPOINT=point)
    assert killed.returncode == KILLED, killed.stderr
    assert not (out / "_SUCCESS").exists()
    assert read_status(out).phase is None

    run(job, out)
    summary = retry(out)

    assert summary.totals.by_status == {Status.OK: ROWS}
    check_totals(out, summary)
    assert (out / "_SUCCESS").exists()
    assert list((out / ".state" / "blocks").iterdir()) == []
    assert list((out / ".tmp").iterdir()) == []
    assert summary.totals.maybe_billed - 2 <= 5  # the two cut ones; of the killed session what was out


def test_more_generations_than_one(failed):
    """Rows that fail again keep counting, and every round stays in the bill."""
    out, _, _ = failed
    for _ in range(2):
        summary = retry(out, Status.OK)
    assert column(out, "attempts")[0] == 3
    check_totals(out, summary)
    assert summary.totals.wasted_usd > 0


def test_a_folder_that_is_no_run_cannot_be_retried(tmp_path, failed):
    _, job, _ = failed
    with pytest.raises(PlanChanged, match="not a run directory"):
        retry_run(
            job,
            key=Secret(KEY, source="a test"),
            out=tmp_path / "nothing",
            statuses=frozenset({Status.FAILED}),
            options=Watched().options(),
        )
