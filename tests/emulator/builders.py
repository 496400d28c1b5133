"""Requests and services for the emulator's tests, as short as a test can say them."""

from __future__ import annotations

from typing import Any

import orjson

from batcher.emulator.exchange import Arrival, Reply
from batcher.emulator.quotas import Instant
from batcher.emulator.service import Service
from batcher.emulator.spelling import Asked, read_request

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
FLAT = "/v1beta/models/gemini-2.5-flash"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
COUNT = "/v1beta/models/gemini-2.5-flash:countTokens"
MODEL = "gemini-2.5-flash"
KEY = {"x-goog-api-key": "k"}


def nested(text: str = "Hello there, little world", **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def flat(text: str = "Hello there, little world", **fields: Any) -> dict[str, Any]:
    return {"stream": False, "contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def read(body: Any, *, strict: bool = False, flat: bool = False) -> Asked:
    return read_request(orjson.dumps(body), strict=strict, flat=flat)


def at(steady_s: float = 0.0, epoch_s: float = 1_750_000_000.0) -> Instant:
    return Instant(steady_s=steady_s, epoch_s=epoch_s)


def arrival(
    body: Any = None,
    *,
    target: str = GENERATE,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    now: Instant | None = None,
) -> Arrival:
    raw = body if isinstance(body, bytes) else orjson.dumps(nested() if body is None else body)
    return Arrival(
        method=method,
        target=target,
        headers=KEY if headers is None else headers,
        body=raw if method == "POST" else b"",
        now=now or at(),
    )


def ask(service: Service, text: str = "Hello there, little world", *, steady_s: float = 0.0, **fields: Any) -> Reply:
    return service.reply(arrival(nested(text, **fields), now=at(steady_s)))


def told(reply: Reply) -> dict[str, Any]:
    found = orjson.loads(reply.body)
    assert isinstance(found, dict)
    return found


def text_of(reply: Reply) -> str:
    body = told(reply)
    text = body["candidates"][0]["content"]["parts"][0]["text"]
    assert isinstance(text, str)
    return text
