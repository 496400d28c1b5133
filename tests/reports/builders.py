"""Totals, snapshots, summaries and forecasts with everything but the point of the test filled in."""

import time
from decimal import Decimal
from typing import Any

from batcher.engine.outlook import Assumed, Estimate, First, Forecast, Limit, Money, Pace, Setting, Span
from batcher.engine.progress import Outage, Parked, Phase, Snapshot, Spending, Summary, Tokens, Totals
from batcher.errors import Exit
from batcher.records import Status


def some_totals(ok: int = 164, **given: Any) -> Totals:
    defaults: dict[str, Any] = {
        "by_status": {Status.OK: ok},
        "attempts": ok,
        "tokens": Tokens(input=48_211, output=12_004),
        "cost_usd": Decimal("0.044491230"),
    }
    return Totals(**defaults | given)


def a_snapshot(done: int = 0, tasks: int = 100, **given: Any) -> Snapshot:
    defaults: dict[str, Any] = {
        "phase": Phase.ASKING,
        "tasks": tasks,
        "done_before": 0,
        "totals": some_totals(done, cost_usd=Decimal(0)),
        "in_flight": 8,
        "waiting": 0,
        "limited_by": "",
        "elapsed_s": 1.0,
        "rate_per_s": 13.2,
        "eta_s": None,
    }
    return Snapshot(**defaults | given)


def an_outage(probe_in_s: float | None = 6.3) -> Outage:
    """Since 03:12 by this machine's clock on the wall."""
    since_s = time.mktime((2026, 1, 1, 3, 12, 30, 0, 0, -1))
    return Outage(since_us=round(since_s * 1e6), probe_in_s=probe_in_s, said="http_503: overloaded")


def a_spending(**given: Any) -> Spending:
    defaults: dict[str, Any] = {
        "cap_usd": None,
        "cap_tokens": None,
        "spent_usd": Decimal(0),
        "spent_tokens": 0,
        "held_usd": Decimal(0),
        "held_tokens": 0,
    }
    return Spending(**defaults | given)


def some_parked(rows: int = 20) -> tuple[Parked, ...]:
    """Until Friday, 09:00 by this machine's clock on the wall."""
    until_s = time.mktime((2026, 1, 2, 9, 0, 0, 0, 0, -1))
    return (Parked("https://host gemini-x", round(until_s * 1e6), rows),)


def a_summary(**given: Any) -> Summary:
    defaults: dict[str, Any] = {
        "verdict": "done: 164 of 164 rows ok",
        "exit_code": Exit.DONE,
        "run_dir": "out/he",
        "rows": 164,
        "samples": 1,
        "tasks": 164,
        "totals": some_totals(),
        "sent": 164,
        "elapsed_s": 12.42,
        "rows_per_s": 13.204,
        "limited_by": "requests/min",
        "next_command": "batcher show out/he",
    }
    return Summary(**defaults | given)


def an_estimate(**given: Any) -> Estimate:
    defaults: dict[str, Any] = {
        "requests": 5_000,
        "input_tokens": Span(1_912_345, 2_100_000, 2_400_001),
        "output_tokens": Span(800_000, 1_000_000, 1_300_000),
        "cost_usd": Money(Decimal("2.5737035"), Decimal("3.13"), Decimal("3.97000030")),
        "most_usd": Decimal("128.4"),
        "unpriced": (),
    }
    return Estimate(**defaults | given)


def a_forecast(**given: Any) -> Forecast:
    defaults: dict[str, Any] = {
        "job": "sft",
        "model": "gemini-2.5-flash",
        "endpoint": "https://generativelanguage.googleapis.com",
        "run_dir": "out/sft",
        "files": (("rows.jsonl", "jsonl", 12_345_678),),
        "shape": "table",
        "id_key": "id",
        "prompt_key": None,
        "rows": 5_000,
        "rows_exact": True,
        "samples": 1,
        "looked_at": 1_000,
        "problems": (0, ()),
        "first": First(
            id="q1",
            where="rows.jsonl:1",
            prompt="Say [red]x[/red]\x1b[31m twice.",
            system="Be kind.",
            request={"contents": [{"role": "user", "parts": [{"text": "y" * 700}]}]},
        ),
        "resume": None,
        "left": 5_000,
        "assumed": Assumed(
            input_scale=Span(0.9, 1.0, 1.1),
            input_from="learnt from 5 rows of out/sft.preview",
            output=Span(160, 200, 260),
            output_from="learnt from 5 rows of out/sft.preview, which are few",
            latency_s=Span(1.0, 2.0, 4.0),
            latency_from="a guess by their length",
        ),
        "estimate": an_estimate(),
        "tier": "standard",
        "flex": an_estimate(cost_usd=Money(Decimal("1.29"), Decimal("1.57"), Decimal("1.99"))),
        "card": "2026-11-22 (genai-prices 0.2.3)",
        "price_changes": (),
        "pace": Pace(
            limits=(
                Limit(name="requests/min", rows_per_min=Span(1_000, 1_000, 1_000), arithmetic="1,000 a minute"),
                Limit(
                    name="concurrency",
                    rows_per_min=Span(480, 960, 1_920),
                    arithmetic="32 at once x 60 s ÷ 1 to 4 s an answer",
                ),
            ),
            bottleneck="concurrency",
            time_s=Span(157.25, 314.5, 629.0),
            days=None,
        ),
        "settings": (
            Setting(name="model", value="gemini-2.5-flash", source="jobs/sft/job.toml:3"),
            Setting(name="limits.concurrency", value=32, source="flag --concurrency"),
            Setting(name="retry.attempts", value=5, source="default"),
            Setting(name="run.drain_s", value=25.0, source="default"),
        ),
        "notes": (),
    }
    return Forecast(**defaults | given)
