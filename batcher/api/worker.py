"""Who runs the engine while the caller does something else? A thread with a loop of its own, stopped from any other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from batcher.api.call import Ready, reading
from batcher.api.result import Run
from batcher.api.rows import spool_rows
from batcher.engine.brake import Brake
from batcher.engine.local import Options, run_job
from batcher.engine.progress import Snapshot, Summary
from batcher.engine.telling import Listener
from batcher.errors import BatcherError, EndpointRefused, Exit, Interrupted, PlanChanged, RunStopped, StorageError
from batcher.job.spec import Job
from batcher.pacing.statefolder import state_folder
from batcher.reports.terminal import cost
from batcher.store.rundir import RunDir

GOES_ON = "the same call goes on"


class Worker:
    """One run on a thread.

    Not a daemon: a program that ends while its run drains waits for it, so that paid answers reach the disk.

    Args:
        ready: what to run.
        show, log: told how it goes, on the run's thread.
        listener: told of every outcome.

    Attributes:
        ended: the finished run, or what ended it.
    """

    def __init__(
        self,
        ready: Ready,
        *,
        show: Callable[[Snapshot], None],
        log: Callable[[str], None],
        listener: Listener | None = None,
    ) -> None:
        self._ready = ready
        self._brake = Brake()
        self._options = Options(
            show=show,
            log=log,
            limit=ready.limit,
            brake=self._brake,
            listener=listener,
            spool=None if ready.rows is None else self._spooled,
            state=state_folder(os.environ),
        )
        self.ended: Future[Run] = Future()
        self._thread = _Thread(self, ready.out)

    def start(self) -> None:
        """Begin."""
        self.ended.set_running_or_notify_cancel()  # nobody can cancel it by cancelling who waits for it
        if self._ready.key.note:
            self._options.log(f"note: {self._ready.key.note}")
        self._thread.start()

    def interrupt(self, signal_number: int, name: str) -> None:
        """A person wants it to end: what is in flight may take as long as its own deadlines allow."""
        drain_s = None if name == "SIGINT" else self._ready.job.run.drain_s
        self._stop(Interrupted(f"stopped by {name}", signal_number=signal_number), drain_s)

    def leave(self) -> None:
        """The program wants it to end, and waits no longer than `run.drain_s`."""
        self._stop(RunStopped("stopped by its caller"), self._ready.job.run.drain_s)

    def hurry_up(self) -> None:
        """Abandon what is in flight: it counts as maybe billed, and is asked again."""
        self._brake.hurry_up()

    @property
    def leaving(self) -> bool:
        """Whether somebody stopped it."""
        return self._brake.pulled

    def _stop(self, why: BatcherError, drain_s: float | None) -> None:
        if self._brake.pulled:
            self._brake.hurry_up()
        self._brake.stop(why, drain_s)

    def work(self) -> None:
        """Run to the end; on the thread."""
        try:
            _wait_for_leavers(self._ready.out)
            summary = run_job(self._ready.job, key=self._ready.key, out=self._ready.out, options=self._options)
            self._options.log(f"{summary.verdict} · {cost(summary.totals)}")
            self.ended.set_result(run_of(summary, self._ready))
        except BaseException as error:  # noqa: BLE001  it is raised where the caller waits
            self.ended.set_exception(error)

    def _spooled(self, job: Job, rundir: RunDir) -> Job:
        assert self._ready.rows is not None
        file = spool_rows(self._ready.rows, rundir.spool, check=self._brake.check)
        manifest = rundir.read_manifest()
        if manifest is not None and manifest["job"]["input"]["files"] != [str(file)]:
            file.unlink()
            raise PlanChanged(
                f"{self._ready.shown_out}: this run was planned for other rows",
                hint=(
                    f"to ask only what it has no answer for: give another out=, and reuse={self._ready.shown_out!r}\n"
                    f"to start afresh: give another out=, or remove {self._ready.shown_out}"
                ),
            )
        return reading(job, file)


class _Thread(threading.Thread):
    def __init__(self, worker: Worker, out: Path) -> None:
        super().__init__(name=f"batcher {out}", daemon=False)
        self.worker = worker
        self.out = out

    def run(self) -> None:
        self.worker.work()


def _wait_for_leavers(out: Path) -> None:
    """A stream that was left a moment ago may still drain: its directory is free in an instant, and not locked."""
    leavers = [thread for thread in threading.enumerate() if isinstance(thread, _Thread) and thread.worker.leaving]
    for thread in leavers:
        if thread.out == out and thread is not threading.current_thread():
            thread.join()


def run_of(summary: Summary, ready: Ready) -> Run:
    """The finished run. Failed rows are rows, and so is a day quota that is used up; a run that failed is raised.

    Raises:
        EndpointRefused: exit code 5.
        StorageError: exit code 6.
        Interrupted: a signal.
    """
    path = Path(summary.run_dir)
    shown = ready.shown_out if ready.limit is None else f"{ready.shown_out}.preview"
    summary = replace(summary, run_dir=shown, next_command=summary.next_command or GOES_ON)
    hint = f"batcher.open_run({shown!r}) has what was answered; {GOES_ON}"
    if summary.exit_code == Exit.REFUSED:
        raise EndpointRefused(f"{summary.verdict} (asked with the {ready.key.origin})", hint=hint)
    if summary.exit_code == Exit.STORAGE:
        raise StorageError(summary.verdict, hint=hint)
    if summary.exit_code > 128:
        raise Interrupted(summary.verdict, signal_number=summary.exit_code - 128, hint=hint)
    return Run(path=path, summary=summary)
