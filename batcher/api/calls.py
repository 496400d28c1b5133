"""How is a run started from Python? `run` waits for it, `arun` awaits it, `stream` gives its outcomes as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import Any

from batcher.api.call import Call, Dollars, Input, PathLike, Source, ready
from batcher.api.narration import Progress, narration
from batcher.api.result import Run
from batcher.api.stream import OutcomeStream, home, started
from batcher.api.worker import GOES_ON, Worker
from batcher.errors import Interrupted
from batcher.job.key import Secret

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(  # noqa: PLR0913  the flags of the command line, by name
    source: Source | None = None,
    /,
    *,
    input: Input | None = None,
    model: str | None = None,
    out: PathLike | None = None,
    template: str | None = None,
    system: str | None = None,
    samples: int | None = None,
    dedup: bool | None = None,
    reuse: PathLike | Sequence[PathLike] | None = None,
    temperature: float | None = None,
    max_output_tokens: int | None = None,
    labels: Mapping[str, str] | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rpd: int | None = None,
    max_cost_usd: Dollars | None = None,
    max_tokens: int | None = None,
    deadline: str | None = None,
    max_failed: int | str | None = None,
    limit: int | None = None,
    set: Mapping[str, Any] | None = None,
    key: str | Secret | None = None,
    progress: Progress = True,
) -> Run:
    """Run a job, or go on with it, and wait until it is done; works where a loop runs already, as in Jupyter.

    Everything means what the flag of the same name means to `batcher run`; an argument wins over the environment, the
    environment over the job file. The first interrupt lets what is in flight come home, the second one leaves at once.

    Args:
        source: a job file (or its folder, or the name of a packaged job), a `Job`, an input file, or rows: dicts, a
            pyarrow Table, a pandas or polars frame, a `datasets.Dataset`.
        input: files or rows, for a job that is given first or for none.
        model: model id.
        out: the run directory; `out/<name of the job>` unless given.
        template: Jinja2 over the row's columns.
        system: system instruction; a template, too.
        samples: how often each row is asked.
        dedup: ask identical requests once; their rows share the answer.
        reuse: run directories whose answers to the same requests are taken over at cost 0.
        temperature: of the generation.
        max_output_tokens: of the generation.
        labels: on every row and every ledger line.
        base_url: another endpoint that speaks the same language.
        concurrency: requests in flight at most.
        rpm: requests a minute.
        tpm: input tokens a minute.
        rpd: requests a day.
        max_cost_usd: the run stops, with `summary.exit_code` 4, before it costs more; a text or a `Decimal` is exact.
        max_tokens: the same for billed tokens, in and out.
        deadline: nothing more is sent after it: `"3h"` from now, `"06:00"`, or an instant.
        max_failed: failed rows that still end in exit code 0: a count, or a share such as `"1%"`.
        limit: ask the first rows only, into `OUT.preview`.
        set: any other setting of a job file, dotted: `{"retry.attempts": 3}`.
        key: the API key; from the job's `key_file` or the environment unless given.
        progress: tell on the way how far it is; or a function that is given each `Snapshot`.

    Returns:
        The run; also of a run in which rows failed (`summary.exit_code` 1) or that stopped on purpose (4).

    Raises:
        UserError: a setting, the key, the input or the run directory does not fit; nothing was sent.
        EndpointRefused: the endpoint serves us nothing: key, billing, model.
        StorageError: the disk failed.
        RunLocked: somebody else runs in this directory.
        KeyboardInterrupt: interrupted; what was answered is on disk, and the same call goes on.
        SystemExit: the same, for SIGTERM and SIGHUP.
    """
    call = Call(
        source=source,
        input=input,
        model=model,
        out=out,
        template=template,
        system=system,
        samples=samples,
        dedup=dedup,
        reuse=reuse,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        labels=labels,
        base_url=base_url,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        rpd=rpd,
        max_cost_usd=max_cost_usd,
        max_tokens=max_tokens,
        deadline=deadline,
        max_failed=max_failed,
        limit=limit,
        set=set,
        key=key,
    )
    told = narration(progress=progress)
    said: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    worker = Worker(
        ready(call, os.environ),
        show=lambda snapshot: said.put(partial(told.show, snapshot)),
        log=lambda line: said.put(partial(told.log, line)),
    )
    worker.ended.add_done_callback(lambda _: said.put(None))
    with _signals(worker):
        worker.start()
        _tell(said, worker)
    return _result(worker)


async def arun(  # noqa: PLR0913  as `run`
    source: Source | None = None,
    /,
    *,
    input: Input | None = None,
    model: str | None = None,
    out: PathLike | None = None,
    template: str | None = None,
    system: str | None = None,
    samples: int | None = None,
    dedup: bool | None = None,
    reuse: PathLike | Sequence[PathLike] | None = None,
    temperature: float | None = None,
    max_output_tokens: int | None = None,
    labels: Mapping[str, str] | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rpd: int | None = None,
    max_cost_usd: Dollars | None = None,
    max_tokens: int | None = None,
    deadline: str | None = None,
    max_failed: int | str | None = None,
    limit: int | None = None,
    set: Mapping[str, Any] | None = None,
    key: str | Secret | None = None,
    progress: Progress = False,
) -> Run:
    """Run a job, or go on with it, without blocking the caller's loop: the run has a thread and a loop of its own.

    Cancelling ends the run in good order: nothing more is sent, what is in flight comes home within the job's
    `run.drain_s` (25 s unless set), the cancellation goes on after that, and the same call continues the run.
    Cancelling once more leaves at once. Rows that are given as an iterator are gone through on the run's thread.

    Args, returns and raises: as `run`, but for the two of an interrupt.
    """
    call = Call(
        source=source,
        input=input,
        model=model,
        out=out,
        template=template,
        system=system,
        samples=samples,
        dedup=dedup,
        reuse=reuse,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        labels=labels,
        base_url=base_url,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        rpd=rpd,
        max_cost_usd=max_cost_usd,
        max_tokens=max_tokens,
        deadline=deadline,
        max_failed=max_failed,
        limit=limit,
        set=set,
        key=key,
    )
    worker, _ = await started(call, progress, None)
    ended = asyncio.wrap_future(worker.ended)
    try:
        await asyncio.wait([ended])  # which, unlike `await ended`, does not cancel it when it is cancelled itself
    except asyncio.CancelledError:
        worker.leave()
        await home(worker, ended)
        raise
    return ended.result()


def stream(  # noqa: PLR0913  as `run`
    source: Source | None = None,
    /,
    *,
    input: Input | None = None,
    model: str | None = None,
    out: PathLike | None = None,
    template: str | None = None,
    system: str | None = None,
    samples: int | None = None,
    dedup: bool | None = None,
    reuse: PathLike | Sequence[PathLike] | None = None,
    temperature: float | None = None,
    max_output_tokens: int | None = None,
    labels: Mapping[str, str] | None = None,
    base_url: str | None = None,
    concurrency: int | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    rpd: int | None = None,
    max_cost_usd: Dollars | None = None,
    max_tokens: int | None = None,
    deadline: str | None = None,
    max_failed: int | str | None = None,
    limit: int | None = None,
    set: Mapping[str, Any] | None = None,
    key: str | Secret | None = None,
    progress: Progress = False,
    buffer: int = 256,
) -> OutcomeStream:
    """Run a job, or go on with it, and give every outcome as it comes.

    Each task's outcome comes once: those that earlier calls finished come from the run directory, in no promised
    order. A reader who is slow slows the run down. `OutcomeStream` says what happens when the loop is left.

    Args and raises: as `arun`; what is wrong with the arguments is raised by the first step of the loop.
        buffer: outcomes that may wait to be read, beside the tasks that are being asked.
    """
    call = Call(
        source=source,
        input=input,
        model=model,
        out=out,
        template=template,
        system=system,
        samples=samples,
        dedup=dedup,
        reuse=reuse,
        temperature=temperature,
        max_output_tokens=max_output_tokens,
        labels=labels,
        base_url=base_url,
        concurrency=concurrency,
        rpm=rpm,
        tpm=tpm,
        rpd=rpd,
        max_cost_usd=max_cost_usd,
        max_tokens=max_tokens,
        deadline=deadline,
        max_failed=max_failed,
        limit=limit,
        set=set,
        key=key,
    )
    return OutcomeStream(call, progress=progress, buffer=buffer)


def _tell(said: SimpleQueue[Callable[[], None] | None], worker: Worker) -> None:
    """Tell what the run says, on the caller's thread, until it has ended; what breaks here ends the run, too."""
    try:
        while (tell := said.get()) is not None:
            tell()
    except BaseException:
        worker.leave()
        with contextlib.suppress(BaseException):  # what broke is raised; how the run ended is on disk
            worker.ended.result()
        raise


def _result(worker: Worker) -> Run:
    try:
        return worker.ended.result()
    except Interrupted as error:
        said = f"{error.message}; {GOES_ON}"
        if error.exit_code == 128 + signal.SIGINT:
            raise KeyboardInterrupt(said) from None
        raise SystemExit(int(error.exit_code)) from error


@contextlib.contextmanager
def _signals(worker: Worker) -> Iterator[None]:
    """Let a signal end the run and not what waits for it. Only the main thread may listen.

    SIGINT is taken whoever had it: asyncio would cancel a task that cannot run while we wait here. The others are left
    to a program that has a use for them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on(number: int, _: FrameType | None) -> None:
        worker.interrupt(number, signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [number for number in _SIGNALS if number == signal.SIGINT or before[number] is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, on)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
