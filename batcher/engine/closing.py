"""How did it end? Totals from the parts and the journal, `_SUCCESS`, run.json and the summary, all from one value."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
from collections.abc import Iterator, Mapping

from batcher.datasets.card import Ended, card
from batcher.datasets.served import versions_served
from batcher.engine.goingon import going_on
from batcher.engine.halt import Halt
from batcher.engine.latency import quantile_ms
from batcher.engine.plan import Plan
from batcher.engine.progress import Spending, Summary, Totals
from batcher.engine.retry import has_worth_asking
from batcher.engine.session import Session
from batcher.engine.slowed import slowed_json, slowed_notes
from batcher.engine.status import write_last
from batcher.engine.tally import Tally
from batcher.errors import Exit, StorageError
from batcher.job.spec import Job
from batcher.records import Status
from batcher.store.bills import read_attempt, totals_of
from batcher.store.blocks import BlockRow, read_rest, read_statuses
from batcher.store.disk import remove
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal

_FAILED = (Status.FAILED, Status.INVALID)


async def open_totals(rows: Mapping[int, BlockRow], journal: Journal) -> Totals:
    """What earlier sessions had: the blocks with a part (see `retry.standing`), of the others how many rows ended how.

    Tokens and cost of an unsealed block are added when it is sealed or the session ends: reading every kept answer
    first would make a resume wait.
    """
    sealed = sum((row.totals for row in rows.values() if row.totals), Totals())
    return sealed + Totals(by_status=await journal.call(read_statuses))


async def close_run(  # noqa: PLR0913
    plan: Plan,
    session: Session,
    tally: Tally,
    halt: Halt,
    journal: Journal,
    *,
    elapsed_s: float,
    limited_by: str,
    command: str,
    failpoints: FailPoints,
    spending: Spending | None = None,
) -> Summary:
    """Write what the run came to and return it; a run that was finished before stays as it was written.

    A run that stopped goes on by `command`, which is what was typed, empty when nobody knows; at the end of its budget,
    by the same with a higher cap. `spending` is that of a run with a cap.

    Raises:
        StorageError: how it ended cannot be written.
    """
    totals = await _totals(plan, session, tally, halt, journal)
    finished, history = halt.why is None, session.gate.history
    exit_code = _exit_code(plan.job, totals) if halt.why is None else halt.why.exit_code
    next_command = (
        await asyncio.to_thread(_next, plan, totals)
        if finished
        else going_on(command, halt.why, done=totals.done, left=plan.tasks - totals.done)
    )
    summary = Summary(
        verdict=_verdict(totals, plan.tasks, halt),
        exit_code=exit_code,
        run_dir=str(plan.rundir.out),
        rows=plan.index.rows,
        samples=plan.job.samples,
        tasks=plan.tasks,
        totals=totals,
        sent=tally.sent,
        elapsed_s=elapsed_s,
        rows_per_s=tally.steady_per_s,
        limited_by=limited_by,
        next_command=next_command,
        p50_ms=quantile_ms(tally.latencies, 0.5),
        p95_ms=quantile_ms(tally.latencies, 0.95),
        slowed=slowed_json(history),
        notes=(
            *plan.index.notes,
            *_bills(plan, totals, tally),
            *slowed_notes(history, plan.job.limits),
            *_hints(halt),
        ),
        spending=spending,
    )
    try:
        if tally.sent or tally.finished or not plan.rundir.success.exists():
            _record(plan, summary, finished=finished, failpoints=failpoints)
        elif plan.job.output.license != plan.manifest["job"]["output"].get("license"):
            _write_card(plan, summary, finished=finished)  # stated after the fact
        if finished:
            remove(plan.rundir.status)
        else:
            write_last(plan.rundir, session.last)
    except OSError as error:
        if halt.why is None:  # else the disk has spoken already, and that is what the summary says
            raise StorageError(
                f"{plan.rundir.out}: how the run ended cannot be written: {error.strerror or error}",
                hint="free some disk and run the same command again",
            ) from error
    return summary


def _record(plan: Plan, summary: Summary, *, finished: bool, failpoints: FailPoints) -> None:
    plan.rundir.write_manifest({**plan.manifest, "summary": _as_json(summary)})
    _write_card(plan, summary, finished=finished)
    if finished:
        failpoints.hit("before-success")
        plan.rundir.mark_success()


def _write_card(plan: Plan, summary: Summary, *, finished: bool) -> None:
    served = versions_served(plan.rundir.parts()) if finished else ()  # whoever stops a run does not wait for it
    ended = Ended(totals=summary.totals, verdict=summary.verdict, served=served)
    plan.rundir.write_card(card(plan.manifest, plan.schema, ended, licence=plan.job.output.license))


async def _totals(plan: Plan, session: Session, tally: Tally, halt: Halt, journal: Journal) -> Totals:
    if halt.hurry.is_set() or journal.is_broken:
        return tally.totals()
    totals = sum(session.totals_of_blocks.values(), Totals())
    if halt.why is None:
        return totals
    outcomes, attempts = await journal.call(read_rest)
    reads = await asyncio.to_thread(lambda: [[read_attempt(a, plan.terms) for a in tried] for tried in attempts])
    return totals + totals_of(outcomes, reads)


def verdict_of(job: Job, totals: Totals, tasks: int) -> tuple[str, Exit]:
    """How a run ended whose rows all have an outcome: its verdict and its exit code."""
    return _verdict(totals, tasks, Halt()), _exit_code(job, totals)


def _exit_code(job: Job, totals: Totals) -> Exit:
    failed = sum(totals.by_status.get(status, 0) for status in _FAILED)
    return Exit.DONE if failed <= _tolerated(job, totals.done) else Exit.ROWS_FAILED


def _tolerated(job: Job, tasks: int) -> float:
    most = job.run.max_failed
    return most if isinstance(most, int) else float(most.rstrip("%")) / 100 * tasks


def _verdict(totals: Totals, tasks: int, halt: Halt) -> str:
    if halt.why is not None:
        safe = f"{totals.done:,} of {tasks:,} answers are safe on disk"
        return f"{halt.why.message.rstrip(' .')}; {safe}"
    ok = totals.by_status.get(Status.OK, 0)
    others = [f"{count:,} {status}" for status, count in totals.by_status.items() if status is not Status.OK]
    return ", ".join([f"done: {ok:,} of {tasks:,} ok", *others])


def _hints(halt: Halt) -> tuple[str, ...]:
    return (halt.why.hint,) if halt.why is not None and halt.why.hint else ()


def _bills(plan: Plan, totals: Totals, tally: Tally) -> Iterator[str]:
    """What the cost of this run leaves out."""
    if totals.unpriced:
        models = ", ".join(sorted(tally.unpriced_models)) or _model_of(plan)
        yield (
            f"price unknown for {models} ({_counted(totals.unpriced, 'answer')}):"
            " cost_usd is null there, the total is a lower bound"
        )
    if totals.maybe_billed:
        yield (
            f"{_counted(totals.maybe_billed, 'request')} may have been billed though no answer arrived:"
            " not in the cost; attempts/ has the most they can come to"
        )


def _model_of(plan: Plan) -> str:
    return "some models" if "model" in plan.job.prompt.overrides else plan.job.model.removeprefix("models/")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _next(plan: Plan, totals: Totals) -> str:
    """What to type after a finished run; `retry` only where it can help, which reads columns of the parts."""
    out = shlex.quote(str(plan.rundir.out))
    if not totals.by_status.get(Status.FAILED):
        invalid = totals.by_status.get(Status.INVALID)
        return f"batcher retry {out} --status invalid" if invalid else f"batcher show {out}"
    return f"batcher retry {out}" if has_worth_asking(plan) else f"batcher show {out} --failed"


def _as_json(summary: Summary) -> dict[str, object]:
    return {
        "verdict": summary.verdict,
        "exit_code": int(summary.exit_code),
        "finished_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "sent": summary.sent,
        "elapsed_s": round(summary.elapsed_s, 3),
        "rows_per_s": round(summary.rows_per_s, 3),
        "limited_by": summary.limited_by,
        "p50_ms": summary.p50_ms and round(summary.p50_ms, 1),
        "p95_ms": summary.p95_ms and round(summary.p95_ms, 1),
        "slowed": summary.slowed,
        "next_command": summary.next_command,
        "notes": list(summary.notes),
        "totals": summary.totals.as_json(),
        **({} if summary.spending is None else {"budget": summary.spending.as_json()}),
    }
