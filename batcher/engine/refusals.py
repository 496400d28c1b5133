"""Does a refusal concern one row, or them all? Nobody knows until others are answered, or refused as well."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from batcher.asking.ask import Asker, Ending
from batcher.engine.halt import Halt
from batcher.engine.tally import Tally
from batcher.engine.work import Work
from batcher.errors import EndpointRefused, RunStopped
from batcher.pacing.gate import Gate
from batcher.pacing.junction import Junction
from batcher.pacing.permit import Permit, go_on_after
from batcher.records import Kind

AGREE = 3
"""So many different rows must be refused, with no answer in between, before it is believed to concern them all."""
FIRST = 20
"""So many rows must have come to nothing, and none to an answer, before an endpoint is believed to have none."""
MOST_REFUSED = 64  # rows that were refused while others were served, and may yet turn out to have been the first of all


class Refusals:
    """Rows that were told what may concern them all: a key, a bill, a model; or what is no answer, before any was one.

    Args:
        model: the job's own, bare.
        gate: where a refused row's slot is kept.
        asker: what is still out.
        tally: what was answered.
        halt: ends the run when the refusals agree.
    """

    def __init__(self, model: str, *, gate: Gate | Junction, asker: Asker, tally: Tally, halt: Halt) -> None:
        self._model = model
        self._gate = gate
        self._asker = asker
        self._tally = tally
        self._halt = halt
        self._agreeing = 0  # since the last answer
        self._kept_slots: list[Permit] = []
        self.rows: deque[tuple[Ending, Work]] = deque()
        self._unusable = 0  # of the rows, those in front: theirs was no refusal, but nothing to use either

    @property
    def must_fail(self) -> bool:
        """Whether the next must fail now: others have answers where it has none, or they would fill the memory."""
        if self._halt.why is not None:
            return False
        return len(self.rows) > MOST_REFUSED or (self._unusable > 0 and self._tally.answered > 0)

    def pop(self) -> tuple[Ending, Work]:
        """The next row to fail, the oldest of the refused ones after those with nothing to use."""
        self._unusable = max(0, self._unusable - 1)
        return self.rows.popleft()

    def concerns_one_row(self, ending: Ending) -> bool:
        """Whether a refusal is about the model that the row itself named, while the others are served."""
        wants = ending.task.request.model
        return ending.turn.verdict.reason == "not_found" and wants != self._model and bool(self._tally.answered)

    def add(self, ending: Ending, work: Work) -> None:
        """Take note of an ending without an outcome.

        Until an answer shows otherwise its slot stays taken: a refused key costs no more requests than there are slots.
        """
        if ending.turn.verdict.kind is Kind.PARKED:
            self._halt.stop(self._parked(ending))
            return
        if ending.turn.verdict.kind is not Kind.FATAL:
            self._add_unusable(ending, work)
            return
        self.rows.append((lean(ending), work))
        self._kept_slots.append(ending.turn.permit)
        self._agreeing += 1
        if self._agreeing >= AGREE or not (self._tally.answered or self._asker.in_flight):
            self._halt.stop(EndpointRefused(self._said(ending)))
        elif self._tally.answered:
            self._let_go()

    def _add_unusable(self, ending: Ending, work: Work) -> None:
        self.rows.appendleft((lean(ending), work))
        self._unusable += 1
        if self._unusable >= FIRST and not self._tally.answered:
            told = f"not one of the first {FIRST} rows has one, the last: {self._why(ending)}"
            self._halt.stop(EndpointRefused(f"the endpoint gives no answers: {told}"))
        if self._halt.why is None:  # else nobody shall be sent in its place
            self._gate.free(ending.turn.permit)

    def answered(self) -> None:
        """Others are served: what was refused so far concerned its own row."""
        if self.rows:
            self._agreeing = 0
            self._let_go()

    def are_all(self) -> bool:
        """At the end, whether nothing but refusals came; that is then why the run ends."""
        if len(self.rows) == self._unusable or self._tally.answered:
            return False
        self._halt.stop(EndpointRefused(self._said(self.rows[self._unusable][0])))
        return True

    def _let_go(self) -> None:
        while self._kept_slots:
            self._gate.free(self._kept_slots.pop())

    def _said(self, ending: Ending) -> str:
        return f"the endpoint refuses us: {self._why(ending)}"

    def _why(self, ending: Ending) -> str:
        verdict, status = ending.turn.verdict, ending.turn.attempt.http_status
        told = self._asker.scrubbed(verdict.message)
        return f"{verdict.reason}{f' (HTTP {status})' if status else ''}: {told}"

    def _parked(self, ending: Ending) -> RunStopped:
        told = self._asker.scrubbed(ending.turn.verdict.message)
        return RunStopped(
            f"{ending.turn.attempt.model}: {ending.turn.verdict.reason}: {told}",
            hint=f"the quota has reset by then: {go_on_after(self._gate.opens_us(ending.task.lane))}",
        )


def lean(ending: Ending) -> Ending:
    """An ending without the prompt and the reply, which may be big: what is left is what its outcome needs."""
    request = ending.task.request._replace(body=b"", prompt=None)
    attempt = ending.turn.attempt._replace(body=b"")
    return ending._replace(
        task=replace(ending.task, request=request), turn=ending.turn._replace(attempt=attempt, answer=None)
    )
