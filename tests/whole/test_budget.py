"""A run with a cap spends no more than that, whatever goes wrong and however often it is killed."""

import signal
from decimal import Decimal

import orjson
import pytest

import batcher
from batcher.emulator.faults import Fault, FaultKind, Faults, Share
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.status import read_status
from batcher.errors import Exit
from batcher.job.budget import Budget
from batcher.job.spec import Run
from tests.whole.runs import (
    Watched,
    a_job,
    call,
    data,
    ledger,
    manifest,
    proved,
    run,
    run_argv,
    settled,
    sums,
    total,
    write_lines,
)

USD_A_TOKEN_IN, USD_A_TOKEN_OUT = Decimal("0.30") / 1_000_000, Decimal("2.50") / 1_000_000  # gemini-2.5-flash, text
MOST_OUTPUT_TOKENS = 64
SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
SPOILT = Faults(
    shares=(
        Share(fault=Fault(kind=FaultKind.FULL_OUTPUT), share=0.10),
        Share(fault=Fault(kind=FaultKind.BAD_JSON), share=0.10),
        Share(fault=Fault(kind=FaultKind.MISMATCH), share=0.10),
    )
)


@pytest.fixture
def emulator():
    with Emulator(Settings(seed=7, faults=SPOILT)).in_thread() as emulator:
        yield emulator


def billed_usd(emulator):
    """What the server charged: its own count of tokens at the published prices."""
    told = settled(emulator)
    return told.input_tokens * USD_A_TOKEN_IN + told.output_tokens * USD_A_TOKEN_OUT


def surely_usd(out):
    return total(ledger(out), "cost_usd")


def at_most_usd(out):
    return surely_usd(out) + total(ledger(out), "reserve_usd")


def written(folder, rows):
    schema = folder / "schema.json"
    schema.write_bytes(orjson.dumps(SCHEMA))
    return write_lines(folder / "rows.jsonl", sums(rows)), schema


def whole_run(emulator, folder, rows, cap):
    """Killed in the middle, started again until the cap is reached, then finished under a higher one."""
    file, schema = written(folder, rows)
    out = folder / "out"
    limited = ("--schema", str(schema), "--max-output-tokens", str(MOST_OUTPUT_TOKENS))
    argv = [*run_argv(file, out, emulator.url, *limited), "--max-failed", "100%"]
    capped = [*argv, "--max-cost-usd", str(cap)]

    killed = call(*capped, BATCHER_FAILPOINT="after-commit:12")
    assert killed.returncode == -signal.SIGKILL
    assert Decimal(0) < billed_usd(emulator) <= cap

    stopped = call(*capped)
    assert stopped.returncode == Exit.STOPPED
    assert billed_usd(emulator) <= cap
    goes_on = stopped.stdout.splitlines()[-1]
    assert goes_on.startswith(f"  next      batcher run -i {file}")
    assert Decimal(goes_on.partition("--max-cost-usd ")[2]) > cap

    sent = settled(emulator).requests
    job = a_job(emulator.url, file, output__schema=str(schema), generation__max_output_tokens=MOST_OUTPUT_TOKENS)
    again = run(job.model_copy(update={"budget": Budget(max_cost_usd=cap)}), out)
    assert (again.exit_code, again.sent, emulator.totals().requests) == (Exit.STOPPED, 0, sent)

    higher = job.model_copy(update={"budget": Budget(max_cost_usd=Decimal(100)), "run": Run(max_failed="100%")})
    assert run(higher, out).exit_code is Exit.DONE
    return out


def check_books(emulator, out, rows, cap):
    attempts = ledger(out)
    assert data(out).num_rows == rows
    assert surely_usd(out) <= billed_usd(emulator) <= at_most_usd(out)
    assert total(attempts, "thoughts_token_count") > 0
    assert {"ok", "invalid", "lost"} <= set(attempts["verdict"].to_pylist())
    assert "truncated" in data(out)["status"].to_pylist()
    assert Decimal(manifest(out)["summary"]["budget"]["spent_usd"]) == at_most_usd(out) > cap
    proved(out)


def test_a_killed_run_stays_under_its_cap_and_a_higher_one_finishes(emulator, tmp_path):
    cap = Decimal("0.01")
    check_books(emulator, whole_run(emulator, tmp_path, 130, cap), 130, cap)


@pytest.mark.slow
def test_five_thousand_rows_under_five_cents(emulator, tmp_path):
    cap = Decimal("0.05")
    check_books(emulator, whole_run(emulator, tmp_path, 5_000, cap), 5_000, cap)


def test_when_nothing_is_killed_or_cut_the_books_are_equal_to_the_last_digit(emulator, tmp_path):
    file, schema = written(tmp_path, 200)
    out = tmp_path / "out"
    job = a_job(
        emulator.url,
        file,
        output__schema=str(schema),
        generation__max_output_tokens=MOST_OUTPUT_TOKENS,
        budget__max_cost_usd="0.01",
        budget__max_tokens=10**9,
    )
    watched = Watched()
    summary = run(job, out, watched)

    assert summary.exit_code is Exit.STOPPED
    spending = summary.spending
    told = emulator.totals()
    assert spending.spent_usd == summary.totals.cost_usd == billed_usd(emulator)
    assert spending.spent_tokens == told.input_tokens + told.output_tokens
    assert Decimal("0.009") < spending.spent_usd <= Decimal("0.01")
    assert max(seen.spending.spent_usd + seen.spending.held_usd for seen in watched.shown if seen.spending) <= Decimal(
        "0.01"
    )
    nearly = [line for line in watched.logged if "are spent" in line]
    assert len(nearly) == 1
    assert nearly[0].endswith(" of $0.01 are spent (budget.max_cost_usd)")
    assert read_status(out).spending == spending


def test_before_a_deadline_that_has_passed_nothing_is_sent(emulator, tmp_path):
    rows, out = write_lines(tmp_path / "rows.jsonl", sums(5)), tmp_path / "out"
    job = a_job(emulator.url, rows, budget__deadline="2026-01-01")
    summary = run(job, out, command="batcher run job.toml")
    assert (summary.exit_code, summary.sent, emulator.totals().requests) == (Exit.STOPPED, 0, 0)
    assert summary.verdict == "budget.deadline: 2026-01-01 00:00 has passed; 0 of 5 answers are safe on disk"
    assert summary.next_command == "batcher run job.toml --deadline 12h"

    assert run(a_job(emulator.url, rows, budget__deadline="12h"), out).exit_code is Exit.DONE
    assert run(job, out).exit_code is Exit.DONE  # there is nothing left that would be too late


def test_after_its_deadline_what_is_out_comes_home_and_nothing_more_is_sent(tmp_path):
    rows, out = write_lines(tmp_path / "rows.jsonl", sums(2_000)), tmp_path / "out"
    with Emulator(Settings(seed=7, latency=Latency.fixed(0.02))).in_thread() as emulator:
        job = a_job(emulator.url, rows, limits__concurrency=2, budget__deadline="0.1s")
        summary = run(job, out)
        assert summary.exit_code is Exit.STOPPED
        assert summary.totals.done < 2_000
        assert summary.sent == summary.totals.done == emulator.totals().answered
        assert summary.totals.maybe_billed == 0
    assert proved(out)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-m", "gemini-99"), "the price of gemini-99 is unknown"),
        (("--set", "request.tools=[{google_search={}}]"), "what the tool google_search costs has no bound"),
    ],
)
def test_a_cap_that_nobody_can_hold_is_refused_and_leaves_no_folder(emulator, tmp_path, flags, said):
    rows, out = write_lines(tmp_path / "rows.jsonl", sums(5)), tmp_path / "out"
    argv = run_argv(rows, out, emulator.url, "--max-cost-usd", "1", *flags)
    for verb in ("run", "plan"):
        refused = call(verb, *argv[1:])
        assert refused.returncode == Exit.USAGE
        assert f"error: [budget] max_cost_usd: cannot be held, {said}" in refused.stderr
        assert "max_cost_per_request_usd" in refused.stderr
    assert not out.exists()
    assert emulator.totals().requests == 0


def test_python_says_how_to_go_on(emulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = batcher.run(
        sums(50),
        model="gemini-2.5-flash",
        out="out",
        base_url=emulator.url,
        max_output_tokens=MOST_OUTPUT_TOKENS,
        max_cost_usd=Decimal("0.002"),
        key="test",
        progress=False,
    ).summary
    assert told.exit_code is Exit.STOPPED
    assert told.spending.spent_usd == billed_usd(emulator) <= Decimal("0.002")
    assert told.next_command.startswith("the same call goes on, with max_cost_usd=0.0")
