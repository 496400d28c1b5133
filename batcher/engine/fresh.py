"""Which answers are still in memory, read and priced? A seal takes them from here and spares the journal the reading.

Only what is committed gets an outcome, so nothing is sealed that a kill could lose. The memory is bounded: beyond it,
after a resume and for rows that a retry asks again, the journal is read instead.
"""

from __future__ import annotations

from batcher.records import Outcome
from batcher.store.bills import Read

MOST_BYTES = 24 << 20
_OBJECTS_BYTES = 1_500  # of an answer's records, beside its text


class Fresh:
    """Answers of this session that no part holds yet.

    Args:
        keep_body: whether a part wants the raw body, too.
        most_bytes: about so much is kept.
    """

    def __init__(self, *, keep_body: bool = False, most_bytes: int = MOST_BYTES) -> None:
        self._keep_body = keep_body
        self._most_bytes = most_bytes
        self._reads: dict[int, list[Read]] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._sizes: dict[int, int] = {}
        self._size = 0

    def read(self, read: Read) -> None:
        """One request was judged and priced."""
        attempt = read.attempt
        task, size = attempt.task, len(attempt.body) + _OBJECTS_BYTES
        if self._size + size > self._most_bytes:
            self._forget(task)
            return
        if not self._keep_body:
            read.attempt = attempt._replace(body=b"")
        self._size += size
        self._sizes[task] = self._sizes.get(task, 0) + size
        self._reads.setdefault(task, []).append(read)

    def outcome(self, outcome: Outcome) -> None:
        """One task ended, and the journal has it."""
        if len(self._reads.get(outcome.task, ())) == outcome.attempts:
            self._outcomes[outcome.task] = outcome
        else:
            self._forget(outcome.task)  # an earlier session, or the bound, has had a part of it

    def take(self, first: int, count: int) -> dict[int, tuple[Outcome, list[Read]]]:
        """What is known of the tasks from `first`, whole tasks only, and no longer kept."""
        taken = {}
        for task in range(first, first + count):
            outcome = self._outcomes.get(task)
            if outcome is not None:
                taken[task] = (outcome, self._reads.get(task, []))
            self._forget(task)
        return taken

    def _forget(self, task: int) -> None:
        self._size -= self._sizes.pop(task, 0)
        self._reads.pop(task, None)
        self._outcomes.pop(task, None)
