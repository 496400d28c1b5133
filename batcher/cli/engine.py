"""What does the command line ask of the engine? Every call into it, in one place; `ctx.obj` may bring another one."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import click

from batcher.audit.findings import Audited
from batcher.cli.say import TYPED
from batcher.datasets.order import Exported, Format, Order
from batcher.engine.hostlimits import Known
from batcher.engine.inspection import Inspection
from batcher.engine.outlook import Forecast
from batcher.engine.progress import Snapshot, Summary
from batcher.engine.recovered import Confirm, Recovered
from batcher.engine.reparsed import Reparsed
from batcher.job.key import Secret
from batcher.job.load import Loaded
from batcher.job.spec import Job
from batcher.records import Status
from batcher.reports.status import RunStatus
from batcher.store.failpoints import FailPoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told how it goes.

    Attributes:
        show: takes a snapshot, several times a second; decides itself what to say.
        log: takes one line that is worth saying.
    """

    show: Callable[[Snapshot], None]
    log: Callable[[str], None]


class Engine(Protocol):
    """Plan, ask, seal; each call blocks until it is done."""

    def run(self, job: Job, *, key: Secret, out: Path, limit: int | None, watch: Watch) -> Summary:
        """Run a job, or go on with it."""
        ...

    def forecast(self, loaded: Loaded, *, out: Path, limit: int | None) -> Forecast:
        """Say what a run would do; nothing is sent."""
        ...

    def retry(self, job: Job, *, key: Secret, out: Path, statuses: frozenset[Status], watch: Watch) -> Summary:
        """Ask the rows of a finished run again that ended with one of the statuses."""
        ...

    def recover(self, out: Path, *, confirm: Confirm, watch: Watch) -> Recovered:
        """Mend what is lost or damaged of a run; nothing is sent."""
        ...

    def inspect(self, job: Job) -> Inspection:
        """Look at the first rows of a job's input."""
        ...

    def job(self, out: Path) -> Job:
        """Read the job that a run directory was made for."""
        ...

    def status(self, out: Path) -> RunStatus:
        """Say how far a run is, whoever runs it."""
        ...

    def last(self, out: Path, n: int, *, failed: bool) -> Sequence[Mapping[str, Any]]:
        """Read the last rows of a run, newest last; with `failed`, of those that did not end well."""
        ...

    def audit(self, out: Path, *, progress: Callable[[int, int], None]) -> Audited:
        """Prove what a run directory says."""
        ...

    def export(self, out: Path, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        """Write the rows of a run in somebody else's format."""
        ...

    def export_job(self, job: Job, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        """Write the requests of a job that was never run."""
        ...

    def reparse(self, out: Path, *, dry_run: bool, progress: Callable[[int, int], None]) -> Reparsed:
        """Read the kept replies of a run again; nothing is sent."""
        ...

    def known(self) -> Known:
        """Say what the runs of this machine know of limits, and what they have used of today."""
        ...

    def forget(self, owner: str | None) -> int:
        """Drop learnt limits, all or those of one owner; say how many."""
        ...


class LocalEngine:
    """The engine on this machine, loaded when called: a misspelt job is refused before pyarrow is imported."""

    def run(self, job: Job, *, key: Secret, out: Path, limit: int | None, watch: Watch) -> Summary:
        """See `Engine.run`."""
        from batcher.engine.local import Options, run_job  # noqa: PLC0415

        options = Options(
            show=watch.show,
            log=watch.log,
            limit=limit,
            command=_typed(),
            failpoints=_failpoints(),
            stdin=piped_in(),
            state=_state(),
        )
        return run_job(job, key=key, out=out, options=options)

    def forecast(self, loaded: Loaded, *, out: Path, limit: int | None) -> Forecast:
        """See `Engine.forecast`."""
        from batcher.engine.forecast import forecast  # noqa: PLC0415

        return forecast(
            loaded,
            out,
            limit=limit,
            now=datetime.now(UTC),
            stdin=piped_in(),
            command=_typed(verb="run"),
            state=_state(),
        )

    def retry(self, job: Job, *, key: Secret, out: Path, statuses: frozenset[Status], watch: Watch) -> Summary:
        """See `Engine.retry`."""
        from batcher.engine.local import Options, retry_run  # noqa: PLC0415

        options = Options(
            show=watch.show,
            log=watch.log,
            command=_typed(),
            failpoints=_failpoints(),
            state=_state(),
        )
        return retry_run(job, key=key, out=out, statuses=statuses, options=options)

    def recover(self, out: Path, *, confirm: Confirm, watch: Watch) -> Recovered:
        """See `Engine.recover`."""
        from batcher.engine.recover import recover_run  # noqa: PLC0415

        return recover_run(out, confirm=confirm, log=watch.log, failpoints=_failpoints(), stdin=piped_in())

    def inspect(self, job: Job) -> Inspection:
        """See `Engine.inspect`."""
        from batcher.engine.inspecting import inspect  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="batcher-inspect-") as spool:
            return inspect(job, spool=Path(spool), stdin=piped_in())

    def job(self, out: Path) -> Job:
        """See `Engine.job`."""
        from batcher.engine.status import read_job  # noqa: PLC0415

        return read_job(out)

    def status(self, out: Path) -> RunStatus:
        """See `Engine.status`."""
        from batcher.engine.status import read_status  # noqa: PLC0415

        return read_status(out)

    def last(self, out: Path, n: int, *, failed: bool) -> Sequence[Mapping[str, Any]]:
        """See `Engine.last`."""
        from batcher.engine.status import read_last  # noqa: PLC0415

        return read_last(out, n, failed=failed)

    def audit(self, out: Path, *, progress: Callable[[int, int], None]) -> Audited:
        """See `Engine.audit`."""
        from batcher.audit.run import audit  # noqa: PLC0415

        return audit(out, progress)

    def export(self, out: Path, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        """See `Engine.export`."""
        from batcher.engine.batch import export_requests  # noqa: PLC0415
        from batcher.engine.export import export_rows  # noqa: PLC0415

        write = export_requests if order.to is Format.GEMINI_BATCH else export_rows
        return write(out, order, stdout=stdout, progress=progress)

    def export_job(self, job: Job, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        """See `Engine.export_job`."""
        from batcher.engine.batch import export_job  # noqa: PLC0415

        return export_job(job, order, stdout=stdout, progress=progress)

    def reparse(self, out: Path, *, dry_run: bool, progress: Callable[[int, int], None]) -> Reparsed:
        """See `Engine.reparse`."""
        from batcher.engine.reparse import reparse  # noqa: PLC0415

        return reparse(out, dry_run=dry_run, progress=progress, failpoints=_failpoints())

    def known(self) -> Known:
        """See `Engine.known`."""
        from batcher.engine.hostlimits import known  # noqa: PLC0415

        return known(_state(), now_us=time.time_ns() // 1000)

    def forget(self, owner: str | None) -> int:
        """See `Engine.forget`."""
        from batcher.engine.hostlimits import forget  # noqa: PLC0415

        return forget(_state(), owner)


def _state() -> Path | None:
    from batcher.pacing.statefolder import state_folder  # noqa: PLC0415

    return state_folder(os.environ)


def _typed(*, verb: str | None = None) -> str:
    """Give the command as it was typed, or with another verb: a run that stops goes on by it."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return ""
    typed = ctx.meta.get(TYPED, ())
    return shlex.join(["batcher", *typed] if verb is None else ["batcher", verb, *typed[1:]])


def piped_in() -> BinaryIO | None:
    """Give standard input, unless it is a terminal: nobody types a thousand rows."""
    return None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer


def _failpoints() -> FailPoints:
    return FailPoints.parse(os.environ.get("BATCHER_FAILPOINT", ""))


def engine_of(ctx: click.Context) -> Engine:
    """Give the engine that the caller handed in, else the local one."""
    return LocalEngine() if ctx.obj is None else cast("Engine", ctx.obj)
