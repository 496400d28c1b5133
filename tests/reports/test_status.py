from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from batcher.engine.progress import Phase, Snapshot, Spending, Totals
from batcher.records import Status
from batcher.reports.status import status_json, status_lines
from tests.reports.builders import a_snapshot, an_outage, some_parked, some_totals

TOTALS = some_totals(by_status={Status.OK: 100, Status.FAILED: 3})
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    run_dir: str = "out/he"
    phase: Phase | None = Phase.ASKING
    verdict: str | None = None
    tasks: int = 164
    totals: Totals = TOTALS
    pid: int | None = 4711
    host: str | None = "box"
    last_activity: datetime | None = NOW - timedelta(seconds=2)
    next_command: str = "batcher show out/he"
    now: Snapshot | None = None
    spending: Spending | None = None


def test_a_run_that_is_under_way():
    assert status_lines(Seen(), now=NOW) == [
        "out/he: asking",
        "",
        "  done      62 %  103 of 164",
        "  rows      100 ok · 3 failed",
        "  tokens    48,211 in · 12,004 out",
        "  cost      $0.04449",
        "  process   4711 on box",
        "  active    2.0 s ago",
        "",
        "  next      batcher show out/he",
    ]


BUSY = a_snapshot(
    tasks=164,
    totals=some_totals(by_status={Status.OK: 100, Status.FAILED: 3}, throttled=41),
    in_flight=64,
    waiting=12,
    limited_by="open tasks",
    elapsed_s=130.0,
    rate_per_s=0.5,
    eta_s=91.0,
    p50_ms=312.0,
    p95_ms=1_190.0,
    projected_usd=Decimal("0.07085"),
)


def test_a_run_under_way_says_what_its_live_block_shows():
    assert status_lines(Seen(now=BUSY), now=NOW)[2:11] == [
        "  done      62 %  103 of 164",
        "  rows      100 ok · 3 failed",
        "  tokens    48,211 in · 12,004 out",
        "  cost      $0.04449",
        "  projected about $0.0708",
        "  requests  64 in flight · 12 waiting · 41 answered 429",
        "  latency   p50 310 ms · p95 1.2 s",
        "  time      2 min 10 s · 30.0 rows/min · 1 min 31 s left · limited by rows waiting to be asked again",
        "  process   4711 on box",
    ]


def test_an_outage_says_since_when_and_what_was_seen_last():
    out = a_snapshot(tasks=164, limited_by="outage", rate_per_s=0.0, outage=an_outage())
    assert status_lines(Seen(now=out), now=NOW)[7:9] == [
        "  time      1.0 s · limited by outage since 03:12, next probe in 7 s",
        "  seen last http_503: overloaded",
    ]
    said = status_json(Seen(now=out))
    assert said["limited_by"] == "outage"
    assert said["outage"] == {
        "since": datetime.fromtimestamp(an_outage().since_us / 1e6, UTC).isoformat(),
        "probe_in_s": 6.3,
        "said": "http_503: overloaded",
    }
    assert status_json(Seen(now=BUSY))["outage"] is status_json(Seen())["outage"] is None


def test_a_day_quota_says_until_when_and_for_how_many():
    out = a_snapshot(tasks=164, limited_by="parked", rate_per_s=0.0, parked=some_parked())
    assert status_lines(Seen(now=out), now=NOW)[7:9] == [
        "  time      1.0 s · limited by a day quota until Fri 09:00",
        "  parked    https://host gemini-x has used up its day, until Fri 09:00: 20 rows wait",
    ]
    nobody = a_snapshot(tasks=164, parked=some_parked(0))
    assert status_lines(Seen(now=nobody), now=NOW)[8].endswith("until Fri 09:00: others are asked")
    (parked,) = some_parked()
    until = datetime.fromtimestamp(parked.until_us / 1e6, UTC).isoformat()
    assert status_json(Seen(now=out))["parked"] == [{"lane": parked.lane, "until": until, "rows": 20}]
    assert (status_json(Seen(now=BUSY))["parked"], status_json(Seen())["parked"]) == ([], None)


def test_a_run_that_has_just_begun_says_what_it_knows():
    assert status_lines(Seen(now=a_snapshot(rate_per_s=0.0, in_flight=1)), now=NOW)[6:8] == [
        "  requests  1 in flight",
        "  time      1.0 s",
    ]


def test_a_run_that_has_ended_or_died():
    ended = Seen(phase=None, verdict="done: 164 of 164 rows ok", pid=None, last_activity=None)

    assert status_lines(ended, now=NOW)[0] == "out/he: done: 164 of 164 rows ok"
    assert not any("process" in line or "active" in line for line in status_lines(ended, now=NOW))
    assert status_lines(Seen(phase=None, pid=None), now=NOW)[0] == "out/he: stopped"


def test_a_clock_that_went_back_is_no_negative_time():
    assert "  active    0.0 s ago" in status_lines(Seen(last_activity=NOW + timedelta(hours=1)), now=NOW)


def test_how_it_goes_as_json_and_the_same_names_when_nobody_runs_it():
    document = status_json(Seen(now=BUSY))

    assert {name: document[name] for name in ("in_flight", "waiting", "eta_s", "p50_ms", "projected_usd")} == {
        "in_flight": 64,
        "waiting": 12,
        "eta_s": 91.0,
        "p50_ms": 312.0,
        "projected_usd": "0.07085",
    }
    assert status_json(Seen()).keys() == document.keys()
    assert status_json(Seen())["in_flight"] is None


def test_the_same_as_json():
    document = status_json(Seen())

    assert (document["phase"], document["pid"], document["done"], document["tasks"]) == ("asking", 4711, 103, 164)
    assert Decimal(document["cost_usd"]) == Decimal("0.044491230")
    assert document["last_activity"] == "2026-11-22T13:59:58+00:00"
