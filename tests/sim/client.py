"""How does the real client live in a simulated world? Session, asker, gate, verdicts are real; wire and disk not."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from batcher.asking.ask import Asker, OpenTask, Turn, World
from batcher.engine.halt import Halt
from batcher.engine.parking import parking_of
from batcher.engine.plan import Plan
from batcher.engine.seal import Sealable, Sealer
from batcher.engine.session import Session
from batcher.engine.tally import Tally
from batcher.engine.work import LOOK_AHEAD, Chunk, Work, WorkList
from batcher.errors import RunStopped
from batcher.money.totals import Totals
from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.permit import Permit
from batcher.records import Answer, NoReply, Request
from batcher.rows.blocks import Block
from batcher.store.blocks import BlockRow
from batcher.store.journal import Journal
from tests.asking.stage import MemoryJournal
from tests.builders import a_request
from tests.engine.sessions import planned
from tests.fakes import Exchange, FakeClock, VirtualLoop, jitter
from tests.sim.scenario import Limits, Scenario, Truth, truths
from tests.sim.server import Server, next_day_s

BLOCK_ROWS = 500
SECRET = "canary-key"


class Disk(MemoryJournal):
    """The journal's door, with admissions."""

    def admit(self, tasks: list[tuple[int, int, int, int, int]]) -> asyncio.Future[None]:
        def commit() -> None:
            for task, n, *_ in tasks:
                assert (task, n) not in self.admitted
                self.admitted.add((task, n))

        return self._later(commit)


class Wire:
    """The transport's door: a request travels, is counted on its arrival, and its reply comes back later."""

    def __init__(self, server: Server, rows: list[Truth]) -> None:
        self._server = server
        self._rows = rows
        self.in_flight = 0
        self.most_in_flight = 0

    async def post(self, request: Request) -> Exchange:
        server, now = self._server, asyncio.get_running_loop().time
        truth = self._rows[int(request.prompt or "")]
        began_s = now()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            outage = server.outage_at(began_s)
            if outage is not None:
                exchange, after_s = server.out(outage, began_s, truth)
            else:
                travel_s = server.travel_s()
                if travel_s:
                    await asyncio.sleep(travel_s)
                exchange, after_s = server.arrive(now(), truth)
            await asyncio.sleep(after_s)
        finally:
            self.in_flight -= 1
        latency_ms = (now() - began_s) * 1000
        if isinstance(exchange, NoReply):
            return replace(exchange, latency_ms=latency_ms)
        return exchange._replace(first_byte_ms=latency_ms, latency_ms=latency_ms)

    def forget(self) -> None:
        """Replies are small here."""


class WatchedGate(Gate):
    """The gate, and who passed it in which order.

    A lane without quotas is not watched: there the slots' own line is the lane's, and a pause sends those who stand in
    it to the end of another.

    Attributes:
        overtaken: of each permit that was granted while an earlier asker of its kind and lane was in line: what it was.
    """

    def __init__(self, quotas: Quotas, **fields: object) -> None:
        super().__init__(quotas, **fields)  # type: ignore[arg-type]  # passed through as they are
        self._watched = quotas != Quotas()
        self._numbers = itertools.count()
        self._in_line: dict[tuple[str, bool], dict[int, None]] = {}
        self.overtaken: list[str] = []

    def admit_now(self, lane: str, tokens: int) -> Permit | None:
        permit = super().admit_now(lane, tokens)
        if (
            permit is not None
            and self._watched
            and (self._in_line.get((lane, False)) or self._in_line.get((lane, True)))
        ):
            self.overtaken.append(f"a new row of {lane} passed those in line without a wait")
        return permit

    async def admit(self, lane: str, tokens: int, *, retry: bool = False) -> Permit:
        kind = lane, retry and not self.breaker.is_doubted
        line, number = self._in_line.setdefault(kind, {}), next(self._numbers)
        line[number] = None
        try:
            permit = await super().admit(lane, tokens, retry=retry)
            if self._watched and next(iter(line)) != number:
                self.overtaken.append(f"number {number} of {lane} passed number {next(iter(line))}")
            return permit
        finally:
            del line[number]


class Rows:
    """The work list's door, with the rows of a scenario behind it."""

    def __init__(self, disk: Disk, rows: list[Truth], clock: Callable[[], int]) -> None:
        self._disk = disk
        self._rows = rows
        self._clock = clock

    async def open(self, block: Block, row: BlockRow | None) -> Work:
        first, stop = block.first_ordinal, block.first_ordinal + block.rows
        done = {task for task in range(first, stop) if task in self._disk.done}
        return Work(
            no=block.no,
            first_task=first,
            tasks=block.rows,
            generation=1,
            digest="",
            asked=None,
            before=None,
            done=done,
            remaining=block.rows - len(done),
        )

    async def chunks(self, work: Work) -> AsyncIterator[Chunk]:
        left = [task for task in range(work.first_task, work.first_task + work.tasks) if task not in work.done]
        for start in range(0, len(left), LOOK_AHEAD):
            tasks = [self._task(number) for number in left[start : start + LOOK_AHEAD]]
            admissions = [(task.task, task.attempts + 1, 1, 1, self._clock()) for task in tasks]
            yield Chunk(work=work, tasks=tasks, ended=[], committed=self._disk.admit(admissions))

    async def admit(self, tasks: Sequence[OpenTask]) -> None:
        await self._disk.admit([(task.task, task.attempts + 1, 1, 1, self._clock()) for task in tasks])

    async def withdraw(self, tasks: Sequence[OpenTask]) -> None:
        self._disk.admitted -= {(task.task, task.attempts + 1) for task in tasks}

    def _task(self, number: int) -> OpenTask:
        truth = self._rows[number]
        request = a_request(str(number), model=truth.model, estimated_tokens=truth.estimate, body=b"{}")
        attempts = 0
        while (number, attempts + 1) in self._disk.admitted:  # by an earlier session
            attempts += 1
        return OpenTask(task=number, request=request, lane=truth.model, attempts=attempts)


class Seals:
    """The sealer's door: it looks whether a block is whole."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.sealed: list[int] = []

    async def seal(self, block: Sealable) -> Totals:
        assert all(task in self._disk.done for task in range(block.first_task, block.first_task + block.tasks))
        self.sealed.append(block.no)
        return Totals()


@dataclass(kw_only=True)
class Played:
    """What came of a scenario: the world after it.

    Attributes:
        error: why it did not end as it should; None when it did.
        turns: of the loop.
        kept: of every permit that took tokens: what its entry holds, and what the reply said that it should.
    """

    scenario: Scenario
    rows: list[Truth]
    server: Server
    disk: Disk
    wire: Wire
    gates: list[WatchedGate] = field(default_factory=list)
    seals: list[int] = field(default_factory=list)
    kept: list[tuple[Permit, Turn]] = field(default_factory=list)
    limited_by: dict[str, float] = field(default_factory=dict)
    ended_s: float = 0.0
    turns: int = 0
    error: str | None = None


def play(scenario: Scenario, *, most_turns: float | None = None) -> Played:
    """Live through one scenario, on virtual time; more turns of the loop than that are a livelock."""
    rows = truths(scenario)
    server = Server(scenario)
    played: list[Played] = []

    async def main() -> None:
        played.append(
            Played(
                scenario=scenario,
                rows=rows,
                server=server,
                disk=Disk(commit_s=scenario.commit_s),
                wire=Wire(server, rows),
            )
        )
        await _play(played[0])

    loop: list[VirtualLoop] = []

    def made() -> VirtualLoop:
        loop.append(VirtualLoop())
        loop[0].bound(most_turns or MOST_TURNS + MOST_TURNS_A_ROW * len(rows))
        return loop[0]

    with asyncio.Runner(loop_factory=made) as runner:
        try:
            runner.run(main())
        except (RuntimeError, TimeoutError, AssertionError) as error:  # deadlock, livelock, too long, a door's own law
            played[0].error = f"{type(error).__name__}: {error}"
            loop[0].bound(float("inf"))  # it has to be able to clean up
    played[0].turns = loop[0].turns
    return played[0]


MOST_TURNS = 100_000
MOST_TURNS_A_ROW = 400
MOST_S = 10 * 86_400.0


async def _play(played: Played) -> None:
    """Session after session, as somebody would who types the same command after each stop."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        plan = _plan(Path(folder), played.scenario, len(played.rows))
        async with asyncio.timeout(MOST_S):
            used: Mapping[str, int] = {}
            while len(played.disk.done) < len(played.rows):
                halt, used = await _session(played, plan, used)
                if isinstance(halt.why, RunStopped):  # the day's quota
                    await asyncio.sleep(next_day_s(played.scenario, loop.time()) - loop.time() + 1)
                    used = {}
                elif halt.why is not None:
                    played.error = f"stopped: {halt.why}"
                    break
    played.ended_s = loop.time()


async def _session(played: Played, plan: Plan, used: Mapping[str, int]) -> tuple[Halt, Mapping[str, int]]:
    loop, scenario, disk = asyncio.get_running_loop(), played.scenario, played.disk
    clock = FakeClock(scenario.begins_us, follow=loop.time)
    chance = jitter(scenario.seed)
    gate = WatchedGate(
        _quotas(scenario.told), slots=scenario.slots, now=loop.time, wall_us=clock, used_today=used, chance=chance
    )
    played.gates.append(gate)
    tally, halt, seals = Tally(Totals(), plan.terms), Halt(), Seals(disk)

    def on_turn(turn: Turn) -> None:
        tally.turn(turn)
        if turn.permit.of_tokens is not None:
            played.kept.append((turn.permit, turn._replace(answer=_usage_only(turn.answer))))

    asker = Asker(
        door=played.wire,
        gate=gate,
        journal=cast("Journal", disk),
        retry=plan.job.retry,
        world=World(now_s=loop.time, wall_us=clock, chance=chance),
        secret=SECRET,
        on_turn=on_turn,
    )
    worklist = cast("WorkList", Rows(disk, played.rows, clock))
    session = Session(
        plan,
        {},
        gate=gate,
        asker=asker,
        worklist=worklist,
        parking=parking_of(plan, gate, worklist, clock),
        sealer=cast("Sealer", seals),
        tally=tally,
        halt=halt,
    )
    await session.run()
    played.seals += seals.sealed
    return halt, gate.used_today


def _usage_only(answer: Answer | None) -> Answer | None:
    return answer and replace(answer, candidates=())


def _quotas(limits: Limits) -> Quotas:
    return Quotas(
        requests_per_minute=limits.requests_per_minute,
        input_tokens_per_minute=limits.input_tokens_per_minute,
        requests_per_day=limits.requests_per_day,
    )


def _plan(folder: Path, scenario: Scenario, rows: int) -> Plan:
    plan = planned(folder, [{"prompt": "p"}], **{"retry.max_backoff_s": 60.0, "limits.concurrency": scenario.slots})
    plan.rundir.journal.touch()
    firsts = range(0, rows, BLOCK_ROWS)
    blocks = tuple(
        Block(no=no, first_ordinal=first, rows=min(BLOCK_ROWS, rows - first), extents=())
        for no, first in enumerate(firsts, start=1)
    )
    return replace(plan, index=replace(plan.index, blocks=blocks, rows=rows))
