"""Small builders of what flows through the pipeline, for the tests of all rooms: say only what the test is about."""

from __future__ import annotations

from typing import Any

import orjson

from batcher.job.spec import Job
from batcher.records import Attempt, Billed, Kind, Outcome, Reply, Request, Row, Status


def a_job(**settings: Any) -> Job:
    """A job; `a_job(samples=3, **{"limits.concurrency": 8})` or `a_job(input__strict=True)` changes settings."""
    document: dict[str, Any] = {
        "name": "test",
        "model": "gemini-2.5-flash",
        "input": {"files": ("prompts.jsonl",)},
        "endpoint": {"base_url": "http://127.0.0.1:1", "auth": "x-goog-api-key", "dialect": "google"},
    }
    for name, value in settings.items():
        *sections, key = name.replace("__", ".").split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return Job.model_validate(document)


def a_row(ordinal: int = 0, **values: Any) -> Row:
    values = values or {"prompt": "Is water wet?"}
    return Row(ordinal=ordinal, id=f"row-{ordinal}", values=values, where=f"prompts.jsonl:{ordinal + 1}")


def a_request(prompt: str = "Is water wet?", **fields: Any) -> Request:
    defaults: dict[str, Any] = {
        "body": orjson.dumps({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}),
        "model": "gemini-2.5-flash",
        "prompt": prompt,
        "request_hash": b"0123456789abcdef",
        "estimated_tokens": 4,
        "input_bound": 32,
        "output_bound": 1024,
    }
    return Request(**(defaults | fields))


def a_reply(text: str | None = "yes", *, status: int = 200, finish_reason: str = "STOP", **usage: Any) -> Reply:
    """A reply as Google writes it; `promptTokenCount=7` changes the usage, `text=None` leaves the content empty."""
    counts = {"promptTokenCount": 4, "candidatesTokenCount": 1, "totalTokenCount": 5} | usage
    content = {"role": "model"} | ({} if text is None else {"parts": [{"text": text}]})
    body = {
        "candidates": [{"index": 0, "content": content, "finishReason": finish_reason}],
        "usageMetadata": {name: count for name, count in counts.items() if count is not None},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }
    return Reply(
        status=status,
        headers={"content-type": "application/json"},
        body=orjson.dumps(body),
        first_byte_ms=1.0,
        latency_ms=2.0,
    )


def an_attempt(**fields: Any) -> Attempt:
    defaults: dict[str, Any] = {
        "task": 0,
        "n": 1,
        "model": "gemini-2.5-flash",
        "started_at": 1_700_000_000_000_000,
        "latency_ms": 2.0,
        "first_byte_ms": 1.0,
        "http_status": 200,
        "verdict": Kind.OK,
        "reason": "STOP",
        "quota_id": None,
        "waited_ms": 0.0,
        "billed": Billed.YES,
        "service_tier": None,
        "reserve_input": 32,
        "reserve_output": 1024,
        "body": a_reply().body,
    }
    return Attempt(**(defaults | fields))


def an_outcome(**fields: Any) -> Outcome:
    defaults: dict[str, Any] = {
        "task": 0,
        "status": Status.OK,
        "answered": 1,
        "attempts": 1,
        "started_at": 1_700_000_000_000_000,
        "finished_at": 1_700_000_000_002_000,
    }
    return Outcome(**(defaults | fields))
