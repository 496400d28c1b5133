"""Which model versions answered? As the parts say, most often by their statistics alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.errors import StorageError

_COLUMN = "model_version"


def versions_served(parts: Iterable[Path]) -> tuple[str, ...]:
    """Give the distinct `model_version`s of the parts, sorted.

    Raises:
        StorageError: a part is damaged.
    """
    found: set[str] = set()
    for part in parts:
        try:
            with pq.ParquetFile(part, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    found.update(_of_group(file, group))
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{part}: not a whole part of a run: {error}") from error
    return tuple(sorted(found))


def _of_group(file: pq.ParquetFile, group: int) -> set[str]:
    meta = file.metadata.row_group(group)
    columns = (meta.column(at) for at in range(meta.num_columns))
    known = next((column.statistics for column in columns if column.path_in_schema == _COLUMN), None)
    if known is not None and known.null_count == meta.num_rows:
        return set()
    if known is not None and known.has_min_max and known.min == known.max:
        return {known.min}
    values = file.read_row_group(group, columns=[_COLUMN]).column(_COLUMN)
    return set(pc.unique(values.drop_null()).to_pylist())
