"""How do rows go through the Batch API instead? One `{"key", "request"}` a line, as `batchGenerateContent` takes it.

The key is the row's id, so that answers find their rows again. The API wants keys to be unique: where an id has been
written already (a duplicate, or another sample of the row), `#<task>` is appended.
"""

from __future__ import annotations

import sqlite3
from typing import BinaryIO

import orjson

from batcher.gemini.canonical import canonical
from batcher.gemini.request import encode
from batcher.job.spec import Dialect
from batcher.records import Request

MOST_BYTES = 2 << 30
"""Of an input file of the Batch API."""


class Keys:
    """Gives every line a key of its own; what was given lies on disk, not in memory."""

    def __init__(self) -> None:
        self._given = sqlite3.connect("", isolation_level=None)  # a private file that is gone when it is closed
        self._given.execute("pragma journal_mode=off")
        self._given.execute("pragma synchronous=off")
        self._given.execute("create table given(key text primary key) without rowid")
        self._given.execute("begin")
        self.renamed = 0

    def key(self, label: str, task: int) -> str:
        """Give the key of a task whose row is called `label`."""
        key = label
        while not self._given.execute("insert or ignore into given values (?)", (key,)).rowcount:
            key += f"#{task}"
        self.renamed += key != label
        return key

    def close(self) -> None:
        """Forget them."""
        self._given.close()


class BatchLines:
    """Writes the lines of a batch input file."""

    def __init__(self, sink: BinaryIO, dialect: Dialect) -> None:
        self._sink = sink
        self._dialect = dialect
        self._keys = Keys()
        self.models: dict[str, int] = {}
        self.size_bytes = 0

    @property
    def renamed(self) -> int:
        """Keys that are not their row's id."""
        return self._keys.renamed

    def add(self, label: str, task: int, request: Request) -> None:
        """Write the request of one task."""
        key = orjson.dumps(self._keys.key(label, task))
        line = b"".join((b'{"key":', key, b',"request":', self._body(request), b"}\n"))
        self._sink.write(line)
        self.size_bytes += len(line)
        self.models[request.model] = self.models.get(request.model, 0) + 1

    def close(self) -> None:
        """Forget the keys."""
        self._keys.close()

    def _body(self, request: Request) -> bytes:
        """Give the body as Google takes it: it refuses the fields that other dialects put on top."""
        if self._dialect is Dialect.GOOGLE:
            return request.body
        return encode(canonical(orjson.loads(request.body)), dialect=Dialect.GOOGLE, model=request.model)
