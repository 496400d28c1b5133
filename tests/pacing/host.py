"""One host on virtual time: clients that lease from a broker over a line that takes its time; all of them may die."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

from batcher.pacing.gate import Gate, Permit, Quotas
from batcher.pacing.lease import Answer, Ask, Broker
from batcher.pacing.lessee import Lessee
from tests.fakes import FakeClock
from tests.pacing.server import LANE, Load, StrictServer

WALL_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Host:
    """The broker's place, and the endpoint that all ask.

    Args:
        quotas: that all clients state.
        delay_s: of one word on the line between a client and the broker.
    """

    def __init__(self, quotas: Quotas, *, delay_s: Callable[[], float] = lambda: 0.001) -> None:
        self.quotas = quotas
        self.delay_s = delay_s
        self.server = StrictServer()
        self.now_s = asyncio.get_running_loop().time
        self.broker: Broker | None = Broker(now_s=self.now_s())
        self.numbers = itertools.count(1)
        self._written = self.broker.snapshot(now_s=self.now_s(), wall_us=WALL_US)
        self._written_s = self.now_s()

    def lease(self, client: int, ask: Ask) -> Answer:
        """As the house of the broker does it: what a successor has to know is written down before anybody hears it."""
        assert self.broker is not None
        answer = self.broker.lease(client, ask, now_s=self.now_s())
        if self.broker.is_owed(self.now_s()):
            self._write()
        return answer

    def leave(self, client: int) -> None:
        if self.broker is not None:
            self.broker.leave(client, now_s=self.now_s())

    async def broker_dies(self, *, for_s: float) -> None:
        """It is gone at once; after so long another goes on from what it had written."""
        self.broker = None
        await asyncio.sleep(for_s)
        self.broker = Broker(self._written, now_s=self.now_s(), since_s=self.now_s() - self._written_s)

    def _write(self) -> None:
        assert self.broker is not None
        self._written = self.broker.snapshot(now_s=self.now_s(), wall_us=WALL_US)
        self._written_s = self.now_s()


class Client:
    """One run: a real gate, leases kept alive, and whatever it is told to send.

    Args:
        host: where it runs.
        slots: of its gate.
        run: its id.
        used_today: as its own ledger has it.
        is_seen: whether the broker sees it die; else its lease has to expire.
    """

    def __init__(
        self, host: Host, *, slots: int = 400, run: str = "r", used_today: int = 0, is_seen: bool = True
    ) -> None:
        self.host = host
        self.is_seen = is_seen
        self.sent = 0
        self._lacking = asyncio.Event()
        self._wall_us = FakeClock(WALL_US, follow=host.now_s)
        self.lessee = Lessee(run=run, named=str, lacks=self._lacking.set)
        self.gate = Gate(
            host.quotas,
            slots=slots,
            now=host.now_s,
            wall_us=self._wall_us,
            used_today={LANE: used_today},
            lessee=self.lessee,
        )

    async def keep_leasing(self) -> None:
        """What the edge does, over a line with delays. At its end it is dead, and the broker sees the line go."""
        number, broker = 0, None
        try:
            while True:
                if self.host.broker is not broker or broker is None:
                    if self.host.broker is None:
                        await asyncio.sleep(0.05)
                        continue
                    number, broker = next(self.host.numbers), self.host.broker
                    self.lessee.begin()
                await self._ask_once(number, broker)
        finally:
            if self.is_seen:
                self.host.leave(number)

    async def _ask_once(self, number: int, broker: Broker) -> None:
        now_s = self.host.now_s
        asked_s = now_s()
        self._lacking.clear()
        ask = self.lessee.ask(asked_s)
        await asyncio.sleep(self.host.delay_s())
        if self.host.broker is not broker:
            return
        answer = self.host.lease(number, ask)
        await asyncio.sleep(self.host.delay_s())
        self.lessee.answered(answer, asked_s=asked_s, now_s=now_s())
        await asyncio.sleep(max(asked_s + answer.next_s - now_s(), 0))
        if self.lessee.is_idle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._lacking.wait()

    async def fill(self, load: Load) -> None:
        """Ask for permits as fast as they come; until cancelled."""

        async def exchange(permit: Permit, actual: int) -> None:
            await asyncio.sleep(load.latency_s())
            self.gate.settle(permit, actual)
            self.gate.free(permit)
            self.gate.close()

        async with asyncio.TaskGroup() as exchanges:
            for estimate, actual in load.prompts():
                if not self.gate.open_now():
                    await self.gate.open()
                permit = self.gate.admit_now(LANE, estimate) or await self.gate.admit(LANE, estimate)
                self.host.server.arrive(self.host.now_s() + load.travel_s(), actual)
                self.sent += 1
                exchanges.create_task(exchange(permit, actual))


@contextlib.asynccontextmanager
async def living(client: Client, load: Load | None = None) -> AsyncIterator[Client]:
    """A client that leases, and sends what it can; dead at the end of the block."""
    leasing = asyncio.ensure_future(client.keep_leasing())
    sending = None if load is None else asyncio.ensure_future(client.fill(load))
    try:
        yield client
    finally:
        for task in (sending, leasing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
