"""How does one process ask what is left of a run? A feeder, the open tasks, a sealer; an orderly end for any reason."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any

from batcher.asking.ask import Asker, Drained, Ending, OpenTask
from batcher.engine.ahead import Ahead
from batcher.engine.funds import Funds, few_ahead
from batcher.engine.halt import Halt
from batcher.engine.parking import Parking
from batcher.engine.plan import Plan
from batcher.engine.refusals import Refusals, lean
from batcher.engine.seal import Sealer
from batcher.engine.sealline import SealLine
from batcher.engine.tally import Tally
from batcher.engine.work import Chunk, Work, WorkList
from batcher.errors import BatcherError
from batcher.money.totals import Totals
from batcher.pacing.gate import DayQuotaReached, Gate
from batcher.pacing.junction import Junction
from batcher.pacing.outage import Outage
from batcher.pacing.permit import CONCURRENCY, PARKED, Parked, Permit
from batcher.pacing.quota import Learnt
from batcher.records import Status
from batcher.store.blocks import BlockRow, is_sealed

FEW_READY = 64
"""With fewer tasks ready to be sent, the feeder fetches more; the askers that end must never find none."""
MOST_HELD_BYTES = 256 << 20
"""Of request bodies that are ready, out, or wait for their next try: of media, a few would fill the memory."""
_BIG_BYTES = 64 << 10  # with longer bodies than that, only what is shown of the last answers is kept
HURRY_S = 1.5
IN_FLIGHT = "in flight"
JOURNAL = "journal"


class Session:
    """Asks every unfinished task of a plan once through, and seals what is finished.

    Args:
        plan: what there is to do.
        rows: the blocks as the journal knows them.
        halt: through which signals and refusals end it.
        parking: where rows wait for another day.
        most_held_bytes: of request bodies in memory; one that is longer goes all the same.
        funds: of a run with a cap.
    """

    def __init__(  # noqa: PLR0913  the parts of a run, each made by `engine/local.py`
        self,
        plan: Plan,
        rows: Mapping[int, BlockRow],
        *,
        gate: Gate | Junction,
        asker: Asker,
        worklist: WorkList,
        sealer: Sealer,
        tally: Tally,
        halt: Halt,
        parking: Parking,
        most_held_bytes: int = MOST_HELD_BYTES,
        funds: Funds | None = None,
    ) -> None:
        self._gate = gate
        self._asker = asker
        asker.is_served = lambda: tally.answered > 0
        self._sealer = sealer
        self._tally = tally
        self._halt = halt
        self._parking = parking
        self._now = asyncio.get_running_loop().time
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(maxsize=2)
        self._finished: asyncio.Queue[Work] = asyncio.Queue()
        self._ahead = Ahead(plan, rows, worklist=worklist, finished=self._finished)
        self._unsealed = sum(1 for block in plan.index.blocks if not is_sealed(rows.get(block.no)))
        self._line = SealLine(self._finished, (no for no, row in rows.items() if is_sealed(row)))
        self._open: dict[asyncio.Task[None], OpenTask] = {}
        self._blocks: dict[int, Work] = {}  # with tasks that have no outcome
        self._ready: deque[tuple[OpenTask, Work]] = deque()  # admitted on disk, next to be sent
        self._few = asyncio.Event()  # are ready
        self._few_ready = FEW_READY if funds is None else few_ahead(plan.job.limits.concurrency)
        self._funds = funds
        if funds is not None:
            funds.purse.on_set_back = self._few.set
        self._sendable = asyncio.Event()  # something is ready, a slot is free, or all is fed
        gate.on_free(self._sendable.set)
        gate.on_outage_too_long(halt.stop)
        self._full = False
        self._held_bytes = 0
        self._most_held_bytes = most_held_bytes
        self._refusals = Refusals(
            plan.job.model.removeprefix("models/"), gate=gate, asker=asker, tally=tally, halt=halt
        )
        self._bug: BaseException | None = None
        self._fed = False
        self._sealing = False
        self._drain_until: float | None = None
        self.last: deque[Ending] = deque(maxlen=20)
        self.totals_of_blocks: dict[int, Totals] = {no: row.totals for no, row in rows.items() if row.totals}

    @property
    def open_tasks(self) -> int:
        """Tasks between admission and outcome."""
        return len(self._open)

    @property
    def in_flight(self) -> int:
        """Requests out."""
        return len(self._asker.in_flight)

    @property
    def limited_by(self) -> str:
        """What the next request waits for."""
        # While tasks are ready, what comes after them may wait.
        if self._parking.rows and not self._open:
            return PARKED
        held = "memory" if self._is_crowded else self._ahead.held or ("budget" if self._is_short else "")
        return (not self._ready and held) or self._gate.limited_by or (CONCURRENCY if self._full else "")

    @property
    def open(self) -> Collection[OpenTask]:
        """The tasks that were sent at least once and have no outcome yet; nobody else may change them."""
        return self._open.values()

    @property
    def blocks(self) -> Collection[Work]:
        """The blocks that are open, and have tasks without an outcome."""
        return self._blocks.values()

    @property
    def undecided(self) -> Iterable[Work]:
        """The block of each row that was refused, and may yet turn out to concern them all."""
        return (work for _, work in self._refusals.rows)

    @property
    def learnt(self) -> dict[str, Learnt]:
        """What replies taught of tokens: see `Gate.learnt`."""
        return self._gate.learnt

    def waits_for(self, task: OpenTask) -> str:
        """What an open task waits for; see `Straggler`."""
        if task in self._asker.in_flight:
            return IN_FLIGHT
        if task.waiting:
            return task.waits_for or self._gate.limited_by or CONCURRENCY
        return JOURNAL

    @property
    def _is_short(self) -> bool:
        return self._funds is not None and self._funds.purse.is_short

    @property
    def outage(self) -> Outage | None:
        """The outage of the endpoint that goes on."""
        return self._gate.outage

    @property
    def gate(self) -> Gate | Junction:
        """Through which it asks: for whoever tells what holds it back."""
        return self._gate

    @property
    def parked(self) -> tuple[Parked, ...]:
        """Who has used up the day, until when, and how many rows wait for that."""
        shelved = self._parking.parked if self._parking.rows else ()
        return shelved or (self._gate.parked if isinstance(self._gate, Junction) else ())

    @property
    def is_asking(self) -> bool:
        """Whether any task is left that has no outcome."""
        return bool(self._open or self._ready or self._parking.rows) or not self._fed

    async def run(self) -> None:
        """Work until all blocks are sealed or `halt` says stop; then drain. What ends a run is in `halt.why`.

        What nobody foresaw ends the run too, and is raised: a task that died silently would be waited for without end.
        """
        parts = (self._prepare(), self._feed(), self._unpark(), self._send_ready(), self._seal())
        crew = [self._guarded(work) for work in parts]
        stopped = asyncio.ensure_future(self._halt.asked.wait())
        try:
            while not stopped.done() and any(not member.done() for member in crew):
                await asyncio.wait([stopped, *(m for m in crew if not m.done())], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await self._drain(crew)
        if self._bug is not None:
            raise self._bug

    def _died(self, error: BaseException) -> None:
        self._bug = self._bug or error
        self._halt.asked.set()

    def _guarded(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except BatcherError as error:
                self._halt.stop(error)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  kept for `run` to raise
                self._died(error)

        return asyncio.ensure_future(guarded())

    async def _prepare(self) -> None:
        async for chunk in self._ahead.chunks():
            await self._chunks.put(chunk)
        await self._chunks.put(None)

    async def _feed(self) -> None:
        """Keep a few tasks ready, admitted on disk: the next commit must not hold up the slots that are free.

        Bodies stay below `most_held_bytes` and one chunk more, which a slice of the block file bounds.
        """
        while (chunk := await self._chunks.get()) is not None:
            await asyncio.shield(chunk.committed)
            self._blocks[chunk.work.no] = chunk.work
            self._count_ended(chunk)
            self._ready.extend((task, chunk.work) for task in chunk.tasks)
            self._held_bytes += sum(len(task.request.body) for task in chunk.tasks)
            self._sendable.set()
            while len(self._ready) > self._few_ready or self._is_crowded:
                self._few.clear()
                await self._few.wait()
        self._fed = True
        self._sendable.set()

    async def _unpark(self) -> None:
        """Make those rows ready again whose day has come."""
        async for rows in self._parking.back(FEW_READY):
            self._ready.extend(rows)
            self._few.set()
            self._sendable.set()
            while len(self._ready) > FEW_READY:
                self._few.clear()
                await self._few.wait()

    async def _send_ready(self) -> None:
        """Send what is ready into the slots that nobody hands on, until nothing is left.

        An asker that ends takes over the next task in the same turn of the loop; waking this, the gate's waiter and a
        new task for it kept every slot idle for 12 ms at 512 in flight (measured).
        """
        while self._ready or not self._fed or self._open or self._parking.rows:
            if self._ready and not self._gate.is_full:
                await self._send()
            else:
                await self._until_sendable()
        self._parking.over()
        if not self._refusals.are_all():
            while self._refusals.rows:
                await self._fail_oldest()

    async def _until_sendable(self) -> None:
        self._sendable.clear()
        self._full = bool(self._ready)
        try:
            await self._sendable.wait()
        finally:
            self._full = False

    async def _send(self) -> None:
        gate = self._gate
        if not gate.open_now():
            await gate.open()
        try:
            if not self._ready:  # taken over meanwhile
                gate.close()
                return
            task, work = self._next()
            permit = gate.admit_now(task.lane, task.request.estimated_tokens)
            if permit is None:
                permit = gate.probe_now(task.lane, task.request.estimated_tokens) or await gate.admit(
                    task.lane, task.request.estimated_tokens
                )
        except DayQuotaReached as why:
            gate.close()
            await self._parking.shelve(task, work, why)
            return
        except BaseException:
            gate.close()
            raise
        asking = asyncio.create_task(self._ask(task, permit, work))
        self._open[asking] = task

    def _take_over(self) -> tuple[OpenTask, Permit, Work] | None:
        """The next task for an asker whose own has ended; None when it may not go now, or nothing shall be sent."""
        if not self._ready or self._halt.asked.is_set():
            return None
        task, work = self._ready[0]
        permit = self._gate.admit_now(task.lane, task.request.estimated_tokens)
        if permit is None:
            return None
        self._next()
        return task, permit, work

    def _next(self) -> tuple[OpenTask, Work]:
        if len(self._ready) <= self._few_ready:
            self._few.set()
        return self._ready.popleft()

    async def _ask(self, task: OpenTask, permit: Permit, work: Work) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            while True:
                try:
                    await self._ask_one(task, permit, work)
                except DayQuotaReached as why:
                    await self._shelve(task, work, why)
                finally:
                    self._let_fall(task)
                taken = self._take_over()
                if taken is None:
                    return
                task, permit, work = taken
                self._open[me] = task
        except Drained:
            return
        except BatcherError as error:
            self._halt.stop(error)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  nobody awaits this task: `run` raises it
            self._died(error)
        finally:
            self._gate.close()
            del self._open[me]
            if not self._open:
                self._sendable.set()

    async def _ask_one(self, task: OpenTask, permit: Permit, work: Work) -> None:
        ending = await self._asker.ask(task, permit)
        if ending.outcome is None and self._parking.takes(ending):
            await self._shelve(task, work)
            return
        if ending.outcome is None and self._refusals.concerns_one_row(ending):
            self._gate.free(ending.turn.permit)
            ending = ending._replace(outcome=await self._asker.give_up(ending))
        self._ended(ending, work)
        while self._refusals.rows and self._refusals.must_fail:
            await self._fail_oldest()

    async def _shelve(self, task: OpenTask, work: Work, why: DayQuotaReached | None = None) -> None:
        await self._parking.shelve(task, work, why)
        self._held_bytes += len(task.request.body)  # whoever asked it lets it fall

    @property
    def _is_crowded(self) -> bool:
        # What is not fed yet may hold the money that those who fill the memory wait for.
        return (self._held_bytes > self._most_held_bytes and not self._is_short) or self._parking.is_full

    def _let_fall(self, task: OpenTask) -> None:
        was_crowded = self._is_crowded
        self._held_bytes -= len(task.request.body)
        if was_crowded and not self._is_crowded:
            self._few.set()

    def _ended(self, ending: Ending, work: Work) -> None:
        if ending.outcome is None:
            self._refusals.add(ending, work)
            return
        self._tally.outcome(ending.outcome, self._now())
        big = len(ending.task.request.body) + len(ending.turn.attempt.body) > _BIG_BYTES
        self.last.append(_light(ending) if big else ending)
        self._one_less(work)
        if ending.outcome.status is not Status.FAILED:
            self._refusals.answered()

    async def _fail_oldest(self) -> None:
        """The row that was refused first becomes a failed row: answers that came since show that it stands alone."""
        ending, work = self._refusals.pop()
        outcome = await self._asker.give_up(ending)
        self._tally.outcome(outcome, self._now())
        self._one_less(work)

    def _count_ended(self, chunk: Chunk) -> None:
        for outcome in chunk.ended:
            self._tally.outcome(outcome, self._now())
            self._one_less(chunk.work)

    def _one_less(self, work: Work) -> None:
        work.remaining -= 1
        if not work.remaining:
            self._blocks.pop(work.no, None)
            self._finished.put_nowait(work)

    async def _seal(self) -> None:
        while self._unsealed and not self._halt.asked.is_set():
            work = await self._line.next()
            self._sealing = True
            try:
                self.totals_of_blocks[work.no] = await self._sealer.seal(work.sealable())
            finally:
                self._sealing = False
            self._line.sealed(work)
            self._unsealed -= 1
            self._ahead.sealed_one()

    async def _drain(self, crew: list[asyncio.Task[None]]) -> None:
        """Send nothing more, let what is out come home, and finish the part under construction."""
        *senders, seal = crew
        self._asker.draining = True
        for sender in senders:
            sender.cancel()
        for asking, task in self._open.items():
            if task.waiting:
                asking.cancel()
        await self._come_home()
        if not self._sealing:
            seal.cancel()
        else:
            await self._within(seal)
        for left in (*crew, *self._open):
            left.cancel()
        await asyncio.gather(*crew, *self._open, return_exceptions=True)

    async def _come_home(self) -> None:
        while self._open and await self._within(*self._open):
            pass

    async def _within(self, *work: asyncio.Task[None]) -> bool:
        """Wait for some of `work`; False when the time to drain is over."""
        now = self._now()
        if self._drain_until is None:
            self._drain_until = now + self._halt.drain_s if self._halt.drain_s is not None else float("inf")
        hurry = asyncio.ensure_future(self._halt.hurry.wait())
        left = min(self._drain_until - now, HURRY_S if self._halt.hurry.is_set() else float("inf"))
        try:
            if left <= 0:
                return False
            done, _ = await asyncio.wait(
                [*work, hurry],
                timeout=None if left == float("inf") else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            hurry.cancel()
        return bool(done - {hurry})


def _light(ending: Ending) -> Ending:
    """An ending without its media, in the request and in the answer: what is left is what is shown of it."""
    answer = ending.turn.answer
    if answer is not None:
        answer = replace(answer, candidates=tuple(replace(each, parts=None) for each in answer.candidates))
    left = lean(ending)
    request = left.task.request._replace(prompt=ending.task.request.prompt)
    return left._replace(task=replace(left.task, request=request), turn=left.turn._replace(answer=answer))
