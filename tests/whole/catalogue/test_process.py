"""D29 to D33: signals, kills, a second owner and a wall clock that jumps cost no answer and no wrong row."""

import asyncio
import json
import os
import shlex
import signal
from datetime import UTC, datetime

import pyarrow.compute as pc
import pytest

from batcher.emulator.faults import Faults, Share
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.status import read_status
from batcher.errors import Exit
from batcher.pacing.gate import Quotas
from batcher.records import Status
from batcher.store.failpoints import NAMES
from batcher.store.rundir import Lock
from tests.asking.stage import BUSY, Stage, open_task, throttled
from tests.builders import a_reply
from tests.fakes import run_virtual
from tests.whole.catalogue.crash import CONCURRENCY, Kills, Readers, check_promises, write_rows
from tests.whole.catalogue.started import Started, check_journal, holding
from tests.whole.runs import (
    a_job,
    call,
    column,
    data,
    ledger,
    manifest,
    proved,
    run,
    run_argv,
    sums,
    total,
    write_lines,
)

OUT = 8  # requests at once
ROWS = 200


@pytest.fixture
def rows(tmp_path):
    return write_lines(tmp_path / "rows.jsonl", sums(ROWS))


def is_draining(out):
    return lambda: read_status(out).phase == "draining"


# --- D29, D30


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, Exit.TERMINATED), (signal.SIGINT, Exit.INTERRUPT)])
def test_d29_a_signal_sends_nothing_more_drains_and_says_how_to_go_on(rows, tmp_path, number, exit_code):
    """SIGTERM: nothing new is sent, what is out comes home, exit 143, and the command that goes on is printed."""
    out = tmp_path / "out"
    with holding() as (emulator, held):
        argv = run_argv(rows, out, emulator.url)
        with Started(argv) as started:
            started.until(lambda: emulator.totals().requests == OUT)
            started.send_signal(number)
            started.until(is_draining(out))
            held.let_go()  # eight slots are free: nobody may take them
            ended = started.ends()

        typed = shlex.join(["batcher", *argv])
        assert ended.returncode == exit_code, ended.stderr
        assert ended.stdout.splitlines()[0] == f"stopped by {number.name}; {OUT} of {ROWS} answers are safe on disk"
        assert typed in ended.stdout.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert check_journal(out) == (0, OUT)
        assert emulator.totals().requests == OUT
        assert read_status(out).next_command == typed
        assert manifest(out)["summary"]["exit_code"] == exit_code

        again = call(*argv, "--json")
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["sent"] == ROWS - OUT
        assert column(out, "task") == list(range(ROWS))
        assert emulator.totals().requests == ROWS
        assert set(ledger(out).column("billed").to_pylist()) == {"yes"}


def test_d29_the_time_to_drain_is_limited(rows, tmp_path):
    """What has not come home when the drain is over is given up, counts as maybe billed, and is asked again."""
    assert a_job("http://127.0.0.1:9", rows).run.drain_s == 25.0
    out = tmp_path / "out"
    with holding() as (emulator, held):
        argv = run_argv(rows, out, emulator.url, "--set", "run.drain_s=0.05")
        with Started(argv) as started:
            started.until(lambda: emulator.totals().requests == OUT)
            started.send_signal(signal.SIGTERM)
            ended = started.ends()  # though the endpoint never answers
        assert ended.returncode == Exit.TERMINATED, ended.stderr
        assert check_journal(out) == (OUT, 0)
        held.let_go()
        assert call(*argv).returncode == 0
    assert column(out, "status") == ["ok"] * ROWS
    assert ledger(out).column("billed").to_pylist().count("maybe") == OUT


def test_d30_a_second_signal_leaves_at_once(rows, tmp_path):
    """SIGINT twice: what is out is given up, the journal is whole, exit 130, though the endpoint never answers."""
    out = tmp_path / "out"
    with holding() as (emulator, held):
        argv = run_argv(rows, out, emulator.url)
        with Started(argv) as started:
            started.until(lambda: emulator.totals().requests == OUT)
            started.send_signal(signal.SIGINT)
            started.until(is_draining(out))  # one signal is a request, not an order
            assert started.poll() is None
            started.send_signal(signal.SIGINT)
            ended = started.ends()
        assert ended.returncode == Exit.INTERRUPT, ended.stderr
        assert f"0 of {ROWS} answers are safe on disk" in ended.stdout
        assert check_journal(out) == (OUT, 0)
        held.let_go()
        assert call(*argv).returncode == 0
    assert column(out, "task") == list(range(ROWS))


# --- D31

KILLED = -signal.SIGKILL
FEW = 40
AT_A_RETRY = {"reopened", "success-removed"}  # met in the kill loop's second half
AT_A_RECOVER = {"state-rebuilt", "ledger-rebuilt", "part-mended"}
UNARMED = {"part-half-written"}  # needs a part of more than one row group
POINTS = [name for name in NAMES if name not in AT_A_RETRY | AT_A_RECOVER | UNARMED]


def check_finished(out):
    assert column(out, "task") == list(range(FEW))
    assert column(out, "status") == ["ok"] * (FEW - 1) + ["failed"]
    assert all(str(n * 7) in text for n, text in enumerate(column(out, "response")[:-1]))
    assert (out / "_SUCCESS").exists()
    proved(out)
    assert list((out / ".tmp").iterdir()) == []
    assert list((out / ".state" / "blocks").iterdir()) == []


def check_ledger(out, emulator, summary):
    """What the server counted lies between what we know and what we must fear."""
    attempts = ledger(out)
    counted = emulator.totals()
    maybe = attempts.filter(pc.equal(attempts.column("billed"), "maybe"))
    known = total(data(out), "input_tokens")
    assert known <= counted.input_tokens <= known + total(maybe, "reserve_input_tokens")
    assert summary.totals.attempts == attempts.num_rows
    assert summary.totals.maybe_billed == maybe.num_rows
    assert set(maybe.column("verdict").to_pylist()) <= {"lost"}
    assert summary.totals.cost_usd == total(data(out), "cost_usd") == total(attempts, "cost_usd")


@pytest.mark.parametrize("point", POINTS)
def test_d31_a_run_killed_at_any_point_goes_on(emulator, tmp_path, point):
    """kill -9 anywhere: no answer lost, none twice, at most the requests in flight paid again, the bill complete."""
    out = tmp_path / "out"
    rows = write_lines(tmp_path / "rows.jsonl", [*sums(FEW - 1), "{broken"])
    killed = call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT=point)
    assert killed.returncode == KILLED, killed.stderr

    summary = run(a_job(emulator.url, rows, limits__concurrency=OUT), out)

    check_finished(out)
    check_ledger(out, emulator, summary)
    assert emulator.totals().requests <= FEW - 1 + OUT
    assert run(a_job(emulator.url, rows), out).sent == 0


def test_d31_a_run_killed_between_two_row_groups_goes_on(emulator, tmp_path):
    """Killed with half a part written, nothing of it is visible, and nothing is asked again."""
    out = tmp_path / "out"
    big = [{"prompt": f"What is {n} * 7? " + "x" * 1_000_000} for n in range(18)]
    rows = write_lines(tmp_path / "rows.jsonl", big)
    killed = call(*run_argv(rows, out, emulator.url), BATCHER_FAILPOINT="part-half-written")
    assert killed.returncode == KILLED, killed.stderr
    assert [path.name for path in (out / "data").iterdir()] == ["train-00000-of-00002.parquet"]
    assert run(a_job(emulator.url, rows), out).sent == 0
    assert column(out, "task") == list(range(18))
    assert list((out / ".tmp").iterdir()) == []


_FAULTS = Faults(shares=tuple(Share.parse(text) for text in ("503=2%", "400=0.3%", "429@0.05=1%", "blocked=0.5%")))


def _killed(tmp_path, latency, *, rows, wanted, seed, recovers):
    write_rows(tmp_path / "rows.jsonl", rows)
    settings = Settings(seed=seed, latency=latency, faults=_FAULTS)
    with Emulator(settings).in_thread() as emulator, Readers(tmp_path / "out" / "data") as readers:
        kills = Kills(rows=rows, wanted=wanted, seed=seed, emulator=emulator)
        kills.loop(tmp_path, emulator.url)
        figures = check_promises(tmp_path / "out", kills, emulator)
        killed = kills.done.total()
        kills.retry_loop(tmp_path, emulator.url)
        retried = check_promises(tmp_path / "out", kills, emulator)
        if recovers:
            retries = kills.done.total()
            lost = kills.recover_loop(tmp_path, emulator.url, readers)
            again = check_promises(tmp_path / "out", kills, emulator)["repaid"] - retried["repaid"]
            assert again <= lost + (kills.done.total() - retries) * CONCURRENCY, (kills, lost, again)
    assert not readers.errors
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert figures["repaid"] <= killed * CONCURRENCY, (kills, figures)
    return kills, figures, readers


@pytest.mark.timeout(300)
def test_d31_a_few_kills_lose_nothing(tmp_path):
    """The same run killed again and again, at points and at any moment, while others read it."""
    _killed(tmp_path, Latency.between(0.002, 0.01), rows=1_500, wanted=6, seed=1, recovers=False)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_d31_two_hundred_kills_lose_nothing(tmp_path):
    """Two hundred kills, of retry and recover, too: 0 missing, 0 twice, at most the concurrency paid again for each."""
    done, seed = 0, 20
    while done < 200:
        folder = tmp_path / str(seed)
        folder.mkdir()
        kills, figures, readers = _killed(
            folder, Latency.between(0.005, 0.03), rows=20_000, wanted=200 - done, seed=seed, recovers=True
        )
        done += kills.done.total()
        seed += 1
        print(dict(kills.done), figures, readers.reads, "reads")


# --- D32


def test_d32_a_second_start_is_turned_away(rows, tmp_path):
    """A second start of the same run is exit 7, names pid and start time, and sends nothing; the first goes on."""
    out = tmp_path / "out"
    with holding() as (emulator, held):
        argv = run_argv(rows, out, emulator.url)
        with Started(argv) as started:
            started.until(lambda: emulator.totals().requests == OUT)
            second = call(*argv)
            live = read_status(out)
            assert emulator.totals().requests == OUT
            held.let_go()
            ended = started.ends()
    assert second.returncode == Exit.LOCKED
    assert f"process {started.pid}, started 20" in second.stderr
    assert "nothing was sent" in second.stderr
    assert (live.pid, live.phase) == (started.pid, "asking")
    assert ended.returncode == Exit.DONE, ended.stderr
    assert emulator.totals().requests == ROWS


def test_d32_what_it_says_to_whom_it_turns_away(rows, tmp_path):
    """The message has the owner, when it began and what to do; as JSON, too."""
    out = tmp_path / "out"
    (out / ".state").mkdir(parents=True)
    lock = Lock(out / ".state/lock", now=datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    argv = run_argv(rows, out, "http://127.0.0.1:9")
    try:
        said, as_json = call(*argv), call(*argv, "--json")
    finally:
        lock.release()

    assert said.returncode == as_json.returncode == Exit.LOCKED
    owner = f"process {os.getpid()}, started 2026-11-22T08:30:00+00:00, owns this run"
    assert said.stderr.splitlines() == [
        f"error: {out}: {owner}; nothing was sent",
        "  wait for it, stop it, or name another folder with -o",
    ]
    assert json.loads(as_json.stdout)["error"]["kind"] == "RunLocked"


# --- D33

A_DAY_S = 86_400.0


async def when_each_was_sent(jumps):
    """Twelve tasks under a quota, with pauses and backoff on their way; the wall clock jumps at these moments."""
    script = [BUSY, throttled(7.0), BUSY, *[a_reply("yes")] * 4, throttled(), BUSY, *[a_reply("yes")] * 40]
    stage = Stage(script, slots=2, quotas=Quotas(requests_per_minute=30), latency_s=0.25)
    loop = asyncio.get_running_loop()
    for at_s, by_s in jumps:
        loop.call_later(at_s, stage.clock.advance, by_s)
    endings = [await stage.ask(open_task(number)) for number in range(12)]
    assert [ending.outcome.status for ending in endings] == [Status.OK] * 12
    return stage.door.sent_at_s, loop.time()


@pytest.mark.parametrize(
    "jumps",
    [[(3.0, A_DAY_S)], [(3.0, -A_DAY_S)], [(0.1, -A_DAY_S), (5.0, 2 * A_DAY_S), (9.0, -A_DAY_S)]],
    ids=["a day on", "a day back", "to and fro"],
)
def test_d33_nothing_waits_by_the_wall_clock(jumps):
    """A wall clock that jumps by a day changes no pace, no pause, no backoff and no timeout, to the microsecond."""
    steady = run_virtual(when_each_was_sent([]))
    assert steady[1] > 12
    assert run_virtual(when_each_was_sent(jumps)) == steady


def test_d33_a_run_under_a_jumping_clock_ends_as_any_other(emulator, tmp_path):
    """A whole run whose wall clock jumps a day to and fro at every look: every row once, retries as always."""
    rows = write_lines(tmp_path / "rows.jsonl", [*sums(40), {"id": "r", "prompt": "[5x503] What is 2 * 7?"}])
    stamps = iter(range(10**9))

    def to_and_fro():
        return 1_767_225_600_000_000 + (next(stamps) % 3 - 1) * 86_400_000_000

    summary = run(a_job(emulator.url, rows, retry__attempts=6), tmp_path / "out", wall_us=to_and_fro)

    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 41})
    assert emulator.totals().requests == 46
    assert column(tmp_path / "out", "attempts") == [1] * 40 + [6]
    days = {stamp.day for stamp in column(tmp_path / "out", "started_at")}
    assert len(days) > 1  # it did jump
    assert max(column(tmp_path / "out", "latency_ms")) < 3_600_000
