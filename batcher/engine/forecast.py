"""What would the run do, take and cost? One frozen value for whoever asks before anything is sent.

Nothing is written but to a temporary folder, and no socket is opened.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from batcher.engine.assumed import assume
from batcher.engine.bottleneck import pace_of
from batcher.engine.changed import with_ways_on
from batcher.engine.charges import check_bounded
from batcher.engine.estimate import Prices, estimate
from batcher.engine.foreseen import Foreseen, foresee
from batcher.engine.hostlimits import Known, known
from batcher.engine.learnt import learn
from batcher.engine.outlook import Assumed, Estimate, First, Forecast, Pace, PriceChange, Resume, Setting, Span
from batcher.engine.plan import Plan, check_new, check_same, check_still, draft_plan, read_plan, state_of
from batcher.engine.reach import reach_of
from batcher.engine.reused import Source, sources_of
from batcher.engine.status import read_status
from batcher.engine.ways import place_of
from batcher.errors import PlanChanged, StorageError
from batcher.job.fingerprint import fingerprint
from batcher.job.load import Loaded
from batcher.job.pool import pooled
from batcher.job.spec import Job, Limits
from batcher.money.prices import RateCard
from batcher.records import Problem, Request, Row
from batcher.rows.peek import Count, count_rows, is_small, some_rows
from batcher.rows.readers import InputFile, find_inputs
from batcher.store.rundir import RunDir

LOOKED_AT_ROWS = 1_000
_LOOKED_AT_BYTES = 64 << 20  # pictures make large requests; a few dozen of them tell enough
_PLANNED_ROWS = 2_000  # of an input too large to plan whole
_ROWS_A_BLOCK = 256
_PROBLEMS_SHOWN = 3
_NOTICE = dt.timedelta(days=60)
_STANDARD, _FLEX = "standard", "flex"

ReadsWhole = Callable[[Sequence[InputFile]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """The rows that were looked at."""

    rows: int
    requests: Sequence[Request]
    problems: Sequence[Problem]
    first: First | None


def forecast(  # noqa: PLR0913  what only the caller knows
    loaded: Loaded,
    out: Path,
    *,
    limit: int | None,
    now: dt.datetime,
    stdin: BinaryIO | None = None,
    reads_whole: ReadsWhole = is_small,
    command: str = "",
    state: Path | None = None,
) -> Forecast:
    """Say what `run` would do with this job now.

    Args:
        loaded: the job, complete, and where its settings come from.
        out: the run directory, as `run` would have it.
        limit: the first rows only, as `run --limit`.
        now: with a time zone.
        stdin: see `find_inputs`.
        reads_whole: whether these files are read whole, or only their first rows.
        command: that would run it, for what a refusal says; empty when nobody typed anything.
        state: the user's state folder, which knows limits that endpoints have told; None knows none.

    Raises:
        UserError: whatever `run` would refuse before it sends anything.
        StorageError: the run directory is damaged, or the temporary folder cannot take a decompressed input.
    """
    job = loaded.job
    where = out if limit is None else out.with_name(f"{out.name}.preview")
    rundir = RunDir.at(where, state_of(job, where))
    with tempfile.TemporaryDirectory(prefix="batcher-plan-") as spool:
        plan, count = _planned(
            job, rundir, Path(spool), limit=limit, now=now, reads_whole=reads_whole, stdin=stdin, command=command
        )
        looked = _look(plan)
        sources = () if plan.rundir.read_manifest() else sources_of(job, where, limit=limit)
        whole = count.exact and count.rows == plan.index.rows
        foreseen = foresee(plan, sources) if whole and plan.rundir.read_manifest() is None else None
    resume = _resume(rundir, plan, count)
    left = resume.left if resume else count.rows * job.samples
    to_send = round(left * len(looked.requests) / looked.rows) if looked.rows else 0
    if foreseen is not None:
        to_send = foreseen.asked
    assumed = assume(job, learn(fingerprint(job), where, looked.requests))
    prices = Prices(card=plan.terms.rates, tier=job.request.service_tier or _STANDARD, at_us=_us(now))
    taken = estimate(looked.requests, assumed, count=to_send, samples=job.samples, prices=prices)
    models = dict.fromkeys(request.model for request in looked.requests)
    told, untold = _told(state, plan, now)

    def answered_by(model: str) -> Estimate:
        asked = [request._replace(model=model) for request in looked.requests]
        return estimate(asked, assumed, count=to_send, samples=job.samples, prices=prices)

    return Forecast(
        job=job.name,
        model=job.model,
        endpoint=", ".join(" ".join(filter(None, place_of(endpoint))) for endpoint in job.asked),
        run_dir=str(where),
        files=tuple((file.name, str(file.format), file.size) for file in plan.index.files),
        shape=str(plan.index.shape.kind),
        id_key=plan.index.shape.id_key,
        prompt_key=plan.index.shape.prompt_key,
        rows=count.rows,
        rows_exact=count.exact,
        samples=job.samples,
        looked_at=looked.rows,
        problems=(len(looked.problems), tuple(problem.message for problem in looked.problems[:_PROBLEMS_SHOWN])),
        first=looked.first,
        resume=resume,
        spared=0 if foreseen is None else foreseen.spared,
        left=to_send,
        assumed=assumed,
        estimate=taken,
        tier=prices.tier,
        flex=_flex(looked, assumed, taken, job.samples, prices),
        behind=tuple((model, answered_by(model)) for model in job.fallback_models),
        card=f"{plan.terms.rates.version} ({plan.terms.rates.source})",
        price_changes=tuple(_changes(models, prices, now)),
        pace=_pace(job, told.narrow(pooled(job)), taken, assumed),
        settings=tuple(Setting(name=name, value=value, source=source) for name, value, source in loaded.settings()),
        reach=reach_of(job, plan.terms.rates, looked.requests, taken, resume, now_us=_us(now)),
        notes=(
            *plan.index.notes,
            *_notes(models),
            *told.notes(job.limits),
            *untold,
            *_spared(job, looked, sources, foreseen, taken),
        ),
    )


def _planned(  # noqa: PLR0913  what only the caller knows
    job: Job,
    rundir: RunDir,
    spool: Path,
    *,
    limit: int | None,
    now: dt.datetime,
    reads_whole: ReadsWhole,
    stdin: BinaryIO | None,
    command: str,
) -> tuple[Plan, Count]:
    manifest = rundir.read_manifest()
    if manifest is not None:
        plan = _frozen(job, rundir, manifest, spool, limit=limit, stdin=stdin, command=command)
        return plan, Count(rows=plan.index.rows, exact=True)
    check_new(job, rundir)
    check_bounded(job, RateCard.bundled(), now_us=_us(now))
    files = find_inputs(job.input, spool=spool, stdin=stdin)
    most = limit if reads_whole(files) else min(limit or _PLANNED_ROWS, _PLANNED_ROWS)
    plan = draft_plan(
        job, rundir, files, limit=most, rows_a_block=_ROWS_A_BLOCK, now=now, counted=lambda _rows, _size: None
    )
    if most is None or plan.index.rows < most or most == limit:
        return plan, Count(rows=plan.index.rows, exact=True)
    counted = count_rows(files, plan.index)
    return plan, counted if limit is None else Count(rows=min(limit, counted.rows), exact=counted.exact)


def _frozen(  # noqa: PLR0913
    job: Job,
    rundir: RunDir,
    manifest: Mapping[str, Any],
    spool: Path,
    *,
    limit: int | None,
    stdin: BinaryIO | None,
    command: str,
) -> Plan:
    try:
        check_same(job, rundir, manifest, limit=limit)
        plan = read_plan(job, rundir, manifest)
        check_still(plan, stdin=stdin, spool=spool)
    except PlanChanged as error:
        raise with_ways_on(error, job, rundir, limit=limit, command=command) from None
    return plan


def _look(plan: Plan) -> _Looked:
    rows, size, first = 0, 0, None
    requests: list[Request] = []
    problems: list[Problem] = []
    for row in some_rows(plan.index, plan.job.input, needed=plan.builder.needed, count=LOOKED_AT_ROWS):
        rows += 1
        made = row.problem or plan.builder.build(row)
        if isinstance(made, Problem):
            problems.append(made)
            continue
        first = first or _first(row, made)
        size += len(made.body)
        requests.append(made._replace(body=b""))
        if size > _LOOKED_AT_BYTES:
            break
    return _Looked(rows=rows, requests=requests, problems=problems, first=first)


def _first(row: Row, request: Request) -> First:
    body = orjson.loads(request.body)
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    texts = [part.get("text") or "" for part in system.get("parts", ())]
    return First(
        id=row.id, where=row.where, prompt=request.prompt, system="".join(texts) if texts else None, request=body
    )


def _resume(rundir: RunDir, plan: Plan, count: Count) -> Resume | None:
    if rundir.read_manifest() is None:
        return None
    status = read_status(rundir.out)
    totals, tasks = status.totals, count.rows * plan.job.samples
    unknown = totals.unpriced and not totals.cost_usd
    return Resume(
        state=str(status.phase or status.verdict or "stopped"),
        done=totals.done,
        left=max(tasks - totals.done - max(plan.spared - totals.spared, 0), 0),
        cost_usd=None if unknown else totals.cost_usd,
        pid=status.pid,
        tokens=totals.tokens.input + totals.tokens.output,
        spending=status.spending,
    )


def _flex(looked: _Looked, assumed: Assumed, taken: Estimate, samples: int, prices: Prices) -> Estimate | None:
    if prices.tier != _STANDARD:
        return None
    flex = replace(prices, tier=_FLEX)
    found = estimate(looked.requests, assumed, count=taken.requests, samples=samples, prices=flex)
    return None if found.unpriced else found


def _changes(models: Mapping[str, None], prices: Prices, now: dt.datetime) -> Iterator[PriceChange]:
    for model in models:
        for change in prices.card.changes(model, prices.tier, after_us=_us(now), until_us=_us(now + _NOTICE)):
            before, after = change.before.usd_per_million(), change.after.usd_per_million()
            yield PriceChange(
                model=model,
                day=dt.datetime.fromtimestamp(change.at_us // 1_000_000, dt.UTC).date().isoformat(),
                input_usd=(before["fresh_input"], after["fresh_input"]),
                output_usd=(before["output"], after["output"]),
            )


def _told(state: Path | None, plan: Plan, now: dt.datetime) -> tuple[Known, tuple[str, ...]]:
    """What endpoints have told the runs of this machine; a plan can do without."""
    try:
        return known(state, now_us=_us(now)).of(plan.lane(plan.job.model)), ()
    except StorageError as error:
        return Known(), (f"what other runs have learnt of limits cannot be read: {error.message}",)


def _pace(job: Job, limits: Limits, taken: Estimate, assumed: Assumed) -> Pace:
    each = Span(*(tokens / max(taken.requests, 1) for tokens in taken.input_tokens))
    return pace_of(limits, requests=taken.requests, samples=job.samples, input_tokens=each, latency_s=assumed.latency_s)


def _notes(models: Mapping[str, None]) -> Iterator[str]:
    if len(models) > 1:
        yield f"the rows ask {len(models)} models; each has quotas of its own, so it may be faster than this"


def _spared(
    job: Job, looked: _Looked, sources: Sequence[Source], foreseen: Foreseen | None, taken: Estimate
) -> Iterator[str]:
    """Say what need not be asked, or what need not be if the job said so."""
    if foreseen is None:
        if sources:
            folders = ", ".join(str(source.out) for source in sources)
            yield f"answers of {folders} are counted when the run is planned; here all rows count as asked"
        hashes = [request.request_hash for request in looked.requests]
        if repeats := len(hashes) - len(set(hashes)):
            yield f"of the {looked.rows:,} rows looked at, {repeats:,} repeat an earlier one's request{_cure(job)}"
        return
    if sources and foreseen.reused:
        yield f"reuse: {foreseen.reused:,} answers are those of {', '.join(str(source.out) for source in sources)}"
    if not foreseen.repeats or job.samples > 1:
        return
    rows = f"{foreseen.repeats:,} row{' repeats' if foreseen.repeats == 1 else 's repeat'} an earlier request"
    if job.dedup:
        yield f"dedup: {rows} and will share its answer"
    else:
        cost = taken.cost_usd
        each = cost.likely / max(taken.requests, 1) if cost else None
        saved = "" if each is None else f", about ${each * foreseen.repeats:.3g} less"
        yield f"{rows}: --dedup would ask each request once{saved}"


def _cure(job: Job) -> str:
    return "" if job.dedup or job.samples > 1 else ": --dedup would ask each request once"


def _us(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
