"""Faults of the catalogue in which the endpoint is gone for a while: D02 and D18."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from batcher.asking.ask import Ending
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.local import Options, run_job
from batcher.engine.progress import Snapshot
from batcher.errors import Exit
from batcher.job.key import Secret
from batcher.pacing.outage import OutageTooLong
from batcher.records import Request, Status
from tests.asking.stage import BUSY, REFUSED, Exchange, Stage, as_a_session, open_task
from tests.builders import a_reply
from tests.fakes import run_virtual
from tests.whole.runs import KEY, a_job, column, ledger, run, sums, write_lines

SLOTS, ROWS = 8, 400
HOUR_S = 3600.0
OK = a_reply("yes")


@dataclass
class Told:
    """What rows that were asked through an outage have to tell; the last two are loop times.

    Attributes:
        endings: of all rows, none where the outage ended the run.
        over: why it did.
        sent: requests in all.
        failed_s: when each request went that met the outage.
        last_s: when the last request went.
    """

    endings: list[Ending]
    over: list[OutageTooLong]
    sent: int
    failed_s: list[float]
    last_s: float

    @property
    def statuses(self) -> list[Status]:
        return [ending.outcome.status for ending in self.endings if ending.outcome is not None]


def through(gone: Exchange, *, from_s: float, until_s: float) -> Told:
    """Ask on virtual time, while the server is gone from one moment to another; an answer takes 0.3 s."""

    def answer(_: Request) -> Exchange:
        now_s = asyncio.get_running_loop().time()
        if not from_s <= now_s < until_s:
            return OK
        told.failed_s.append(now_s)
        return gone

    async def main() -> None:
        stage, stopped = Stage(answer, slots=SLOTS, latency_s=0.3), asyncio.Event()

        def stop(why: OutageTooLong) -> None:
            told.over.append(why)
            stopped.set()

        stage.gate.on_outage_too_long(stop)
        asking = asyncio.ensure_future(as_a_session(stage, map(open_task, range(ROWS))))
        stopping = asyncio.ensure_future(stopped.wait())
        await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        told.endings = [] if told.over else await asking
        told.sent, told.last_s = len(stage.door.sent), stage.door.sent_at_s[-1]

    told = Told([], [], 0, [], 0.0)
    run_virtual(main())
    return told


def test_d02_a_minute_of_503() -> None:
    """It is noticed after 20 failures and what was out then; only probes go until it is over; then every row is ok."""
    told = through(BUSY, from_s=5, until_s=65)

    assert told.statuses == [Status.OK] * ROWS
    assert told.sent - ROWS == len(told.failed_s) < 40
    at_first, probes_s = told.failed_s[:-3], told.failed_s[-3:]
    assert len(at_first) <= 20 + SLOTS
    assert at_first[-1] < 10
    gaps = [later - earlier for earlier, later in itertools.pairwise([at_first[-1], *probes_s])]
    assert all(gap > least for gap, least in zip(gaps, (2.5, 5, 10), strict=True))
    assert told.last_s < 65 + 60 + 0.3 * ROWS / SLOTS + 10  # the longest wait for a probe, and the rows that were left


def test_d18_refused_for_minutes_and_for_longer_than_max_outage(tmp_path: Path) -> None:
    """A pause that uses up no attempt and ends by itself; beyond max_outage exit 4, and the same command goes on."""
    told = through(REFUSED, from_s=5, until_s=305)
    assert told.statuses == [Status.OK] * ROWS
    assert {ending.task.counted for ending in told.endings} == {OK_COUNTS}
    assert max(ending.task.active_s for ending in told.endings) < 30
    assert len(told.failed_s) < 40

    told = through(REFUSED, from_s=5, until_s=9 * HOUR_S)
    (over,) = told.over
    assert over.exit_code is Exit.STOPPED
    assert "since 2026-01-01 00:00 UTC, for 6 hours now; seen last: connection_refused" in over.message
    assert 5.9 * HOUR_S < told.last_s < 6.1 * HOUR_S

    stops_and_goes_on(tmp_path)


OK_COUNTS = 1
"""An answer counts itself; nothing that came before it did."""


def stops_and_goes_on(folder: Path) -> None:
    """The same through the real door: nobody listens, then somebody does."""
    with a_server() as (url, port):
        job = a_job(
            url,
            write_lines(folder / "rows.jsonl", sums(30)),
            limits__concurrency=4,
            retry__probe_after_s=0.02,
            retry__max_outage_s=0.2,
        )
    stopped = run(job, folder / "out")
    assert (stopped.exit_code, stopped.totals.done, stopped.limited_by) == (Exit.STOPPED, 0, "outage")
    assert stopped.verdict.startswith("the endpoint is out since 20")
    assert "seen last: connection_refused: " in stopped.verdict
    assert stopped.verdict.endswith("; 0 of 30 answers are safe on disk")
    assert any(note.startswith("type the same command again once it answers") for note in stopped.notes)
    with a_server(port):
        done = run(job, folder / "out")
    assert (done.exit_code, done.totals.by_status) == (Exit.DONE, {Status.OK: 30})


@contextlib.contextmanager
def a_server(port: int = 0) -> Iterator[tuple[str, int]]:
    with Emulator(Settings(seed=7, latency=Latency.fixed(0.02)), port=port).in_thread() as emulator:
        yield emulator.url, urlsplit(emulator.url).port or 0


def test_a_server_that_is_killed_and_comes_back_costs_no_row(tmp_path: Path) -> None:
    """Through the real door: gone in the middle of the run, and there again once the run has noticed."""
    seen: list[Snapshot] = []
    server = contextlib.ExitStack()
    url, port = server.enter_context(a_server())

    def show(snapshot: Snapshot) -> None:
        if not seen and snapshot.totals.done:
            seen.append(snapshot)
            server.close()
        elif len(seen) == 1 and snapshot.outage is not None:
            seen.append(snapshot)
            server.enter_context(a_server(port))

    rows = write_lines(tmp_path / "rows.jsonl", sums(300))
    job = a_job(url, rows, limits__concurrency=8, retry__probe_after_s=0.02)
    with server:
        secret, options = Secret(KEY, source="a test"), Options(show=show, log=lambda _: None)
        summary = run_job(job, key=secret, out=tmp_path / "out", options=options)

    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 300})
    assert column(tmp_path / "out", "status") == ["ok"] * 300
    assert seen[1].limited_by == "outage"
    assert seen[1].outage is not None
    assert seen[1].outage.said.startswith("connection_refused: ")
    unsent = [row for row in ledger(tmp_path / "out").to_pylist() if row["reason"] == "connection_refused"]
    assert len(unsent) >= 20
    assert {row["billed"] for row in unsent} == {"no"}
