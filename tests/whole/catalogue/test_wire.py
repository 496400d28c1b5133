"""The fault catalogue, HTTP: refusals, and what may stand in the place of an answer."""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass

import orjson
import pytest

from batcher.emulator.faults import Fault, FaultKind, Rule
from batcher.errors import Exit
from batcher.records import Reply
from batcher.store.frames import unpack_attempt
from batcher.store.journal import connect
from tests.asking.stage import PER_MINUTE, Stage, open_task
from tests.builders import a_reply
from tests.fakes import run_virtual
from tests.whole.catalogue.endpoints import BAD, always, emulator_with, first, port_of, ran, rows_with
from tests.whole.console import batcher_against
from tests.whole.runs import KEY, MODEL, a_job, run, write_lines

OK = ("ok", "ok", "yes")
WAIT_S = 0.08
ONE_TRY = {"retry.attempts": 1}


@pytest.fixture
def typed(monkeypatch, tmp_path, capfd):
    """Type `batcher run` over these rows against an emulator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)

    def type_(emulator, rows, *more):
        if not (tmp_path / "rows.jsonl").exists():  # a second start finds the same file
            write_lines(tmp_path / "rows.jsonl", rows)
        argv = ("run", "-i", "rows.jsonl", "-m", MODEL, "-o", "out", "--base-url", emulator.url, *more)
        return batcher_against(emulator, capfd)(*argv, "--set", "retry.max_backoff_s=0.01")

    return type_


# --- refused for a while


@pytest.mark.parametrize("kind", [FaultKind.MINUTE_REQUESTS, FaultKind.MINUTE_TOKENS])
def test_d01_a_429_with_retryinfo_pauses_its_quota_and_is_no_attempt(tmp_path, kind):
    """Nothing is sent to that quota before the hint is over; a row that may be tried but once is answered."""
    with emulator_with(first(1, kind, seconds=WAIT_S)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2), **ONE_TRY, **{"limits.concurrency": 1})
        came = [(entry.at_s, entry.fault) for entry in emulator.journal]
    refused = next(n for n, (_, fault) in enumerate(came) if fault)
    assert came[refused + 1][0] - came[refused][0] >= WAIT_S
    assert out.others_are_ok(2)
    assert out.tried(2) == [("throttled", "rate_limit", "no"), OK]


@pytest.mark.parametrize("says", ["header", "body"])
def test_d01_seven_seconds_are_seven_and_at_most_a_tenth_more(says):
    """No new send to that quota for 7 s (at most 7.7 s), whether the header says so or the body."""
    hint = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": PER_MINUTE}]}
    details, headers = ([quota], {"retry-after": "7"}) if says == "header" else ([quota, hint], {})
    refusal = a_refusal(429, details=details, headers=headers)

    async def asked():
        stage = Stage([refusal, a_reply("yes")], attempts=1)
        ending = await stage.ask(open_task(0))
        return ending.outcome, stage.door.sent_at_s

    outcome, sent_at_s = run_virtual(asked())
    ((before, after),) = itertools.pairwise(sent_at_s)
    assert 7.0 <= after - before <= 7.7 + 0.001
    assert (outcome.status, outcome.attempts) == ("ok", 2)


def a_refusal(status, *, details=(), headers=None):
    error = {"code": status, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": list(details)}
    return Reply(status=status, headers=headers or {}, body=orjson.dumps({"error": error}), latency_ms=1.0)


def test_d03_a_500_that_stays_costs_its_row_five_attempts_and_nobody_else_one(tmp_path):
    """Five attempts, then a failed row with kind, message and attempts; the other rows never notice."""
    with emulator_with(always(FaultKind.INTERNAL)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
        assert emulator.totals().by_fault == {"500": 5}
    bad = out.rows[2]
    assert (bad["status"], bad["error_kind"], bad["attempts"]) == ("failed", "http_500", 5)
    assert "internal error" in bad["error_message"]
    assert out.tried(2) == [("retry", "http_500", "no")] * 5
    assert out.others_are_ok(2)


def test_d04_an_error_inside_a_200_is_judged_by_its_code(tmp_path):
    """A 429 in a 200 is no attempt, costs nothing and waits as long as it says."""
    with emulator_with(first(3, FaultKind.ERROR_IN_200, code=429, seconds=WAIT_S)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2), **ONE_TRY)
        came = [entry.at_s for entry in emulator.journal if BAD in entry.prompt_text]
    assert all(later - earlier >= WAIT_S for earlier, later in itertools.pairwise(came))
    assert out.tried(2) == [("throttled", "capacity", "no")] * 3 + [OK]
    assert out.others_are_ok(2)


# --- no answer in it


def test_d05_a_page_is_asked_twice_and_then_its_row_fails_with_an_excerpt(tmp_path):
    """At most one retry; then a failed row of kind bad_body that shows the beginning of the page, without the key."""
    with emulator_with(always(FaultKind.HTML)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    bad = out.rows[2]
    assert (bad["status"], bad["error_kind"], bad["attempts"]) == ("failed", "bad_body", 2)
    assert bad["error_message"].startswith("<!DOCTYPE html>\\n<html>")
    assert out.tried(2) == [("retry", "bad_body", "maybe")] * 2
    assert out.others_are_ok(2)


ENDS = "the endpoint gives no answers: not one of the first 20 rows has one, the last: bad_body (HTTP 200): <!DOCTYPE"


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_d05_twenty_pages_and_no_answer_is_no_gemini(typed, concurrency):
    """The first 20 answers are all bad: exit 5 with the page, no row is given up, and the same command goes on."""
    rows = rows_with(of=300)
    with emulator_with(Rule(fault=Fault(kind=FaultKind.HTML))) as emulator:
        port, said = port_of(emulator), typed(emulator, rows, "--concurrency", str(concurrency))
    assert said.exit_code == Exit.REFUSED
    assert said.sent <= 2 * 20 + 5 * concurrency  # four rows a slot may be open, and have been tried once
    assert said.verdict.startswith(ENDS)
    assert said.verdict.endswith("0 of 300 answers are safe on disk")

    with emulator_with(port=port) as emulator:
        again = typed(emulator, rows)
    assert (again.exit_code, again.sent, again.verdict) == (Exit.DONE, 300, "done: 300 of 300 ok")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_d05_nineteen_pages_and_then_an_answer_are_nineteen_failed_rows(tmp_path, concurrency):
    """Somebody is served: those that were not fail as rows, as soon as that is known."""
    with emulator_with(always(FaultKind.HTML)) as emulator:
        out = ran(emulator, tmp_path, rows_with(*range(19), of=25), **{"limits.concurrency": concurrency})
    assert [row["status"] for row in out.rows] == ["failed"] * 19 + ["ok"] * 6
    assert {row["attempts"] for row in out.rows[:19]} == {2}


def test_d05_a_few_pages_and_no_other_row_are_failed_rows(tmp_path):
    """Fewer than 20 rows prove nothing about the endpoint."""
    with emulator_with(always(FaultKind.HTML)) as emulator:
        out = ran(emulator, tmp_path, rows_with(0, 1, of=2))
    assert [row["error_kind"] for row in out.rows] == ["bad_body"] * 2


def test_d06_json_that_ends_early_is_found_by_its_reader(tmp_path):
    """No length, a clean close, half a JSON: maybe billed, asked again once."""
    with emulator_with(first(1, FaultKind.CUT_CLEAN)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    assert out.tried(2) == [("retry", "bad_body", "maybe"), OK]
    assert out.others_are_ok(2)


def test_d06_json_that_always_ends_early_fails_its_row(tmp_path):
    """Two tries, then a failed row."""
    with emulator_with(always(FaultKind.CUT_CLEAN)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    assert (out.rows[2]["status"], out.rows[2]["error_kind"], out.rows[2]["attempts"]) == ("failed", "bad_body", 2)
    assert out.summary.totals.maybe_billed == 2


def test_d12_a_byte_that_no_text_has_is_a_bad_body_and_is_kept_as_it_came(tmp_path):
    """kind=bad_body, two tries; the journal has the very bytes; the job goes on until something else stops it."""
    rules = (
        always(FaultKind.BAD_UTF8),
        Rule(fault=Fault(kind=FaultKind.DAY), contains="[last]"),
    )
    with emulator_with(*rules) as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", [*rows_with(2), {"prompt": "[last]"}])
        job = a_job(emulator.url, rows, **{"limits.concurrency": 1})
        summary = run(job, tmp_path / "out")
    assert summary.exit_code == Exit.STOPPED
    connection = connect(tmp_path / "out" / ".state" / "journal.db")
    found = connection.execute("select n, record from attempt where task = 2 order by n").fetchall()
    connection.close()
    kept = [unpack_attempt(2, n, record) for n, record in found]
    assert [(attempt.reason, attempt.billed) for attempt in kept] == [("bad_body", "maybe")] * 2
    for attempt in kept:
        assert attempt.body.count(b"\xff") == 1
        assert '"text":"14' in attempt.body.replace(b"\xff", b"").decode()


def test_d12_the_row_fails_and_the_others_are_answered(tmp_path):
    """One bad row never stops a run."""
    with emulator_with(always(FaultKind.BAD_UTF8)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    assert (out.rows[2]["status"], out.rows[2]["error_kind"]) == ("failed", "bad_body")
    assert out.others_are_ok(2)


# --- not for us


@pytest.mark.parametrize("kind", [FaultKind.REDIRECT, FaultKind.REDIRECT_POST, FaultKind.REDIRECT_FOR_EVER])
def test_d13_a_redirect_is_not_followed_and_ends_the_run(typed, kind):
    """The other host sees no connection; exit 5; the message has its name and nothing of the address behind it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        location = f"http://localhost:{other.getsockname()[1]}/v1beta?key={KEY}"
        everywhere = Rule(fault=Fault(kind=kind, location=location))
        with emulator_with(everywhere) as emulator:
            said = typed(emulator, rows_with(of=50), "--concurrency", "4")
        with pytest.raises(BlockingIOError):
            other.accept()
    assert (said.exit_code, said.sent <= 4) == (Exit.REFUSED, True)
    assert f"redirect (HTTP {kind.value})" in said.verdict
    assert "redirects to localhost; redirects are not followed" in said.verdict
    assert "v1beta" not in said.out + said.err
    assert KEY not in said.out + said.err


@dataclass(frozen=True)
class Refused:
    name: str
    rules: tuple[Rule, ...] = ()
    keys: tuple[str, ...] = ()


BAD_KEYS = [
    Refused("400", keys=("another-key-0123456789",)),
    Refused("401", rules=(Rule(fault=Fault(kind=FaultKind.UNAUTHENTICATED)),)),
    Refused("403", rules=(Rule(fault=Fault(kind=FaultKind.FORBIDDEN)),)),
]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("refused", BAD_KEYS, ids=lambda refused: refused.name)
def test_d14_a_refused_key_costs_no_more_requests_than_slots(typed, refused, concurrency):
    """Exit 5 after at most C requests; what is said names the variable and not the value."""
    with emulator_with(*refused.rules, keys=refused.keys) as emulator:
        said = typed(emulator, rows_with(of=200), "--concurrency", str(concurrency))
    assert (said.exit_code, said.sent <= concurrency) == (Exit.REFUSED, True)
    assert f"(HTTP {refused.name})" in said.verdict
    assert "note: asked with the key from GEMINI_API_KEY (…3456)" in said.out
    assert KEY not in said.out + said.err


@pytest.mark.parametrize("kind", [FaultKind.PAYMENT, FaultKind.PREPAY])
def test_d15_money_that_runs_out_in_the_middle_stops_the_run_and_loses_nothing(typed, kind):
    """No more is sent, what is out comes home, exit 5; the same command goes on and re-pays nothing."""
    rows = rows_with(of=60)
    with emulator_with(Rule(fault=Fault(kind=kind), nth=tuple(range(25, 1000)))) as emulator:
        port, said = port_of(emulator), typed(emulator, rows, "--concurrency", "4")
        assert emulator.totals().answered == 24
    assert said.exit_code == Exit.REFUSED
    assert said.verdict.startswith("the endpoint refuses us: billing (HTTP 4")
    assert said.verdict.endswith("24 of 60 answers are safe on disk")
    assert said.sent <= 24 + 3 + 4  # three agree; the others were out

    with emulator_with(port=port) as emulator:
        again = typed(emulator, rows)
    assert (again.exit_code, again.sent, again.verdict) == (Exit.DONE, 36, "done: 60 of 60 ok")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultKind.BLOCKED, "PROHIBITED_CONTENT"),
        (FaultKind.SAFETY, "SAFETY"),
        (FaultKind.RECITATION, "RECITATION"),
    ],
)
def test_d16_what_is_blocked_is_answered(tmp_path, kind, reason):
    """Terminal: one request, its reason in the row, its tokens on the bill, nothing asked again."""
    with emulator_with(always(kind)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
        billed = next(entry.input_tokens for entry in emulator.journal if BAD in entry.prompt_text)
    bad = out.rows[2]
    assert (bad["status"], bad["finish_reason"], bad["attempts"]) == ("blocked", reason, 1)
    assert bad["input_tokens"] == bad["usage_metadata"]["prompt_token_count"] == billed > 0
    assert bad["cost_usd"] > 0
    assert [bill for _, _, bill in out.tried(2)] == ["yes"]
    assert out.others_are_ok(2)
