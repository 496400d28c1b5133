"""A run with a cap spends no more than that, whatever goes wrong and however often it is killed."""

import signal
from decimal import Decimal

import orjson
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Share
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.errors import Exit
from tests.whole.runs import (
    call,
    data,
    ledger,
    manifest,
    proved,
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


def whole_run(emulator, folder, rows, cap):
    """Killed in the middle, started again until the cap is reached, then finished under a higher one."""
    schema = folder / "schema.json"
    schema.write_bytes(orjson.dumps(SCHEMA))
    file, out = write_lines(folder / "rows.jsonl", sums(rows)), folder / "out"
    argv = [
        *run_argv(file, out, emulator.url, "--schema", str(schema)),
        *("--max-output-tokens", str(MOST_OUTPUT_TOKENS)),
    ]
    capped = [*argv, "--max-cost-usd", str(cap)]

    killed = call(*capped, BATCHER_FAILPOINT=f"after-commit:{rows // 100}")
    assert killed.returncode == -signal.SIGKILL
    assert Decimal(0) < billed_usd(emulator) <= cap

    stopped = call(*capped)
    assert stopped.returncode == Exit.STOPPED
    assert billed_usd(emulator) <= cap
    goes_on = stopped.stdout.splitlines()[-1]
    assert goes_on.startswith(f"  next      batcher run -i {file}")
    higher = Decimal(goes_on.partition("--max-cost-usd ")[2])
    assert higher > cap

    again = call(*capped)  # the same command has nothing left to spend
    assert (again.returncode, again.stdout.count("--max-cost-usd")) == (Exit.STOPPED, 1)
    assert billed_usd(emulator) <= cap

    finished = call(*argv, "--max-cost-usd", "100", "--max-failed", "100%")
    assert finished.returncode == Exit.DONE
    return out


def check_books(emulator, out, rows, cap):
    assert data(out).num_rows == rows
    assert surely_usd(out) <= billed_usd(emulator) <= at_most_usd(out)
    assert total(ledger(out), "thoughts_token_count") > 0
    verdicts = set(ledger(out)["verdict"].to_pylist())
    assert {"ok", "invalid", "lost"} <= verdicts
    assert "truncated" in data(out)["status"].to_pylist()
    assert Decimal(manifest(out)["summary"]["budget"]["spent_usd"]) == at_most_usd(out) > cap
    proved(out)


def test_a_killed_run_stays_under_its_cap_and_a_higher_one_finishes(emulator, tmp_path):
    out = whole_run(emulator, tmp_path, 600, Decimal("0.04"))
    check_books(emulator, out, 600, Decimal("0.04"))
