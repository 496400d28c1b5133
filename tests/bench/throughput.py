"""How much does batcher add to the plain loop? Ratios from interleaved pairs, ours : floor.

    python -m tests.bench.throughput              the standard settings, 5 pairs each: whole replies, streams, TLS
    python -m tests.bench.throughput --only tls   of these, those over TLS
    python -m tests.bench.throughput --faults     the rate under 429, 503 and drops, over the error-free rate
    python -m tests.bench.throughput --memory     peak memory of 1,000,000 rows over that of 50,000
    python -m tests.bench.throughput --resume     start to first request of a run with 95 % of 1,000,000 rows done

Only ratios say something: one machine's speed drifts by a factor of two within minutes. The summary of every measured
run is kept in the working folder.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from tests.bench.children import PINNED, Endpoint, Weighed, begin, forget, seen, serving, weigh

LOADS = ((0.0, 256), (100.0, 512))  # (latency in ms, concurrency)
WAYS: Mapping[str, Mapping[str, bool]] = {"whole": {}, "streamed": {"as_stream": True}, "tls": {"tls": True}}
FAULTS = {"p429": 0.05, "p503": 0.03, "pdrop": 0.01}
MODEL = "gemini-2.5-flash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run. The CPU is net of a run of one row, so start-up and imports are not in it.

    Attributes:
        rows_per_s: from the first request to the last reply, as the program itself reports it.
    """

    rows_per_s: float
    cpu_us_per_row: float
    start_cpu_s: float
    wall_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What both programs have to do. A stream's latency is that of its end."""

    latency_ms: float
    concurrency: int
    as_stream: bool = False
    tls: bool = False


Ask = Callable[[Path, Endpoint, int], tuple[Weighed, float]]


class Bench:
    """A working folder with inputs, and the two programs to compare.

    Args:
        as_stream: whether they ask for events.
    """

    def __init__(self, folder: Path, *, as_stream: bool = False) -> None:
        self.folder = folder
        self._as_stream = as_stream
        self._runs = 0

    def rows(self, count: int) -> Path:
        """A JSONL file of that many different prompts of about 300 characters."""
        path = self.folder / f"rows-{count}.jsonl"
        if not path.exists():
            with path.open("wb") as out:
                out.writelines(_line(n) for n in range(count))
        return path

    def floor(self, rows: Path, endpoint: Endpoint, concurrency: int) -> tuple[Weighed, float]:
        """The plain loop: its process, and its rows a second."""
        arguments = ["-i", str(rows), "--base-url", endpoint.base_url, "-m", MODEL, "--concurrency", str(concurrency)]
        arguments += ["--stream"] if self._as_stream else []
        log = self.folder / "floor.log"
        done = weigh(["tests.bench.floor", *arguments], log=log, trust=endpoint.certificate)
        return _good(done), float(orjson.loads(done.stdout)["rps"])

    def ours(self, rows: Path, endpoint: Endpoint, concurrency: int) -> tuple[Weighed, float]:
        """Batcher, into a fresh run directory: its process, and its rows a second."""
        self._runs += 1
        out = self.folder / f"out-{self._runs}"
        arguments = run_arguments(rows, endpoint.base_url, concurrency, out)
        arguments += ["--stream", "sse"] if self._as_stream else []
        done = weigh(["batcher", *arguments], log=self.folder / "ours.log", trust=endpoint.certificate)
        (self.folder / f"summary-{self._runs}.json").write_bytes(done.stdout)
        shutil.rmtree(out)
        return _good(done), float(summary_of(done)["rows_per_s"])

    def measure(self, ask: Ask, rows: int, endpoint: Endpoint, concurrency: int) -> Measured:
        """One run of one program, weighed against its own run of a single row."""
        start, _ = ask(self.rows(1), endpoint, concurrency)
        forget(endpoint)
        done, rows_per_s = ask(self.rows(rows), endpoint, concurrency)
        assert seen(endpoint)["distinct"] == rows, seen(endpoint)
        return Measured(
            rows_per_s=rows_per_s,
            cpu_us_per_row=(done.cpu_s - start.cpu_s) / rows * 1e6,
            start_cpu_s=start.cpu_s,
            wall_s=done.wall_s,
            rss_mb=done.rss_mb,
        )


def run_arguments(rows: Path, base_url: str, concurrency: int, out: Path) -> list[str]:
    """What is typed after `batcher` to run a file against the fake endpoint."""
    what = ["run", "-i", str(rows), "-m", MODEL, "-o", str(out)]
    return [*what, "--base-url", base_url, "--concurrency", str(concurrency), "--quiet", "--json"]


def summary_of(done: Weighed) -> dict[str, float]:
    """The summary that `--json` printed, whether bare or inside a document."""
    document = orjson.loads(done.stdout)
    summary: dict[str, float] = document.get("summary", document)
    return summary


def compare(folder: Path, setting: Setting, *, rows: int, pairs: int) -> dict[str, object]:
    """Interleaved pairs; every ratio is taken within its pair, and the median over the pairs is reported."""
    bench = Bench(folder, as_stream=setting.as_stream)
    taken: list[tuple[Measured, Measured]] = []
    with serving(tls=setting.tls, latency_ms=setting.latency_ms) as endpoint:
        for n in range(pairs):
            order = (bench.floor, bench.ours) if n % 2 == 0 else (bench.ours, bench.floor)
            first, second = (bench.measure(ask, rows, endpoint, setting.concurrency) for ask in order)
            taken.append((second, first) if n % 2 == 0 else (first, second))
    return {
        **asdict(setting),
        "rows": rows,
        "rate_ratio": _spread([ours.rows_per_s / floor.rows_per_s for ours, floor in taken]),
        "cpu_ratio": _spread([ours.cpu_us_per_row / floor.cpu_us_per_row for ours, floor in taken]),
        "wall_ratio": _spread([ours.wall_s / floor.wall_s for ours, floor in taken]),
        "ours": _medians([ours for ours, _ in taken]),
        "floor": _medians([floor for _, floor in taken]),
    }


def faults(bench: Bench, *, rows: int, pairs: int, latency_ms: float, concurrency: int) -> dict[str, object]:
    """Our rate under faults over our rate without; every row must be answered.

    The last rows wait out their backoff with nothing else to ask: with few rows, that is most of what is measured.
    """
    ratios = []
    for _ in range(pairs):
        with serving(latency_ms=latency_ms) as endpoint:
            clean = bench.measure(bench.ours, rows, endpoint, concurrency)
        with serving(latency_ms=latency_ms, **FAULTS) as endpoint:
            faulty = bench.measure(bench.ours, rows, endpoint, concurrency)
            counts = seen(endpoint)
        assert counts["distinct_answered"] == rows, counts
        ratios.append(faulty.rows_per_s / clean.rows_per_s)
    asked_again = counts["answered"] - counts["distinct_answered"]
    return {
        "faults": FAULTS,
        "latency_ms": latency_ms,
        "concurrency": concurrency,
        "rows": rows,
        "rate_ratio": _spread(ratios),
        "answered_twice": asked_again,
    }


def memory(bench: Bench, *, rows: int, concurrency: int) -> dict[str, object]:
    """Peak memory of a long run over that of a short one."""
    short_rows = min(50_000, rows)
    with serving() as endpoint:
        short, _ = bench.ours(bench.rows(short_rows), endpoint, concurrency)
        long, _ = bench.ours(bench.rows(rows), endpoint, concurrency)
    return {
        "rows": [short_rows, rows],
        "rss_mb": [round(short.rss_mb, 1), round(long.rss_mb, 1)],
        "rss_ratio": round(long.rss_mb / short.rss_mb, 3),
    }


def resume(bench: Bench, *, rows: int, concurrency: int) -> dict[str, object]:
    """Stop a run when 95 % are answered, start it again: seconds from the start to the first request."""
    out = bench.folder / "out-resume"
    with serving() as endpoint:
        arguments = run_arguments(bench.rows(rows), endpoint.base_url, concurrency, out)
        first = begin(["batcher", *arguments], log=bench.folder / "ours.log")
        _wait_until(lambda: seen(endpoint)["answered"] >= rows * 0.95, alive=first)
        first.send_signal(signal.SIGTERM)
        first.communicate()
        forget(endpoint)
        waited = _FirstRequest(endpoint)
        done = weigh(["batcher", *arguments], log=bench.folder / "ours.log")
        return {"rows": rows, "asked_again": seen(endpoint)["requests"], "first_request_s": waited.s, "code": done.code}


class _FirstRequest:
    """Watches the endpoint from now on; `s` is when it was first asked, None when it was not."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.s: float | None = None
        self._endpoint, self._started = endpoint, time.perf_counter()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while time.perf_counter() - self._started < 120:
            if seen(self._endpoint)["requests"]:
                self.s = round(time.perf_counter() - self._started, 2)
                return
            time.sleep(0.02)


def _wait_until(reached: Callable[[], bool], *, alive: subprocess.Popen[bytes]) -> None:
    while not reached():
        assert alive.poll() is None, f"the run ended before it could be stopped, exit {alive.returncode}"
        time.sleep(0.1)


def _good(done: Weighed) -> Weighed:
    assert done.code == 0, f"exit {done.code}: see the logs in the working folder"
    return done


def _line(n: int) -> bytes:
    words = " ".join(f"{(n * 7919 + k * 104_729) % 100_003:05d}" for k in range(40))
    return (
        orjson.dumps({"id": f"r{n:07d}", "prompt": f"Row {n}: say what these numbers have in common. {words}"}) + b"\n"
    )


def _spread(ratios: list[float]) -> dict[str, float]:
    middle = statistics.median(ratios)
    return {"median": round(middle, 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3)}


def _medians(runs: list[Measured]) -> dict[str, float]:
    names = ("rows_per_s", "cpu_us_per_row", "start_cpu_s", "wall_s", "rss_mb")
    return {name: round(statistics.median(getattr(run, name) for run in runs), 2) for name in names}


def main() -> None:
    """Read the command line, measure, print one JSON line for each scenario."""
    parser = argparse.ArgumentParser(description="Ours : the plain aiohttp loop, as ratios.")
    parser.add_argument(
        "--rows", type=int, help="20,000 unless set; 200,000 for --faults, 1,000,000 for --memory and --resume"
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, help="with --concurrency, instead of the two standard loads")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--work", type=Path, help="keep inputs, logs and summaries here")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", choices=WAYS, help="of the standard settings")
    which.add_argument("--faults", action="store_true")
    which.add_argument("--memory", action="store_true")
    which.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    folder = given.work or Path(tempfile.mkdtemp(prefix="batcher-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"working in {folder}{'' if PINNED else '; not pinned to cores'}", file=sys.stderr)
    for figures in _scenarios(folder, given):
        print(orjson.dumps(figures).decode(), flush=True)


def _scenarios(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    bench = Bench(folder)
    rows, concurrency = given.rows or 1_000_000, given.concurrency
    if given.memory:
        yield memory(bench, rows=rows, concurrency=concurrency)
        return
    if given.resume:
        yield resume(bench, rows=rows, concurrency=concurrency)
        return
    rows = given.rows or (200_000 if given.faults else 20_000)
    loads = LOADS if given.latency_ms is None else ((given.latency_ms, concurrency),)
    if given.faults:
        for latency_ms, at_once in loads:
            yield faults(bench, rows=rows, pairs=given.pairs, latency_ms=latency_ms, concurrency=at_once)
        return
    ways = list(WAYS) if given.only is None else [given.only]
    for way, (latency_ms, at_once) in itertools.product(ways, loads):
        setting = Setting(latency_ms=latency_ms, concurrency=at_once, **WAYS[way])
        yield compare(folder, setting, rows=rows, pairs=given.pairs)


if __name__ == "__main__":
    main()
