"""A session put together by hand: the real plan, journal, gate, asker and sealer around a scripted endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from batcher.asking.ask import Asker, World
from batcher.asking.transport import Transport
from batcher.engine.closing import close_run, open_totals
from batcher.engine.fresh import MOST_BYTES, Fresh
from batcher.engine.funds import Funds, funds_of
from batcher.engine.halt import Halt
from batcher.engine.packing import packer_of
from batcher.engine.parking import parking_of
from batcher.engine.plan import Plan, make_plan
from batcher.engine.progress import Summary
from batcher.engine.retry import reopen, standing
from batcher.engine.seal import Sealer
from batcher.engine.session import MOST_HELD_BYTES, Session
from batcher.engine.tally import Tally
from batcher.engine.today import used_today
from batcher.engine.work import WorkList
from batcher.job.spec import Job
from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.outage import Patience
from batcher.records import NoReply, NoReplyKind, Reply, Request, Status
from batcher.store.blocks import BlockRow, read_blocks, recover_lost, withdraw_unsent
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.rundir import RunDir
from tests.builders import a_job, a_reply
from tests.fakes import FakeClock, jitter

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEY = "canary-key-123456"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    """A row that is a text is written as it is: a broken line."""
    lines = [row.encode() if isinstance(row, str) else orjson.dumps(row) for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "prompt": f"prompt {n}"} for n in range(count)]


def job_over(path: Path, **settings: Any) -> Job:
    return a_job(**{"input.files": (str(path),), "retry.max_backoff_s": 0.001} | settings)


def plan_of(job: Job, out: Path, *, limit: int | None = None) -> Plan:
    rundir = RunDir.at(out)
    rundir.make()
    return make_plan(job, rundir, limit=limit, now=NOW, counted=lambda _rows, _bytes: None, failpoints=FailPoints())


def planned(tmp_path: Path, rows: Sequence[Mapping[str, Any] | str], **settings: Any) -> Plan:
    path = tmp_path / "rows.jsonl"
    if not path.exists():
        write_rows(path, rows)
    return plan_of(job_over(path, **settings), tmp_path / "out")


@dataclass(kw_only=True)
class Rig:
    """One session and everything it stands on."""

    plan: Plan
    journal: Journal
    gate: Gate
    asker: Asker
    tally: Tally
    halt: Halt
    session: Session
    worklist: WorkList
    rows: Mapping[int, BlockRow]
    funds: Funds | None = None
    logged: list[str] = field(default_factory=list)
    failpoints: FailPoints = field(default_factory=FailPoints)

    async def finish(self) -> Summary:
        """Run the session to its end and close it as the engine does."""
        await asyncio.wait_for(self.session.run(), timeout=20)
        left = frozenset((task.task, task.attempts) for task in self.asker.in_flight)
        if not self.journal.is_broken:
            self.journal.forget_gathered()
            await self.journal.call(withdraw_unsent(left))
        return await self.close()

    async def close(self) -> Summary:
        return await close_run(
            self.plan,
            self.session,
            self.tally,
            self.halt,
            self.journal,
            elapsed_s=1.0,
            limited_by="",
            command="batcher run job.toml",
            failpoints=self.failpoints,
            spending=None if self.funds is None else self.funds.purse.closed(set()),
        )


@contextlib.asynccontextmanager
async def rigged(
    plan: Plan,
    door: Transport,
    *,
    quotas: Quotas | None = None,
    again: frozenset[Status] | None = None,
    sealer: Any = None,
    remembers_bytes: int = MOST_BYTES,
    clock: FakeClock | None = None,
    most_held_bytes: int = MOST_HELD_BYTES,
) -> AsyncIterator[Rig]:
    loop, clock = asyncio.get_running_loop(), clock or FakeClock()
    failpoints, halt = FailPoints(), Halt()
    journal = Journal(plan.rundir.journal, failpoints=failpoints)
    try:
        rows: Mapping[int, BlockRow] = await journal.call(read_blocks)
        await journal.call(recover_lost)
        worklist = WorkList(plan, journal, wall_us=clock, secret=KEY, failpoints=failpoints)
        if again is not None:
            rows = await reopen(plan, rows, again, journal=journal, worklist=worklist, failpoints=failpoints)
        rows = await standing(plan, rows, journal)
        fresh = Fresh(most_bytes=remembers_bytes, packer=packer_of(plan, rows))
        tally = Tally(await open_totals(rows, journal), plan.terms, fresh)
        used = await used_today(plan, rows, journal, now_us=clock())
        logged: list[str] = []
        funds = worklist.funds = await funds_of(plan, rows, journal, log=logged.append, now_us=clock())
        slots = plan.job.limits.concurrency
        retry = plan.job.retry
        patience = Patience(max_outage_s=retry.max_outage_s, probe_after_s=retry.probe_after_s)
        gate = Gate(quotas or Quotas(), slots=slots, now=loop.time, wall_us=clock, used_today=used, patience=patience)
        asker = (Asker if funds is None else funds.asker)(
            door=door,
            gate=gate,
            journal=journal,
            retry=retry,
            world=World(now_s=loop.time, wall_us=clock, chance=jitter()),
            secret=KEY,
            on_turn=tally.turn,
            check=plan.builder.check,
        )
        session = Session(
            plan,
            rows,
            gate=gate,
            asker=asker,
            worklist=worklist,
            sealer=sealer or Sealer(plan, journal, failpoints, fresh),
            tally=tally,
            halt=halt,
            parking=parking_of(plan, gate, worklist, clock),
            most_held_bytes=most_held_bytes,
            funds=funds,
        )
        yield Rig(
            plan=plan,
            journal=journal,
            gate=gate,
            asker=asker,
            tally=tally,
            halt=halt,
            session=session,
            worklist=worklist,
            rows=rows,
            funds=funds,
            logged=logged,
        )
    finally:
        await journal.close()


async def until(settled: Callable[[], object]) -> None:
    """Let the session go on until it has come so far."""
    async with asyncio.timeout(20):
        while not settled():  # noqa: ASYNC110  the session has no event for every state that a test looks at
            await asyncio.sleep(0.001)


def text_of(request: Request) -> str:
    return request.prompt or ""


def echo(request: Request) -> Reply:
    """Answers with the prompt, turned round."""
    return a_reply(text_of(request)[::-1])


def refusal(status: int, message: str = "no", /, **error: Any) -> Reply:
    body = {"error": {"code": status, "message": message} | error}
    return Reply(status=status, headers={}, body=orjson.dumps(body), first_byte_ms=1.0, latency_ms=2.0)


BAD_KEY = refusal(400, "API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT")
UNKNOWN_MODEL = refusal(404, "models/x is not found", status="NOT_FOUND")
TROUBLE = refusal(503, "overloaded", status="UNAVAILABLE")
BAD_REQUEST = refusal(400, "wrong field", status="INVALID_ARGUMENT")
DAY_QUOTA = refusal(
    429,
    "You exceeded your current quota",
    status="RESOURCE_EXHAUSTED",
    details=[
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel", "quotaValue": "100"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "68468s"},
    ],
)
CUT = NoReply(kind=NoReplyKind.CUT, sent=True, first_byte=True, detail="cut", latency_ms=3.0)
