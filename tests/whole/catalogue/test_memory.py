"""The fault catalogue, memory: 256 at once, whatever the server sends (512 MB)."""

from __future__ import annotations

import pytest

from batcher.emulator.faults import FaultKind
from batcher.errors import Exit
from tests.whole.catalogue.endpoints import always, emulator_with, rows_with
from tests.whole.catalogue.memory import peak_of
from tests.whole.runs import write_lines

CONCURRENCY = 256
MOST_MIB = 512
ANSWERED = 30  # without an answer at first, the run would end


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        pytest.param(FaultKind.HUGE, (), id="d10-100-mb"),
        pytest.param(FaultKind.ENDLESS, ("--stream", "sse"), id="d10-a-line-without-end"),
        pytest.param(FaultKind.GZIP_BOMB, (), id="d11-bomb"),
    ],
)
def test_d10_no_reply_fills_the_memory(tmp_path, kind, more):
    """Less than 512 MB at 256 at once, and everything else is answered."""
    rows = write_lines(
        tmp_path / "rows.jsonl", rows_with(*range(ANSWERED, ANSWERED + CONCURRENCY), of=ANSWERED + CONCURRENCY)
    )
    with emulator_with(always(kind)) as emulator:
        flags = ("--concurrency", str(CONCURRENCY), "--max-failed", "100%", *more)
        peak = peak_of(rows, tmp_path / "out", emulator.url, *flags)
        assert emulator.totals().by_fault[kind] >= 2 * CONCURRENCY
    assert peak.exit_code == Exit.DONE, peak.said[-2_000:]
    assert f"done: {ANSWERED} of {ANSWERED + CONCURRENCY} ok, {CONCURRENCY} failed" in peak.said
    assert peak.mib < MOST_MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(FaultKind.LONG_HEADER, id="100-kb"),
        pytest.param(FaultKind.MANY_HEADERS, id="5000"),
    ],
)
def test_d07_no_header_fills_the_memory(tmp_path, kind):
    """An endpoint that sends everybody headers without end is out: less than 512 MB at 256 at once, and exit 4."""
    total = ANSWERED + CONCURRENCY
    rows = write_lines(tmp_path / "rows.jsonl", rows_with(*range(ANSWERED, total), of=total))
    with emulator_with(always(kind)) as emulator:
        flags = ("--concurrency", str(CONCURRENCY), "--set", "retry.max_outage_s=10")
        peak = peak_of(rows, tmp_path / "out", emulator.url, *flags)
        assert emulator.totals().by_fault[kind] >= CONCURRENCY // 2
    assert peak.exit_code == Exit.STOPPED, peak.said[-2_000:]
    assert f"{ANSWERED} of {total} answers are safe on disk" in peak.said
    assert peak.mib < MOST_MIB
