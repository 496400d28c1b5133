"""Promises 1 to 3 and 6 hold whatever moment or fail point the process is killed at."""

from __future__ import annotations

from pathlib import Path

import pytest

from batcher.emulator.faults import Faults, Share
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from tests.whole.crash import CONCURRENCY, Kills, Readers, check_promises, write_rows

_FAULTS = Faults(shares=tuple(Share.parse(text) for text in ("503=2%", "400=0.3%", "429@0.05=1%", "blocked=0.5%")))


def _killed(tmp_path: Path, kills: Kills, latency: Latency) -> tuple[dict[str, int], Readers]:
    write_rows(tmp_path / "rows.jsonl", kills.rows)
    settings = Settings(seed=kills.seed, latency=latency, faults=_FAULTS)
    with Emulator(settings).in_thread() as emulator, Readers(tmp_path / "out" / "data") as readers:
        kills.loop(tmp_path, emulator.url)
        figures = check_promises(tmp_path / "out", kills, emulator)
        kills.retry_loop(tmp_path, emulator.url)
        check_promises(tmp_path / "out", kills, emulator)
    assert not readers.errors
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert figures["repaid"] <= kills.done.total() * CONCURRENCY, (kills, figures)
    return figures, readers


@pytest.mark.timeout(110)
def test_a_few_kills_lose_nothing(tmp_path: Path) -> None:
    _killed(tmp_path, Kills(rows=1_500, wanted=6, seed=1), Latency.between(0.002, 0.01))


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    done, seed = 0, 20
    while done < 200:
        folder = tmp_path / str(seed)
        folder.mkdir()
        kills = Kills(rows=20_000, wanted=200 - done, seed=seed)
        figures, readers = _killed(folder, kills, Latency.between(0.005, 0.03))
        done += kills.done.total()
        seed += 1
        print(dict(kills.done), figures, readers.reads, "reads")
