"""How far is a run, and what were its last answers, for someone who only has its directory?"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.asking.ask import Ending
from batcher.engine.progress import Phase, Snapshot, Spending, Straggler, Totals
from batcher.errors import PlanChanged
from batcher.job.spec import Job
from batcher.pacing.outage import Outage
from batcher.pacing.permit import Parked
from batcher.records import Status
from batcher.store.disk import write_whole
from batcher.store.reading import part_file
from batcher.store.rundir import RunDir, lock_owner, state_folder

_SHOWN = (
    "task",
    "id",
    "prompt",
    "response",
    "status",
    "finish_reason",
    "error_kind",
    "error_message",
    "input_tokens",
    "output_tokens",
    "cost_usd",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What is known of a run from its directory alone.

    Attributes:
        phase: what it is doing; None when nobody runs it.
        verdict: how its last session ended; None when it did not say.
        last_activity: when it last wrote anything.
        now: what the process that runs it said last, about every two seconds; None when nobody runs it or it has said
            nothing yet.
        spending: of the budget, as it was said last; None without a cap.
    """

    run_dir: str
    phase: Phase | None
    verdict: str | None
    tasks: int
    totals: Totals
    pid: int | None
    host: str | None
    last_activity: dt.datetime | None
    next_command: str
    now: Snapshot | None = None
    spending: Spending | None = None


def write_status(rundir: RunDir, snapshot: Snapshot, last: Iterable[Ending], command: str) -> None:
    """Leave word for `status` and `show`; not synced, and no harm if it fails: it is news, not a record."""
    content = {
        "at": dt.datetime.now(dt.UTC).isoformat(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "phase": snapshot.phase,
        "command": command,
        "totals": snapshot.totals.as_json(),
        "now": _as_json(snapshot),
        "last": [_shown(ending) for ending in last],
    }
    with contextlib.suppress(OSError):  # a full disk speaks where it matters: in the journal
        write_whole(rundir.status, orjson.dumps(content), sync=False, own=True)


def write_last(rundir: RunDir, last: Iterable[Ending]) -> None:
    """Leave the last answers for `show` when a session stops: most of them are in no part yet."""
    with contextlib.suppress(OSError):
        write_whole(rundir.status, orjson.dumps({"ended": True, "last": [_shown(ending) for ending in last]}), own=True)


def read_status(out: Path) -> RunStatus:
    """Read how far a run is, running or not.

    Raises:
        PlanChanged: the folder is no run.
    """
    rundir, manifest = _opened(out)
    owner = lock_owner(rundir.lock)
    found = _live(rundir)
    # An orderly end takes back what the process said, so where that still is, run.json is about a session before it.
    live = None if found and found.get("ended") else found
    summary = manifest.get("summary") if owner is None and live is None else None
    said = live or {}
    running = owner is not None
    return RunStatus(
        run_dir=str(out),
        phase=Phase(said.get("phase", Phase.PLANNING)) if running else None,
        verdict=summary["verdict"] if summary else None,
        tasks=manifest["tasks"],
        totals=_totals(summary or live),
        pid=owner.get("pid") if owner else None,
        host=said.get("host") if running else None,
        last_activity=_last_activity(rundir, live),
        next_command=_next(out, running=running, said=summary.get("next_command") if summary else said.get("command")),
        now=_snapshot(said) if owner and live and _is_of(owner, live) else None,
        spending=_spending(summary, said),
    )


def _is_of(owner: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether the owner said it, and not one before it that was killed; in a container both are process 1."""
    since = dt.datetime.fromisoformat(owner["since"])
    return said["pid"] == owner["pid"] and dt.datetime.fromisoformat(said["at"]) >= since


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    projected = snapshot.projected_usd
    return {
        "tasks": snapshot.tasks,
        "done_before": snapshot.done_before,
        "in_flight": snapshot.in_flight,
        "waiting": snapshot.waiting,
        "limited_by": snapshot.limited_by,
        "elapsed_s": snapshot.elapsed_s,
        "rate_per_s": snapshot.rate_per_s,
        "eta_s": snapshot.eta_s,
        "p50_ms": snapshot.p50_ms,
        "p95_ms": snapshot.p95_ms,
        "projected_usd": None if projected is None else f"{projected:f}",
        "outage": None if snapshot.outage is None else asdict(snapshot.outage),
        "pace_per_s": snapshot.pace_per_s,
        "narrowed": snapshot.narrowed,
        "straggling": snapshot.straggling,
        "stragglers": [asdict(each) for each in snapshot.stragglers],
        "spending": None if snapshot.spending is None else snapshot.spending.as_json(),
        "parked": [list(each) for each in snapshot.parked],
    }


def _snapshot(said: Mapping[str, Any]) -> Snapshot | None:
    """Read `write_status` back; None of a version that said less."""
    now = said.get("now")
    if now is None:
        return None
    projected, outage, spending = now["projected_usd"], now.get("outage"), now.get("spending")
    known = now | {
        "projected_usd": None if projected is None else Decimal(projected),
        "outage": None if outage is None else Outage(**outage),
        "stragglers": tuple(Straggler(**each) for each in now.get("stragglers", ())),
        "spending": None if spending is None else Spending.from_json(spending),
        "parked": tuple(Parked(*each) for each in now.get("parked", ())),
    }
    return Snapshot(phase=Phase(said["phase"]), totals=Totals.from_json(said["totals"]), **known)


def _spending(summary: Mapping[str, Any] | None, said: Mapping[str, Any]) -> Spending | None:
    found = summary.get("budget") if summary else (said.get("now") or {}).get("spending")
    return Spending.from_json(found) if found else None


def _totals(news: Mapping[str, Any] | None) -> Totals:
    return Totals.from_json(news["totals"]) if news else Totals()


def _next(out: Path, *, running: bool, said: str | None) -> str:
    return f"batcher show {out}" if running else said or "the command that started it, to go on"


def read_job(out: Path) -> Job:
    """The job that a run directory was planned for.

    Raises:
        PlanChanged: the folder is no run.
    """
    _, manifest = _opened(out)
    return Job.model_validate(manifest["job"])


def read_last(out: Path, n: int, *, failed: bool = False) -> list[dict[str, Any]]:
    """The last `n` rows, newest last: what the last session told of, before that the last rows of the last parts.

    Args:
        out: a run directory.
        n: how many at most.
        failed: only rows that did not end well; all parts are looked through for them, from the last one back.

    Raises:
        PlanChanged: the folder is no run.
        StorageError: a part is damaged.
    """
    rundir, _ = _opened(out)
    rows = [row for row in (_live(rundir) or {}).get("last", ()) if not failed or row["status"] != Status.OK][-n:]
    told = [row["task"] for row in rows]
    for part in reversed(rundir.parts()):
        if len(rows) >= n:
            break
        rows = _last_rows(part, n - len(rows), failed=failed, told=told) + rows
    return rows


def _last_rows(part: Path, n: int, *, failed: bool, told: list[int]) -> list[dict[str, Any]]:
    """The last rows of a part that nobody told yet; answers are read of the row groups that have one to show."""
    rows: list[dict[str, Any]] = []
    with part_file(part) as file:
        for group in reversed(range(file.num_row_groups)):
            if len(rows) < n:
                rows = _of_group(file, group, failed=failed, told=told)[-(n - len(rows)) :] + rows
    return rows


def _of_group(file: pq.ParquetFile, group: int, *, failed: bool, told: list[int]) -> list[dict[str, Any]]:
    keys = file.read_row_group(group, columns=["task", "status"])
    wanted = pc.invert(pc.is_in(keys.column("task"), value_set=pa.array(told, pa.int64())))
    if failed:
        wanted = pc.and_(wanted, pc.not_equal(keys.column("status"), str(Status.OK)))
    if not pc.any(wanted).as_py():
        return []
    found: list[dict[str, Any]] = file.read_row_group(group, columns=list(_SHOWN)).filter(wanted).to_pylist()
    return found


def _opened(out: Path) -> tuple[RunDir, Mapping[str, Any]]:
    rundir = RunDir.at(out)
    manifest = rundir.read_manifest()
    if manifest is None:
        raise PlanChanged(f"{out}: not a run directory (it has no run.json)", hint="batcher run JOB.toml -o OUT")
    return RunDir.at(out, state_folder(manifest["job"]["output"].get("state_dir"), out)), manifest


def _live(rundir: RunDir) -> dict[str, Any] | None:
    try:
        found = orjson.loads(rundir.status.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _last_activity(rundir: RunDir, live: Mapping[str, Any] | None) -> dt.datetime | None:
    stamps = [path.stat().st_mtime for path in (rundir.manifest, *rundir.parts()[-1:])]
    if live is not None:
        stamps.append(dt.datetime.fromisoformat(live["at"]).timestamp())
    return dt.datetime.fromtimestamp(max(stamps), dt.UTC)


def _shown(ending: Ending) -> dict[str, Any]:
    answer, outcome = ending.turn.answer, ending.outcome
    first = answer.candidates[0] if answer and answer.candidates else None
    usage = answer.usage if answer else None
    return {
        "task": ending.task.task,
        "id": f"task {ending.task.task}",
        "prompt": ending.task.request.prompt,
        "response": first and first.text,
        "status": outcome and outcome.status,
        "finish_reason": first and first.finish_reason,
        "error_kind": outcome and outcome.error_kind,
        "error_message": outcome and outcome.error_message,
        "input_tokens": usage and usage.prompt_token_count,
        "output_tokens": usage and usage.candidates_token_count,
        "cost_usd": None,
    }
