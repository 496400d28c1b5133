"""What was the plan for a block? Its rows and rendered requests, written once before the first is sent.

Asking, retrying and sealing read this file and never the input again. It is an Arrow IPC file of record batches of at
most `SLICE` rows; its blake2b digest is kept in the journal and checked whenever the file is opened.

Columns: ordinal int64; id, prompt, model large_string; body large_binary (null where the row has a problem);
request_hash binary(16); estimated_tokens, input_bound, output_bound int64; problem_kind, problem_message string; user
struct<the user's columns, output names>.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from batcher.errors import StorageError
from batcher.records import Problem, Request, Row
from batcher.rows.private import private
from batcher.store.disk import digest_of, sync_file, sync_folder

SLICE = 256
SLICE_BYTES = 8 << 20
"""Of bodies: a slice is closed when it has so many, so that it can be held in memory whatever its rows are."""


class Planned(NamedTuple):
    """One row of a block file as the feeder needs it; `request` is None where the row has a problem."""

    ordinal: int
    request: Request | None
    problem: Problem | None


def schema_of(user: pa.Schema) -> pa.Schema:
    """The block file's schema around the user's columns."""
    return pa.schema(
        [
            ("ordinal", pa.int64()),
            ("id", pa.large_string()),
            ("prompt", pa.large_string()),
            ("model", pa.large_string()),
            ("body", pa.large_binary()),
            ("request_hash", pa.binary(16)),
            ("estimated_tokens", pa.int64()),
            ("input_bound", pa.int64()),
            ("output_bound", pa.int64()),
            ("problem_kind", pa.string()),
            ("problem_message", pa.string()),
            ("user", pa.struct(list(user))),
        ]
    )


def slice_of(rows: list[Row], made: list[Request | Problem], user: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """One record batch from rows, what became of them and their user columns."""
    asked = [item if isinstance(item, Request) else None for item in made]
    problems = [item if isinstance(item, Problem) else None for item in made]
    user_struct = (
        pa.StructArray.from_arrays(user.columns, fields=list(user.schema))
        if user.num_columns
        else pa.array([{}] * len(rows), type=pa.struct([]))
    )
    columns = [
        pa.array([row.ordinal for row in rows], pa.int64()),
        pa.array([row.id for row in rows], pa.large_string()),
        pa.array([r and r.prompt for r in asked], pa.large_string()),
        pa.array([r and r.model for r in asked], pa.large_string()),
        pa.array([r and r.body for r in asked], pa.large_binary()),
        pa.array([r and r.request_hash for r in asked], pa.binary(16)),
        pa.array([r and r.estimated_tokens for r in asked], pa.int64()),
        pa.array([r and r.input_bound for r in asked], pa.int64()),
        pa.array([r and r.output_bound for r in asked], pa.int64()),
        pa.array([p and p.kind for p in problems], pa.string()),
        pa.array([p and p.message for p in problems], pa.string()),
        user_struct,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class BlockWriter:
    """Writes a block file beside its final name and moves it there whole.

    Raises:
        StorageError: the disk refuses.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._unfinished = path.with_suffix(".part")
        with self._disk():
            os.close(private(str(self._unfinished), os.O_CREAT | os.O_WRONLY))
            self._sink = pa.OSFile(str(self._unfinished), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one slice."""
        with self._disk():
            self._writer.write_batch(batch)

    def finish(self) -> str:
        """Sync, move into place and return the digest."""
        with self._disk():
            self._writer.close()
            self._sink.close()
            digest = digest_of(self._unfinished)
            sync_file(self._unfinished)
            self._unfinished.replace(self._path)
            sync_folder(self._path.parent)
        return digest

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror or error}") from error


class SliceOfIds(NamedTuple):
    """The ids of the rows from `first` on, one slice of a block file."""

    first: int
    ids: pa.Array

    def has(self, ordinal: int) -> bool:
        """Whether it is this slice that holds a row."""
        return self.first <= ordinal < self.first + len(self.ids)


def read_ids(path: Path, ordinal: int, *, within: int) -> SliceOfIds:
    """The ids of the slice that a row is in; the other slices stay on disk.

    Args:
        path: of the block file.
        ordinal: of the row.
        within: which row of its block that is, from 0: nearly every slice is full, so this tells where to look first.
    """
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[0, 1]))

        def read(number: int) -> SliceOfIds:
            batch = reader.get_batch(number)
            return SliceOfIds(first=batch.column("ordinal")[0].as_py(), ids=batch.column("id"))

        slices = range(reader.num_record_batches)
        found = read(min(within // SLICE, slices[-1]))
        return found if found.has(ordinal) else read(bisect_right(slices, ordinal, key=lambda n: read(n).first) - 1)


class BlockFile:
    """A block file, opened for reading slice by slice; never mapped, so that its pages do not count as ours."""

    def __init__(self, path: Path, *, digest: str) -> None:
        found = digest_of(path)
        if found != digest:
            raise StorageError(
                f"{path}: this block's plan is damaged (digest {found}, expected {digest})",
                hint="name another folder with -o; the finished parts are whole",
            )
        self._source = pa.OSFile(str(path), "rb")
        # A body with pictures in it, and the user's own column of them, are each read by the side that needs them only.
        self._to_ask = _reader(self._source, _ASKED)
        self._to_seal = _reader(self._source, _SEALED)

    @property
    def slices(self) -> int:
        """How many record batches there are."""
        count: int = self._to_seal.num_record_batches
        return count

    def batch(self, number: int) -> pa.RecordBatch:
        """The slice as the columns that a seal needs."""
        return self._to_seal.get_batch(number)

    def planned(self, number: int) -> list[Planned]:
        """The slice as what the feeder asks, in order."""
        batch = self._to_ask.get_batch(number)
        columns = [batch.column(name).to_pylist() for name in _ASKED]
        return [_planned(*values) for values in zip(*columns, strict=True)]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All slices in order."""
        for number in range(self.slices):
            yield self.batch(number)

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


def _reader(source: pa.NativeFile, names: tuple[str, ...]) -> pa.ipc.RecordBatchFileReader:
    fields = [schema_of(pa.schema([])).names.index(name) for name in names]
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))


_SEALED = ("ordinal", "id", "prompt", "model", "request_hash", "user")
_ASKED = (
    "ordinal",
    "prompt",
    "model",
    "body",
    "request_hash",
    "estimated_tokens",
    "input_bound",
    "output_bound",
    "problem_kind",
    "problem_message",
)


def _planned(  # noqa: PLR0913, PLR0917  one argument a column: the row is never a dict on this path
    ordinal: int,
    prompt: str | None,
    model: str,
    body: bytes | None,
    request_hash: bytes,
    estimated_tokens: int,
    input_bound: int,
    output_bound: int,
    problem_kind: str | None,
    problem_message: str,
) -> Planned:
    if body is None:
        return Planned(
            ordinal=ordinal, request=None, problem=Problem(kind=problem_kind or "bad_input", message=problem_message)
        )
    request = Request(
        body=body,
        model=model,
        prompt=prompt,
        request_hash=request_hash,
        estimated_tokens=estimated_tokens,
        input_bound=input_bound,
        output_bound=output_bound,
    )
    return Planned(ordinal=ordinal, request=request, problem=None)
