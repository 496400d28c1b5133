"""How soon does a run of 100 million rows go on? Its first request after a start, and the memory until then.

    python -m tests.bench.resume --rows 100000000 --blocks 8192

Makes a run directory of so many blocks, 95 % of them sealed, and starts `batcher run` on it. Parts and ledger files
hold all of their rows, every column the same from row to row; of the input only the blocks that are asked have bytes,
the rest is a hole in the file. Prints one JSON line. Making all of it takes some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.engine.plan import Plan, draft_plan, freeze, plan_over
from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.money.prices import RateCard
from batcher.money.totals import Totals
from batcher.records import Status
from batcher.rows.blocks import DIGEST_BYTES, Block, Extent
from batcher.rows.readers import find_inputs
from batcher.store.blocks import BlockRow, State, put_blocks
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.parts import Stamp
from batcher.store.rundir import RunDir
from batcher.store.schemas import ATTEMPTS

MODEL = "gemini-2.5-flash"
LINE_BYTES = 64
SEALED = 0.95
REAL_BLOCKS = 4  # of those that are asked: no more are opened before the first request
NO_DIGEST = "0" * 2 * DIGEST_BYTES
_NOTHING = FailPoints()


def line(ordinal: int) -> bytes:
    """One row of the input, as long as every other."""
    text = orjson.dumps({"id": f"q{ordinal:09d}", "prompt": f"What is {ordinal:09d} * 7?"})
    return text.ljust(LINE_BYTES - 1) + b"\n"


def a_job(folder: Path, url: str) -> Job:
    """The job that the command line below comes to."""
    flags = {"input.files": [str(folder / "rows.jsonl")], "model": MODEL, "endpoint.base_url": url}
    return load_job(None, flags=flags, sets=(), environ={}).job


def planned(folder: Path, job: Job, rows: int, blocks: int) -> Plan:
    """A frozen plan of so many rows, though the input was never read."""
    source, rundir = folder / "rows.jsonl", RunDir.at(folder / "out")
    each = -(-rows // blocks)
    source.write_bytes(b"".join(map(line, range(100))))
    rundir.make()
    now = dt.datetime.now(dt.UTC)
    files = find_inputs(job.input, spool=rundir.spool)
    small = draft_plan(job, rundir, files, limit=None, rows_a_block=each, now=now, counted=lambda _rows, _size: None)
    first_asked = int(blocks * SEALED)
    real = {
        number: _bytes_of(number, each, rows) for number in range(first_asked, min(first_asked + REAL_BLOCKS, blocks))
    }
    with source.open("r+b") as file:
        for number, content in real.items():
            file.seek(number * each * LINE_BYTES)
            file.write(content)
        file.truncate(rows * LINE_BYTES)
    stat = source.stat()
    index = replace(
        small.index,
        blocks=tuple(_block(number, each, rows, real.get(number)) for number in range(blocks)),
        rows=rows,
        files=(replace(files[0], size=stat.st_size, mtime_ns=stat.st_mtime_ns),),
    )
    manifest = {**small.manifest, "rows": rows, "tasks": rows, "blocks": blocks}
    plan = plan_over(job, rundir, index, manifest, RateCard.bundled())
    freeze(plan)
    return plan


def _bytes_of(number: int, each: int, rows: int) -> bytes:
    return b"".join(map(line, range(number * each, min((number + 1) * each, rows))))


def _block(number: int, each: int, rows: int, content: bytes | None) -> Block:
    first, stop = number * each, min((number + 1) * each, rows)
    digest = NO_DIGEST if content is None else hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    extent = Extent(
        file=0,
        group=None,
        start=first * LINE_BYTES,
        stop=stop * LINE_BYTES,
        first_line=first + 1,
        rows=stop - first,
        digest=digest,
    )
    return Block(no=number + 1, first_ordinal=first, rows=stop - first, extents=(extent,))


def seal(plan: Plan) -> None:
    """Parts, ledger files and journal rows of 95 % of the blocks."""
    sealed = plan.index.blocks[: int(plan.blocks * SEALED)]
    rows = {}
    for block in sealed:
        totals = Totals(by_status={Status.OK: block.rows}, attempts=block.rows)
        stamp = Stamp(
            run_id=plan.terms.run_id,
            block=block.no,
            generation=1,
            digest=NO_DIGEST,
            first_task=block.first_ordinal,
            tasks=block.rows,
        )
        said = orjson.dumps({"stamp": stamp.as_json(), "totals": totals.as_json()})
        _write(plan.rundir.part(block.no, plan.blocks), plan.schema, block, said)
        _write(plan.rundir.ledger(block.no, 1), ATTEMPTS, block, said)
        rows[block.no] = BlockRow(no=block.no, state=State.SEALED, generation=1, digest=NO_DIGEST, totals=totals)
    asyncio.run(_journal(plan, rows))


async def _journal(plan: Plan, rows: dict[int, BlockRow]) -> None:
    journal = Journal(plan.rundir.journal, failpoints=_NOTHING)
    await journal.call(put_blocks(rows.values()))
    await journal.close()


def _write(path: Path, schema: pa.Schema, block: Block, said: bytes) -> None:
    numbers = pa.array(np.arange(block.first_ordinal, block.first_ordinal + block.rows))
    columns = [
        numbers if field.name in ("task", "ordinal") else pa.repeat(_value(field), block.rows) for field in schema
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True, version="2.6") as writer:
        writer.write_table(table, row_group_size=block.rows)
        writer.add_key_value_metadata({b"batcher": said})


def _value(field: pa.Field) -> pa.Scalar:
    constants: dict[str, Any] = {"status": "ok", "response": "an answer", "billed": "yes", "attempt": 1, "attempts": 1}
    return pa.scalar(constants.get(field.name), field.type)


def goes_on(folder: Path, emulator: Emulator) -> dict[str, float]:
    """Start the run; seconds to its first request, CPU and the most memory it had held by then."""
    argv = [sys.executable, "-m", "batcher", "run", "-i", str(folder / "rows.jsonl"), "-m", MODEL]
    argv += ["-o", str(folder / "out"), "--base-url", emulator.url, "--quiet"]
    before, began = emulator.totals().requests, time.monotonic()
    process = subprocess.Popen(argv, env=os.environ | {"GEMINI_API_KEY": "bench"})
    while emulator.totals().requests == before:
        if process.poll() is not None:
            raise SystemExit(f"the run ended with exit code {process.returncode} before it asked anything")
        time.sleep(0.002)
    first_s, peak, cpu_s = time.monotonic() - began, _peak_mb(process.pid), _cpu_s(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return {"first_request_s": round(first_s, 2), "cpu_s": round(cpu_s, 2), "peak_mb": round(peak, 1)}


def _peak_mb(pid: int) -> float:
    (kb,) = (
        line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(kb) / 1024


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measured(rows: int, blocks: int, times: int) -> Iterator[dict[str, Any]]:
    """The first start follows an orderly end, the others a kill."""
    with (
        tempfile.TemporaryDirectory(prefix="batcher-resume-") as name,
        Emulator(Settings(seed=7)).in_thread() as emulator,
    ):
        folder, began = Path(name), time.monotonic()
        plan = planned(folder, a_job(folder, emulator.url), rows, blocks)
        seal(plan)
        made = round(time.monotonic() - began, 1)
        for number in range(times):
            after = "kill" if number else "end"
            yield {"rows": rows, "blocks": blocks, "after": after, "made_s": made} | goes_on(folder, emulator)


def main() -> None:
    """Print a line for each start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--blocks", type=int, default=8192)
    parser.add_argument("--times", type=int, default=2)
    given = parser.parse_args()
    for figures in measured(given.rows, given.blocks, given.times):
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
