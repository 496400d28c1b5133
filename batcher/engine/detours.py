"""May a row that was refused one way go another? And when is a way that refuses rows not asked any more?

A refusal of one row may be the row's own fault, so that it is asked elsewhere at once; that many rows are refused with
no answer between them shows that it is the way: a model that this endpoint has not, or a key that it does not take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from batcher.asking.ask import Ending
from batcher.asking.scrub import scrub
from batcher.asking.ways import Way
from batcher.engine.refusals import AGREE
from batcher.pacing.junction import Junction
from batcher.records import Kind

_OF_THE_MODEL = frozenset({"not_found", "not_served", "forbidden", "zero_quota"})
"""What is told of one model; all else that ends a run is told of the key, the bill or the way to the endpoint."""


class Detours:
    """The ways of one session that refused a row.

    Args:
        junction: which ways there are.
        ways: what goes with a lane.
        secrets: keys, to scrub them from a server's words.
    """

    def __init__(self, junction: Junction, ways: Mapping[str, Way], secrets: tuple[str, ...]) -> None:
        self._junction = junction
        self._ways = ways
        self._secrets = secrets
        self._agreeing: Counter[str] = Counter()
        self._answers: dict[str, int] = {}  # by lane, as of its last refusal

    def takes(self, ending: Ending) -> bool:
        """Whether a refused row goes another way; its slot is given back then."""
        verdict, permit, task = ending.turn.verdict, ending.turn.permit, ending.task
        if verdict.kind is not Kind.FATAL:
            return False
        if self._believed(permit.lane) or verdict.reason == "zero_quota":
            self._close(ending)
        if not self._junction.others(task.lane, {permit.lane}):
            return False
        task.lane = self._junction.without(task.lane, permit.lane)
        self._junction.free(permit)
        return True

    def _believed(self, lane: str) -> bool:
        answers = self._ways[lane].answers
        if self._answers.get(lane) != answers:
            self._agreeing[lane] = 0
        self._answers[lane] = answers
        self._agreeing[lane] += 1
        return self._agreeing[lane] >= AGREE

    def _close(self, ending: Ending) -> None:
        """Ask there no more, unless nobody else is left: then it is for the run to end."""
        turn = ending.turn
        lane, no = turn.permit.lane, self._junction.no_of(turn.permit)
        status = f" (HTTP {turn.attempt.http_status})" if turn.attempt.http_status else ""
        why = f"{turn.verdict.reason}{status}: {scrub(turn.verdict.message, *self._secrets)}"
        if turn.verdict.reason in _OF_THE_MODEL:
            if self._junction.others(ending.task.lane, {lane}):
                self._junction.shut(lane, why)
        elif self._junction.others(ending.task.lane, self._junction.lanes_of(no)):
            self._junction.leave(no, why)
