"""Which laws did a simulated run break? Each law is a question with the broken ones as its answer, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from batcher.records import Billed, Kind, NoReplyKind, Status
from tests.sim.client import Played
from tests.sim.report import Report
from tests.sim.server import DAY, OK, TROUBLE, next_day_s

TURNS_A_REQUEST = 30
TURNS_A_SECOND = 3
TURNS_AT_ALL = 2_000
UNSURE = 0.001
"""Of requests with estimates that are off, or whose worth changes: as many may be refused, and the first few."""
FIRST_FEW = 8
FEW_ROWS = 3


def broken(played: Played, told: Report) -> list[str]:
    """Every law that does not hold of the run, in words; empty when all hold."""
    return [
        *_ends(played, told),
        *_every_row_once(played),
        *_no_window_overfilled(played, told),
        *_a_429_costs_no_attempt(played),
        *_an_outage_costs_few_rows(played),
        *_in_order(played),
        *_all_settled(played),
        *_days_hold(played),
    ]


def _ends(played: Played, told: Report) -> Iterator[str]:
    if played.error is not None:
        yield f"it did not end: {played.error}"
    requests = sum(lane.requests for lane in told.lanes)
    most = TURNS_AT_ALL + TURNS_A_REQUEST * (requests + len(played.rows)) + TURNS_A_SECOND * played.ended_s
    if played.turns > most:
        yield f"it spins: {played.turns} turns of the loop for {requests} requests in {played.ended_s:.0f} s"


def _every_row_once(played: Played) -> Iterator[str]:
    """The disk's door asserts that no row ends twice."""
    if played.error is None and set(played.disk.done) != set(range(len(played.rows))):
        yield f"{len(played.disk.done)} of {len(played.rows)} rows have an outcome"
    answered = Counter(attempt.task for attempt in played.disk.attempts.values() if attempt.verdict is Kind.OK)
    twice = [task for task, answers in answered.items() if answers > 1]
    if twice:
        yield f"rows {twice[:5]} were answered more than once"
    unadmitted = played.disk.attempts.keys() - played.disk.admitted
    if unadmitted:
        yield f"{len(unadmitted)} attempts were made without an admission on disk"


def _no_window_overfilled(played: Played, told: Report) -> Iterator[str]:
    scenario = played.scenario
    if not (scenario.is_ours and scenario.travels_in_time):
        return
    for lane, seen in zip(scenario.lanes, told.lanes, strict=True):
        exact = scenario.told.input_tokens_per_minute is None or lane.prompts.is_exact
        most = 0 if exact else FIRST_FEW + UNSURE * seen.requests
        if seen.over_quota > most:
            yield f"{lane.model}: {seen.over_quota} of {seen.requests} requests would have overfilled a window"


def _a_429_costs_no_attempt(played: Played) -> Iterator[str]:
    retry_attempts, by_task = 5, _attempts(played)
    for task, outcome in played.disk.done.items():
        if outcome.status is not Status.FAILED:
            continue
        counted = sum(1 for verdict, counts in by_task[task] if verdict is Kind.RETRY and counts)
        if counted < retry_attempts:
            yield f"row {task} failed after {counted} attempts that count: {outcome.error_kind}"


def _an_outage_costs_few_rows(played: Played) -> Iterator[str]:
    """None, but where the rows that are asked are too few to tell an outage from a row that always fails."""
    failed = sum(1 for outcome in played.disk.done.values() if outcome.status is Status.FAILED)
    if failed > FEW_ROWS:
        yield f"{failed} rows failed, and none of them for a fault of its own"


_UNCOUNTED = {
    kind.value for kind in (NoReplyKind.DNS, NoReplyKind.REFUSED, NoReplyKind.CONNECT_TIMEOUT, NoReplyKind.STALE)
}


def _attempts(played: Played) -> dict[int, list[tuple[Kind, bool]]]:
    tried: dict[int, list[tuple[Kind, bool]]] = {}
    for attempt in played.disk.attempts.values():
        tried.setdefault(attempt.task, []).append((attempt.verdict, attempt.reason not in _UNCOUNTED))
    return tried


def _in_order(played: Played) -> Iterator[str]:
    for gate in played.gates:
        if gate.overtaken:
            yield f"{len(gate.overtaken)} permits out of order, the first: {gate.overtaken[0]}"


def _all_settled(played: Played) -> Iterator[str]:
    """Nothing is kept by a gate at the end, and what its windows hold is what the server counted."""
    for gate in played.gates:
        kept = sum(1 for attempt in played.disk.attempts.values() if attempt.verdict is Kind.PARKED)  # it stops the run
        if gate.in_flight > kept or gate.open_tasks:
            yield f"{gate.in_flight} slots and {gate.open_tasks} credits are still taken"
    wrong = []
    for permit, turn in played.kept:
        if turn.verdict.kind is Kind.PARKED:
            continue  # the lane is at its end for today
        entry, usage = permit.of_tokens, turn.answer and turn.answer.usage
        assert entry is not None
        nothing = turn.attempt.http_status == 429 or (
            turn.attempt.http_status is None and turn.attempt.billed is Billed.NO
        )
        should = 0 if nothing else usage.prompt_token_count if usage else permit.tokens
        if entry.amount != should or (usage and entry.doubt):
            wrong.append(f"{turn.verdict.reason}: {entry.amount} tokens, not {should}")
    if wrong:
        yield f"{len(wrong)} entries of windows are not what the reply told, the first: {wrong[0]}"


def _days_hold(played: Played) -> Iterator[str]:
    scenario = played.scenario
    for lane in scenario.lanes:
        if lane.limits.requests_per_day is None:
            continue
        days: Counter[float] = Counter()
        for each in played.server.arrivals:
            if each.model == lane.model and each.fate in {OK, TROUBLE}:
                days[next_day_s(scenario, each.at_s)] += 1
        if any(count > lane.limits.requests_per_day for count in days.values()):
            yield f"{lane.model}: {max(days.values())} requests in one day"
        refused = sum(1 for each in played.server.arrivals if each.model == lane.model and each.fate == DAY)
        if scenario.is_ours and refused:
            yield f"{lane.model}: {refused} requests were refused for the day's quota"
