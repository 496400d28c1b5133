"""What did planning find? The index of an input: files, columns and blocks, kept in one checked file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from batcher.errors import StorageError
from batcher.job.spec import InputFormat, InputShape
from batcher.rows.blocks import DIGEST_BYTES, Block, Extent, numbered
from batcher.rows.columns import Column
from batcher.rows.containers import Layout
from batcher.rows.private import private
from batcher.rows.readers import InputFile
from batcher.rows.shapes import Shape

_MAGIC = b"batcher-index 2\n"


@dataclass(frozen=True, kw_only=True)  # no slots: the cached properties need a place
class Index:
    """The plan of an input: enough to read any block of it without parsing the rest again.

    Attributes:
        rows: of all blocks, unreadable ones included.
        bad_rows: of which cannot be read.
        shape: what a row is.
        found: every column of the input, those that the shape consumed included.
        columns: what the output repeats, in order.
        notes: one line for each surprise, to be shown once.
        files: the input files, in the order of their rows.
    """

    blocks: tuple[Block, ...]
    rows: int
    bad_rows: int
    shape: Shape
    found: tuple[str, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    files: tuple[InputFile, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """The user's columns as the output has them."""
        return pa.schema([(column.name, column.type) for column in self.columns])

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """What `datasets` takes the user's columns for, by their names in the output; plain ones are left out."""
        return {column.name: column.feature for column in self.columns if column.feature is not None}

    @cached_property
    def renamed(self) -> Mapping[str, str]:
        """The user's column -> its name in the output, where they differ."""
        return {column.source: column.name for column in self.columns if column.source != column.name}


def save_index(index: Index, path: Path) -> None:
    """Write the index to one file, whole or not at all.

    Raises:
        StorageError: the disk does not take it.
    """
    payload = orjson.dumps(_packed(index))
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "wb", opener=private) as file:
            file.write(_MAGIC + _digest(payload) + payload)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot write the index: {error.strerror or error}") from None


def load_index(path: Path) -> Index:
    """Read an index back.

    Raises:
        StorageError: it is missing, damaged or of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot read the index: {error.strerror or error}") from None
    if not data.startswith(_MAGIC):
        raise StorageError(f"{path}: not an index of this version")
    body = memoryview(data)[len(_MAGIC) :]
    digest, payload = body[:DIGEST_BYTES], body[DIGEST_BYTES:]
    if _digest(payload) != digest:
        raise StorageError(f"{path}: the index is damaged: its checksum does not fit")
    return _unpacked(orjson.loads(payload))


def check_unchanged(index: Index) -> tuple[str, ...]:
    """Compare size and mtime of the input files with the plan's; one line `name: was → is` for each that differs."""
    return tuple(line for file in index.files for line in _differences(file))


def _differences(file: InputFile) -> Iterator[str]:
    try:
        stat = file.source.stat()
    except OSError as error:
        yield f"{file.name}: {file.size:,} bytes → {error.strerror or error}"
        return
    if stat.st_size != file.size:
        yield f"{file.name}: {file.size:,} bytes → {stat.st_size:,} bytes"
    elif stat.st_mtime_ns != file.mtime_ns:
        yield f"{file.name}: modified at {file.mtime_ns} ns → {stat.st_mtime_ns} ns since 1970"
    elif not file.path.exists():
        yield f"{file.name}: its copy in the state folder → missing ({file.path})"


def _digest(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()


def _packed(index: Index) -> dict[str, Any]:
    """Lay the blocks out as columns: read back in a third of the time that a list of objects takes."""
    extents = [extent for block in index.blocks for extent in block.extents]
    return {
        "bad_rows": index.bad_rows,
        "shape": {
            "kind": index.shape.kind,
            "id_key": index.shape.id_key,
            "prompt_key": index.shape.prompt_key,
            "consumed": sorted(index.shape.consumed),
            "reference_key": index.shape.reference_key,
        },
        "found": index.found,
        "columns": [(column.source, column.is_json, column.is_reference) for column in index.columns],
        "features": index.features,
        "schema": base64.b64encode(index.schema.serialize().to_pybytes()).decode(),
        "notes": index.notes,
        "files": [
            (str(file.path), str(file.source), file.name, file.format, file.size, file.mtime_ns, asdict(file.layout))
            for file in index.files
        ],
        "blocks": [len(block.extents) for block in index.blocks],
        "extents": [
            [getattr(extent, name) for extent in extents]
            for name in ("file", "group", "start", "stop", "first_line", "rows", "digest")
        ],
    }


def _unpacked(packed: Mapping[str, Any]) -> Index:
    extents = _extents(packed["extents"])
    features = packed.get("features", {})
    schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(packed["schema"])))
    blocks = numbered([(sum(extent.rows for extent in pile), pile) for pile in _piles(extents, packed["blocks"])])
    return Index(
        blocks=blocks,
        rows=sum(block.rows for block in blocks),
        bad_rows=packed["bad_rows"],
        shape=_shape(packed["shape"]),
        found=tuple(packed["found"]),
        columns=tuple(
            Column(
                source=source,
                name=field.name,
                type=field.type,
                is_json=is_json,
                is_reference=is_reference,
                feature=features.get(field.name),
            )
            for (source, is_json, is_reference), field in zip(packed["columns"], schema, strict=True)
        ),
        notes=tuple(packed["notes"]),
        files=tuple(_file(*file) for file in packed["files"]),
    )


def _extents(columns: Sequence[Sequence[Any]]) -> list[Extent]:
    return [
        Extent(file=file, group=group, start=start, stop=stop, first_line=first_line, rows=rows, digest=digest)
        for file, group, start, stop, first_line, rows, digest in zip(*columns, strict=True)
    ]


def _piles(extents: Sequence[Extent], lengths: Sequence[int]) -> Iterator[tuple[Extent, ...]]:
    at = 0
    for length in lengths:
        yield tuple(extents[at : at + length])
        at += length


def _shape(packed: Mapping[str, Any]) -> Shape:
    return Shape(
        kind=InputShape(packed["kind"]),
        id_key=packed["id_key"],
        prompt_key=packed["prompt_key"],
        consumed=frozenset(packed["consumed"]),
        reference_key=packed["reference_key"],
    )


def _file(  # noqa: PLR0913, PLR0917  a record as written above
    path: str, source: str, name: str, kind: str, size: int, mtime_ns: int, layout: Mapping[str, Any]
) -> InputFile:
    return InputFile(
        path=Path(path),
        source=Path(source),
        name=name,
        format=InputFormat(kind),
        size=size,
        mtime_ns=mtime_ns,
        layout=Layout(**{**layout, "names": tuple(layout["names"])}),
    )
