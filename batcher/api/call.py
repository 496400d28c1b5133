"""What did the call ask for? Arguments, the environment and the job file become a job, a key and maybe rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from batcher.api.rows import Rows, check_rows
from batcher.errors import JobError
from batcher.job.key import Secret, given_key, read_keys
from batcher.job.load import load_job, revised
from batcher.job.spec import InputFormat, Job

PathLike = str | os.PathLike[str]
Source = Job | PathLike | Rows
"""What the first argument may be: a job, the path of a job file or of an input file, rows."""
Input = PathLike | Sequence[PathLike] | Rows
"""What `input=` may be: one file or several, or rows."""

Dollars = Decimal | float | str
"""Money, in US dollars."""

_ROWS = "rows"  # stands in the job for the file that they are written to once the run directory is ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The arguments that say what to run, as `batcher.run` takes and describes them."""

    source: Source | None
    input: Input | None
    model: str | None
    out: PathLike | None
    template: str | None
    system: str | None
    samples: int | None
    dedup: bool | None
    reuse: PathLike | Sequence[PathLike] | None
    temperature: float | None
    max_output_tokens: int | None
    labels: Mapping[str, str] | None
    base_url: str | None
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    rpd: int | None
    max_cost_usd: Dollars | None
    max_tokens: int | None
    deadline: str | None
    max_failed: int | str | None
    limit: int | None
    set: Mapping[str, Any] | None
    key: str | Secret | None

    def __repr__(self) -> str:
        """Without the key, which may be a plain text here."""
        return f"<call of batcher, source {type(self.source).__name__}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What can be run.

    Attributes:
        out: absolute, because the caller may change the folder it is in while a run goes on.
        shown_out: as the caller would write it.
        rows: to be written into the run directory first; None when the job's input is files.
    """

    job: Job
    key: Secret
    out: Path
    shown_out: str
    limit: int | None
    rows: Rows | None


def ready(call: Call, environ: Mapping[str, str]) -> Ready:
    """Load the job as the command line does: argument over environment over job file over default.

    Raises:
        JobError: a setting, the environment or the key is wrong.
        InputError: the rows are none.
    """
    source, files, rows = _sorted(call)
    if call.limit is not None and call.limit < 1:
        raise JobError(f"limit: found {call.limit}, wanted at least 1")
    flags = _flags(call) | {"input.files": files}
    sets = call.set or {}
    if isinstance(source, Job):
        job = revised(source, flags=flags, sets=sets, origin="the Job")
    else:
        job = load_job(source, flags=flags, sets=sets, environ=environ).job
    shown_out = job.output.dir or ""
    return Ready(
        job=_absolute(job),
        key=_key(call.key, job, environ),
        out=Path(shown_out).absolute(),
        shown_out=shown_out,
        limit=call.limit,
        rows=rows,
    )


def reading(job: Job, file: Path) -> Job:
    """Let a job read another file than its own; paths in it are still those of the place where it runs."""
    root = job.input.media_root or str(Path.cwd())
    update = {"files": (str(file),), "format": InputFormat.AUTO, "sha256": None, "media_root": root}
    spec = job.input.model_copy(update=update)
    return job.model_copy(update={"input": spec})


def _flags(call: Call) -> dict[str, Any]:
    return {
        "model": call.model,
        "output.dir": None if call.out is None else os.fspath(call.out),
        "prompt.template": call.template,
        "prompt.system": call.system,
        "samples": call.samples,
        "dedup": call.dedup,
        "reuse": None if call.reuse is None else _folders(call.reuse),
        "generation.temperature": call.temperature,
        "generation.max_output_tokens": call.max_output_tokens,
        "labels": call.labels,
        "endpoint.base_url": call.base_url,
        "limits.concurrency": call.concurrency,
        "limits.requests_per_minute": call.rpm,
        "limits.input_tokens_per_minute": call.tpm,
        "limits.requests_per_day": call.rpd,
        "budget.max_cost_usd": call.max_cost_usd,
        "budget.max_tokens": call.max_tokens,
        "budget.deadline": call.deadline,
        "run.max_failed": call.max_failed,
    }


def _sorted(call: Call) -> tuple[Job | Path | None, list[str] | None, Rows | None]:
    """Tell job, files and rows apart."""
    source, given = call.source, call.input
    job: Job | Path | None = None
    if isinstance(source, Job):
        job = source
    elif isinstance(source, str | os.PathLike) and not _is_input(Path(source)):
        job = Path(source)
    elif source is not None and given is not None:
        raise JobError("input: stands beside rows or a file that are given first; wanted one of the two")
    elif isinstance(source, str | os.PathLike):
        given = source
    elif source is not None:
        return job, [_ROWS], check_rows(source)  # several files would be `input`: a list of texts is never guessed at
    if given is None:
        return job, None, None
    if files := _files(given):
        return job, files, None
    return job, [_ROWS], check_rows(given)


def _is_input(path: Path) -> bool:
    """Whether a path names rows and not a job: a job is a .toml file, a folder with one, or a name without a suffix."""
    return bool(path.suffix) and path.suffix != ".toml" and not path.is_dir()


def _files(given: Input) -> list[str] | None:
    if isinstance(given, str | os.PathLike):
        return [os.fspath(given)]
    if isinstance(given, list | tuple) and given and all(isinstance(each, str | os.PathLike) for each in given):
        return [os.fspath(each) for each in given]
    return None


def _folders(given: PathLike | Sequence[PathLike]) -> list[str]:
    return [os.fspath(given)] if isinstance(given, str | os.PathLike) else [os.fspath(each) for each in given]


def _absolute(job: Job) -> Job:
    if job.reuse:
        job = job.model_copy(update={"reuse": tuple(str(Path(folder).absolute()) for folder in job.reuse)})
    if job.output.state_dir is None:
        return job
    state_dir = str(Path(job.output.state_dir).absolute())
    return job.model_copy(update={"output": job.output.model_copy(update={"state_dir": state_dir})})


def _key(given: str | Secret | None, job: Job, environ: Mapping[str, str]) -> Secret:
    first = given_key(given, source="key=") if isinstance(given, str) else given
    return read_keys(job, environ, first=first)
