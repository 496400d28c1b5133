"""What did a simulated run make of what it was offered? For each lane: how much, and at what price in refusals."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from tests.sim.client import Played
from tests.sim.scenario import MINUTE_S, Lane, Scenario
from tests.sim.server import CROWD, DAY, OK, OUT, QUOTA, TROUBLE, Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One minute quota of a lane, from the first arrival on until `until_s`.

    Attributes:
        offered: units in that time.
        used: units of the requests that were let in.
        fullest: units in the fullest sliding minute.
        largest: units of the largest single request.
    """

    name: str
    limit: int
    offered: float
    used: int
    fullest: int
    largest: int

    @property
    def share(self) -> float:
        """Of what was offered."""
        return self.used / self.offered


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """One lane.

    Attributes:
        throttled: requests that were answered 429, whatever it named.
        over_quota: of which named a minute quota.
        answers: requests that were answered.
        lost: requests that met an origin in trouble, or none.
        possible: answers that would have been possible in the time, by quotas, slots and outages.
        idle_s: the longest time without a request in which one would have been let in and answered.
    """

    model: str
    quotas: tuple[QuotaUse, ...]
    requests: int
    answers: int
    throttled: int
    over_quota: int
    lost: int
    possible: float
    idle_s: float

    @property
    def throttled_share(self) -> float:
        """Of all requests."""
        return self.throttled / max(1, self.requests)

    @property
    def rejected_per_success(self) -> float:
        return self.throttled / max(1, self.answers)

    @property
    def goodput(self) -> float:
        """Answers by what was possible."""
        return self.answers / max(1.0, self.possible)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run.

    Attributes:
        finished_s: when the last row had its outcome.
        most_in_flight: requests out at once.
        turns: of the loop.
    """

    lanes: tuple[LaneReport, ...]
    finished_s: float
    most_in_flight: int
    turns: int

    def __str__(self) -> str:
        lines = [f"finished after {self.finished_s:.1f} s, {self.most_in_flight} in flight at most, {self.turns} turns"]
        for lane in self.lanes:
            shown = {
                field.name: getattr(lane, field.name) for field in fields(lane) if field.name not in {"model", "quotas"}
            }
            figures = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
            lines.append(f"{lane.model}: {figures}, goodput {lane.goodput:.3f}")
            lines += [
                f"  {use.name}: limit {use.limit}, fullest {use.fullest}, used {use.share:.2%} of {use.offered:.0f}"
                for use in lane.quotas
            ]
        return "\n".join(lines)


def report(played: Played, *, until_s: float | None = None) -> Report:
    """Sum up a run; `until_s` cuts off what came later, for what a run uses of its quotas while it has rows to ask."""
    scenario = played.scenario
    arrivals = [each for each in played.server.arrivals if until_s is None or each.at_s < until_s]
    return Report(
        lanes=tuple(
            _of_lane(scenario, lane, [each for each in arrivals if each.model == lane.model], until_s)
            for lane in scenario.lanes
        ),
        finished_s=played.ended_s,
        most_in_flight=played.wire.most_in_flight,
        turns=played.turns,
    )


def _of_lane(scenario: Scenario, lane: Lane, arrivals: Sequence[Arrival], until_s: float | None) -> LaneReport:
    end_s = until_s if until_s is not None else arrivals[-1].at_s if arrivals else 0.0
    fates = [each.fate for each in arrivals]
    return LaneReport(
        model=lane.model,
        quotas=tuple(_uses(scenario, lane, [each for each in arrivals if each.fate in {OK, TROUBLE}], end_s)),
        requests=len(arrivals),
        answers=fates.count(OK),
        throttled=fates.count(QUOTA) + fates.count(DAY) + fates.count(CROWD),
        over_quota=fates.count(QUOTA),
        lost=fates.count(OUT) + fates.count(TROUBLE),
        possible=integral(lambda at_s: rate(scenario, lane, at_s), end_s),
        idle_s=_longest_idle(scenario, lane, arrivals),
    )


def _uses(scenario: Scenario, lane: Lane, let_in: Sequence[Arrival], end_s: float) -> Iterator[QuotaUse]:
    limits = lane.limits
    for name, limit, unit in (
        ("requests/min", limits.requests_per_minute, _one),
        ("input tokens/min", limits.input_tokens_per_minute, _tokens),
    ):
        if limit is not None:
            yield QuotaUse(
                name=name,
                limit=limit,
                offered=integral(lambda at_s, limit=limit: limit * scenario.share_at(at_s) / MINUTE_S, end_s),
                used=sum(map(unit, let_in)),
                fullest=fullest([(each.at_s, unit(each)) for each in let_in]),
                largest=max(map(unit, let_in), default=0),
            )


def _one(_: Arrival) -> int:
    return 1


def _tokens(arrival: Arrival) -> int:
    return arrival.tokens


def fullest(let_in: Sequence[tuple[float, int]]) -> int:
    """The most units that any sliding minute held."""
    window: deque[tuple[float, int]] = deque()
    held = most = 0
    for at_s, amount in let_in:
        while window and window[0][0] <= at_s - MINUTE_S:
            held -= window.popleft()[1]
        window.append((at_s, amount))
        held += amount
        most = max(most, held)
    return most


def rate(scenario: Scenario, lane: Lane, at_s: float) -> float:
    """Answers a second that are possible then: by the tightest quota, by the slots; none while the origin is out."""
    if any(outage.goes_on(at_s) for outage in scenario.outages):
        return 0.0
    share, limits, prompts, others = scenario.share_at(at_s), lane.limits, lane.prompts, scenario.others
    taken = others if others is not None and others.from_s <= at_s < others.until_s else None
    rates = [scenario.slots / len(scenario.lanes) / (scenario.latency.mean_s + scenario.commit_s + scenario.travel_s)]
    if limits.requests_per_minute is not None:
        rates.append((limits.requests_per_minute * share - (taken.per_minute if taken else 0.0)) / MINUTE_S)
    if limits.input_tokens_per_minute is not None:
        tokens = limits.input_tokens_per_minute * share - (taken.per_minute * taken.tokens if taken else 0.0)
        rates.append(tokens / MINUTE_S / prompts.mean)
    return max(0.0, min(rates))


def integral(rate_at: Callable[[float], float], end_s: float, *, step_s: float = 0.5) -> float:
    """What a rate comes to from the beginning until then."""
    steps = max(1, round(end_s / step_s))
    width_s = end_s / steps
    return sum(rate_at((step + 0.5) * width_s) for step in range(steps)) * width_s


def _longest_idle(scenario: Scenario, lane: Lane, arrivals: Sequence[Arrival]) -> float:
    """The longest gap between two requests, without the part in which there was no room, or nobody to answer."""
    longest_s = 0.0
    let_in = [each for each in arrivals if each.fate in {OK, TROUBLE}]
    for before, after in itertools.pairwise(arrivals):
        if after.at_s - before.at_s > max(longest_s, 1.0):
            from_s = _room_s(scenario, lane, let_in, before.at_s, after.tokens)
            out_s = sum(
                _overlap_s(each.from_s, each.from_s + each.for_s, from_s, after.at_s) for each in scenario.outages
            )
            longest_s = max(longest_s, after.at_s - from_s - out_s)
    return longest_s


def _room_s(scenario: Scenario, lane: Lane, let_in: Sequence[Arrival], at_s: float, tokens: int) -> float:
    """From when on, not before `at_s`, one more request of so many tokens fits into the last sliding minute."""
    share = scenario.share_at(at_s)
    for limit, amount, unit in (
        (lane.limits.requests_per_minute, 1, _one),
        (lane.limits.input_tokens_per_minute, tokens, _tokens),
    ):
        if limit is not None:
            window = [each for each in let_in if at_s - MINUTE_S < each.at_s <= at_s]
            held = sum(map(unit, window))
            for each in window:
                if held + amount <= limit * share:
                    break
                held -= unit(each)
                at_s = max(at_s, each.at_s + MINUTE_S)
    return at_s


def _overlap_s(from_s: float, until_s: float, first_s: float, last_s: float) -> float:
    return max(0.0, min(until_s, last_s) - max(from_s, first_s))
