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
from batcher.pacing.permit import Permit
from batcher.records import Kind

AGREE = 3
"""So many different rows must be refused, with no answer in between, before it is believed to concern them all."""
MOST_REFUSED = 64  # rows that were refused while others were served, and may yet turn out to have been the first of all


class Refusals:
    """Rows that were told what may concern them all: a key, a bill, a model.

    Args:
        model: the job's own, bare.
        gate: where a refused row's slot is kept.
        asker: what is still out.
        tally: what was answered.
        halt: ends the run when the refusals agree.
    """

    def __init__(self, model: str, *, gate: Gate, asker: Asker, tally: Tally, halt: Halt) -> None:
        self._model = model
        self._gate = gate
        self._asker = asker
        self._tally = tally
        self._halt = halt
        self._agreeing = 0  # since the last answer
        self._kept_slots: list[Permit] = []
        self.rows: deque[tuple[Ending, Work]] = deque()

    @property
    def too_many(self) -> bool:
        """Whether the oldest must fail now, lest they fill the memory."""
        return len(self.rows) > MOST_REFUSED and self._halt.why is None

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
        self.rows.append((lean(ending), work))
        self._kept_slots.append(ending.turn.permit)
        self._agreeing += 1
        if self._agreeing >= AGREE or not (self._tally.answered or self._asker.in_flight):
            self._halt.stop(EndpointRefused(self._said(ending)))
        elif self._tally.answered:
            self._let_go()

    def answered(self) -> None:
        """Others are served: what was refused so far concerned its own row."""
        if self.rows:
            self._agreeing = 0
            self._let_go()

    def are_all(self) -> bool:
        """At the end, whether nothing but refusals came; that is then why the run ends."""
        if not self.rows or self._tally.answered:
            return False
        self._halt.stop(EndpointRefused(self._said(self.rows[0][0])))
        return True

    def _let_go(self) -> None:
        while self._kept_slots:
            self._gate.free(self._kept_slots.pop())

    def _said(self, ending: Ending) -> str:
        verdict, status = ending.turn.verdict, ending.turn.attempt.http_status
        told = self._asker.scrubbed(verdict.message)
        return f"the endpoint refuses us: {verdict.reason}{f' (HTTP {status})' if status else ''}: {told}"

    def _parked(self, ending: Ending) -> RunStopped:
        told = self._asker.scrubbed(ending.turn.verdict.message)
        return RunStopped(
            f"{ending.turn.attempt.model}: {ending.turn.verdict.reason}: {told}",
            hint="type the same command again when the quota has reset",
        )


def lean(ending: Ending) -> Ending:
    """An ending without the prompt and the reply, which may be big: what is left is what its outcome needs."""
    request = ending.task.request._replace(body=b"", prompt=None)
    attempt = ending.turn.attempt._replace(body=b"")
    return ending._replace(
        task=replace(ending.task, request=request), turn=ending.turn._replace(attempt=attempt, answer=None)
    )
