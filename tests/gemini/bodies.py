"""Which bodies were seen in the wild? Each file in `data/` is named for its HTTP status, its shape and its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from batcher.gemini.reply import Unreadable, read
from batcher.records import Answer, Reply

_DATA = Path(__file__).parent / "data"


def seen(name: str) -> bytes:
    return (_DATA / f"{name}.json").read_bytes()


def seen_stream(name: str) -> bytes:
    return (_DATA / f"{name}.sse").read_bytes()


def replied(name: str, headers: dict[str, str] | None = None) -> tuple[Reply, Answer | Unreadable]:
    return answered(seen(name), status=int(name[:3]), headers=headers)


def answered(
    body: bytes | dict[str, Any] | list[Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> tuple[Reply, Answer | Unreadable]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    reply = Reply(status=status, headers=headers or {}, body=raw)
    try:
        return reply, read(raw)
    except Unreadable as problem:
        return reply, problem
