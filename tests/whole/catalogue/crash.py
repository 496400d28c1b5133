"""Kill a run again and again, start it again each time, and hold what is left against the promises."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from batcher.audit.run import audit
from batcher.emulator.server import Emulator
from batcher.store.failpoints import NAMES
from tests.whole.processes import Forked

CONCURRENCY = 32
BAD_EVERY = 997
DUPLICATE_EVERY = 10
_RETRY_POINTS = ("success-removed", "reopened", "before-success")
_RECOVER_POINTS = ("state-rebuilt", "ledger-rebuilt", "part-mended")
POINTS = tuple(name for name in NAMES if name not in _RETRY_POINTS + _RECOVER_POINTS)


def write_rows(path: Path, count: int) -> None:
    """Products to work out: every tenth prompt is the same one, every 997th line is broken."""
    with path.open("w") as file:
        for number in range(count):
            row = {"id": f"q{number}", "prompt": f"What is {_factor(number)} * 7?", "number": number}
            line = json.dumps(row)
            file.write((line[: len(line) // 2] if is_bad(number) else line) + "\n")


def is_bad(number: int) -> bool:
    return number % BAD_EVERY == BAD_EVERY - 1


def _factor(number: int) -> int:
    return 3 if number % DUPLICATE_EVERY == 0 else number


@dataclass
class Kills:
    """One run that is killed `wanted` times.

    Attributes:
        seed: of the moments and points; printed when something is wrong.
        emulator: whom it asks.
        requests_between: at most, between a start and the kill.
    """

    rows: int
    wanted: int
    seed: int
    emulator: Emulator
    requests_between: int = 200
    done: Counter[str] = field(default_factory=Counter)

    def command(self, tmp: Path, url: str) -> list[str]:
        return [
            *("run", "-i", str(tmp / "rows.jsonl"), "-m", "gemini-2.5-flash"),
            *("-o", str(tmp / "out"), "--base-url", url, "--concurrency", str(CONCURRENCY), "--json"),
            *("--max-failed", "100%", "--set", "retry.max_backoff_s=0.05"),
        ]

    def loop(self, tmp: Path, url: str) -> None:
        """Run and kill until it was killed often enough or is done; then let it finish."""
        chance = random.Random(self.seed)
        while self.done.total() < self.wanted:
            point = chance.choice((*POINTS, "moment", "moment"))
            if self._finishes(self.command(tmp, url), point, chance):
                return
        assert self._finishes(self.command(tmp, url), "", chance)

    def retry_loop(self, tmp: Path, url: str) -> None:
        """Retry what failed, killed once at each point of a retry and of a seal."""
        chance = random.Random(self.seed)
        retry = ["retry", str(tmp / "out"), "--json"]
        for point in (*_RETRY_POINTS, "frozen", "part-built", "part-published", "sealed", ""):
            if self._finishes(retry if point in _RETRY_POINTS else self.command(tmp, url), point, chance) and not point:
                return

    def recover_loop(self, tmp: Path, url: str, readers: Readers) -> int:
        """Lose the state, a part and a ledger file; recover, killed once at each of its points; run what is left.

        Gives the rows of the part that was lost: they are asked again.
        """
        chance = random.Random(self.seed)
        with readers.paused():
            shutil.rmtree(tmp / "out" / ".state")
            part = sorted((tmp / "out" / "data").iterdir())[-2]
            lost = pq.read_metadata(part).num_rows
            part.unlink()
        (tmp / "out" / "attempts" / "attempts-00001-g1.parquet").unlink()
        recover = ["recover", str(tmp / "out"), "--yes", "--json"]
        for point in (*_RECOVER_POINTS, "success-removed", "reopened"):
            assert not self._finishes(recover, point, chance, times=1), point
        assert self._finishes(recover, "", chance)
        for point in ("admitted", "part-published", ""):
            self._finishes(self.command(tmp, url), point, chance)
        return lost

    def _finishes(self, command: list[str], point: str, chance: random.Random, *, times: int = 0) -> bool:
        """Whether the command came to its end: not killed at its point, nor at a moment before that.

        A moment is a number of requests, not of seconds: on a busy machine every process would die before it began.
        """
        env = os.environ | {"GEMINI_API_KEY": "test", "GOOGLE_API_KEY": ""}
        if point and point != "moment":
            env["BATCHER_FAILPOINT"] = f"{point}:{times or chance.choice((1, 1, 2, 5))}"
        most = chance.randint(1, self.requests_between) if point and not times else None
        stopped_at = None if most is None else self.emulator.totals().requests + most
        with Forked(command, env) as process:
            at_moment = self._killed_at(process, stopped_at)
            ended = process.ends(within_s=600)
        if ended.returncode == -signal.SIGKILL:
            self.done["moment" if at_moment else point] += 1
            return False
        assert ended.returncode in (0, 1), f"seed {self.seed}, {point}: {ended.returncode}\n{ended.stderr}"
        return True

    def _killed_at(self, process: Forked, requests: int | None) -> bool:
        while True:
            if process.wait(0.005) is not None:
                return False
            if requests is not None and self.emulator.totals().requests >= requests:
                process.kill()
                return True


class Readers:
    """Reads `data/` with pyarrow and DuckDB every 100 ms from planning on."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._over = threading.Event()
        self.reads = 0
        self._duckdb = duckdb.connect()  # one a thread
        self.errors: list[str] = []
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._read_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read_on(self) -> None:
        while not self._over.wait(0.1):
            if any(self._data.glob("train-00000-*")):
                with self._turn:
                    self._read()

    def paused(self) -> threading.Lock:
        """Nothing is read within: what a person removes by hand may be missed by who has just listed it."""
        return self._turn

    def _read(self) -> None:
        try:
            arrow = ds.dataset(self._data).to_table(columns=["task"]).column("task").to_pylist()
            (duck, distinct) = self._duckdb.sql(
                f"select count(*), count(distinct task) from '{self._data}/*.parquet'"
            ).fetchall()[0]
        except (OSError, ValueError, duckdb.Error) as error:
            self.errors.append(repr(error))
            return
        self.reads += 1
        if len(set(arrow)) != len(arrow) or duck != distinct:
            self.errors.append(f"a task twice: {len(arrow)}, {duck}")


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    took = [time.monotonic()]
    yield took
    took[0] = time.monotonic() - took[0]


def check_promises(out: Path, kills: Kills, emulator: Emulator) -> dict[str, int]:
    """Every task once, in order, with the right content; re-paid within bounds; the ledger covers what was counted."""
    table = pq.read_table(out / "data")
    tasks = table.column("task").to_pylist()
    assert tasks == list(range(kills.rows)), f"seed {kills.seed}"
    rows = table.select(["id", "prompt", "response", "status", "error_kind", "number"]).to_pylist()
    for number, row in enumerate(rows):
        if is_bad(number):
            assert (row["status"], row["error_kind"]) == ("failed", "bad_input"), row
            continue
        assert row["id"] == f"q{number}"
        assert row["number"] == number
        if row["status"] == "ok":
            assert str(_factor(number) * 7) in row["response"].replace(",", ""), row
    audited = audit(out)
    assert not audited.counts, f"seed {kills.seed}: {audited.findings}"
    assert (audited.proved.tasks, audited.is_finished) == (kills.rows, True)
    totals = emulator.totals()
    ledger = duckdb.sql(f"""
        select billed, sum(coalesce(prompt_token_count, 0) + coalesce(candidates_token_count, 0)
            + coalesce(thoughts_token_count, 0)), sum(reserve_input_tokens + reserve_output_tokens), count(*)
        from '{out}/attempts/*.parquet' group by 1""").fetchall()
    seen = {billed: (int(tokens), int(bound), count) for billed, tokens, bound, count in ledger}
    yes, maybe_bound = seen["yes"][0], seen.get("maybe", (0, 0, 0))[1]
    counted = totals.input_tokens + totals.output_tokens
    assert yes <= counted <= yes + maybe_bound, f"seed {kills.seed}: {yes} <= {counted} <= {yes} + {maybe_bound}"
    asked = kills.rows - sum(map(is_bad, range(kills.rows)))
    repaid = totals.answered - asked
    return {"repaid": repaid, "asked": asked, "maybe": seen.get("maybe", (0, 0, 0))[2]}
