"""How do rows stand in a file that is no Parquet? Where they begin, how they are cut, how one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batcher.errors import InputError
from batcher.job.spec import InputFormat
from batcher.rows.csvfiles import CsvGrammar, column_names, delimiter_of, not_utf8, read_fields, record_parser
from batcher.rows.cutting import read_records
from batcher.rows.jsonarrays import ArrayGrammar
from batcher.rows.lines import Lines, read_lines
from batcher.rows.objects import parse_object

Parse = Callable[[bytes], dict[str, Any] | str | None]
"""One record to its columns, to what is wrong with it, or to None where it is blank."""

TEXT_COLUMN = "text"
"""The column of a file with one prompt a line; the name that `datasets` gives it, too."""

_BOM = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the rows of a file stand, and what their columns are called where they do not say so themselves.

    Attributes:
        start, stop: bytes; None for the end of the file.
        first_line: number of the first row: of its line, or 1 for the first element of an array.
        names: the columns of a CSV file.
        delimiter: what stands between its fields.
    """

    start: int = 0
    stop: int | None = None
    first_line: int = 1
    names: tuple[str, ...] = ()
    delimiter: str = ""


def layout_of(path: Path, name: str, kind: InputFormat, *, is_whole: bool = True) -> Layout:
    """Look at both ends of a file.

    Args:
        path: the file, decompressed.
        name: for messages.
        kind: neither `auto` nor `parquet`; `json` where it is an array.
        is_whole: False for the beginning of a file, which has no end to look at.

    Raises:
        InputError: it is UTF-16, or not what `kind` says.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    if head.startswith(_UTF16_MARKS):
        raise InputError(f"{name}: is UTF-16, wanted UTF-8", hint=_in_utf8(name, "UTF-16"))
    start = len(_BOM) if head.startswith(_BOM) else 0
    if kind in (InputFormat.CSV, InputFormat.TSV):
        return _csv_layout(path, name, kind, head[start:], start)
    if kind is InputFormat.JSON:
        stop = _array_end(path, name, tail) if is_whole else None
        return Layout(start=_array_start(head), stop=stop)
    return Layout(start=start)


def json_kind(path: Path, name: str) -> InputFormat:
    """Tell an array from one object a line, both of which are called `.json`.

    Raises:
        InputError: it is one object over many lines.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).removeprefix(_BOM).lstrip(_BLANK)
    if head.startswith(b"["):
        return InputFormat.JSON
    first, newline, rest = head.partition(b"\n")
    if head.startswith(b"{") and newline and rest.strip() and isinstance(parse_object(first), str):
        raise InputError(
            f"{name}: is one JSON object, wanted an array or one object a line",
            hint=f"jq -c '.rows[]' {name} > {Path(name).stem}.jsonl   # where rows is its key with the array",
        )
    return InputFormat.JSONL


def is_array(path: Path) -> bool:
    """Say whether a file is one array although it is called otherwise: no line of it is a row then.

    A file of lines may hold arrays, each of them a row that cannot be read; so this asks for a first line that is not
    whole, or that is the only one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_TAIL_BYTES).removeprefix(_BOM).lstrip(_BLANK)
        if not head.startswith(b"["):
            return False
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    first, _, rest = head.partition(b"\n")
    return tail.rstrip(_BLANK).endswith(b"]") and (not rest.strip(_BLANK) or _is_open(first))


def _is_open(line: bytes) -> bool:
    """Say whether a line begins an array that it does not end."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.rstrip(_BLANK).endswith((b"[", b",", b"{"))
    return False


def records_of(  # noqa: PLR0913  a range and what `Layout` says of the file
    path: Path, kind: InputFormat, layout: Layout, *, start: int, stop: int | None, first_line: int, max_row_bytes: int
) -> Iterator[Lines]:
    """Cut a range of a file into records; it begins where a record does. `stop` None is the end of the rows."""
    with path.open("rb") as file:
        end = next(at for at in (stop, layout.stop, path.stat().st_size) if at is not None)
        bounds = {"start": start, "stop": end, "first_line": first_line, "max_row_bytes": max_row_bytes}
        if kind in (InputFormat.CSV, InputFormat.TSV):
            yield from read_records(file, CsvGrammar(layout.delimiter), **bounds)
        elif kind is InputFormat.JSON:
            yield from read_records(file, ArrayGrammar(), **bounds)
        else:
            yield from read_lines(file, **bounds)


def parser_of(kind: InputFormat, layout: Layout) -> Parse:
    """Give what reads one record of a file."""
    if kind in (InputFormat.CSV, InputFormat.TSV):
        return record_parser(layout.names, layout.delimiter)
    return parse_text if kind is InputFormat.TEXT else parse_object


def parse_text(line: bytes) -> dict[str, Any] | str | None:
    """Read a line that is a prompt."""
    if not line or line.isspace():
        return None
    try:
        return {TEXT_COLUMN: line.removesuffix(b"\r").decode()}
    except UnicodeDecodeError as error:
        return not_utf8(error)


def place_in(name: str, kind: InputFormat) -> str:
    """Give what stands before a record's number in a message: `a.csv:` or `a.json, element `."""
    return f"{name}, element " if kind is InputFormat.JSON else f"{name}:"


def _in_utf8(name: str, encoding: str) -> str:
    path = Path(name)
    return f"iconv -f {encoding} -t UTF-8 {name} > {path.name.partition('.')[0]}-utf8{path.suffix}"


def _array_start(head: bytes) -> int:
    return len(head) - len(head.removeprefix(_BOM).lstrip(_BLANK)) + 1  # behind the bracket that `json_kind` saw


def _array_end(path: Path, name: str, tail: bytes) -> int:
    rows = tail.rstrip(_BLANK)
    if not rows.endswith(b"]"):
        raise InputError(f"{name}: a JSON array that does not end with ']': is the file whole?")
    return path.stat().st_size - (len(tail) - len(rows)) - 1


def _csv_layout(path: Path, name: str, kind: InputFormat, head: bytes, start: int) -> Layout:
    line = head.partition(b"\n")[0].decode(errors="replace")
    delimiter = "\t" if kind is InputFormat.TSV else delimiter_of(line)
    ends = CsvGrammar(delimiter).ends(head)
    header = head[: ends[0] - 1] if ends else head
    if not ends and len(head) >= _HEAD_BYTES - start:
        raise InputError(f"{name}: its header is longer than {_HEAD_BYTES:,} bytes")
    if not header.strip():
        if path.stat().st_size > start:
            raise InputError(f"{name}: its first line is blank, wanted the names of the columns")
        return Layout(start=start, delimiter=delimiter)
    names = _header(name, header, delimiter)
    behind = start + (ends[0] if ends else len(head))
    return Layout(start=behind, first_line=header.count(b"\n") + 2, names=names, delimiter=delimiter)


def _header(name: str, header: bytes, delimiter: str) -> tuple[str, ...]:
    try:
        names = column_names(read_fields(header.decode(), delimiter))
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:1: {not_utf8(error)}", hint=_in_utf8(name, "WINDOWS-1252")) from None
    except ValueError as error:
        raise InputError(f"{name}:1: {error}") from None
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise InputError(f"{name}: two columns are called {', '.join(map(repr, twice))}")
    return names
