"""What would the run do, take and cost? One frozen value for whoever asks before anything is sent.

Nothing is written but to a temporary folder, and no socket is opened.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from batcher.engine.assumed import assume
from batcher.engine.bottleneck import pace_of
from batcher.engine.estimate import Prices, estimate
from batcher.engine.learnt import learn
from batcher.engine.outlook import Assumed, Estimate, First, Forecast, Pace, PriceChange, Resume, Setting, Span
from batcher.engine.plan import Plan, check_new, check_same, check_still, draft_plan, read_plan, state_of
from batcher.engine.status import read_status
from batcher.job.fingerprint import fingerprint
from batcher.job.load import Loaded
from batcher.job.spec import Job
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
) -> Forecast:
    """Say what `run` would do with this job now.

    Args:
        loaded: the job, complete, and where its settings come from.
        out: the run directory, as `run` would have it.
        limit: the first rows only, as `run --limit`.
        now: with a time zone.
        stdin: see `find_inputs`.
        reads_whole: whether these files are read whole, or only their first rows.

    Raises:
        UserError: whatever `run` would refuse before it sends anything.
        StorageError: the run directory is damaged, or the temporary folder cannot take a decompressed input.
    """
    job = loaded.job
    where = out if limit is None else out.with_name(f"{out.name}.preview")
    rundir = RunDir.at(where, state_of(job))
    with tempfile.TemporaryDirectory(prefix="batcher-plan-") as spool:
        plan, count = _planned(job, rundir, Path(spool), limit=limit, now=now, reads_whole=reads_whole, stdin=stdin)
        looked = _look(plan)
    resume = _resume(rundir, plan, count)
    tasks = count.rows * job.samples
    left = resume.left if resume else tasks
    to_send = round(left * len(looked.requests) / looked.rows) if looked.rows else 0
    assumed = assume(job, learn(fingerprint(job), where, looked.requests))
    prices = Prices(card=plan.terms.rates, tier=job.request.service_tier or _STANDARD, at_us=_us(now))
    taken = estimate(looked.requests, assumed, count=to_send, samples=job.samples, prices=prices)
    models = dict.fromkeys(request.model for request in looked.requests)
    return Forecast(
        job=job.name,
        model=job.model,
        endpoint=plan.terms.endpoint,
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
        left=to_send,
        assumed=assumed,
        estimate=taken,
        tier=prices.tier,
        flex=_flex(looked, assumed, taken, job.samples, prices),
        card=f"{plan.terms.rates.version} ({plan.terms.rates.source})",
        price_changes=tuple(_changes(models, prices, now)),
        pace=_pace(job, taken, assumed),
        settings=tuple(Setting(name=name, value=value, source=source) for name, value, source in loaded.settings()),
        notes=(*plan.index.notes, *_notes(models)),
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
) -> tuple[Plan, Count]:
    manifest = rundir.read_manifest()
    if manifest is not None:
        check_same(job, rundir, manifest, limit=limit)
        plan = read_plan(job, rundir, manifest)
        check_still(plan, stdin=stdin, spool=spool)
        return plan, Count(rows=plan.index.rows, exact=True)
    check_new(job, rundir)
    files = find_inputs(job.input, spool=spool, stdin=stdin)
    most = limit if reads_whole(files) else min(limit or _PLANNED_ROWS, _PLANNED_ROWS)
    plan = draft_plan(
        job, rundir, files, limit=most, rows_a_block=_ROWS_A_BLOCK, now=now, counted=lambda _rows, _size: None
    )
    if most is None or plan.index.rows < most or most == limit:
        return plan, Count(rows=plan.index.rows, exact=True)
    counted = count_rows(files, plan.index)
    return plan, counted if limit is None else Count(rows=min(limit, counted.rows), exact=counted.exact)


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
        left=max(tasks - totals.done, 0),
        cost_usd=None if unknown else totals.cost_usd,
        pid=status.pid,
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


def _pace(job: Job, taken: Estimate, assumed: Assumed) -> Pace:
    each = Span(*(tokens / max(taken.requests, 1) for tokens in taken.input_tokens))
    return pace_of(
        job.limits, requests=taken.requests, samples=job.samples, input_tokens=each, latency_s=assumed.latency_s
    )


def _notes(models: Mapping[str, None]) -> Iterator[str]:
    if len(models) > 1:
        yield f"the rows ask {len(models)} models; each has quotas of its own, so it may be faster than this"


def _us(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
