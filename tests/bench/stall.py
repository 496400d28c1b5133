"""How long does the loop stand still at worst? A ticker on the run's own loop tells.

    python -m tests.bench.stall -i rows.jsonl --base-url http://127.0.0.1:8900 --concurrency 256

Prints one JSON line: the longest and the 99.9th percentile of the delays of a 1 ms sleep, in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import orjson

from batcher.engine.local import Options, run_job
from batcher.engine.progress import Snapshot
from batcher.job.key import Secret
from batcher.job.load import load_job

_TICK_S = 0.001


class Ticker:
    """Sleeps for a millisecond again and again, and remembers how late it woke."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._ticking: asyncio.Task[None] | None = None

    def show(self, _: Snapshot) -> None:
        """Begin with the first snapshot that the run's loop shows; planning shows its own from outside."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._ticking is None:
            self._ticking = loop.create_task(self._tick(loop))

    async def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(_TICK_S)
            self.late_ms.append((loop.time() - before - _TICK_S) * 1000)


def main() -> None:
    """Read the command line, run once, print one JSON line."""
    parser = argparse.ArgumentParser(description="The longest stall of the loop: one JSON line of figures.")
    parser.add_argument("-i", "--input", type=Path, required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--concurrency", type=int, default=256)
    given = parser.parse_args()
    ticker = Ticker()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        flags = {
            "input.files": [str(given.input.absolute())],
            "model": "gemini-2.5-flash",
            "output.dir": str(out),
            "endpoint.base_url": given.base_url,
            "limits.concurrency": given.concurrency,
        }
        job = load_job(None, flags=flags, sets=(), environ={}).job
        options = Options(show=ticker.show, log=lambda _: None)
        summary = run_job(job, key=Secret("bench", source="the bench"), out=out, options=options)
    late = sorted(ticker.late_ms)
    figures = {
        "rows": summary.rows,
        "ticks": len(late),
        "p999_ms": round(late[int(len(late) * 0.999)], 1),
        "longest_ms": round(late[-1], 1),
    }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
