"""Is a Parquet file whole, bit by bit, and what does it say of itself? Its digests, its pages, its footer.

Every byte is covered by one of two digests in the footer's key `batcher`, and every page by a checksum of its own:
the digests show that something has changed, the checksums in which rows.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.audit.findings import Findings
from batcher.audit.manifest import Totals

_DIGESTS = re.compile(rb'"blake2b":\{"body":"([0-9a-f]{32})","footer":"([0-9a-f]{32})"\}')
_ZEROS = b"0" * 32
_CHUNK = 1 << 20
UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError)
"""What reading a damaged file raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which rows a file holds, as its footer says."""

    run_id: str
    block: int
    generation: int
    digest: str
    first_task: int
    tasks: int


@dataclass(slots=True, kw_only=True)
class WholeFile:
    """A file whose footer can be relied on.

    Attributes:
        is_good: whether its bytes and all pages read so far are as they were written.
    """

    path: Path
    stamp: Stamp
    totals: Totals
    schema: pa.Schema
    rows: int
    size: int
    is_good: bool = True


def open_whole(path: Path, findings: Findings, *, signed: bool) -> WholeFile | None:
    """Check a file's bytes and read its footer; None when that cannot be relied on.

    A run that is not `signed` is of a version that wrote no digests.
    """
    before = len(findings)
    try:
        with path.open("rb") as file:
            trusted = _check_bytes(file, path, findings, signed=signed)
        if not trusted:
            return None
        meta = pq.read_metadata(path)
        said = orjson.loads(meta.metadata[b"batcher"])
        return WholeFile(
            path=path,
            stamp=Stamp(**said["stamp"]),
            totals=Totals.read(said["totals"]),
            schema=meta.schema.to_arrow_schema().remove_metadata(),
            rows=meta.num_rows,
            size=path.stat().st_size,
            is_good=len(findings) == before,
        )
    except FileNotFoundError:
        findings.add("missing", path, "gone since it was listed", "a file of the run")
    except (*UNREADABLE, KeyError, TypeError) as error:
        findings.add("bytes", path, f"not read: {one_line(error)}", "a whole Parquet file of a run")
    return None


def row_groups(whole: WholeFile, columns: list[str], findings: Findings) -> Iterator[tuple[int, pa.Table]]:
    """Read every page of a file, a row group at a time, with its checksum; gives (first row, these columns).

    A row group that does not read is a finding that names its tasks, and is left out.
    """
    first = 0
    with pq.ParquetFile(whole.path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            try:
                yield first, file.read_row_group(number, use_threads=False).select(columns).combine_chunks()
            except UNREADABLE as error:
                whole.is_good = False
                where = f"row group {number}, {', '.join(_unreadable(file, number)) or 'read as a whole'}"
                is_part = whole.stamp.tasks == whole.rows  # one row a task; of the ledger nobody knows
                findings.add(
                    "bytes",
                    whole.path,
                    f"{where}: {one_line(error)}",
                    "pages that fit their checksums",
                    task=whole.stamp.first_task + first if is_part else None,
                    times=rows,
                )
            first += rows


def _unreadable(file: pq.ParquetFile, group: int) -> Iterator[str]:
    for name in file.schema_arrow.names:
        try:
            file.read_row_group(group, columns=[name], use_threads=False)
        except UNREADABLE:
            yield name


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:159]}…"


def _check_bytes(file: BinaryIO, path: Path, findings: Findings, *, signed: bool) -> bool:
    """Compare a file with its digests; whether its footer can be relied on."""
    size = file.seek(0, os.SEEK_END)
    start = size - 8 - _word(file, size - 8) if size >= 12 else -1
    if start < 4 or _bytes(file, size - 4, 4) != b"PAR1":
        findings.add("bytes", path, f"{size:,} bytes that do not end as Parquet does", "a whole file")
        return False
    footer = _bytes(file, start, size - start)
    marks = list(_DIGESTS.finditer(footer))
    if not marks:
        if signed:
            findings.add("bytes", path, "no digests in its footer", "the digests that it was written with")
        else:
            findings.note("files of an older version carry no digests: their pages were checked and nothing else")
        return not signed
    mark = marks[-1]
    zeroed = footer[: mark.start(2)] + _ZEROS + footer[mark.end(2) :]
    if (found := _hash(zeroed)) != mark[2]:
        findings.add("bytes", path, f"footer blake2b {found.decode()}", f"footer blake2b {mark[2].decode()}")
        return False
    if (found := _hash_until(file, start)) != mark[1]:
        findings.add("bytes", path, f"blake2b {found.decode()}", f"blake2b {mark[1].decode()}")
    return True


def _word(file: BinaryIO, at: int) -> int:
    return int.from_bytes(_bytes(file, at, 4), "little")


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _hash_until(file: BinaryIO, stop: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    for at in range(0, stop, _CHUNK):
        digest.update(file.read(min(_CHUNK, stop - at)))
    return digest.hexdigest().encode()


def column(table: pa.Table, name: str) -> Any:
    """One column as a plain array."""
    chunked = table.column(name)
    return chunked.chunk(0) if chunked.num_chunks == 1 else pa.array(chunked.to_pylist(), chunked.type)
