"""What a run says of having been slowed down."""

from __future__ import annotations

import orjson

from batcher.engine.slowed import slowed_json, slowed_notes
from batcher.job.spec import Limits
from batcher.pacing.history import MOST, History
from tests.asking.stage import PER_MINUTE, failure
from tests.engine.sessions import echo, planned, prompts, rigged
from tests.fakes import FakeClock, ScriptedTransport


def a_history() -> History:
    history = History(FakeClock())
    history.cut("pace", "a", 12.3456, "capacity")
    history.cut("pace", "a", 8.64, "capacity")
    history.add("pace", "a", None, "nothing was refused for a while")
    history.cut("concurrency", "", 45, "http_503")
    history.cut("requests/min", "a", 300.0, "the server says so")
    return history


def test_each_limit_that_was_lowered_has_a_line():
    assert list(slowed_notes(a_history(), Limits(requests_per_minute=600))) == [
        "the pace was cut 2 times after 429s, to 8.64 a second at the least",
        "concurrency was cut once after failures, to 45 at the least",
        "the endpoint says that it allows 300 requests/min, instead of 600: limits.requests_per_minute = 300",
    ]
    *_, told = slowed_notes(a_history(), Limits())
    assert "which was not set" in told
    assert len(list(slowed_notes(a_history(), Limits(requests_per_minute=300)))) == 2


def test_a_run_that_nothing_slowed_says_nothing():
    history = History(FakeClock())
    assert list(slowed_notes(history, Limits())) == []
    assert slowed_json(history) == {"cuts": {}, "turns": []}


def test_what_is_kept_can_be_written_and_is_bounded():
    history = a_history()
    for number in range(10_000):
        history.cut("pace", "a", 100.0 + number, "capacity")
    kept = orjson.loads(orjson.dumps(slowed_json(history)))
    assert kept["cuts"] == {"pace": 10_002, "concurrency": 1, "requests/min": 1}
    assert len(kept["turns"]) <= MOST
    assert [turn["limit"] for turn in kept["turns"][-3:]] == [10_097.0, 10_098.0, 10_099.0]
    assert history.least["pace"] == 8.64
    assert kept["turns"][-1].keys() == {"at_us", "what", "lane", "limit", "why"}


async def test_a_run_keeps_what_slowed_it_and_says_so(tmp_path):
    """The endpoint says once that it allows 60,000 a minute: nothing waits long, and it is told at the end."""
    seen: list[int] = []

    def answer(request):
        seen.append(1)
        if len(seen) > 1:
            return echo(request)
        violation = {"quotaId": PER_MINUTE, "quotaValue": "60000"}
        return failure(429, "slow down", details=[{"violations": [violation]}, {"retryDelay": "0.001s"}])

    async with rigged(planned(tmp_path, prompts(3)), ScriptedTransport(answer)) as rig:
        summary = await rig.finish()

    said = "the endpoint says that it allows 60,000 requests/min, which was not set: limits.requests_per_minute = 60000"
    assert said in summary.notes
    kept = orjson.loads(rig.plan.rundir.manifest.read_bytes())["summary"]["slowed"]
    assert kept["cuts"] == {"requests/min": 1}
    assert kept["turns"][0]["limit"] == 60_000.0
