"""How is a run brought back whose state, parts or ledger are lost or damaged? State first, then block by block."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from batcher.engine.findings import Finding, adopted, findings
from batcher.engine.local import Log, on_loop, owned, wall_us
from batcher.engine.mend import Mender
from batcher.engine.plan import Plan, plan_over, state_of
from batcher.engine.recovered import AskedAgain, Confirm, Recovered, Restated
from batcher.engine.replan import missing_anchor, replan
from batcher.engine.restate import is_sound, restate
from batcher.engine.status import read_job
from batcher.engine.work import WorkList
from batcher.errors import Exit, StorageError, UserError
from batcher.job.spec import Job
from batcher.money.cost import upper_bound_usd
from batcher.money.prices import RateCard
from batcher.money.totals import Totals
from batcher.rows.index import Index, check_unchanged, load_index, save_index
from batcher.store.blocks import BlockRow, is_sealed, put_block, read_asked, read_blocks
from batcher.store.failpoints import FailPoints
from batcher.store.journal import Journal
from batcher.store.parts import write_anchor
from batcher.store.rundir import RunDir

_SAY_EVERY_S = 10.0


def recover_run(
    out: Path,
    *,
    confirm: Confirm,
    log: Log,
    failpoints: FailPoints,
    stdin: BinaryIO | None = None,
) -> Recovered:
    """Find what is lost of a run and mend it; sends nothing. Blocks until it is done.

    Args:
        out: the run directory.
        confirm: asked before anything paid is given up to be asked again; False leaves it as it is.
        log: told one line at a time.
        failpoints: armed by tests.
        stdin: brings the rows again, where they were piped in.

    Raises:
        PlanChanged: the folder is no run, or the input is not what was planned.
        UserError: not confirmed.
        StorageError: the disk fails, or run.json or prices.json is damaged: those are not kept anywhere else.
        RunLocked: another process owns the run.
    """
    job = read_job(out)
    rundir = RunDir.at(out, state_of(job, out))
    with owned(rundir):
        manifest = rundir.read_manifest()
        assert manifest is not None
        rundir.clear_tmp()
        journal_lost = not is_sound(rundir.journal)
        damaged = AskedAgain(run_dir=str(out), journal=True)
        if journal_lost and rundir.journal.exists() and not confirm(damaged):
            raise _unconfirmed(damaged)
        plan = _planned(job, rundir, manifest, log=log, stdin=stdin)
        state = on_loop(restate(plan, wall_us=wall_us, secret="", failpoints=failpoints)) if journal_lost else None
        looked = on_loop(look(plan, log=log, failpoints=failpoints))
        again = asked_again(plan, looked.found)
        # Between two loops: within one, the first Ctrl-C at the question would only be noted.
        if again.tasks and not confirm(again):
            raise _unconfirmed(again)
        return on_loop(mend(plan, looked, state, failpoints=failpoints))


def _planned(job: Job, rundir: RunDir, manifest: Mapping[str, Any], *, log: Log, stdin: BinaryIO | None) -> Plan:
    """The plan: from the index where it is whole and the input unchanged, else from the input."""
    index = _index(rundir)
    if index is not None:
        plan = plan_over(job, rundir, index, manifest, RateCard.read(rundir.prices))
    else:
        log(f"{rundir.out}: planning the input again")
        plan = replan(job, rundir, manifest, stdin=stdin, counted=_now_and_then(log))
        save_index(plan.index, rundir.index)
    if missing_anchor(plan):
        write_anchor(rundir, plan.schema, plan.blocks, plan.terms.run_id)
    return plan


def _now_and_then(log: Log) -> Callable[[int, int], None]:
    said_at = time.monotonic()

    def counted(rows: int, _: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _SAY_EVERY_S:
            said_at = time.monotonic()
            log(f"{rows:,} rows so far")

    return counted


def _index(rundir: RunDir) -> Index | None:
    try:
        index = load_index(rundir.index)
    except (StorageError, ValueError):
        return None
    return None if check_unchanged(index) else index


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found: with which blocks something is wrong, and what reopened blocks ask already."""

    found: Sequence[Finding]
    asked: Mapping[int, frozenset[int]]


async def look(plan: Plan, *, log: Log, failpoints: FailPoints) -> Look:
    """Read every part and ledger file of a run whose journal is there."""
    journal = Journal(plan.rundir.journal, failpoints=failpoints)
    try:
        rows = await _known(plan, journal)
        asked = await _asked(rows, journal)
    finally:
        await journal.close()
    log(f"{plan.rundir.out}: reading {len(rows):,} of {plan.blocks:,} blocks")
    found = await asyncio.to_thread(lambda: tuple(findings(plan, rows, asked)))
    return Look(found=found, asked=asked)


async def mend(plan: Plan, looked: Look, state: Restated | None, *, failpoints: FailPoints) -> Recovered:
    """Mend what was found, and say what is left to be asked."""
    journal = Journal(plan.rundir.journal, failpoints=failpoints)
    try:
        await _mend(plan, looked, journal, failpoints)
        rows = await journal.call(read_blocks)
        left = await _left(plan, rows, journal)
    finally:
        await journal.close()
    if left:
        _tell_manifest(plan, rows, left)
    return Recovered(
        run_dir=str(plan.rundir.out),
        state=state,
        charged_usd=_charged_usd(plan, state),
        tasks=plan.tasks,
        left=left,
        again=asked_again(plan, looked.found),
        ledgers=sum(len(one.ledgers) for one in looked.found),
        next_command=_next(plan, left),
    )


async def _known(plan: Plan, journal: Journal) -> Mapping[int, BlockRow]:
    """The blocks; those that have files and that an older journal does not know are taken in."""
    rows = await journal.call(read_blocks)
    for row in (await asyncio.to_thread(adopted, plan, rows)).values():
        await journal.call(put_block(row.no, row.state, row.generation, row.digest, row.totals))
    return await journal.call(read_blocks)


async def _asked(rows: Mapping[int, BlockRow], journal: Journal) -> dict[int, frozenset[int]]:
    reopened = [row.no for row in rows.values() if not is_sealed(row) and row.totals is not None]
    found = {no: await journal.call(read_asked(no)) for no in reopened}
    return {no: tasks or frozenset() for no, tasks in found.items()}


def asked_again(plan: Plan, found: Sequence[Finding]) -> AskedAgain:
    """What mending would ask again."""
    return AskedAgain(
        run_dir=str(plan.rundir.out),
        tasks=sum(len(one.lost) for one in found),
        parts=sum(1 for one in found if one.lost),
        cost_usd=sum((one.cost_usd for one in found), Decimal(0)),
        unknown=sum(one.unknown for one in found),
    )


async def _mend(plan: Plan, looked: Look, journal: Journal, failpoints: FailPoints) -> None:
    if any(one.lost for one in looked.found):
        plan.rundir.unmark_success()
        failpoints.hit("success-removed")
    for one in looked.found:
        # One a block: it keeps the requests of the blocks that it writes, for a session that asks them at once.
        worklist = WorkList(plan, journal, wall_us=wall_us, secret="", failpoints=failpoints)
        mender = Mender(plan, journal, worklist, at_us=wall_us(), failpoints=failpoints)
        await mender.mend(one, looked.asked.get(one.block.no, frozenset()))


async def _left(plan: Plan, rows: Mapping[int, BlockRow], journal: Journal) -> int:
    """Tasks that the next run has to ask or to seal: of reopened blocks, those that are asked."""
    left = 0
    for block in plan.index.blocks:
        row = rows.get(block.no)
        if is_sealed(row):
            continue
        asked = None if row is None or row.totals is None else await journal.call(read_asked(block.no))
        left += block.rows * plan.job.samples if asked is None else len(asked)
    return left


def _tell_manifest(plan: Plan, rows: Mapping[int, BlockRow], left: int) -> None:
    """A summary of an earlier end must not say that all is done."""
    said = plan.manifest.get("summary")
    if said is None:
        return
    totals = sum((row.totals for row in rows.values() if row.totals), Totals())
    told = {
        **said,
        "verdict": f"recovered: {left:,} of {plan.tasks:,} rows are still to be asked",
        "exit_code": int(Exit.STOPPED),
        "next_command": _next(plan, left),
        "totals": totals.as_json(),
    }
    plan.rundir.write_manifest({**plan.manifest, "summary": told})


def _charged_usd(plan: Plan, state: Restated | None) -> Decimal | None:
    if state is None or not state.charged:
        return Decimal(0)
    if not state.model:
        return None
    rates = plan.terms.rates.rates(state.model, plan.terms.tier or "standard", wall_us(), state.reserve_input)
    if rates is None:
        return None
    return state.charged * upper_bound_usd(rates, state.reserve_input, state.reserve_output)


def _next(plan: Plan, left: int) -> str:
    if not left:
        return f"batcher show {shlex.quote(str(plan.rundir.out))}"
    said = (plan.manifest.get("summary") or {}).get("next_command", "")
    return said if said.startswith("batcher run ") else ""


def _unconfirmed(again: AskedAgain) -> UserError:
    what = (
        "the journal is damaged, and the answers in it would be given up"
        if again.journal
        else f"{again.tasks:,} rows would be asked again that were paid for"
    )
    return UserError(f"{again.run_dir}: {what}; not confirmed, so it stays as it is", hint="add --yes")
