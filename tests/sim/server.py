"""What would the modelled server do? It counts what arrives as strictly as it can, and answers with real bytes."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import random
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from typing import NamedTuple

import orjson

from batcher.emulator.quotas import Day, Window, next_midnight_s
from batcher.emulator.refusals import Limit, Violation, plain, quota_exceeded
from batcher.records import NoReply, NoReplyKind, Reply
from tests.builders import a_reply
from tests.fakes import Exchange
from tests.sim.scenario import MINUTE_S, NEVER_S, Hint, Lane, Out, Outage, Scenario, Truth, Windows

SOON_S = 0.02  # a refusal takes no thinking
CONNECT_S = 10.0  # the door's own deadlines
FIRST_BYTE_S = 300.0
OK, QUOTA, DAY, CROWD, TROUBLE, OUT = "ok", "quota", "day", "crowd", "trouble", "out"


class Arrival(NamedTuple):
    """One request as the server saw it; `fate` is what became of it, `named` the quotas that it would have broken."""

    at_s: float
    model: str
    tokens: int
    fate: str
    named: tuple[str, ...] = ()


class FixedWindow:
    """As `Window`, for a server that counts by the minute of its clock."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self._minute = -1
        self._sum = 0

    def wait_s(self, amount: int, *, at_s: float) -> float:
        minute = math.floor(at_s / MINUTE_S)
        if minute != self._minute:
            self._minute, self._sum = minute, 0
        if self._sum + amount <= self.allowed:
            return 0.0
        return (minute + 1) * MINUTE_S - at_s or MINUTE_S

    def take(self, amount: int, *, at_s: float) -> None:
        self._sum += amount


class Counts:
    """What the server counts of one lane, other clients of its project included."""

    def __init__(self, lane: Lane, scenario: Scenario) -> None:
        kind: Callable[[int], Window | FixedWindow] = Window if scenario.windows is Windows.SLIDING else FixedWindow
        limits = lane.limits
        self.limits = limits
        self._minutes = [
            (limit, allowed, kind(allowed))
            for limit, allowed in (
                (Limit.REQUESTS_PER_MINUTE, limits.requests_per_minute),
                (Limit.INPUT_TOKENS_PER_MINUTE, limits.input_tokens_per_minute),
            )
            if allowed is not None
        ]
        self._day = None if limits.requests_per_day is None else Day(limits.requests_per_day)
        self._scenario = scenario
        self._others = _arrivals_of_others(scenario)
        self._next_other_s, self._other_tokens = next(self._others, (NEVER_S, 0))
        self.taken_by_others = 0

    def broken(self, now_s: float, tokens: int) -> list[Violation]:
        """Count one request, or say which quotas forbid it."""
        while self._next_other_s <= now_s:
            self.taken_by_others += not self._take(self._next_other_s, self._other_tokens, of_the_day=False)
            self._next_other_s, self._other_tokens = next(self._others, (NEVER_S, 0))
        return self._take(now_s, tokens)

    def _take(self, now_s: float, tokens: int, *, of_the_day: bool = True) -> list[Violation]:
        day = self._day if of_the_day else None
        share = self._scenario.share_at(now_s)
        found = []
        for limit, allowed, window in self._minutes:
            window.allowed = max(1, round(allowed * share))
            wait_s = window.wait_s(1 if limit is Limit.REQUESTS_PER_MINUTE else tokens, at_s=now_s)
            if wait_s > 0:
                found.append(Violation(limit=limit, allowed=window.allowed, wait_s=wait_s))
        if day is not None:
            wait_s = day.wait_s(epoch_s=self._scenario.begins_us / 1e6 + now_s)
            if wait_s > 0:
                found.append(Violation(limit=Limit.REQUESTS_PER_DAY, allowed=self._day_allowed, wait_s=wait_s))
        if not found:
            for limit, _, window in self._minutes:
                window.take(1 if limit is Limit.REQUESTS_PER_MINUTE else tokens, at_s=now_s)
            if day is not None:
                day.take()
        return found

    @property
    def _day_allowed(self) -> int:
        assert self.limits.requests_per_day is not None
        return self.limits.requests_per_day


def _arrivals_of_others(scenario: Scenario) -> Iterator[tuple[float, int]]:
    others = scenario.others
    if others is None:
        return
    for number in itertools.count():
        at_s = others.from_s + number * MINUTE_S / others.per_minute
        if at_s >= others.until_s:
            return
        yield at_s, others.tokens


class Server:
    """An endpoint with quotas, moods and other clients.

    Attributes:
        arrivals: all of our requests, in the order in which they came.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._chance = random.Random(f"{scenario.seed} server")
        self._hints = itertools.cycle(scenario.hints)
        self.counts = {lane.model: Counts(lane, scenario) for lane in scenario.lanes}
        self.arrivals: list[Arrival] = []

    def outage_at(self, at_s: float) -> Outage | None:
        return next((outage for outage in self._scenario.outages if outage.goes_on(at_s)), None)

    def out(self, outage: Outage, now_s: float, truth: Truth) -> tuple[Exchange, float]:
        """What a request meets while nobody is there, and after how many seconds."""
        self.arrivals.append(Arrival(now_s, truth.model, truth.actual, OUT))
        if outage.how is Out.STORM:
            return _reply(plain(503).body, 503), SOON_S
        kind, sent, after_s = {
            Out.REFUSED: (NoReplyKind.REFUSED, False, 0.001),
            Out.DNS: (NoReplyKind.DNS, False, 0.05),
            Out.TIMEOUT: (NoReplyKind.CONNECT_TIMEOUT, False, CONNECT_S),
            Out.SILENCE: (NoReplyKind.READ_TIMEOUT, True, FIRST_BYTE_S),
        }[outage.how]
        return NoReply(kind=kind, sent=sent, first_byte=False, detail=kind.value, latency_ms=0.0), after_s

    def arrive(self, now_s: float, truth: Truth) -> tuple[Exchange, float]:
        """Answer one request; the reply, and after how many seconds it is there."""
        crowd = next((crowd for crowd in self._scenario.crowds if crowd.goes_on(now_s)), None)
        if crowd is not None and self._chance.random() < crowd.share:
            self.arrivals.append(Arrival(now_s, truth.model, truth.actual, CROWD))
            return _reply(plain(429).body, 429), SOON_S
        violations = self.counts[truth.model].broken(now_s, truth.actual)
        if violations:
            fate = DAY if any(each.limit is Limit.REQUESTS_PER_DAY for each in violations) else QUOTA
            named = tuple(each.limit.name for each in violations)
            self.arrivals.append(Arrival(now_s, truth.model, truth.actual, fate, named))
            return self._refused(violations, now_s, truth.model), SOON_S
        if self._chance.random() < self._scenario.trouble:  # after the count: a 503 counts against the quotas
            self.arrivals.append(Arrival(now_s, truth.model, truth.actual, TROUBLE))
            status = 500 if self._chance.random() < 0.5 else 503
            return _reply(plain(status).body, status), SOON_S
        self.arrivals.append(Arrival(now_s, truth.model, truth.actual, OK))
        latency = self._scenario.latency
        counts = {"promptTokenCount": truth.actual, "candidatesTokenCount": truth.output}
        answer = a_reply("yes", **counts, totalTokenCount=truth.actual + truth.output)
        return answer, latency.first_s * self._chance.uniform(0.7, 1.3) + latency.a_token_s * truth.output

    def now_utc(self, now_s: float) -> dt.datetime:
        """The wall clock."""
        return dt.datetime.fromtimestamp(self._scenario.begins_us / 1e6 + now_s, dt.UTC)

    def travel_s(self) -> float:
        """How long the next request is on its way."""
        most_s = self._scenario.travel_s
        if most_s == 0:
            return 0.0
        return most_s * self._chance.random() * (5.0 if self._chance.random() < 0.02 else 1.0)

    def _refused(self, violations: list[Violation], now_s: float, model: str) -> Reply:
        wait_s = max(each.wait_s for each in violations)
        body = quota_exceeded(violations, model=model).body
        hint = next(self._hints)
        if hint is Hint.EXACT:
            return _reply(body, 429)
        if hint is Hint.OPENAI:
            said = f"Rate limit reached for requests. Please try again in {wait_s:.3f}s."
            error = {"message": said, "type": "requests", "code": "rate_limit_exceeded", "param": None}
            return _reply(orjson.dumps({"error": error}), 429)
        if hint is Hint.PROXIED:
            said = f"litellm.RateLimitError: VertexAIException - {body.decode()}"
            error = {"message": said, "type": "throttling_error", "code": "429", "param": None}
            return _reply(orjson.dumps({"error": error}), 429)
        return _reply(
            _without_prose(body, wait_s / 3 if hint is Hint.DISAGREEING else None),
            429,
            self._header(hint, wait_s, now_s),
        )

    def _header(self, hint: Hint, wait_s: float, now_s: float) -> dict[str, str]:
        moment = self.now_utc(now_s)
        return {
            Hint.SECONDS: {"retry-after": str(math.ceil(wait_s))},
            Hint.DATE: {
                "retry-after": format_datetime(moment + dt.timedelta(seconds=math.ceil(wait_s) + 1), usegmt=True)
            },
            Hint.MILLISECONDS: {"retry-after-ms": str(math.ceil(wait_s * 1000))},
            Hint.NONE: {},
            Hint.DISAGREEING: {"retry-after": str(math.ceil(wait_s))},
            Hint.ABSURD: {"retry-after": "1e12"},
            Hint.NEGATIVE: {"retry-after": "-7"},
            Hint.PAST: {"retry-after": format_datetime(moment - dt.timedelta(days=1), usegmt=True)},
        }[hint]


def next_day_s(scenario: Scenario, now_s: float) -> float:
    """When the day quotas are full again."""
    begins_s = scenario.begins_us / 1e6
    return next_midnight_s(begins_s + now_s) - begins_s


def _reply(body: bytes, status: int, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status=status, headers=headers or {}, body=body)


def _without_prose(body: bytes, retry_s: float | None) -> bytes:
    """The same refusal, silent about the wait, or with another one in its details."""
    error = orjson.loads(body)["error"]
    error["message"] = "You exceeded your current quota."
    error["details"] = [each for each in error["details"] if "retryDelay" not in each]
    if retry_s is not None:
        error["details"].append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_s:.3f}s"})
    return orjson.dumps({"error": error})
