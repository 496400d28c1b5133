"""How does one task get its outcome? The first request directly; only what asks again enters tenacity.

Wrapping every first attempt in a retrier would cost 28 to 42 µs a request (measured). A task that waits, for its
backoff or for the gate, holds no slot; the slot of an answered task is free only after its journal commit, so that a
kill re-pays at most the slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tenacity import DoSleep, RetryCallState, Retrying, retry_if_result

from batcher.asking.judged import Judge
from batcher.asking.room import SMALL_BYTES
from batcher.asking.scrub import scrub
from batcher.asking.transport import Transport
from batcher.asking.ways import NO_WAY, Way, way_of
from batcher.gemini.origin import loads
from batcher.gemini.refusal import OK, Verdict, backoff_s, hinted_s, status_of
from batcher.gemini.reply import Cut
from batcher.job.spec import Retry
from batcher.pacing.gate import Gate
from batcher.pacing.junction import Junction
from batcher.pacing.permit import BACKOFF, RETRY_BUDGET, Permit
from batcher.records import Answer, Attempt, Billed, Kind, NoReply, Outcome, Problem, Reply, Request, Status
from batcher.store.frames import pack_attempt, pack_outcome
from batcher.store.journal import Journal

_AGAIN = frozenset({Kind.RETRY, Kind.THROTTLED, Kind.INVALID})


class Drained(Exception):  # noqa: N818  no error: the task stays open, its attempts are in the journal
    """The run is stopping and this task would have had to ask again."""


_STOPS_THE_RUN = frozenset({Kind.FATAL, Kind.PARKED})
# What an endpoint that is none of ours says to everything; without a single answer it may concern the whole run.
_NO_ANSWERS = frozenset({"bad_body", "bad_http", "empty", "error_in_200", "too_large", "bad_request", "unprocessable"})
_TIER = "x-gemini-service-tier"
_LONGEST_TIER = 24


class Turn(NamedTuple):
    """One request, judged."""

    attempt: Attempt
    verdict: Verdict
    answer: Answer | None
    permit: Permit


@dataclass(slots=True, eq=False, kw_only=True)
class OpenTask:
    """A task between its admission and its outcome; it owns its attempts.

    Attributes:
        attempts: requests made so far, of earlier sessions too; the next one's `n` is one more.
        counted: of which count against the job's limit.
        active_s: time spent asking and backing off, without the time the gate made it wait, be it for an outage to end.
        waiting: asleep or at the gate: it holds no slot and may be cancelled without loss.
        waits_for: what a waiting one waits for, where it is not the gate's to say; see `Straggler`.
        asked_at: the lane of the last request, where a run has several ways.
    """

    task: int
    request: Request
    lane: str
    attempts: int = 0
    counted: int = 0
    active_s: float = 0.0
    backoff_s: float = 0.0
    started_at: int = 0
    waiting: bool = False
    waits_for: str = ""
    tries: dict[str, int] = field(default_factory=dict)
    asked_at: str = ""


class Ending(NamedTuple):
    """How asking a task ended: with an outcome, or with a verdict that may concern the whole run and leaves it open.

    Without an outcome the slot is still held: whoever decides about the run gives it back, so that a refused key
    costs no more requests than there are slots.
    """

    task: OpenTask
    turn: Turn
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Time and chance, handed in.

    Attributes:
        now_s: the loop's monotonic clock.
        wall_us: wall time, microseconds since the epoch, UTC.
        chance: uniform in [0, 1).
        sleep: of tenacity; the loop's.
    """

    now_s: Callable[[], float]
    wall_us: Callable[[], int]
    chance: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Asker:
    """Asks open tasks until they have an outcome and the journal has it.

    Args:
        door: where requests go.
        gate: when they may.
        journal: where every attempt is kept before its slot is given back.
        retry: how often and how long.
        world: time and chance.
        secret: the key, to scrub it from a server's messages; of several endpoints, all keys.
        on_turn: told of every judged request, for the totals.
        check: judges an answer that is otherwise in order by what the job asks of its text; None where it asks nothing.
        streamed: whether the door asks for streams.
        ways: lane -> what goes with it, for runs with several; None: one door and one gate serve all lanes.
    """

    def __init__(  # noqa: PLR0913  the edges of the world, each handed in
        self,
        *,
        door: Transport,
        gate: Gate | Junction,
        journal: Journal,
        retry: Retry,
        world: World,
        secret: str | Sequence[str],
        on_turn: Callable[[Turn], object],
        check: Callable[[Answer], Verdict | None] | None = None,
        streamed: bool = False,
        ways: Mapping[str, Way] | None = None,
    ) -> None:
        self._secrets = (secret,) if isinstance(secret, str) else tuple(secret)
        self._gate = gate
        self._junction = None if isinstance(gate, Gate) else gate
        self._ways = ways
        self._way: Way = way_of(door, gate, self._secrets, retry.max_hint_s) if isinstance(gate, Gate) else NO_WAY
        self._journal = journal
        self._retry = retry
        self._world = world
        self._on_turn = on_turn
        self._check = check
        self._judge = Judge(streamed=streamed).judge
        self.is_served: Callable[[], bool] = lambda: True
        """Whether anybody was answered; until then, what is no answer leaves its task open. The session knows."""
        self.in_flight: set[OpenTask] = set()
        self.draining = False
        self._retrying = Retrying(
            retry=retry_if_result(_asks_again),
            stop=lambda state: self._spent(_task_of(state), _turn_of(state).verdict),
            wait=lambda state: self._wait_s(_task_of(state), _turn_of(state)),
            retry_error_callback=_turn_of,
        )
        self._retrying.begin()

    async def ask(self, task: OpenTask, permit: Permit) -> Ending:
        """Ask `task`, admitted by `permit`, until it ends; its records are committed when this returns.

        Raises:
            StorageError: the journal cannot be written.
            RunStopped: the gate will not open again today.
            Drained: the run is stopping and the task would have to ask again.
            asyncio.CancelledError: cancelled while it waited; nothing is lost, the task stays open.
        """
        task.started_at = task.started_at or self._world.wall_us()
        turn = await self._turn(task, permit)
        if turn.verdict.kind in _AGAIN:
            made = [turn]
            del turn  # its reply may be big, and is not to be kept while the next ones are asked for
            turn = await self._again(task, made)
        return await self._end(task, turn)

    async def _turn(self, task: OpenTask, permit: Permit) -> Turn:
        task.attempts += 1
        sent_at = self._world.wall_us()
        way, request = self._way, task.request
        if self._ways is not None:
            way, task.asked_at = self._ways[permit.lane], permit.lane
            request = way.request(request)
        self.in_flight.add(task)
        reply = await way.door.post(request)
        self.in_flight.discard(task)
        answer, verdict = self._judge(reply, sent_at)
        known = answer if isinstance(answer, Answer) else answer.answer if isinstance(answer, Cut) else None
        if self._check is not None and verdict is OK and known is not None:
            verdict = self._check(known) or verdict
        _settle(way.gate, permit, verdict, reply, known)
        if verdict is not OK:
            self._throttled(way.gate, permit, verdict)
        came, http_status, body = (
            (reply.first_byte_ms, reply.status, reply.body) if isinstance(reply, Reply) else (None, None, b"")
        )
        attempt = Attempt(  # by place: by name it costs twice as much, and so do the others below
            task.task,
            task.attempts,
            request.model,
            sent_at,
            reply.latency_ms,
            came,
            http_status,
            verdict.kind,
            verdict.reason,
            verdict.quota_id,
            (permit.waited_s + task.backoff_s) * 1000,
            verdict.billed,
            _tier_of(reply, self._secrets),
            task.request.input_bound,
            task.request.output_bound,
            way.place,
            body,
        )
        if verdict is OK and way.gate.breaker.is_closed:  # nearly every reply
            way.gate.breaker.answers += 1
            way.answers += 1
            had_a_chance = True
        else:
            is_new = task.attempts == 1 + sum(task.tries.values())
            had_a_chance = not way.health.report(permit, verdict, used=task.counted, is_new=is_new)
        if had_a_chance:
            task.counted += verdict.counted
            task.active_s += reply.latency_ms / 1000
        turn = Turn(attempt, verdict, known, permit)
        self._on_turn(turn)
        return turn

    def _way_of(self, permit: Permit) -> Way:
        return self._way if self._ways is None else self._ways[permit.lane]

    def _throttled(self, gate: Gate, permit: Permit, verdict: Verdict) -> None:
        if verdict.kind is Kind.THROTTLED:
            if verdict.quota is None:
                gate.strain(permit.lane, verdict.reason)
            else:
                wait_s = self._hinted(verdict)
                gate.refused(permit.lane, verdict.quota, verdict.quota_value, wait_s, verdict.reason)
        elif verdict.kind is Kind.PARKED:  # at once: what ends while this is written down must not send another
            gate.park(permit.lane, verdict.wait_s)
        for quota, value in verdict.also:
            gate.refused(permit.lane, quota, value, self._hinted(verdict), verdict.reason)
        if self._junction is not None and verdict.quota_id and verdict.quota_value:
            self._junction.refused(permit.lane, verdict.quota_id, verdict.quota_value)

    async def _again(self, task: OpenTask, made: list[Turn]) -> Turn:
        """Let tenacity say after each turn, the one that was made first, whether to ask again, and when."""
        # Its decisions, not its loop: that makes a coroutine of each of them, which was half of what a retry cost. As
        # nothing is awaited between two decisions of a task, all tasks share the one that decides.
        decide = self._retrying.iter
        state = RetryCallState(self._retrying, None, (task,), {})
        state.set_result(made.pop())
        while isinstance(wait_s := decide(state), DoSleep):
            await self._set_aside(task, _turn_of(state))
            state.prepare_for_next_attempt()
            await self._world.sleep(wait_s)
            task.waits_for = ""
            permit = await self._admitted(task)
            task.waiting = False
            state.set_result(await self._turn(task, permit))
        return _turn_of(state)

    async def _admitted(self, task: OpenTask) -> Permit:
        tokens = task.request.estimated_tokens
        if self._junction is None:
            return await self._gate.admit(task.lane, tokens, retry=True)
        return await self._junction.admit(task.lane, tokens, retry=True, last=task.asked_at)

    async def _set_aside(self, task: OpenTask, turn: Turn) -> None:
        """Keep the failed attempt, admit the next one in the same commit, and give the slot back."""
        await self._keep(task, turn)
        way = self._way_of(turn.permit)
        if len(turn.attempt.body) > SMALL_BYTES:
            way.door.forget()
        self._gate.free(turn.permit)
        if self.draining:
            raise Drained
        task.waiting = True
        if loads(turn.verdict):
            task.waits_for = RETRY_BUDGET
            task.backoff_s += await way.gate.afford_retry()
        task.waits_for = BACKOFF

    async def _keep(self, task: OpenTask, turn: Turn) -> None:
        await self._journal.retry(task.task, turn.attempt.n, pack_attempt(turn.attempt), self._admission(task))

    def _admission(self, task: OpenTask) -> tuple[int, int, int, int, int]:
        request = task.request
        return task.task, task.attempts + 1, request.input_bound, request.output_bound, self._world.wall_us()

    def _spent(self, task: OpenTask, verdict: Verdict) -> bool:
        """Whether this was the last try: of the job's count, of this reason's, or of the row's time."""
        what = verdict.kind if verdict.kind is Kind.INVALID else verdict.reason  # whatever is wrong, it is one budget
        tries = task.tries[what] = task.tries.get(what, 0) + 1
        if verdict.most is not None and tries >= verdict.most:
            return True
        return task.counted >= self._retry.attempts or task.active_s >= self._retry.row_deadline_s

    def _wait_s(self, task: OpenTask, turn: Turn) -> float:
        verdict = turn.verdict
        is_out = not self._way_of(turn.permit).gate.breaker.is_closed
        if verdict.wait_s is not None:
            wait = self._hinted(verdict)
        elif is_out and verdict.kind is Kind.RETRY:
            wait = 0.0  # the gate holds it until the outage is over, or it is the next probe
        elif verdict.kind is Kind.THROTTLED or verdict.counted:
            tries = max(0, task.tries.get(verdict.reason, 0))
            wait = backoff_s(tries, jitter=self._world.chance(), max_s=self._retry.max_backoff_s)
        else:
            wait = backoff_s(min(task.attempts, 10), jitter=self._world.chance(), max_s=self._retry.max_backoff_s)
        task.backoff_s = wait
        if verdict.kind is Kind.RETRY and not is_out:
            task.active_s += wait
        return wait

    def _hinted(self, verdict: Verdict) -> float:
        if verdict.wait_s is None:
            return backoff_s(0, jitter=self._world.chance(), max_s=self._retry.max_backoff_s)
        return hinted_s(verdict.wait_s, jitter=self._world.chance(), max_s=self._retry.max_hint_s)

    async def _end(self, task: OpenTask, turn: Turn) -> Ending:
        frame = pack_attempt(turn.attempt)
        if turn.verdict.kind is not Kind.OK and self._stays_open(turn.verdict):
            await self._journal.attempted(task.task, turn.attempt.n, frame)
            if len(turn.attempt.body) > SMALL_BYTES:
                self._way_of(turn.permit).door.forget()
            return Ending(task, turn, None)
        outcome = self._outcome(task, turn)
        await self._journal.finish(task.task, pack_outcome(outcome), turn.attempt.n, frame)
        if len(turn.attempt.body) > SMALL_BYTES:
            self._way_of(turn.permit).door.forget()
        self._gate.free(turn.permit)
        return Ending(task, turn, outcome)

    def _stays_open(self, verdict: Verdict) -> bool:
        return verdict.kind in _STOPS_THE_RUN or (verdict.reason in _NO_ANSWERS and not self.is_served())

    def scrubbed(self, text: str) -> str:
        """A server's text as it may be stored and shown."""
        return scrub(text, *self._secrets)

    async def give_up(self, ending: Ending) -> Outcome:
        """Make an ending that was left open a failed row: the run goes on without it."""
        outcome = self._outcome(ending.task, ending.turn)
        await self._journal.finish(ending.task.task, pack_outcome(outcome))
        return outcome

    def _outcome(self, task: OpenTask, turn: Turn) -> Outcome:
        verdict = turn.verdict
        status = status_of(verdict, turn.answer)
        told = status is Status.FAILED or status is Status.INVALID
        return Outcome(
            task.task,
            status,
            turn.attempt.n if not told or verdict.kind is Kind.INVALID else 0,
            task.attempts,
            task.started_at,
            self._world.wall_us(),
            verdict.reason if told else None,
            self.scrubbed(verdict.message) if told else None,
        )


def failed_row(task: int, problem: Problem, *, at_us: int, secret: str | Sequence[str]) -> Outcome:
    """The outcome of a row that could not be asked at all."""
    return Outcome(
        task=task,
        status=Status.FAILED,
        answered=0,
        attempts=0,
        started_at=at_us,
        finished_at=at_us,
        error_kind=problem.kind,
        error_message=scrub(problem.message, *((secret,) if isinstance(secret, str) else secret)),
    )


def _settle(gate: Gate, permit: Permit, verdict: Verdict, reply: Reply | NoReply, answer: Answer | None) -> None:
    if isinstance(reply, NoReply) and not reply.sent:
        gate.unsent(permit)
    elif verdict.kind is Kind.THROTTLED and verdict.billed is Billed.NO:
        gate.settle(permit, 0)  # a refused request is not counted against the token quota
    else:
        usage = answer.usage if answer else None
        gate.settle(permit, usage.prompt_token_count if usage else None)


def _tier_of(reply: Reply | NoReply, secrets: Sequence[str]) -> str | None:
    tier = reply.headers.get(_TIER) if isinstance(reply, Reply) else None
    # aiohttp gives bytes that are no UTF-8 as lone surrogates, which the journal's JSON refuses: no tier is spelt so.
    # And a key that is echoed here must not be kept.
    return tier if tier is not None and tier.isascii() and tier not in secrets and len(tier) < _LONGEST_TIER else None


def _asks_again(turn: Turn) -> bool:
    return turn.verdict.kind in _AGAIN


def _turn_of(state: RetryCallState) -> Turn:
    assert state.outcome is not None  # tenacity asks these only about a finished call
    turn: Turn = state.outcome.result()
    return turn


def _task_of(state: RetryCallState) -> OpenTask:
    task: OpenTask = state.args[0]
    return task
