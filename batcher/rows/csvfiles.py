"""What are the records of a CSV file? Cut where no quote is open, read by the standard library, named by the header."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from batcher.rows.cutting import Skip

# The module's own limit is 131,072 characters a field and the process's, not a reader's: `input.max_row_bytes` is ours.
csv.field_size_limit(sys.maxsize)

DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NEWLINE = re.compile(rb"\n")


class CsvGrammar:
    """Records end at a line feed that no quoted field holds.

    A quote opens a field only at its beginning, as the standard library reads them: `5" pipe` is text.
    """

    counts_lines = True

    def __init__(self, delimiter: str) -> None:
        self._record = _record(delimiter)

    def ends(self, data: bytes) -> Sequence[int]:
        """See `Grammar`."""
        if b'"' not in data:
            return [found.end() for found in _NEWLINE.finditer(data)]
        ends = []
        at = 0
        while (found := self._record.match(data, at)) is not None:
            at = found.end()
            ends.append(at)
        return ends

    def skip(self) -> Skip:
        """See `Grammar`. A record too long to hold ends at the first line feed behind an even number of quotes."""
        is_open = False

        def end_in(data: bytes) -> int:
            nonlocal is_open
            at = 0
            while (end := data.find(b"\n", at) + 1) > 0:
                is_open ^= data.count(b'"', at, end) % 2 == 1
                if not is_open:
                    return end
                at = end
            is_open ^= data.count(b'"', at) % 2 == 1
            return -1

        return end_in


@lru_cache
def _record(delimiter: str) -> re.Pattern[bytes]:
    mark = re.escape(delimiter.encode())
    quoted, bare = rb'"(?:[^"]++|"")*+"[^%b\n]*+' % mark, rb'[^"%b\n][^%b\n]*+' % (mark, mark)
    return re.compile(rb"(?:%b|%b|%b)*+\n" % (quoted, bare, mark))


def delimiter_of(header: str) -> str:
    """Tell what stands between the fields of a header line: what it has most of outside quotes; a comma otherwise."""
    bare = _QUOTED.sub("", header)
    return max(DELIMITERS, key=bare.count)


def column_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of a header; one without a name, as pandas writes its index, is `column_<its place from 1>`."""
    return tuple(field.strip() or f"column_{place}" for place, field in enumerate(fields, start=1))


def read_fields(text: str, delimiter: str) -> list[str]:
    """Read one record.

    Raises:
        ValueError: it is none; the text says why.
    """
    return _fields_reader(delimiter)(text)


def _fields_reader(delimiter: str) -> Callable[[str], list[str]]:
    """Make what reads record after record, each by itself; a reader made for each would cost more than the reading."""
    pending: list[str] = []
    reader = csv.reader(iter(pending.pop, None), delimiter=delimiter)

    def read(text: str) -> list[str]:
        if '"' not in text and (bare := text.removesuffix("\r")) and "\r" not in bare:
            return bare.split(delimiter)  # what the library makes of it, too, at a sixth of the cost
        pending.append(text)
        try:
            return next(reader)
        except IndexError:  # it asks for another line
            raise ValueError("not CSV: a quoted field is never closed") from None
        except csv.Error:  # the one complaint that is left to a reader that is not strict and has no limit
            raise ValueError("not CSV: a carriage return in a field without quotes") from None

    return read


def record_parser(names: Sequence[str], delimiter: str) -> Callable[[bytes], dict[str, Any] | str | None]:
    """Make what reads one record: to a mapping, to what is wrong with it, or to None where it is blank."""
    count, read = len(names), _fields_reader(delimiter)

    def parse(record: bytes) -> dict[str, Any] | str | None:
        if not record or record.isspace():
            return None
        try:
            fields = read(record.decode())
        except UnicodeDecodeError as error:
            return not_utf8(error)
        except ValueError as error:
            return str(error)
        if len(fields) != count:
            return f"wanted {count} fields as in the header, found {len(fields)}"
        return dict(zip(names, fields, strict=True))

    return parse


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say where text is not UTF-8."""
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at column {error.start + 1}"
