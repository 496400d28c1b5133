"""What does a caller hold of a run? Its directory and how it ended; its rows are read when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.engine.ended import read_summary
from batcher.engine.progress import Summary
from batcher.engine.status import read_last
from batcher.errors import StorageError, UserError
from batcher.records import Status
from batcher.reports.answers import first_rows
from batcher.reports.html import run_html
from batcher.reports.terminal import cost
from batcher.store.reading import mended_by
from batcher.store.rundir import RunDir
from batcher.store.schemas import ATTEMPTS

_FAILED = (Status.FAILED, Status.INVALID)
_ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run:
    """A run directory, and how its last session ended.

    Attributes:
        path: of the run directory.
        summary: verdict, exit code, counts, tokens, cost. Of a run that has not ended, what is known so far; its exit
            code is then `Exit.STOPPED`, since the same call goes on.
    """

    path: Path
    summary: Summary

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read `data/`: one row for each row and sample of the input, in input order.

        Args:
            columns: which ones; None for all.

        Raises:
            StorageError: a part is damaged or gone.
            UserError: there is no such column.
        """
        return self._read(RunDir.at(self.path).parts(), columns)

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Read `data/` as a `pandas.DataFrame`, as `pandas.read_parquet` does; money stays exact (`Decimal`).

        Raises:
            UserError: pandas is not installed, or there is no such column.
            StorageError: a part is damaged or gone.
        """
        _needed("pandas")
        return self.to_arrow(columns).to_pandas()

    def to_polars(self, columns: Sequence[str] | None = None) -> Any:
        """Read `data/` as a `polars.DataFrame`.

        Raises:
            UserError: polars is not installed, or there is no such column.
            StorageError: a part is damaged or gone.
        """
        return _needed("polars").from_arrow(self.to_arrow(columns))

    @property
    def failures(self) -> pa.Table:
        """The rows of `data/` that are `failed` or `invalid`: `error_kind` and `error_message` say why.

        Raises:
            StorageError: a part is damaged or gone.
        """
        wanted = pc.field("status").isin([str(status) for status in _FAILED])
        return self._read(RunDir.at(self.path).parts(), None, wanted)

    @property
    def attempts(self) -> pa.Table:
        """The ledger: one row for every HTTP request of the rows in `data/`, billed or not.

        Raises:
            StorageError: a file of it is damaged or gone.
        """
        ledgers = RunDir.at(self.path).ledgers()
        return self._read(ledgers, None) if ledgers else ATTEMPTS.empty_table()

    def _read(
        self, files: Sequence[Path], columns: Sequence[str] | None, wanted: pc.Expression | None = None
    ) -> pa.Table:
        try:
            if columns is not None and files:
                _check_columns(columns, pq.read_schema(files[0]))
            return pq.read_table(
                [str(file) for file in files],
                columns=_listed(columns),
                filters=wanted,
                page_checksum_verification=True,
            )
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self.path}: not the files of a run: {error}", hint=mended_by(self.path)) from error

    def __repr__(self) -> str:
        """One line: where, how it ended, what it cost."""
        return f"<Run {self.summary.run_dir}: {self.summary.verdict}, {cost(self.summary.totals)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: how it ended, the first rows, and those that did not end well."""
        return run_html(
            self.summary,
            first=first_rows(self.path, _ROWS_SHOWN),
            failed=read_last(self.path, _ROWS_SHOWN, failed=True),
        )


def open_run(path: str | Path) -> Run:
    """Open a run directory: of a finished run, of one that was stopped or killed, or of one that goes on elsewhere.

    Args:
        path: the run directory.

    Returns:
        What is there now; open it again to see more.

    Raises:
        PlanChanged: it is no run directory.
        StorageError: its `run.json` is damaged.
    """
    return Run(path=Path(path).absolute(), summary=read_summary(Path(path)))


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _check_columns(columns: Sequence[str], schema: pa.Schema) -> None:
    if isinstance(columns, str):
        raise UserError(f"columns: found {columns!r}, wanted a list of names", hint=f"[{columns!r}]")
    if unknown := [name for name in columns if name not in schema.names]:
        raise UserError(f"columns: no {unknown[0]!r} in this run", hint=f"it has {', '.join(schema.names)}")


def _needed(package: str) -> ModuleType:
    """A library that only who asks for it needs."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{package} is not installed; run.to_arrow() needs nothing more", hint=f"pip install {package}"
        ) from error
