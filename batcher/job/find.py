"""Which file is meant by the job that was named? A path, a folder, or the name of a packaged job."""

from __future__ import annotations

import difflib
from pathlib import Path

from batcher.errors import JobError

JOB_FILE = "job.toml"
FIRST_JOB = "hello"
"""The one to begin with, where none is named."""

_PACKAGE = Path(__file__).parent.parent
# Inside a wheel they lie in the package; in a checkout beside it.
_PACKAGED = (_PACKAGE / "_jobs", _PACKAGE.parent / "jobs")


def find_job(path: Path) -> Path:
    """Find the job file.

    Args:
        path: a TOML file, a folder with a `job.toml`, or the bare name of a packaged job (`hello`).

    Raises:
        JobError: there is none; the message names the nearest one.
    """
    if path.is_dir() and (path / JOB_FILE).is_file():
        return path / JOB_FILE
    if path.is_dir():
        raise JobError(f"No {JOB_FILE} in {path}", hint=_hint(path))
    if path.exists():
        return path
    packaged = packaged_jobs()
    if str(path) in packaged:
        return packaged[str(path)]
    raise JobError(f"No such job: {path}{_did_you_mean(path)}", hint=_hint(path))


def packaged_jobs() -> dict[str, Path]:
    """Give the jobs that travel with the package: name -> job file."""
    folder = next((folder for folder in _PACKAGED if folder.is_dir()), None)
    if folder is None:
        return {}
    return {file.parent.name: file for file in sorted(folder.glob(f"*/{JOB_FILE}"))}


def _did_you_mean(path: Path) -> str:
    near = difflib.get_close_matches(str(path), [str(found) for found in _around(path)], n=1)
    return f". Did you mean {near[0]}?" if near else ""


def _around(path: Path) -> list[Path | str]:
    """Collect the jobs that a misspelt path may have meant, spelt as the user spells them."""
    beside = path.parent.glob("*.toml") if path.parent.is_dir() else ()
    above = path.parent.parent
    cousins = above.glob(f"*/{JOB_FILE}") if path.name == JOB_FILE and above.is_dir() else ()
    folders = (found.parent for found in path.parent.glob(f"*/{JOB_FILE}")) if path.parent.is_dir() else ()
    return [*sorted({*beside, *cousins, *folders}), *packaged_jobs()]


def _hint(path: Path) -> str:
    if path.suffix in {".jsonl", ".parquet", ".ndjson"}:
        return f"to ask the rows of a file: batcher run -i {path} -m MODEL -o OUT"
    return ""
