"""Everything that an asker stands on, on virtual time: a scripted door, a real gate, a journal in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from batcher.asking.ask import Asker, Ending, OpenTask, Turn, World
from batcher.errors import StorageError
from batcher.gemini.verdict import Verdict
from batcher.job.spec import Retry
from batcher.pacing.gate import Gate, Quotas
from batcher.pacing.permit import Permit
from batcher.records import Answer, Attempt, NoReply, NoReplyKind, Outcome, Reply, Request
from batcher.store.frames import unpack_attempt, unpack_outcome
from tests.builders import a_request
from tests.fakes import FakeClock, ScriptedTransport, steady

LANE = "a"
SECRET = "canary-key"
Exchange = Reply | NoReply


class MemoryJournal:
    """The journal's door with dictionaries behind it; a commit takes `commit_s` of loop time.

    Attributes:
        pending: records handed in and not committed yet.
        events: what was committed, in order: ("attempt", task, n), ("admit", task, n), ("done", task, 0).
    """

    def __init__(self, *, commit_s: float = 0.0) -> None:
        self._commit_s = commit_s
        self.attempts: dict[tuple[int, int], Attempt] = {}
        self.admitted: set[tuple[int, int]] = set()
        self.done: dict[int, Outcome] = {}
        self.events: list[tuple[str, int, int]] = []
        self.pending = 0
        self.broken: StorageError | None = None

    def retry(self, task: int, n: int, frame: bytes, admission: tuple[int, int, int, int, int]) -> asyncio.Future[None]:
        def commit() -> None:
            self._attempt(task, n, frame)
            assert admission[:2] not in self.admitted
            self.admitted.add(admission[:2])
            self.events.append(("admit", *admission[:2]))

        return self._later(commit)

    def attempted(self, task: int, n: int, frame: bytes) -> asyncio.Future[None]:
        return self._later(lambda: self._attempt(task, n, frame))

    def finish(self, task: int, outcome: bytes, n: int = 0, attempt: bytes = b"") -> asyncio.Future[None]:
        def commit() -> None:
            if n:
                self._attempt(task, n, attempt)
            assert task not in self.done
            self.done[task] = unpack_outcome(task, outcome)
            self.events.append(("done", task, 0))

        return self._later(commit)

    def tried(self, task: int = 0) -> list[Attempt]:
        return [self.attempts[key] for key in sorted(self.attempts) if key[0] == task]

    def _attempt(self, task: int, n: int, frame: bytes) -> None:
        assert (task, n) not in self.attempts
        self.attempts[task, n] = unpack_attempt(task, n, frame)
        self.events.append(("attempt", task, n))

    def _later(self, commit: Callable[[], None]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        committed: asyncio.Future[None] = loop.create_future()
        if self.broken is not None:
            committed.set_exception(self.broken)
            return committed
        self.pending += 1

        def land() -> None:
            self.pending -= 1
            commit()
            if not committed.done():
                committed.set_result(None)

        loop.call_later(self._commit_s, land)
        return committed


class Stage:
    """An asker and what it stands on; make it on the running loop.

    Attributes:
        turns: every judged request, as `on_turn` was told.
    """

    def __init__(
        self,
        script: Sequence[Exchange] | Callable[[Request], Exchange],
        *,
        slots: int = 4,
        quotas: Quotas = Quotas(),  # noqa: B008  frozen
        chance: float | Callable[[], float] = 0.5,
        latency_s: float | Callable[[Request], float] = 0.0,
        commit_s: float = 0.0,
        check: Callable[[Answer], Verdict | None] | None = None,
        streamed: bool = False,
        **retry: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock = FakeClock(follow=loop.time)
        self.door = ScriptedTransport(script, latency_s=latency_s)
        self.gate = Gate(quotas, slots=slots, now=loop.time, wall_us=self.clock)
        self.journal = MemoryJournal(commit_s=commit_s)
        self.turns: list[Turn] = []
        self.asker = Asker(
            door=self.door,
            gate=self.gate,
            journal=self.journal,
            retry=Retry(**retry),
            world=World(now_s=loop.time, wall_us=self.clock, chance=chance if callable(chance) else steady(chance)),
            secret=SECRET,
            on_turn=self.turns.append,
            check=check,
            streamed=streamed,
        )

    async def ask(self, task: OpenTask) -> Ending:
        """As the session does: credit, a permit, the asking, the credit back."""
        await self.gate.open()
        try:
            permit = await self.gate.admit(task.lane, task.request.estimated_tokens)
            return await self.asker.ask(task, permit)
        finally:
            self.gate.close()


async def as_a_session(stage: Stage, tasks: Iterable[OpenTask]) -> list[Ending]:
    """Ask them all as a session does: one sender, that comes to the gate when a slot is free, or lent."""
    gate, free = stage.gate, asyncio.Event()
    gate.on_free(free.set)
    asked = []

    async def one(task: OpenTask, permit: Permit) -> Ending:
        try:
            return await stage.asker.ask(task, permit)
        finally:
            gate.close()

    for task in tasks:
        while gate.is_full:
            free.clear()
            await free.wait()
        await gate.open()
        tokens = task.request.estimated_tokens
        permit = gate.admit_now(task.lane, tokens) or gate.probe_now(task.lane, tokens)
        permit = permit or await gate.admit(task.lane, tokens)
        asked.append(asyncio.create_task(one(task, permit)))
    return await asyncio.gather(*asked)


def open_task(number: int = 0, **fields: Any) -> OpenTask:
    return OpenTask(**({"task": number, "request": a_request(f"prompt {number}"), "lane": LANE} | fields))


def failure(status: int, message: str = "no", *, details: Sequence[Any] = (), **headers: str) -> Reply:
    error = {"code": status, "message": message, "details": list(details)}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=names, body=orjson.dumps({"error": error}), latency_ms=2.0)


def throttled(retry_after_s: float | None = None, quota_id: str | None = None) -> Reply:
    """A 429, with what the server says about the wait and the quota."""
    violation = {"quotaId": quota_id, "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests"}
    details: list[Any] = [{"@type": "QuotaFailure", "violations": [violation]}] if quota_id else []
    if retry_after_s is not None:
        details.append({"@type": "RetryInfo", "retryDelay": f"{retry_after_s}s"})
    return failure(429, "slow down", details=details)


def nothing(kind: NoReplyKind, *, sent: bool, latency_ms: float = 1.0) -> NoReply:
    return NoReply(kind=kind, sent=sent, first_byte=False, detail=kind.value, latency_ms=latency_ms)


BUSY = failure(503)
REFUSED = nothing(NoReplyKind.REFUSED, sent=False)
STALE = nothing(NoReplyKind.STALE, sent=True)
DISCONNECTED = nothing(NoReplyKind.DISCONNECTED, sent=True)
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel"
