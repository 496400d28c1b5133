"""How far is a run, and what were its last answers, for someone who only has its directory?"""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from batcher.asking.ask import Ending
from batcher.engine.progress import Phase, Snapshot, Totals
from batcher.errors import PlanChanged
from batcher.job.spec import Job
from batcher.store.disk import write_whole
from batcher.store.rundir import RunDir, lock_owner

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


def write_status(rundir: RunDir, snapshot: Snapshot, last: Iterable[Ending]) -> None:
    """Leave word for `status` and `show`; not synced: it is news, not a record."""
    content = {
        "at": dt.datetime.now(dt.UTC).isoformat(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "phase": snapshot.phase,
        "totals": snapshot.totals.as_json(),
        "last": [_shown(ending) for ending in last],
    }
    write_whole(rundir.status, orjson.dumps(content), sync=False)


def read_status(out: Path) -> RunStatus:
    """Read how far a run is, running or not.

    Raises:
        PlanChanged: the folder is no run.
    """
    rundir, manifest = _opened(out)
    owner = lock_owner(rundir.lock)
    live = _live(rundir)
    summary = manifest.get("summary")
    running = owner is not None and live is not None
    if running or summary is None:
        totals = Totals.from_json(live["totals"]) if live else Totals()
    else:
        totals = Totals.from_json(summary["totals"])
    finished = rundir.success.exists()
    return RunStatus(
        run_dir=str(out),
        phase=Phase(live["phase"]) if running and live else None,
        verdict=None if running or summary is None else summary["verdict"],
        tasks=manifest["tasks"],
        totals=totals,
        pid=owner.get("pid") if owner else None,
        host=live.get("host") if running and live else None,
        last_activity=_last_activity(rundir, live),
        next_command=f"batcher show {out}" if finished or running else "the command that started it, to go on",
    )


def read_job(out: Path) -> Job:
    """The job that a run directory was planned for.

    Raises:
        PlanChanged: the folder is no run.
    """
    _, manifest = _opened(out)
    return Job.model_validate(manifest["job"])


def read_last(out: Path, n: int) -> list[dict[str, Any]]:
    """The last `n` rows, newest last: what the running process says, else the last rows of the last parts.

    Raises:
        PlanChanged: the folder is no run.
    """
    rundir, _ = _opened(out)
    live = _live(rundir)
    if live is not None and lock_owner(rundir.lock) is not None and live["last"]:
        return list(live["last"])[-n:]
    rows: list[dict[str, Any]] = []
    for part in reversed(rundir.parts()):
        if len(rows) >= n:
            break
        rows = pq.read_table(part, columns=list(_SHOWN)).to_pylist()[-(n - len(rows)) :] + rows
    return rows


def _opened(out: Path) -> tuple[RunDir, Mapping[str, Any]]:
    rundir = RunDir.at(out)
    manifest = rundir.read_manifest()
    if manifest is None:
        raise PlanChanged(f"{out}: not a run directory (it has no run.json)", hint="batcher run JOB.toml -o OUT")
    state_dir = manifest["job"]["output"].get("state_dir")
    return RunDir.at(out, Path(state_dir) if state_dir else None), manifest


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
