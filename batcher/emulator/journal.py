"""What has the emulator received, what did it reply and what would it have charged?"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PROMPT_CHARS = 500
"""How much of a prompt an entry keeps when bodies are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as the server saw it.

    Attributes:
        number: of arrival, from 1, over all verbs.
        at_s: seconds since the emulator began, steady.
        verb: `generateContent`, `flat`, `countTokens`, ...
        key_hint: eight hex digits of the key's hash; empty when none came.
        body: canonical (nested, snake_case); None unless bodies are kept, or when it could not be read.
        prompt_text: the text of the user's last turn, its beginning only unless bodies are kept.
        http_status: None when the connection was closed without a reply.
        fault: the kind of fault that was made, None when none was; `quota` when a quota refused it.
        input_tokens, output_tokens: billed; 0 when nothing was computed.
        response_id: None when nothing was computed.
    """

    number: int
    at_s: float
    verb: str
    path: str
    model: str = ""
    project: str = ""
    key_hint: str = ""
    body: Mapping[str, Any] | None = None
    prompt_text: str = ""
    http_status: int | None = None
    fault: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    response_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Exact sums over all generate requests since the beginning or the last reset.

    Attributes:
        requests: every one, refused ones included.
        by_status: HTTP status as text -> requests; `none` are those closed without a reply.
        by_fault: kind of fault -> requests; `quota` are refusals by a quota.
        answered: answers computed, and so billed, seen by the client or not.
        input_tokens, output_tokens: billed.
        other_requests: of other verbs: counting, listing, unknown paths.
    """

    requests: int = 0
    by_status: Mapping[str, int] = field(default_factory=dict)
    by_fault: Mapping[str, int] = field(default_factory=dict)
    answered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    other_requests: int = 0


class Journal:
    """The last requests, oldest first, within a fixed number of entries; and totals that never forget.

    Safe to read from another thread while the emulator writes: every read takes one snapshot.
    """

    def __init__(self, entries: int) -> None:
        self._entries: deque[Received] = deque(maxlen=entries)
        self._status: Counter[int | None] = Counter()
        self._fault: Counter[str] = Counter()
        self._requests = self._other = self._answered = self._input = self._output = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Received]:
        return iter(tuple(self._entries))

    def __getitem__(self, index: int) -> Received:
        return self._entries[index]

    def after(self, number: int) -> list[Received]:
        """The entries that arrived after that one and are still remembered."""
        # Entries are added when they are replied to, so their numbers may be a little out of order.
        return [each for each in tuple(self._entries) if each.number > number]

    def add(self, received: Received, *, generates: bool) -> None:
        """Remember one request; only those that ask for content count in the totals."""
        self._entries.append(received)
        if not generates:
            self._other += 1
            return
        self._requests += 1
        self._status[received.http_status] += 1
        if received.fault is not None:
            self._fault[received.fault] += 1
        self._answered += received.response_id is not None
        self._input += received.input_tokens
        self._output += received.output_tokens

    def totals(self) -> Totals:
        """The sums so far."""
        return Totals(
            requests=self._requests,
            by_status={
                "none" if status is None else str(status): count
                for status, count in sorted(dict(self._status).items(), key=str)
            },
            by_fault=dict(sorted(dict(self._fault).items())),
            answered=self._answered,
            input_tokens=self._input,
            output_tokens=self._output,
            other_requests=self._other,
        )
