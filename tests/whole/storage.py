"""A run's storage driven step by step, without processes: the engine's own start, seal and recover, and no endpoint."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import shutil
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow.parquet as pq

from batcher.engine.local import owned
from batcher.engine.plan import Plan, draft_plan, freeze, read_plan
from batcher.engine.recover import _planned, look, mend
from batcher.engine.recovered import Recovered
from batcher.engine.restate import is_sound, restate
from batcher.engine.resume import resumed
from batcher.engine.retry import reopen, standing
from batcher.engine.seal import Sealer
from batcher.engine.work import Work, WorkList
from batcher.records import Attempt, Billed, Kind, Outcome, Status
from batcher.rows.readers import find_inputs
from batcher.store.blocks import is_sealed, read_blocks, read_done, withdraw_unsent
from batcher.store.failpoints import FailPoints
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal
from batcher.store.rundir import Lock, RunDir
from tests.builders import a_job, a_reply, an_attempt, an_outcome

T = TypeVar("T")
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROWS, ROWS_A_BLOCK, SAMPLES = 7, 2, 2
BAD = 5  # the row whose line is broken
TASKS_A_BLOCK = ROWS_A_BLOCK * SAMPLES
CONCURRENCY = 3
_JOURNAL = ("journal.db", "journal.db-wal", "journal.digest")  # while it is open, there is no digest


class KilledHereError(Exception):
    """The process would be dead now."""


class Dying(FailPoints):
    """Raises where a process would be killed."""

    def hit(self, name: str) -> None:
        if self.armed.get(name):
            raise KilledHereError(name)


UNARMED = FailPoints()


def _quiet(_: str) -> None:
    pass


class Storage:
    """One run directory, and the life of the process that owns it.

    Attributes:
        works: of this life, the blocks that were opened.
        out: tasks that are being asked, with the number of the attempt.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out_dir = folder / "out"
        self.rundir = RunDir.at(self.out_dir)
        self.runner = asyncio.Runner()
        self.alive = False
        rows = [orjson.dumps({"id": f"q{n}", "prompt": f"prompt {n}", "n": n}) for n in range(ROWS)]
        rows[BAD] = b"{broken"
        (folder / "rows.jsonl").write_bytes(b"\n".join(rows) + b"\n")
        self.job = a_job(
            samples=SAMPLES, **{"input.files": (str(folder / "rows.jsonl"),), "limits.concurrency": CONCURRENCY}
        )
        self.rundir.make()
        files = find_inputs(self.job.input, spool=self.rundir.spool)
        drafted = draft_plan(
            self.job, self.rundir, files, limit=None, rows_a_block=ROWS_A_BLOCK, now=NOW, counted=lambda _a, _b: None
        )
        freeze(drafted)
        self.plan: Plan = drafted

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # --- a life

    def start(self) -> None:
        self.rundir.make()
        self.lock = Lock(self.rundir.lock, now=NOW)
        self.rundir.clear_tmp()
        manifest = self.rundir.read_manifest()
        assert manifest is not None
        self.plan = read_plan(self.job, self.rundir, manifest)
        self.works: dict[int, Work] = {}
        self.out: dict[int, int] = {}
        self.wait(self._started())
        self.alive = True

    async def _started(self) -> None:
        self.journal = Journal(self.rundir.journal, failpoints=UNARMED)
        self.rows = dict(await resumed(self.plan, self.journal, log=_quiet, failpoints=UNARMED))
        await standing(self.plan, self.rows, self.journal)
        self.worklist = WorkList(self.plan, self.journal, wall_us=lambda: 1000, secret="", failpoints=UNARMED)

    def unsealed(self) -> list[int]:
        return [block.no for block in self.plan.index.blocks if not is_sealed(self.rows.get(block.no))]

    def open(self, no: int) -> list[Outcome]:
        """Open a block and admit what it has to ask; gives the rows that ended without being asked."""
        return self.wait(self._opened(no))

    async def _opened(self, no: int) -> list[Outcome]:
        block = self.plan.index.blocks[no - 1]
        work = self.works[no] = await self.worklist.open(block, self.rows.get(no))
        ended: list[Outcome] = []
        async for chunk in self.worklist.chunks(work):
            await chunk.committed
            self.out |= {task.task: task.attempts + 1 for task in chunk.tasks}
            ended += chunk.ended
        work.remaining -= len(ended)
        return ended

    def finish(self, task: int, text: str | None, *, wait: bool = True) -> None:
        """Commit the last attempt of a task with its outcome: `text`, or a failure."""
        n = self.out.pop(task)
        status, answered = (Status.FAILED, 0) if text is None else (Status.OK, n)
        outcome = an_outcome(task=task, status=status, attempts=n, answered=answered)
        self._committed(wait, outcome, _attempt(task, n, text))

    def _committed(self, wait: bool, outcome: Outcome, attempt: Attempt) -> None:
        async def committed() -> None:
            future = self.journal.finish(outcome.task, pack_outcome(outcome), attempt.n, pack_attempt(attempt))
            if wait:
                await future

        self.wait(committed())
        if wait:
            self.works[_block_of(outcome.task)].remaining -= 1

    def retry(self, task: int) -> None:
        """Commit a failed attempt together with the admission of the next."""
        n = self.out[task]
        attempt = _attempt(task, n, None)

        async def retried() -> None:
            await self.journal.retry(task, n, pack_attempt(attempt), (task, n + 1, 32, 1024, 1000))

        self.wait(retried())
        self.out[task] = n + 1

    def sealable(self) -> list[int]:
        return [no for no, work in self.works.items() if not work.remaining and not is_sealed(self.rows.get(no))]

    def seal(self, no: int, failpoints: FailPoints = UNARMED) -> None:
        self.wait(Sealer(self.plan, self.journal, failpoints).seal(self.works[no].sealable()))
        self._read_rows()

    def ask_failed_again(self) -> None:
        again = reopen(
            self.plan,
            self.rows,
            frozenset({Status.FAILED}),
            journal=self.journal,
            worklist=self.worklist,
            failpoints=UNARMED,
        )
        before = self.rows
        self.rows = dict(self.wait(again))
        for no, row in self.rows.items():
            if is_sealed(before.get(no)) and not is_sealed(row):
                self.works.pop(no, None)

    def _read_rows(self) -> None:
        self.rows = self.wait(self.journal.call(read_blocks))

    def done(self) -> set[int]:
        return self.wait(self.journal.call(read_done(0, ROWS * SAMPLES)))

    # --- its end

    def close(self) -> None:
        self.wait(self.journal.call(withdraw_unsent(frozenset(self.out.items()))))
        self.wait(self.journal.close())
        self.lock.release()
        self.alive = False

    def crash(self) -> None:
        """What the disk has at this moment is what there is; the rest is gone with the process."""
        state = self.rundir.state
        kept = {name: (state / name).read_bytes() for name in _JOURNAL if (state / name).exists()}
        self.wait(self.journal.close())
        for name in _JOURNAL:
            (state / name).unlink(missing_ok=True)
        for name, content in kept.items():
            (state / name).write_bytes(content)
        os.close(self.lock._handle)
        self.alive = False

    def recover(self) -> Recovered:
        """As `recover_run`, but on the loop that is there: a new one each time takes longer than all of the work."""
        with owned(self.rundir):
            self.rundir.clear_tmp()
            manifest = self.rundir.read_manifest()
            assert manifest is not None
            journal_lost = not is_sound(self.rundir.journal)
            plan = _planned(self.job, self.rundir, manifest, log=_quiet, stdin=None)
            state = None
            if journal_lost:
                state = self.wait(restate(plan, wall_us=lambda: 1000, secret="", failpoints=UNARMED))
            looked = self.wait(look(plan, log=_quiet, failpoints=UNARMED))
            return self.wait(mend(plan, looked, state, failpoints=UNARMED))

    def end(self) -> None:
        if self.alive:
            self.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- what is on the disk

    def rows_of(self, no: int) -> Mapping[int, str | None] | None:
        """Task -> response of a block's part; a row whose answer was lost is left out. None without a part."""
        path = self.rundir.part(no, self.plan.blocks)
        if not path.exists():
            return None
        found = pq.read_table(path, columns=["task", "response", "error_kind"]).to_pylist()
        return {row["task"]: row["response"] for row in found if row["error_kind"] != "lost"}


def _block_of(task: int) -> int:
    return task // TASKS_A_BLOCK + 1


def _attempt(task: int, n: int, text: str | None) -> Attempt:
    if text is None:
        return an_attempt(task=task, n=n, verdict=Kind.RETRY, http_status=503, billed=Billed.NO, reason="503", body=b"")
    return an_attempt(task=task, n=n, body=a_reply(text).body)
