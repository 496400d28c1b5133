"""Promise 5 against an emulator that counts every sliding minute: the quota is used, and hardly ever overrun."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from tests.whole.runs import a_job, run

RPM, TPM, MINUTES = 600, 400_000, 3
CHARS_A_TOKEN = 4
WORDS = ("amber", "birch", "cedar", "delta", "ember", "frost", "grove", "haven", "inlet", "jetty", "knoll", "larch")


def write_prompts(path: Path, tokens: int, seed: int) -> int:
    """Prompts of 10 to 2,000 tokens that come to about `tokens`; how many."""
    chance, written, count = random.Random(seed), 0, 0
    with path.open("w") as file:
        while written < tokens:
            size = chance.randint(10, 2000) * CHARS_A_TOKEN
            text = " ".join(chance.choices(WORDS, k=size // 6 + 1))[:size]
            file.write(json.dumps({"prompt": f"{count} {text}"[:size]}) + "\n")
            written += size // CHARS_A_TOKEN
            count += 1
    return count


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_minutes_use_the_tighter_quota_and_meet_no_refusal(tmp_path: Path) -> None:
    rows = write_prompts(tmp_path / "prompts.jsonl", TPM * MINUTES, seed=5)
    settings = Settings(
        seed=5,
        latency=Latency.between(0.5, 3.0),
        quotas=(Quota(requests_per_minute=RPM, input_tokens_per_minute=TPM),),
    )
    limits = {"limits.requests_per_minute": RPM, "limits.input_tokens_per_minute": TPM, "limits.concurrency": 64}
    with Emulator(settings).in_thread() as emulator:
        job = a_job(emulator.url, tmp_path / "prompts.jsonl", **limits)
        began = time.monotonic()
        summary = run(job, tmp_path / "out")
        minutes = (time.monotonic() - began) / 60
        totals = emulator.totals()

    used = max(totals.input_tokens / (TPM * minutes), totals.answered / (RPM * minutes))
    refused = totals.by_status.get("429", 0) / totals.requests
    print(f"{rows} rows, {minutes:.2f} min, {used:.2%} of the tighter quota, {refused:.3%} refused")
    assert summary.totals.done == rows
    assert minutes >= 0.95 * MINUTES
    assert used >= 0.97
    assert refused < 0.002
