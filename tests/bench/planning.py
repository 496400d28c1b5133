"""What does a row cost before it is sent? Planning, reading back and templating, as CPU beside `orjson.loads` alone.

    python -m tests.bench.planning --rows 1000000

Prints one JSON line: µs of CPU a row, and how often the bare parse of the same lines fits into it.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.job.load import load_job
from batcher.job.spec import Job
from batcher.prompts.build import Builder
from batcher.records import Request
from batcher.rows.index import Index
from batcher.rows.planning import plan_rows
from batcher.rows.readers import find_inputs
from batcher.rows.slices import SLICE_ROWS, BlockReader

BLOCK_ROWS = 8192
QUESTION = "Summarise the following paragraph in one sentence of at most twenty words, without names or numbers: "
TEMPLATE = "{{ question }} Answer in {{ lang }}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One kind of input: how it is written, and the template that asks with it."""

    suffix: str
    template: str | None = None


WAYS = {
    "plain": Way(suffix=".jsonl"),
    "template": Way(suffix=".jsonl", template=TEMPLATE),
    "csv": Way(suffix=".csv", template=TEMPLATE),
    "array": Way(suffix=".json"),
    "text": Way(suffix=".txt"),
    "parquet": Way(suffix=".parquet"),
    "messages": Way(suffix=".jsonl"),
}


def rows_of(count: int, way: str) -> Iterator[dict[str, object]]:
    for number in range(count):
        text = f"{QUESTION}{number} {'lorem ipsum ' * 8}"
        if way in ("template", "csv"):
            yield {"id": f"q{number}", "question": text, "lang": "English"}
        elif way == "messages":
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "It is."}]
            yield {"id": f"q{number}", "messages": turns}
        else:
            yield {"id": f"q{number}", "prompt": text}


def write(path: Path, rows: Iterator[dict[str, object]]) -> Path:
    """Write rows as the ending of the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "question", "lang"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['prompt']}\n" for row in rows))
    elif path.suffix == ".json":
        path.write_bytes(b"[" + b",\n".join(orjson.dumps(row) for row in rows) + b"]")
    else:
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def cpu_us(work: Callable[[], object], rows: int) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) / rows * 1e6


def parse_alone(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)


def ask_nothing(job: Job, index: Index) -> None:
    """Read every row back and make its request, as the feeder does."""
    builder = Builder(job, index.shape, index.found, where="bench")
    with BlockReader(index, job.input, slice_rows=SLICE_ROWS, needed=builder.needed) as reader:
        for block in index.blocks:
            for piece in reader.read(block):
                assert all(isinstance(builder.build(row), Request) for row in piece.rows)


def measure(way: str, count: int, folder: Path) -> dict[str, float | str | int]:
    """Measure one kind of input from its file to its requests."""
    kind = WAYS[way]
    path = write(folder / f"{way}{kind.suffix}", rows_of(count, way))
    lines = write(folder / "lines.jsonl", rows_of(count, way))
    flags = {"model": "gemini-2.5-flash", "input.files": [str(path)], "prompt.template": kind.template}
    job = load_job(None, flags=flags, sets=(), environ={}).job
    found: list[Index] = []
    told = 0

    def told_of(_rows: int, _bytes: int) -> None:
        nonlocal told
        told += 1

    def plan() -> None:
        files = find_inputs(job.input, spool=folder / "spool")
        has_template = kind.template is not None
        found.append(
            plan_rows(
                files,
                job.input,
                block_rows=BLOCK_ROWS,
                has_template=has_template,
                reserved=frozenset(),
                on_progress=told_of,
            )
        )

    planning_us = cpu_us(plan, count)
    asking_us = cpu_us(lambda: ask_nothing(job, found[0]), count)
    parse_us = cpu_us(lambda: parse_alone(lines), count)
    return {
        "way": way,
        "rows": count,
        "planning_us": round(planning_us, 2),
        "reading_and_templating_us": round(asking_us, 2),
        "together_us": round(planning_us + asking_us, 2),
        "times_the_parse": round((planning_us + asking_us) / parse_us, 1),
        "progress_calls": told,
    }


def main() -> None:
    """Read the command line, measure, print one JSON line for each kind of input."""
    parser = argparse.ArgumentParser(description="CPU a row before it is sent.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--way", choices=list(WAYS), action="append")
    given = parser.parse_args()
    for way in given.way or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(orjson.dumps(measure(way, given.rows, Path(folder))).decode() + "\n")


if __name__ == "__main__":
    main()
