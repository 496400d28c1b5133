"""Which files are the input? Names, folders, globs and package files to readable files on disk."""

from __future__ import annotations

import contextlib
import difflib
import glob
import gzip
import hashlib
import importlib.metadata
import os
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batcher.errors import InputError, StorageError
from batcher.job.spec import Input, InputFormat
from batcher.rows.tables import check_table

_FORMATS = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".json": InputFormat.JSONL,
    ".parquet": InputFormat.PARQUET,
    ".pq": InputFormat.PARQUET,
}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PYPI = re.compile(r"pypi:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^/]+)/(?P<path>.+)")
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the input.

    Attributes:
        path: where its rows are read: the file itself, or its decompressed copy in the spool folder.
        source: the file as it lies on disk, whose size and mtime tell whether it changed.
        name: for messages: relative to where the command runs when it lies beneath it.
        format: never `auto`.
        size, mtime_ns: of `source`, in bytes and nanoseconds since the epoch.
    """

    path: Path
    source: Path
    name: str
    format: InputFormat
    size: int
    mtime_ns: int


def find_inputs(spec: Input, *, spool: Path) -> tuple[InputFile, ...]:
    """Find the input files, in the order of their rows.

    Args:
        spec: `[input]`; its paths are absolute, or relative to where the command runs.
        spool: a folder on local disk for decompressed copies; made when needed. A copy is made once for each state
            of its source.

    Raises:
        InputError: a file is missing, unreadable, not what its name says, or not the one that was hashed.
        StorageError: the spool folder cannot take a decompressed copy.
    """
    sources = [source for named in spec.files for source in _sources(named)]
    if spec.sha256 is not None:
        _check_sha256(sources, spec.sha256)
    return tuple(_input_file(source, spec, spool) for source in sources)


def _sources(named: str) -> list[Path]:
    if named.startswith("pypi:"):
        return [_packaged(named)]
    if named == "-":
        raise InputError("-: standard input cannot be read yet", hint="write it to a file first: cat > prompts.jsonl")
    path = Path(named)
    if path.is_dir():
        return _inside(path)
    if path.exists():
        return [path]
    matches = glob.iglob(named, recursive=True)  # noqa: PTH207  pathlib takes no absolute patterns
    if found := sorted((match for match in matches if Path(match).is_file()), key=_natural):
        return [Path(match) for match in found]
    raise _missing(path)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order shard-2 before shard-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _inside(folder: Path) -> list[Path]:
    """Give the data files of a folder, or of its `data/`, where dataset hubs keep them; not the hidden ones."""
    for place in (folder, folder / "data"):
        entries = (entry for entry in place.glob("*") if entry.is_file() and entry.name[0] not in "._")
        if found := [entry for entry in entries if _format_of(entry) is not None]:
            return sorted(found, key=lambda entry: _natural(entry.name))
    raise InputError(f"{_name(folder)}: no input files in this folder; wanted {', '.join(_FORMATS)}, each also as .gz")


def _packaged(named: str) -> Path:
    match = _PYPI.fullmatch(named)
    if match is None:
        raise InputError(f"input.files: found {named!r}, wanted pypi:PACKAGE==VERSION/path/in/package")
    name, version, inside = match["name"], match["version"], match["path"]
    install = f"python -m pip install {name}=={version}"
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"{named}: the package {name} is not installed", hint=install) from None
    if package.version != version:
        raise InputError(f"{named}: {name} {package.version} is installed, wanted {version}", hint=install)
    path = Path(str(package.locate_file(inside)))
    # Only what the package brought: a path with `..` could name any file of the machine.
    contents = [str(file) for file in package.files or ()]
    if not path.is_file() or inside not in contents:
        raise InputError(f"{named}: no {inside} in {name} {version}{_meant(inside, contents)}")
    return path


def _missing(path: Path) -> InputError:
    entries = path.parent.glob("*") if path.parent.is_dir() else ()
    # By their names alone: what the folders have in common would make everything look alike.
    names = [entry.name for entry in entries if entry.name != path.name]
    close = difflib.get_close_matches(path.name, names, n=1)
    meant = f"; did you mean {_name(path.parent / close[0])}?" if close else ""
    return InputError(f"{_name(path)}: no such file{meant}")


def _meant(wanted: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=1)
    return f"; did you mean {_name(Path(close[0]))}?" if close else ""


def _name(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _check_sha256(sources: list[Path], wanted: str) -> None:
    if len(sources) != 1:
        raise InputError(f"input.sha256: is of a single file, found {len(sources)} input files")
    try:
        with sources[0].open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(sources[0], error) from None
    if found != wanted.strip().lower():
        raise InputError(f"{_name(sources[0])}: its SHA-256 is {found}, wanted {wanted}")


def _unreadable(source: Path, error: OSError) -> InputError:
    return InputError(f"{_name(source)}: cannot be read: {error.strerror or error}")


def _format_of(path: Path) -> InputFormat | None:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return _FORMATS.get(name.suffix.lower())


def _input_file(source: Path, spec: Input, spool: Path) -> InputFile:
    kind = _format_of(source) if spec.format is InputFormat.AUTO else spec.format
    if kind is None:
        raise InputError(
            f"{_name(source)}: not a format known by its name; wanted {', '.join(_FORMATS)}, each also as .gz",
            hint="--set input.format=jsonl or --set input.format=parquet",
        )
    try:
        stat = source.stat()
        path = _decompressed(source, stat, spool) if source.suffix.lower() == ".gz" else source
        _check_content(path, source, kind)
    except OSError as error:
        raise _unreadable(source, error) from None
    return InputFile(
        path=path.absolute(),
        source=source.absolute(),
        name=_name(source),
        format=kind,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
    )


def _check_content(path: Path, source: Path, kind: InputFormat) -> None:
    if kind is InputFormat.PARQUET:
        check_table(path, _name(source))
        return
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_UTF16_MARKS):
        raise InputError(
            f"{_name(source)}: is UTF-16, wanted UTF-8",
            hint=f"iconv -f UTF-16 -t UTF-8 {_name(source)} > {source.stem}-utf8.jsonl",
        )
    is_array = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if is_array and source.name.lower().removesuffix(".gz").endswith(".json"):
        raise InputError(
            f"{_name(source)}: is one JSON array, wanted one object a line",
            hint=f"jq -c '.[]' {source} > {source.stem}.jsonl",
        )


def _decompressed(source: Path, stat: os.stat_result, spool: Path) -> Path:
    """Give the decompressed copy of a source, made when the spool folder has none of its present state."""
    state = hashlib.blake2b(
        f"{source.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(), digest_size=8
    ).hexdigest()
    copy = spool / f"{state}-{source.with_suffix('').name}"
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        if copy.exists():
            return copy
        spool.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as target:
            with gzip.open(source, "rb") as packed:
                shutil.copyfileobj(packed, target, _COPY_BYTES)
            os.fsync(target.fileno())
        partial.replace(copy)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        _discard(partial)
        raise InputError(f"{_name(source)}: damaged: {error}; nothing was read from it") from None
    except OSError as error:
        _discard(partial)
        raise StorageError(
            f"{spool}: cannot hold the decompressed {_name(source)}: {error.strerror or error}"
        ) from None
    return copy


def _discard(partial: Path) -> None:
    with contextlib.suppress(OSError):  # whatever kept us from writing it may keep us from removing it
        partial.unlink()
