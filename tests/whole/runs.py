"""Files in, emulator, files out: the shortest way from rows to a finished run, here or in a process of its own."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.audit.findings import Audited
from batcher.audit.run import audit
from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.journal import Totals
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.local import Options, retry_run, run_job
from batcher.engine.progress import Snapshot, Summary
from batcher.engine.status import read_job
from batcher.job.key import Secret
from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.records import Status
from tests.whole.processes import Ended, Forked

KEY = "canary-key-123456"
MODEL = "gemini-2.5-flash"

MARKED = {
    "[blocked]": FaultKind.BLOCKED,
    "[safety]": FaultKind.SAFETY,
    "[maxtokens]": FaultKind.MAX_TOKENS,
    "[400]": FaultKind.BAD_REQUEST,
    "[503]": FaultKind.UNAVAILABLE,
    "[cut]": FaultKind.CUT,
}
"""A prompt with the mark meets the fault, always."""
MARKED_AT_FIRST = {"[5x503]": (FaultKind.UNAVAILABLE, 5), "[once-cut]": (FaultKind.CUT, 1)}
"""The same, for the first times that the prompt comes."""


def marked_faults() -> Faults:
    always = [Rule(fault=Fault(kind=kind), contains=mark) for mark, kind in MARKED.items()]
    first = [Rule(fault=Fault(kind=kind), contains=mark, first=n) for mark, (kind, n) in MARKED_AT_FIRST.items()]
    return Faults(script=(*always, *first))


def emulator_settings(**options: Any) -> Settings:
    return Settings(seed=7, keep_bodies=True, faults=marked_faults(), **options)


def write_lines(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    """A row that is a text is written as it is: a broken line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row.encode() if isinstance(row, str) else orjson.dumps(row) for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def sums(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"q{n}", "prompt": f"What is {n} * 7?"} for n in range(start, start + count)]


def a_job(url: str, *files: Path | str, **settings: Any) -> Job:
    """A complete job, as the command line loads it; `endpoint__verbless=True` or `{"a.b": c}` changes it."""
    flags: dict[str, Any] = {
        "input.files": [str(file) for file in files],
        "model": MODEL,
        "endpoint.base_url": url,
        "retry.max_backoff_s": 0.01,
    }
    flags |= {name.replace("__", "."): value for name, value in settings.items()}
    return load_job(None, flags=flags, sets=(), environ={}).job


@dataclass
class Watched:
    """What a run told while it went."""

    shown: list[Snapshot] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def options(self, **more: Any) -> Options:
        return Options(show=self.shown.append, log=self.logged.append, **more)


def run(job: Job, out: Path, watched: Watched | None = None, **options: Any) -> Summary:
    return run_job(job, key=Secret(KEY, source="a test"), out=out, options=(watched or Watched()).options(**options))


def retry(out: Path, *statuses: Status, watched: Watched | None = None) -> Summary:
    return retry_run(
        read_job(out),
        key=Secret(KEY, source="a test"),
        out=out,
        statuses=frozenset(statuses or (Status.FAILED,)),
        options=(watched or Watched()).options(),
    )


def proved(out: Path) -> Audited:
    """What the audit says of a run directory in which nothing is wrong."""
    audited = audit(out)
    assert not audited.counts, audited.findings
    return audited


def data(out: Path) -> pa.Table:
    return pq.read_table(out / "data")


def ledger(out: Path) -> pa.Table:
    return pq.read_table(out / "attempts")


def column(out: Path, name: str) -> list[Any]:
    found: list[Any] = data(out).column(name).to_pylist()
    return found


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((out / "run.json").read_bytes())
    return found


def total(table: pa.Table, name: str) -> Any:
    return pc.sum(table.column(name)).as_py() or 0


def command(*argv: str | Path) -> list[str]:
    return [sys.executable, "-m", "batcher", *map(str, argv)]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"GEMINI_API_KEY": KEY, "GOOGLE_API_KEY": "", "BATCHER_FAILPOINT": ""} | more


def call(*argv: str | Path, **more: str) -> Ended:
    """Run the command in a process of its own, to its end; `BATCHER_FAILPOINT="frozen"` arms a point."""
    with Forked(argv, environment(**more)) as process:
        return process.ends(within_s=60)


def settled(emulator: Emulator) -> Totals:
    """What has arrived, when whoever sent it may be dead: its last requests stand before this one at the endpoint."""
    for _ in range(2):
        with urllib.request.urlopen(f"{emulator.url}/_emulator/totals", timeout=60) as reply:
            reply.read()
    return emulator.totals()


def run_argv(rows: Path, out: Path, url: str, *more: str) -> list[str]:
    return [
        *("run", "-i", str(rows), "-m", MODEL, "-o", str(out), "--base-url", url),
        *("--concurrency", "8", "--set", "retry.max_backoff_s=0.01", *more),
    ]
