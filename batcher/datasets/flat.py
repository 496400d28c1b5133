"""How does a table look as CSV? UTF-8, a comma between cells, a line feed behind each row, and nothing to execute.

Text always stands in quotes and numbers never do; an empty cell is null and `""` an empty text (where there is but one
column, a null, too). Numbers are plain decimals without exponents. What is nested becomes JSON text, bytes become
hexadecimal digits.

A spreadsheet takes a cell that begins with = + - or @ for a formula, also behind blanks, and, where it splits quoted
text at line breaks, at the start of each line (CWE-1236). Such a line gets an apostrophe in front; a text that is just
a number stays. Parquet keeps the exact text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from batcher.rows.arrays import to_python

_BLANKS = "[^\\S\r\n]|[\u200b\ufeff\x00]"
_STARTS = f"(?:{_BLANKS})*[=+\\-@\uff1d\uff0b\uff0d\uff20]"  # the full-width ones are folded by some programs
_FIRST_LINE = re.compile(f"[\t\r]|{_STARTS}")
_LATER_LINE = re.compile(f"[\r\n](?={_STARTS})")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


class Csv:
    """Writes record batches of one schema as CSV, the header first."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema) -> None:
        self._sink = sink
        self._cells = [cells_of(field.type) for field in schema]
        header = ",".join(_quoted(name) for name in schema.names)
        sink.write(f"{header}\n".encode())

    def add(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        columns = [cells(column) for cells, column in zip(self._cells, batch.columns, strict=True)]
        if len(columns) == 1:  # an empty line is no row to most readers
            columns = [[cell or '""' for cell in columns[0]]]
        self._sink.writelines(f"{','.join(row)}\n".encode() for row in zip(*columns, strict=True))


def harmless(text: str) -> str:
    """Put an apostrophe before each line that a spreadsheet would take for a formula."""
    if _NUMBER.fullmatch(text):
        return text
    first = "'" if _FIRST_LINE.match(text) else ""
    return first + _LATER_LINE.sub(lambda found: f"{found[0]}'", text)


def plain_json(value: Any) -> Any:
    """Make fit for JSON what it does not know: decimals and times as text, bytes in base 64."""
    if isinstance(value, Decimal):
        return _decimal(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def cells_of(kind: pa.DataType) -> Callable[[pa.Array], list[str]]:
    """Give what makes the cells of a column of this type."""
    if pa.types.is_timestamp(kind):
        return _stamps
    for fits, cell in _CELLS:
        if fits(kind):
            return lambda column: ["" if value is None else cell(value) for value in to_python(column)]
    return lambda column: ["" if value is None else _quoted(str(value)) for value in to_python(column)]


def _quoted(text: str) -> str:
    return '"' + harmless(text).replace('"', '""') + '"'


def _decimal(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _float(value: float) -> str:
    text = repr(value)
    return f"{Decimal(text):f}" if "e" in text else text


def _json(value: Any) -> str:
    return _quoted(orjson.dumps(value, default=plain_json).decode())


def _stamps(column: pa.Array) -> list[str]:
    """As ISO 8601; Arrow knows years that Python does not."""
    texts = pc.replace_substring_regex(column.cast(pa.string()), r"^(-?\d+-\d+-\d+) ", r"\1T")
    return ["" if text is None else text for text in texts.to_pylist()]


_CELLS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], str]], ...] = (
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), _quoted),
    (pa.types.is_boolean, lambda value: "true" if value else "false"),
    (pa.types.is_integer, str),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (
        lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind),
        lambda value: f'"{value.hex()}"',
    ),
    (pa.types.is_nested, _json),
)
