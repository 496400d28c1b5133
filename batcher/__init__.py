"""batcher: a million prompts against a Gemini-compatible endpoint, right to the row and to the cent."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

PUBLIC: Mapping[str, str] = {
    # what the user wants
    "Job": "batcher.job.spec",
    "Loaded": "batcher.job.load",
    "load_job": "batcher.job.load",
    "Secret": "batcher.job.key",
    "read_key": "batcher.job.key",
    # running it
    "run": "batcher.api.calls",
    "arun": "batcher.api.calls",
    "stream": "batcher.api.calls",
    "open_run": "batcher.api.result",
    "Run": "batcher.api.result",
    "OutcomeStream": "batcher.api.stream",
    "TaskOutcome": "batcher.engine.outcomes",
    # the same from one floor below: a job and a key that are loaded already
    "Options": "batcher.engine.local",
    "run_job": "batcher.engine.local",
    "retry_run": "batcher.engine.local",
    "Phase": "batcher.engine.progress",
    "Snapshot": "batcher.engine.progress",
    "Summary": "batcher.engine.progress",
    "RunStatus": "batcher.engine.status",
    "read_status": "batcher.engine.status",
    "Status": "batcher.records",
    # what ends it
    "BatcherError": "batcher.errors",
    "EndpointRefused": "batcher.errors",
    "Exit": "batcher.errors",
    "InputError": "batcher.errors",
    "Interrupted": "batcher.errors",
    "JobError": "batcher.errors",
    "PlanChanged": "batcher.errors",
    "RunLocked": "batcher.errors",
    "RunStopped": "batcher.errors",
    "StorageError": "batcher.errors",
    "UserError": "batcher.errors",
    # Gemini on localhost
    "Emulator": "batcher.emulator.server",
}
"""Public name -> the module that has it, imported at first use: aiohttp alone would cost every `--help` 0.24 s."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("batcher-gemini")
    if name not in PUBLIC:
        raise AttributeError(f"module 'batcher' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC, "__version__"})
