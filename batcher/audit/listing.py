"""Which files does a run directory have, and which of them are a run's?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batcher.audit.findings import Findings

_PART = re.compile(r"train-(\d{5,})-of-(\d{5,})\.parquet")
_LEDGER = re.compile(r"attempts-(\d{5,})-g([1-9]\d*)\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files by block; `ledgers` by block and generation."""

    anchor: Path | None
    parts: Mapping[int, Path]
    ledgers: Mapping[int, Mapping[int, Path]]

    @property
    def all_files(self) -> list[Path]:
        """Every one of them."""
        first = [] if self.anchor is None else [self.anchor]
        return [*first, *self.parts.values(), *(path for own in self.ledgers.values() for path in own.values())]


def is_run(out: Path) -> bool:
    """Whether a folder is, or was, a run directory: it has a manifest, or parts that need one."""
    has_parts = any(not path.name.startswith("train-00000-") for path in (out / "data").glob("train-*.parquet"))
    return (out / "run.json").exists() or has_parts


def listed(out: Path, blocks: int | None, findings: Findings) -> Listing:
    """List `data/` and `attempts/`; what is no file of this run, with its number of `blocks`, is a finding."""
    parts: dict[int, Path] = {}
    ledgers: dict[int, dict[int, Path]] = {}
    for path in _inside(out / "data", findings):  # before the ledger, which is published before its part
        match = _PART.fullmatch(path.name)
        if match is None or (blocks is not None and (int(match[2]) != blocks + 1 or int(match[1]) > blocks)):
            findings.add("foreign", path, "a file that is no part of this run", "parts and nothing else")
        else:
            parts[int(match[1])] = path
    for path in _inside(out / "attempts", findings):
        match = _LEDGER.fullmatch(path.name)
        if match is None or (blocks is not None and not 1 <= int(match[1]) <= blocks):
            findings.add("foreign", path, "a file that is no ledger of this run", "ledger files and nothing else")
        else:
            ledgers.setdefault(int(match[1]), {})[int(match[2])] = path
    return Listing(anchor=parts.pop(0, None), parts=parts, ledgers=ledgers)


def _inside(folder: Path, findings: Findings) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        findings.add("missing", folder, error.strerror or str(error), "a folder of the run")
        return []
