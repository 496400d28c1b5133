"""Where do rows lie that cannot be read twice where they are? Copies on local disk: compressed files and streams."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shlex
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from batcher.errors import InputError, StorageError
from batcher.rows.private import private

_COPY_BYTES = 1 << 20
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
PACKED = (".gz", ".zst")
STREAM = "stdin"


Told = Callable[[int], None]
"""Called now and then with the bytes written so far; what it raises ends the copying, and nothing is left of it."""


def quietly(_: int) -> None:
    """Tell nobody."""


def unpacked(source: Path, name: str, spool: Path, *, most_bytes: int | None = None, told: Told = quietly) -> Path:
    """Give the decompressed copy of a file, made when the folder has none of the file's present state.

    Args:
        source: a compressed file; what its name does not say, its first bytes do.
        name: for messages.
        spool: a folder on local disk; made when needed.
        most_bytes: only the beginning of the file is wanted; None wants all of it.
        told: see `Told`.

    Raises:
        InputError: the file is damaged.
        StorageError: the folder cannot take the copy.
        OSError: the file cannot be read.
    """
    stat = source.stat()
    state = f"{source.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    suffix = source.suffix.lower()
    bare = source.stem if suffix in PACKED else source.name
    copy = spool / f"{hashlib.blake2b(state.encode(), digest_size=8).hexdigest()}-{bare}"
    if not copy.exists():
        with _opened(source, suffix if suffix in PACKED else packed_as(source), name) as packed:
            _copy(packed, copy, name, most_bytes, told=told)
    return copy


def spooled(stream: BinaryIO, spool: Path, *, name: str, told: Told = quietly) -> Path:
    """Write down what a stream brings, decompressed, so that a run can go on when the stream is gone.

    Raises:
        InputError: it is compressed and damaged.
        StorageError: the folder cannot take the copy.
    """
    raw = spool / f"{STREAM}.raw"
    _copy(stream, raw, name, told=told)
    suffix = packed_as(raw)
    if not suffix:
        return raw.replace(spool / STREAM)
    with _opened(raw, suffix, name) as packed:
        _copy(packed, spool / STREAM, name, told=told)
    raw.unlink()
    return spool / STREAM


def brings_the_same(stream: BinaryIO, path: Path, spool: Path) -> bool:
    """Say whether a stream brings what is written down in `path`; one that brings nothing does.

    Raises:
        InputError, StorageError: see `spooled`.
    """
    again = spool / "again"
    again.mkdir(parents=True, exist_ok=True)
    try:
        copy = spooled(stream, again, name="-")
        return not copy.stat().st_size or _digest(copy) == _digest(path)
    finally:
        for left in again.iterdir():
            left.unlink()
        again.rmdir()


def packed_as(path: Path) -> str:
    """Tell by its first bytes how a file is compressed: `.gz`, `.zst` or nothing."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


@contextlib.contextmanager
def _opened(source: Path, suffix: str, name: str) -> Iterator[BinaryIO]:
    with source.open("rb") as raw:
        try:
            if suffix == ".gz":
                yield gzip.GzipFile(fileobj=raw)  # type: ignore[misc]  # it reads as any binary file does
            else:
                yield pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
        except (gzip.BadGzipFile, EOFError, zlib.error, _DamagedError) as error:
            found = f"found at byte {raw.tell():,} of {source.stat().st_size:,}"
            raise InputError(
                f"{name}: damaged: {str(error).splitlines()[0]} ({found}); nothing was read from it",
                hint=_mended(source, suffix, name) if _is_cut(error) else "",
            ) from None


def _is_cut(error: Exception) -> bool:
    return isinstance(error, EOFError) or "Truncated" in str(error)  # of gzip, of Arrow


def _mended(source: Path, suffix: str, name: str) -> str:
    if source.suffix != suffix:  # a stream, or a name that no program takes
        return "it ends in the middle: fetch it again"
    program, file = {".gz": "gzip", ".zst": "zstd"}[suffix], shlex.quote(name)
    lines = f"{program} -dcq {file} | sed '$d' > {shlex.quote(source.stem)}"
    return f"it ends in the middle: fetch it again, or take its whole lines: {lines}"


class _DamagedError(Exception):
    """What Arrow, whose errors are all OSErrors, says of a stream that it cannot decompress."""


def _copy(source: BinaryIO, target: Path, name: str, most_bytes: int | None = None, *, told: Told = quietly) -> None:
    """Write a stream to a file, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    left, written = most_bytes, 0
    try:
        with _written(target.parent, name):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = open(partial, "wb", opener=private)  # noqa: SIM115  Path.open takes no opener; closed below
        with file:
            while left is None or left > 0:
                chunk = _read(source, _COPY_BYTES if left is None else min(left, _COPY_BYTES))
                if not chunk:
                    break
                left = left if left is None else left - len(chunk)
                with _written(target.parent, name):
                    file.write(chunk)
                written += len(chunk)
                told(written)
            with _written(target.parent, name):
                file.flush()
                os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):  # whatever kept us from writing it may keep us from removing it
            partial.unlink()
        raise


def _read(source: BinaryIO, count: int) -> bytes:
    try:
        return source.read(count)
    except OSError as error:
        if error.errno is None:  # Arrow's own, or gzip's, which has a name of its own
            raise _DamagedError(str(error)) from error
        raise


@contextlib.contextmanager
def _written(spool: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{spool}: cannot hold the decompressed {name}: {error.strerror or error}") from None
