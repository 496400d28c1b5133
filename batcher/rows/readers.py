"""Which files are the input? Names, folders, globs and package files to readable files on disk."""

from __future__ import annotations

import difflib
import glob
import hashlib
import stat as modes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from batcher.errors import InputError
from batcher.job.spec import Input, InputFormat
from batcher.rows.containers import Layout, is_array, json_kind, layout_of
from batcher.rows.folders import data_files, natural
from batcher.rows.packaged import is_packaged, packaged_file
from batcher.rows.spool import PACKED, Told, packed_as, quietly, spooled, unpacked
from batcher.rows.tables import check_table

STDIN = "-"
_FORMATS = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".json": InputFormat.JSON,  # or one object a line: its first byte tells
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.TSV,
    ".txt": InputFormat.TEXT,
    ".parquet": InputFormat.PARQUET,
    ".pq": InputFormat.PARQUET,
}
FORMAT_FLAGS = "--format jsonl, csv, tsv, text, json or parquet says how it is written"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the input.

    Attributes:
        path: where its rows are read: the file itself, or its copy in the spool folder.
        source: the file as it lies on disk, whose size and mtime tell whether it changed; of a stream, the copy.
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
    layout: Layout = field(default_factory=Layout)

    @property
    def container(self) -> str:
        """How it is written, in one word: `csv`, `jsonl.gz`."""
        suffix = self.source.suffix.lower()
        return f"{self.format}{suffix if suffix in PACKED else ''}"


def find_inputs(
    spec: Input,
    *,
    spool: Path,
    stdin: BinaryIO | None = None,
    head_bytes: int | None = None,
    told: Told = quietly,
) -> tuple[InputFile, ...]:
    """Find the input files, in the order of their rows.

    Args:
        spec: `[input]`; its paths are absolute, or relative to where the command runs.
        spool: a folder on local disk for copies of what cannot be read in place; made when needed. The copy of a
            compressed file is made once for each state of the file.
        stdin: read to its end where the job says `-`; None where there is none.
        head_bytes: decompress only so much of a file, to look at its first rows; None takes all.
        told: see `Told`; of what has to be copied first.

    Raises:
        InputError: a file is missing, unreadable, not what its name says, or not the one that was hashed.
        StorageError: the spool folder cannot take a copy.
    """
    sources = [source for named in spec.files for source in sources_of(named)]
    if sources.count(None) > 1:
        raise InputError("-: standard input can be read once, found it twice")
    if spec.sha256 is not None:
        _check_sha256(sources, spec.sha256)
    return tuple(
        _stream(spec, spool, stdin, told) if source is None else _input_file(source, spec, spool, head_bytes, told)
        for source in sources
    )


def sources_of(named: str) -> Sequence[Path | None]:
    """Resolve one name of a job's files, in the order of their rows; None stands for standard input.

    Raises:
        InputError: there is nothing of that name.
    """
    if named == STDIN:
        return [None]
    if is_packaged(named):
        return [packaged_file(named)]
    path = Path(named)
    if path.is_dir():
        return data_files(path, name_of(path), is_known=_is_known, known=list(_FORMATS))
    if path.exists():
        return [path]
    matches = glob.iglob(named, recursive=True)  # noqa: PTH207  pathlib takes no absolute patterns
    if found := sorted((match for match in matches if Path(match).is_file()), key=natural):
        return [Path(match) for match in found]
    raise _missing(path)


def _missing(path: Path) -> InputError:
    entries = path.parent.glob("*") if path.parent.is_dir() else ()
    # By their names alone: what the folders have in common would make everything look alike.
    names = [entry.name for entry in entries if entry.name != path.name]
    close = difflib.get_close_matches(path.name, names, n=1)
    meant = f"; did you mean {name_of(path.parent / close[0])}?" if close else ""
    return InputError(f"{name_of(path)}: no such file{meant}")


def name_of(path: Path) -> str:
    """Name a file for messages: relative to where the command runs when it lies beneath it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _check_sha256(sources: Sequence[Path | None], wanted: str) -> None:
    source = sources[0]
    if len(sources) != 1 or source is None:
        found = "standard input" if source is None else f"{len(sources)} input files"
        raise InputError(f"input.sha256: is of a single file, found {found}")
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(source, error) from None
    if digest != wanted.strip().lower():
        raise InputError(f"{name_of(source)}: its SHA-256 is {digest}, wanted {wanted}")


def _unreadable(source: Path, error: OSError) -> InputError:
    return InputError(f"{name_of(source)}: cannot be read: {error.strerror or error}")


def _format_of(path: Path) -> InputFormat | None:
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return _FORMATS.get(name.suffix.lower())


def _is_known(path: Path) -> bool:
    return _format_of(path) is not None


def _input_file(source: Path, spec: Input, spool: Path, head_bytes: int | None, told: Told) -> InputFile:
    kind = _format_of(source) if spec.format is InputFormat.AUTO else spec.format
    name = name_of(source)
    try:
        stat = source.stat()
        if not modes.S_ISREG(stat.st_mode):
            raise InputError(f"{name}: is no file that can be read twice", hint=f"-i - < {name}")
        if kind is None:
            raise InputError(
                f"{name}: not a format known by its name; wanted {', '.join(_FORMATS)}, each also as .gz or .zst",
                hint=FORMAT_FLAGS,
            )
        head_bytes = None if kind is InputFormat.PARQUET else head_bytes
        # Downloads lose the end of their name; the first bytes tell all the same.
        is_packed = source.suffix.lower() in PACKED or bool(packed_as(source))
        path = unpacked(source, name, spool, most_bytes=head_bytes, told=told) if is_packed else source
        return _described(path, source, name, kind, is_whole=not is_packed or head_bytes is None)
    except OSError as error:
        raise _unreadable(source, error) from None


def _stream(spec: Input, spool: Path, stdin: BinaryIO | None, told: Told) -> InputFile:
    if stdin is None:
        raise InputError("-: nothing is piped into standard input", hint="cat prompts.jsonl | batcher run -i - …")
    copy = spooled(stdin, spool, name=STDIN, told=told)
    kind = _format_by_content(copy) if spec.format is InputFormat.AUTO else spec.format
    if kind is None:
        raise InputError(
            "-: standard input is neither JSON nor Parquet; say what it is",
            hint="--format text or --format csv or --format tsv",
        )
    return _described(copy, copy, STDIN, kind, is_whole=True)


def _format_by_content(path: Path) -> InputFormat | None:
    """Tell by its first bytes how a stream is written; None where they do not say."""
    with path.open("rb") as file:
        head = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return InputFormat.PARQUET
    if head.startswith(b"["):
        return InputFormat.JSON
    return InputFormat.JSONL if head.startswith(b"{") or not head else None


def _described(path: Path, source: Path, name: str, kind: InputFormat, *, is_whole: bool) -> InputFile:
    layout = Layout()
    if kind is InputFormat.PARQUET:
        check_table(path, name)
    else:
        if kind is InputFormat.JSON:
            kind = json_kind(path, name)
        elif kind is InputFormat.JSONL and is_whole and is_array(path):
            kind = InputFormat.JSON
        layout = layout_of(path, name, kind, is_whole=is_whole)
    stat = source.stat()
    return InputFile(
        path=path.absolute(),
        source=source.absolute(),
        name=name,
        format=kind,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        layout=layout,
    )
