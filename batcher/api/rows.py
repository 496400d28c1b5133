"""How do rows in memory become an input file? A spool in the run's own folder, named after its content."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from batcher.errors import InputError, StorageError
from batcher.job.complaints import shown
from batcher.rows.features import KEY
from batcher.rows.private import private

_BATCH_ROWS = 1024
_BATCH_BYTES = 64 << 20  # of bytes in rows, or of decoded columns: pictures are fewer rows a batch, and a row group
_MEDIA_ROWS = 64  # of a data set with pictures, whose size nobody knows before they are read
_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_NO_DICTS = 'prompts: [{"prompt": text} for text in texts]; files: input=[…]'
_WANTED = "wanted dicts, a pyarrow Table, a pandas or polars DataFrame, a datasets.Dataset"


@runtime_checkable
class Columns(Protocol):
    """Whatever speaks Arrow's own protocol: a pyarrow Table, a polars or pandas frame, a DuckDB result."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the columns as a stream of batches."""
        ...


@runtime_checkable
class DataSet(Protocol):
    """A `datasets.Dataset`, or one that streams; as Arrow it has pictures as they are stored, not decoded."""

    features: Any

    def with_format(self, kind: str) -> Any:
        """Give the same rows in another format."""
        ...

    def iter(self, batch_size: int) -> Iterator[Any]:
        """Give the rows in batches."""
        ...


@runtime_checkable
class Picture(Protocol):
    """A picture of Pillow's, which is no dependency of ours."""

    width: int
    height: int

    def save(self, fp: IO[bytes], format: str) -> None:  # noqa: A002  Pillow's own word
        """Write it."""
        ...


Rows = Columns | DataSet | Iterable[Mapping[str, Any]]
"""Rows in memory."""


def check_rows(rows: object) -> Rows:
    """Refuse what holds no rows, before anything is made of it.

    Raises:
        InputError: it is a text, one dict, or nothing that can be gone through.
    """
    if isinstance(rows, Columns | DataSet) or (
        isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping)
    ):
        return rows
    hint = "one dict is one row: [row]" if isinstance(rows, Mapping) else ""
    raise InputError(f"rows: found {_a(rows)}, {_WANTED}", hint=hint)


def spool_rows(rows: Rows, folder: Path, *, check: Callable[[], None]) -> Path:
    """Write rows to a file in `folder`; the same rows are the same file, which is then left as it is.

    Columns and data sets become Parquet; dicts become JSON lines, because rows need not have the same keys and a null
    key is another thing than a missing one. Dicts with bytes in them, which JSON has not, or with Pillow's pictures,
    become Parquet with the columns of the first rows. The memory this takes does not grow with the rows.

    Args:
        rows: in memory.
        folder: where the file shall lie.
        check: called now and then; what it raises ends this.

    Raises:
        InputError: a row is no dict, or holds what neither format can.
        StorageError: the disk refuses.
    """
    try:
        with _unfinished(folder) as path:
            suffix = _write(rows, path, check)
            final = folder / f"rows-{_digest(path)}{suffix}"
            if not final.exists():  # its mtime is part of the plan
                path.rename(final)
    except OSError as error:
        raise StorageError(f"{folder}: the rows cannot be written: {error.strerror or error}") from error
    return final.absolute()


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="rows-", suffix=".partial", dir=folder)
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _write(rows: Rows, path: Path, check: Callable[[], None]) -> str:
    if isinstance(rows, Columns | DataSet):
        _write_columns(_reader(rows) if isinstance(rows, Columns) else _batches_in(rows), path, check)
        return ".parquet"
    sound = _sound(rows, check)
    head = _piece(sound)
    whole = itertools.chain(head, sound)
    if any(_holds_bytes(row) for row in head):
        _write_columns(_batches_of(whole), path, check)
        return ".parquet"
    with open(path, "wb", opener=private) as file:
        file.writelines(_line(at, row) for at, row in enumerate(whole))
        file.flush()
        os.fsync(file.fileno())
    return ".jsonl"


def _reader(rows: Columns) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(_without_index(rows))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"rows: {str(error).splitlines()[0]}", hint="give the column one type") from error


def _batches_in(rows: DataSet) -> pa.RecordBatchReader:
    has_media = any(kind in repr(rows.features) for kind in ("Image(", "Audio(", "Video(", "Pdf("))
    tables = rows.with_format("arrow").iter(batch_size=_MEDIA_ROWS if has_media else _BATCH_ROWS)
    first = next(tables, None)
    if first is None:
        return pa.RecordBatchReader.from_batches(pa.schema([]), [])
    batches = (batch for table in itertools.chain([first], tables) for batch in table.cast(first.schema).to_batches())
    return pa.RecordBatchReader.from_batches(first.schema, batches)


def _without_index(rows: Columns) -> Columns:
    """A pandas index that counts rows is no column of the user's; one with a name is."""
    index = getattr(rows, "index", None)
    if type(rows).__module__.partition(".")[0] != "pandas" or index is None:
        return rows
    has_name = any(name is not None for name in index.names)
    table: Columns = pa.Table.from_pandas(rows, preserve_index=has_name)
    return table


def _write_columns(batches: pa.RecordBatchReader, path: Path, check: Callable[[], None]) -> None:
    # What `datasets` says of the columns stays with them; pandas' own words on its index would be wrong by now.
    told = {key: value for key, value in (batches.schema.metadata or {}).items() if key == KEY}
    schema = pa.schema([(field.name, _plain(field.type)) for field in batches.schema])
    try:
        with (
            open(path, "wb", opener=private) as file,
            pq.ParquetWriter(file, schema, store_schema=False) as writer,
        ):
            writer.add_key_value_metadata(told)
            for batch in batches:
                check()
                columns = [_decoded(*pair) for pair in zip(batch.columns, schema.types, strict=True)]
                fitting = _BATCH_BYTES * batch.num_rows // max(1, batch.nbytes)
                table = pa.Table.from_arrays(columns, schema=schema)
                writer.write_table(table, row_group_size=max(1, min(_BATCH_ROWS, fitting)))
    except pa.ArrowException as error:
        raise InputError(f"rows: {str(error).splitlines()[0]}", hint="give the column one type") from error
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _plain(kind: pa.DataType) -> pa.DataType:
    """A pandas category or a polars enum is a text; a polars view of text is one, too."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _decoded(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Arrow casts a dictionary only where it can take from its values, and it cannot from a view of text."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary.cast(kind).take(column.indices)
    return column.cast(kind)


def _batches_of(rows: Iterator[Mapping[str, Any]]) -> pa.RecordBatchReader:
    first = _batch(0, _piece(rows), None)

    def batches() -> Iterator[pa.RecordBatch]:
        yield first
        at = first.num_rows
        while more := _piece(rows):
            yield _batch(at, more, first.schema)
            at += len(more)

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def _piece(rows: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Take the next rows: so many, or fewer that hold enough bytes."""
    piece, size = [], 0
    for row in rows:
        piece.append(row)
        size += _bytes_in(row)
        if len(piece) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            break
    return piece


def _batch(at: int, rows: list[Mapping[str, Any]], schema: pa.Schema | None) -> pa.RecordBatch:
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    where = f"rows {at + 1:,} to {at + len(rows):,}"
    if schema is not None and (new := [name for name in names if name not in schema.names]):
        raise InputError(f"{where}: {shown(new[0])} is no column of the first rows", hint=_AS_TABLE)
    columns = {}
    for name in names if schema is None else schema.names:
        values = [_stored(row.get(name)) for row in rows]
        try:
            columns[name] = pa.array(values, None if schema is None else schema.field(name).type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where}, {name}: {str(error).splitlines()[0]}", hint=_AS_TABLE) from error
    return pa.RecordBatch.from_pydict(columns)


_AS_TABLE = "give one pyarrow Table with the types that you want"


def _sound(rows: Iterable[object], check: Callable[[], None]) -> Iterator[Mapping[str, Any]]:
    for at, row in enumerate(rows):
        check()
        if not isinstance(row, Mapping):
            hint = _NO_DICTS if isinstance(row, str | os.PathLike) else ""
            raise InputError(f"rows: row {at + 1:,} is {_a(row)}, wanted a dict", hint=hint)
        yield row


def _line(at: int, row: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row if isinstance(row, dict) else dict(row), default=_listed, option=_JSON)
    except TypeError as error:
        raise InputError(f"rows: row {at + 1:,} is no JSON: {error}", hint=_AS_TABLE) from None


def _listed(value: object) -> object:
    """What orjson cannot write and is a list or dict all the same."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | bytes | bytearray) or not isinstance(value, Iterable):
        raise TypeError(f"{_a(value)} is not serializable")
    return list(value)


def _holds_bytes(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_bytes(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_bytes(inner) for inner in value)
    return isinstance(value, bytes | bytearray | Picture)


def _stored(value: object) -> object:
    """Store a picture of Pillow's as `datasets` does: as PNG, which loses nothing of it."""
    if isinstance(value, list | tuple):
        return [_stored(inner) for inner in value]
    if not isinstance(value, Picture):
        return value
    held = io.BytesIO()
    value.save(held, format="PNG")
    return {"bytes": held.getvalue(), "path": None}


def _bytes_in(value: object) -> int:
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_bytes_in, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes_in, value))
    return 3 * value.width * value.height if isinstance(value, Picture) else 0


def _a(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
