"""The command as a person meets it: arguments in; exit code, both outputs and what the endpoint saw out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from batcher.cli.app import call
from batcher.emulator.server import Emulator

KEY = "test-key-0123456789"
MODEL = "gemini-2.5-flash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one command said.

    Attributes:
        sent: requests that reached the endpoint while it ran.
    """

    exit_code: int
    out: str
    err: str
    sent: int

    @property
    def refusal(self) -> list[str]:
        """The lines of stderr from the first error on."""
        lines = self.err.splitlines()
        starts = [at for at, line in enumerate(lines) if line.startswith("error: ")]
        return lines[starts[0] :] if starts else []

    @property
    def verdict(self) -> str:
        return self.out.partition("\n")[0]


Batcher = Callable[..., Said]


def batcher_against(emulator: Emulator, capfd: Any) -> Batcher:
    """Give a `batcher` whose endpoint is the emulator; what it says must never be a traceback."""

    def batcher(*argv: str) -> Said:
        capfd.readouterr()
        before = emulator.totals().requests
        exit_code = call(argv)
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(exit_code=exit_code, out=said.out, err=said.err, sent=emulator.totals().requests - before)

    return batcher


def rows_of(out: str | Path, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of a run's `data/`, in order, as tuples of these columns."""
    table = pq.read_table(Path(out) / "data", columns=list(columns))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
