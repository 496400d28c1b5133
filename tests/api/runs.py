"""Calls against an emulator, with everything but the point of the test filled in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency
from tests.whole.runs import KEY, MODEL, emulator_settings, sums

LATENCY_S = 0.05
STUCK_S = 60.0
ROWS = 120
"""At eight at a time and `LATENCY_S` each, more work than is done when a run is first looked at."""


def an_emulator(latency_s: float = 0.0) -> Any:
    return Emulator(emulator_settings(latency=Latency.fixed(latency_s))).in_thread()


def to(emulator: Emulator, out: Path | str, **given: Any) -> dict[str, Any]:
    """The arguments of a call that asks this emulator."""
    settings: Mapping[str, Any] = {"retry.max_backoff_s": 0.01} | given.pop("set", {})
    defaults = {"base_url": emulator.url, "model": MODEL, "key": KEY, "out": out, "progress": False, "concurrency": 8}
    return defaults | given | {"set": settings}


def slow_rows(count: int = ROWS) -> list[dict[str, Any]]:
    return sums(count)


async def asked(emulator: Emulator, requests: int) -> None:
    """Wait until so many requests have arrived."""
    async with asyncio.timeout(30):
        while emulator.totals().requests < requests:  # noqa: ASYNC110  the emulator is in another thread
            await asyncio.sleep(0.01)
