"""An engine that asks nobody: it remembers what it was called with and answers what it was told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from batcher.audit.findings import Audited
from batcher.cli.engine import Watch
from batcher.datasets.order import Exported, Order
from batcher.engine.hostlimits import Known
from batcher.engine.outlook import Forecast
from batcher.engine.progress import Snapshot, Summary
from batcher.engine.recovered import AskedAgain, Confirm, Recovered
from batcher.errors import UserError
from batcher.job.key import Secret
from batcher.job.load import Loaded
from batcher.job.spec import Job
from batcher.records import Status
from tests.reports.builders import a_forecast, a_snapshot, a_summary


@dataclass(kw_only=True)
class FakeEngine:
    summary: Summary = field(default_factory=a_summary)
    snapshots: Sequence[Snapshot] = field(default_factory=lambda: [a_snapshot(0), a_snapshot(50)])
    error: Exception | None = None
    known_job: Job | None = None
    ahead: Forecast = field(default_factory=a_forecast)
    seen: Any = None
    rows: Sequence[Mapping[str, Any]] = ()
    exported: Exported | None = None
    lost: Sequence[AskedAgain] = ()
    recovered: Recovered | None = None
    audited: Audited | None = None
    told: Known = field(default_factory=Known)
    called: dict[str, Any] = field(default_factory=dict)

    def run(self, job: Job, *, key: Secret, out: Path, limit: int | None, watch: Watch) -> Summary:
        self.called = {"job": job, "key": key, "out": out, "limit": limit}
        return self._go(watch)

    def forecast(self, loaded: Loaded, *, out: Path, limit: int | None) -> Forecast:
        self.called |= {"loaded": loaded, "of": out, "limit of": limit}
        if self.error is not None:
            raise self.error
        return self.ahead

    def retry(self, job: Job, *, key: Secret, out: Path, statuses: frozenset[Status], watch: Watch) -> Summary:
        self.called = {"job": job, "key": key, "out": out, "statuses": statuses}
        return self._go(watch)

    def recover(self, out: Path, *, confirm: Confirm, watch: Watch) -> Recovered:
        self.called = {"out": out, "confirmed": [confirm(again) for again in self.lost]}
        if not all(self.called["confirmed"]):
            raise UserError("not confirmed", hint="add --yes")
        watch.log("reading 1 of 1 blocks")
        assert self.recovered is not None
        return self.recovered

    def known(self) -> Known:
        return self.told

    def forget(self, owner: str | None) -> int:
        self.called = {"owner": owner}
        return 2

    def job(self, out: Path) -> Job:
        assert self.known_job is not None
        return self.known_job

    def status(self, out: Path) -> Any:
        return self.seen

    def last(self, out: Path, n: int, *, failed: bool) -> Sequence[Mapping[str, Any]]:
        return [row for row in self.rows if not failed or row["status"] != "ok"][-n:]

    def audit(self, out: Path, *, progress: Callable[[int, int], None]) -> Audited:
        assert self.audited is not None
        return self.audited

    def export(self, out: Path, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        return self._exported({"out": out, "order": order})

    def export_job(self, job: Job, order: Order, *, stdout: BinaryIO, progress: Callable[[int, int], None]) -> Exported:
        return self._exported({"job": job, "order": order})

    def _exported(self, called: dict[str, Any]) -> Exported:
        if self.error is not None:
            raise self.error
        self.called = called
        assert self.exported is not None
        return self.exported

    def _go(self, watch: Watch) -> Summary:
        if self.error is not None:
            raise self.error
        watch.log("input: JSONL, 164 rows")
        for snapshot in self.snapshots:
            watch.show(snapshot)
        return self.summary
