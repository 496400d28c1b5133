"""What is the judgement on a reply? An endpoint that refuses says the same to many: it is read once in a second."""

from __future__ import annotations

import datetime as dt

from batcher.gemini.refusal import Verdict, judge
from batcher.gemini.reply import Unreadable, read
from batcher.records import Answer, NoReply, Reply

_MOST_BYTES = 4096  # of a body that is kept
_MOST = 64


Judged = tuple[Answer | Unreadable | None, Verdict]
"""A reply's body, read, and the judgement on it."""


class Judge:
    """Judges replies, in the order of their coming.

    Reading a refusal and looking through its headers and its prose for hints takes 30 µs; at a few hundred a second,
    all alike, that was a seventh of what they cost. A hint that is a date has whole seconds, so that nothing is lost.

    Args:
        streamed: whether replies may be streams.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._second = 0
        self._known: dict[tuple[int, bytes, tuple[tuple[str, str], ...]], Judged] = {}

    def judge(self, reply: Reply | NoReply, sent_at_us: int) -> Judged:
        """Judge one exchange.

        Args:
            reply: what came back, or what went wrong below HTTP.
            sent_at_us: when its request was sent, microseconds since the epoch.
        """
        if isinstance(reply, NoReply):
            return None, judge(reply, None)
        if reply.status < 300:
            return self._judged(reply, None)
        at_us = sent_at_us + int(reply.latency_ms * 1000)
        if at_us // 1_000_000 != self._second:
            self._second = at_us // 1_000_000
            self._known.clear()
        if len(reply.body) > _MOST_BYTES:
            return self._judged(reply, at_us)
        key = (reply.status, reply.body, tuple(reply.headers.items()))
        found = self._known.get(key)
        if found is None:
            found = self._judged(reply, at_us)
            if len(self._known) < _MOST:
                self._known[key] = found
        return found

    def _judged(self, reply: Reply, at_us: int | None) -> Judged:
        answer: Answer | Unreadable
        try:
            answer = read(reply.body, streamed=self._streamed)
        except Unreadable as error:
            answer = error
        # Only a hint that is a date needs it, and only a refusal brings one.
        now = None if at_us is None else dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC)
        return answer, judge(reply, answer, now)
