"""How does a job run on this machine, from its first look at the disk to its exit code?"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import uvloop

from batcher.asking.ask import Asker, World
from batcher.audit.wal import wal_fault
from batcher.engine.brake import Brake
from batcher.engine.changed import with_ways_on
from batcher.engine.closing import close_run, open_totals
from batcher.engine.crossing import Kept, crossing
from batcher.engine.fresh import Fresh
from batcher.engine.funds import deadline, funds_of
from batcher.engine.halt import Halt
from batcher.engine.packing import packer_of
from batcher.engine.parking import parking_of
from batcher.engine.plan import Plan, described, make_plan, read_plan, state_of
from batcher.engine.process import log_unawaited, of_a_run, of_careful_files
from batcher.engine.progress import Summary
from batcher.engine.resume import resumed
from batcher.engine.retry import reopen, standing
from batcher.engine.seal import Sealer
from batcher.engine.session import Session
from batcher.engine.sharing import shared_quotas, told_limits
from batcher.engine.tally import Tally
from batcher.engine.telling import Listener, PacedWorkList, Teller
from batcher.engine.today import used_today
from batcher.engine.tokenscale import read_learnt
from batcher.engine.watch import Lookout, Show, snapshot_of_planning
from batcher.engine.work import WorkList
from batcher.errors import Interrupted, PlanChanged, StorageError
from batcher.job.key import Secret
from batcher.job.pool import pooled
from batcher.job.spec import Job, Stream
from batcher.pacing.lessee import Lessee
from batcher.records import Status
from batcher.store.blocks import is_sealed, withdraw_unsent
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.reserve import Reserve, reserve_bytes
from batcher.store.rundir import Lock, RunDir

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")

Log = Callable[[str], None]


def wall_us() -> int:
    """Wall time, microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller may want otherwise.

    Attributes:
        limit: ask the first rows only, into `OUT.preview`.
        failpoints: armed by tests.
        show: told how far the run is, about twice a second.
        log: told one line at a time what the user should know.
        command: what was typed: a run that stops goes on by it; empty when nobody typed anything.
        brake: by which another thread may stop the run.
        listener: told of every outcome, those of earlier starts included; None when nobody wants to know.
        spool: puts rows that are in no file yet into one, once the run directory is ours; gives the job that reads it.
        stdin: what a job reads whose input is `-`; None when nothing is piped in.
        state: the user's state folder, by which runs of this host share their quotas; None shares nothing.
        wall_us: wall time, microseconds since the epoch, UTC: for stamps and days; nothing waits by it.
    """

    show: Show
    log: Log
    limit: int | None = None
    command: str = ""
    failpoints: FailPoints = field(default_factory=FailPoints)
    brake: Brake = field(default_factory=Brake)
    listener: Listener | None = None
    spool: Callable[[Job, RunDir], Job] | None = None
    stdin: BinaryIO | None = None
    state: Path | None = None
    wall_us: Callable[[], int] = wall_us


def run_job(job: Job, *, key: Secret, out: Path, options: Options) -> Summary:
    """Run a job, or go on with it; blocks until it is done or stopped.

    Args:
        job: complete, from `load_job`.
        key: for the endpoint.
        out: the run directory.
        options: see there.

    Returns:
        How it ended; its exit code is the command's.

    Raises:
        UserError: the job, the input or the directory does not fit; nothing was sent.
        StorageError: the disk failed before anything could be asked.
        RunLocked: another process owns the run.
    """
    where = out if options.limit is None else out.with_name(f"{out.name}.preview")
    rundir = RunDir.at(where, state_of(job, where))
    with owned(rundir) as made:
        try:
            plan = _planned(job if options.spool is None else options.spool(job, rundir), rundir, options)
        except BaseException:
            if rundir.read_manifest() is None:
                rundir.unmake(made)  # no run came of it: leave no empty shell
            raise
        return on_loop(_run(plan, key, options, again=None))


def retry_run(job: Job, *, key: Secret, out: Path, statuses: frozenset[Status], options: Options) -> Summary:
    """Ask the rows of a run again that ended with one of `statuses`; blocks until it is done or stopped.

    Raises:
        PlanChanged: the folder is no run, or its input has changed.
        StorageError, RunLocked: as `run_job`.
    """
    rundir = RunDir.at(out, state_of(job, out))
    manifest = rundir.read_manifest()
    if manifest is None:
        raise PlanChanged(f"{out}: not a run directory", hint="batcher run JOB.toml -o OUT")
    with owned(rundir):
        plan = read_plan(job, rundir, manifest)
        return on_loop(_run(plan, key, options, again=statuses))


@contextlib.contextmanager
def owned(rundir: RunDir) -> Iterator[tuple[Path, ...]]:
    """Hold the run's folder; gives those that had to be made for it."""
    with of_careful_files():
        made = rundir.make()
        lock = Lock(rundir.lock, now=dt.datetime.now(dt.UTC))
        try:
            yield made
        finally:
            lock.release()


def _planned(job: Job, rundir: RunDir, options: Options) -> Plan:
    began = time.monotonic()
    is_new = rundir.read_manifest() is None

    def counted(rows: int, _: int) -> None:
        options.brake.check()
        options.show(snapshot_of_planning(rows, time.monotonic() - began))

    try:
        plan = make_plan(
            job,
            rundir,
            limit=options.limit,
            now=dt.datetime.now(dt.UTC),
            counted=counted,
            failpoints=options.failpoints,
            stdin=options.stdin,
        )
    except PlanChanged as error:
        raise with_ways_on(error, job, rundir, limit=options.limit, command=options.command) from None
    except KeyboardInterrupt:
        raise Interrupted("stopped while planning; nothing was sent", signal_number=signal.SIGINT) from None
    rundir.clear_tmp()
    if is_new:
        for line in described(plan):
            options.log(line)
    return plan


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run the one coroutine of a run, on the loop that runs have."""
    # uvloop: 5 % less CPU a request on plain HTTP (246 against 258 µs, paired), more with TLS.
    with of_a_run(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(log_unawaited)
        return runner.run(main)


async def _run(plan: Plan, key: Secret, options: Options, *, again: frozenset[Status] | None) -> Summary:
    await asyncio.to_thread(_check_log, plan.rundir)
    slots = pooled(plan.job).concurrency
    reserve = Reserve(plan.rundir.reserve, reserve_bytes(slots, pictures=plan.terms.images))
    journal = Journal(plan.rundir.journal, failpoints=options.failpoints, reserve=reserve)
    try:
        async with shared_quotas(plan, key, options.state, wall_us=options.wall_us, log=options.log) as lessee:
            return await _ask_all(plan, key, options, journal, again, lessee)
    finally:
        await journal.close()


def _check_log(rundir: RunDir) -> None:
    """Refuse a damaged log: SQLite would drop what is behind the damage without a word, and with it paid answers."""
    log = rundir.journal.with_name(f"{rundir.journal.name}-wal")
    fault = wal_fault(log)
    if fault is not None and fault.is_certain:
        raise StorageError(f"{log}: damaged: {fault.found}", hint=f"batcher audit {rundir.out}")


async def _ask_all(  # noqa: PLR0913, PLR0917  all that a run begins with
    plan: Plan,
    key: Secret,
    options: Options,
    journal: Journal,
    again: frozenset[Status] | None,
    lessee: Lessee | None,
) -> Summary:
    rows = await resumed(plan, journal, log=options.log, failpoints=options.failpoints)
    worklist = _worklist(plan, key, options, journal)
    if again is not None:
        rows = await reopen(plan, rows, again, journal=journal, worklist=worklist, failpoints=options.failpoints)
    rows = await standing(plan, rows, journal)
    before = await open_totals(rows, journal)
    loop = asyncio.get_running_loop()
    teller = None if options.listener is None else Teller(plan, rows, journal, options.listener)
    fresh = teller or Fresh(packer=packer_of(plan, rows))
    tally = Tally(before, plan.terms, fresh)
    halt = Halt()
    journal.on_trouble(lambda error: _stop(halt, error, at_once=journal.is_broken))
    is_left = any(not is_sealed(rows.get(block.no)) for block in plan.index.blocks)
    if is_left:
        journal.set_aside()
    used = await used_today(plan, rows, journal, now_us=options.wall_us())
    funds = worklist.funds = await funds_of(plan, rows, journal, log=options.log, now_us=options.wall_us())
    kept = Kept(
        used=used,
        learnt=read_learnt(plan.rundir),
        lessee=lessee,
        on_limit=told_limits(plan, key, options.state, options.wall_us),
    )
    async with crossing(plan, key, kept, options.wall_us, options.log) as way:
        asker = (Asker if funds is None else funds.asker)(
            door=way.door,
            gate=way.gate,
            journal=journal,
            retry=plan.job.retry,
            world=World(now_s=loop.time, wall_us=options.wall_us, chance=random.random),
            secret=[each.reveal() for each in key.all],
            on_turn=tally.turn,
            check=plan.builder.check,
            streamed=plan.job.endpoint.stream is not Stream.OFF,
            ways=way.ways,
        )
        session = Session(
            plan,
            rows,
            gate=way.gate,
            asker=asker,
            worklist=worklist,
            sealer=Sealer(plan, journal, options.failpoints, fresh, tally.spared),
            tally=tally,
            halt=halt,
            funds=funds,
            parking=parking_of(plan, way.gate, worklist, options.wall_us, way.detours),
        )
        lookout = Lookout(
            plan,
            session,
            tally,
            halt,
            done_before=before.done,
            show=options.show,
            command=options.command,
            log=options.log,
            funds=funds,
        )
        with (
            _signals(loop, halt, plan.job.run.drain_s),
            deadline(plan.job, halt, is_asking=lambda: is_left and session.is_asking, wall_us=options.wall_us),
        ):
            work = _braked(session, options.brake, halt)
            await lookout.over(work if teller is None else teller.over(work))
        left = frozenset((task.task, task.attempts) for task in asker.in_flight)
    if not journal.is_broken:
        journal.forget_gathered()
        await journal.call(withdraw_unsent(left))
    return await close_run(
        plan,
        session,
        tally,
        halt,
        journal,
        elapsed_s=lookout.elapsed_s,
        limited_by=lookout.limited_by,
        command=options.command,
        failpoints=options.failpoints,
        spending=None if funds is None else funds.purse.closed({task for task, _ in left}),
    )


def _stop(halt: Halt, error: StorageError, *, at_once: bool) -> None:
    """What is out may come home while the journal takes it; when it takes nothing more there is nothing to wait for."""
    halt.stop(error)
    if at_once:
        halt.hurry_up()


def _worklist(plan: Plan, key: Secret, options: Options, journal: Journal) -> WorkList:
    secret, failpoints = [each.reveal() for each in key.all], options.failpoints
    if options.listener is None:
        return WorkList(plan, journal, wall_us=options.wall_us, secret=secret, failpoints=failpoints)
    return PacedWorkList(
        plan, journal, wall_us=options.wall_us, secret=secret, failpoints=failpoints, listener=options.listener
    )


async def _braked(session: Session, brake: Brake, halt: Halt) -> None:
    with brake.on(halt):
        await session.run()


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, halt: Halt, drain_s: float) -> Iterator[None]:
    """The first signal drains, a second one leaves at once. Only the main thread may listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on(number: int) -> None:
        if halt.why is not None:
            halt.hurry_up()
            return
        name = signal.Signals(number).name
        # SIGINT is a person who waits; the others come from a system that will kill us after its grace period.
        limit = None if number == signal.SIGINT else drain_s
        halt.stop(Interrupted(f"stopped by {name}", signal_number=number), limit)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, on, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
