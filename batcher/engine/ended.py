"""How did a run end, or how far is it, for someone who only has its directory? The summary that was told then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batcher.engine.progress import Summary, Totals
from batcher.engine.status import RunStatus, read_status
from batcher.errors import Exit
from batcher.store.rundir import RunDir

_UNSAID: Mapping[str, Any] = {"sent": 0, "elapsed_s": 0.0, "rows_per_s": 0.0, "limited_by": ""}


def read_summary(out: Path) -> Summary:
    """Read how the last session of a run ended; of one that goes on or was killed, what it said last.

    Args:
        out: a run directory.

    Returns:
        The summary; the exit code of a run that has not ended is `Exit.STOPPED`: the same command goes on.

    Raises:
        PlanChanged: the folder is no run.
        StorageError: its run.json is damaged.
    """
    status = read_status(out)
    manifest = RunDir.at(out).read_manifest() or {}
    said = manifest.get("summary") if status.verdict is not None else None
    facts = {name: (said or _UNSAID)[name] for name in _UNSAID}
    return Summary(
        verdict=status.verdict or _so_far(status),
        exit_code=Exit(said["exit_code"]) if said else Exit.STOPPED,
        run_dir=str(out),
        rows=manifest["rows"],
        samples=manifest["samples"],
        tasks=manifest["tasks"],
        totals=Totals.from_json(said["totals"]) if said else status.totals,
        next_command=status.next_command,
        notes=tuple((said or {}).get("notes", manifest["notes"])),
        **facts,
    )


def _so_far(status: RunStatus) -> str:
    done = f"{status.totals.done:,} of {status.tasks:,}"
    if status.phase is not None:
        return f"{status.phase}: {done} so far"
    return f"not finished: {done} when it was last heard of"
