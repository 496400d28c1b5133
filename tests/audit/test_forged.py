"""Each law of the audit, broken by somebody who made all digests and checksums fit again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from batcher.audit.findings import MOST_OF_A_KIND, Audited
from batcher.audit.run import audit
from batcher.emulator.server import Emulator
from batcher.errors import Exit, UserError
from tests.audit.forge import forge, say, swapped, twice, with_value, without_row
from tests.whole.runs import a_job, emulator_settings, proved, retry, run, sums, write_lines

SAMPLES, ROWS = 2, 12
TASKS = ROWS * SAMPLES
FAILED, RETRIED = 8, 4  # tasks: one whose row is refused, one that is answered at the second try
PART, LEDGER = "data/train-00001-of-00002.parquet", "attempts/attempts-00001-g1.parquet"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    rows: list[Any] = sums(ROWS)
    rows[RETRIED // SAMPLES]["prompt"] += " [once-cut]"
    rows[FAILED // SAMPLES]["prompt"] += " [400]"
    with Emulator(emulator_settings()).in_thread() as emulator:
        job = a_job(
            emulator.url, write_lines(folder / "rows.jsonl", rows), samples=SAMPLES, **{"request.service_tier": "flex"}
        )
        run(job, folder / "out")
    found = proved(folder / "out")
    assert (found.proved.tasks, found.is_finished, found.exit_code) == (TASKS, True, Exit.DONE)
    assert found.verdict == f"proved: {TASKS} of {TASKS} tasks in 1 part"
    return folder / "out"


@pytest.fixture
def out(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "out")
    return tmp_path / "out"


def told(audited: Audited) -> list[str]:
    return [
        f"{each.where}{'' if each.task is None else f', task {each.task}'}: {each.found}; {each.wanted}"
        for each in audited.findings
    ]


def more(value: Any) -> Any:
    return value + 1 if not isinstance(value, Decimal) else value + Decimal("0.000000000000001")


FIRST = {"where": PART, "task": 0}
ROWS_OF_DATA: list[tuple[str, Callable[[Any], Any], str]] = [
    ("a task is missing", without_row(7), "wanted rows"),
    ("a task is there twice", twice(7), "wanted rows"),
    ("two tasks have changed places", swapped(6), "every task once, in order"),
    ("another ordinal", with_value("ordinal", 7, more), "ordinal = task / 2"),
    ("another sample", with_value("sample", 7, 0), "sample = task % 2"),
    ("no id", with_value("id", 7, None), "an id"),
    ("an id of another row", with_value("id", 7, "q0"), "the same in all samples of a row"),
    ("another request", with_value("request_hash", 7, bytes(16)), "the same in all samples of a row"),
    ("no request", with_value("request_hash", 7, None), "a hash of the request that was sent"),
    ("a status nobody knows", with_value("status", 7, "fine"), "one of ok, blocked, truncated, invalid, failed"),
    ("a failure without a reason", with_value("error_kind", FAILED, None), "a kind of error in failed"),
    ("a failure that is called an answer", with_value("status", FAILED, "ok"), "a kind of error in failed"),
    ("an answer that nobody gave", with_value("response", 7, "42 for sure"), "the text of the first candidate"),
    ("fewer tokens", with_value("input_tokens", 7, 1), "the sum of its rows in the ledger"),
    ("tokens below zero", with_value("output_tokens", 7, -1), "not below 0"),
    ("a femtodollar more", with_value("cost_usd", 7, more), "the sum of its rows in the ledger"),
    ("more wasted than paid", with_value("wasted_usd", 7, Decimal(1)), "0 <= wasted_usd <= cost_usd"),
    ("a cost that is not known", with_value("cost_usd", 7, None), "or both null"),
    ("fewer attempts", with_value("attempts", RETRIED, 1), "the sum of its rows in the ledger"),
    ("no attempts for an answer", with_value("attempts", 7, 0), "no attempts only in rows that failed"),
    ("another reply", with_value("response_id", 7, "r-0"), "as its last attempt has it"),
    ("another model", with_value("model_version", 7, "gemini-0"), "as its last attempt has it"),
    ("no usage", with_value("usage_metadata", 7, None), "usage as its last attempt has it"),
    (
        "other usage",
        with_value("usage_metadata", 7, lambda usage: usage | {"prompt_token_count": 1}),
        "usage as its last attempt has it",
    ),
    (
        "other modalities",
        with_value("usage_metadata", 7, lambda usage: usage | {"prompt_tokens_details": []}),
        "usage as its last attempt has it",
    ),
    (
        "usage without an answer",
        with_value("usage_metadata", FAILED, {"prompt_token_count": 1}),
        "usage only where there is an answer",
    ),
    ("a column less", lambda table: table.drop_columns(["created"]), "column 'created'"),
    ("a column that the anchor has not", lambda table: table.append_column("x", table["task"]), "those of the anchor"),
]


@pytest.mark.parametrize(
    ("change", "wanted"), [case[1:] for case in ROWS_OF_DATA], ids=[case[0] for case in ROWS_OF_DATA]
)
def test_rows_of_a_part(out, change, wanted):
    forge(out / PART, change)
    found = audit(out)

    assert found.exit_code is Exit.STORAGE
    words = f"rows {TASKS}" if wanted == "wanted rows" else wanted
    assert any(words in line and line.startswith(PART) for line in told(found)), told(found)
    assert found.next_command == f"batcher recover {out}"


ROWS_OF_THE_LEDGER: list[tuple[str, Callable[[Any], Any], str]] = [
    ("an attempt is missing", without_row(3), "the sum of its rows in the ledger"),
    ("an attempt is there twice", twice(3), "attempts numbered 1, 2, 3"),
    ("a number is left out", with_value("attempt", 3, 2), "attempts numbered 1, 2, 3"),
    ("another run", with_value("run_id", 3, "20260101T000000Z-00000000"), "ledger; "),
    ("another block", with_value("block", 3, 9), "block 1"),
    ("a task of another block", with_value("task", 3, 999), f"tasks 0 to {TASKS - 1}"),
    ("another sample", with_value("sample", 3, 0), "sample = task % 2"),
    ("a verdict nobody knows", with_value("verdict", 3, "fine"), "one of ok, blocked"),
    ("an answer that ended in nothing", with_value("verdict", 3, "retry"), "a last attempt that was answered"),
    ("a word of billing nobody knows", with_value("billed", 3, "perhaps"), "yes, no or maybe"),
    ("an answer for nothing", with_value("billed", 3, "no"), "an answer that was given was billed"),
    ("lost, and billed for sure", with_value("verdict", 3, "lost"), "a lost attempt may have been billed"),
    ("no tier", with_value("service_tier", 3, None), "a tier and who named it"),
    ("a tier that nobody named", with_value("tier_source", 3, "somebody"), "a tier and who named it"),
    ("a tier that the job never asked for", with_value("tier_source", 3, "default"), "which nobody but the job named"),
    ("another price", with_value("price_id", 3, "gemini-2.5-pro/standard@launch"), "in prices.json"),
    ("another tier's price", with_value("service_tier", 3, "standard"), "in prices.json"),
    (
        "a femtodollar less",
        with_value("cost_usd", 3, lambda cost: cost - Decimal("1E-15")),
        "its tokens times its price",
    ),
    ("a smaller reserve", with_value("reserve_usd", 4, Decimal(0)), "the most that its reserve can have cost"),
    ("other tokens", with_value("candidates_token_count", 3, 77), "its tokens times its price"),
    ("a column less", lambda table: table.drop_columns(["labels"]), "column 'labels'"),
]


@pytest.mark.parametrize(
    ("change", "wanted"), [case[1:] for case in ROWS_OF_THE_LEDGER], ids=[case[0] for case in ROWS_OF_THE_LEDGER]
)
def test_rows_of_the_ledger(out, change, wanted):
    forge(out / LEDGER, change)
    found = audit(out)

    assert found.exit_code is Exit.STORAGE
    words = orjson.loads((out / "run.json").read_bytes())["run_id"] if wanted == "ledger; " else wanted
    assert any(words in line for line in told(found)), told(found)


TOTALS = {
    "attempts": 1,
    "throttled": 1,
    "cost_usd": "1",
    "wasted_usd": "1",
    "unpriced": 7,
    "maybe_billed": 7,
    "by_status": {"ok": TASKS},
    **{f"tokens__{side}": 77 for side in ("input", "output", "cached", "thinking")},
}


@pytest.mark.parametrize("name", TOTALS)
def test_sums_of_a_footer_and_of_the_manifest(out, name):
    forge(out / PART, lambda table: table, **{name: TOTALS[name]})
    say(out, **{f"summary__totals__{name}": TOTALS[name]})
    lines = told(audit(out))

    assert any(line.startswith(PART) and "its footer says" in line and "the sum of its rows" in line for line in lines)
    assert any(line.startswith("run.json") and "the sum of all rows" in line for line in lines), lines
    assert any(line.startswith(LEDGER) and "as its part says" in line for line in lines), lines


@pytest.mark.parametrize(
    ("stamp", "wanted"),
    [
        ({"run_id": "another"}, "run another; run "),
        ({"block": 2}, "block 2; block 1"),
        ({"first_task": 2}, "begins with task 2; task 0"),
        ({"tasks": 20}, f"rows {TASKS}; rows 20"),
        ({"generation": 2}, "no such file; the ledger of train-00001-of-00002.parquet"),
        ({"digest": "0" * 32}, "block 1 is sealed, generation 1"),
    ],
)
def test_a_footer_that_is_of_something_else(out, stamp, wanted):
    forge(out / PART, lambda table: table, stamp=stamp)

    assert any(wanted in line for line in told(audit(out))), told(audit(out))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"tasks": 25}, f"run.json: 25 tasks of {ROWS} rows and 2 samples; {TASKS} tasks"),
        ({"rows": 13, "tasks": 26}, "a run of 26 tasks"),
        ({"run_id": "another"}, "run another"),
        ({"blocks": 2}, "a file that is no part of this run"),
        ({"samples": 0}, "run.json: TypeError: rows and samples are no counts; a run's manifest"),
        ({"job": None}, "a run's manifest"),
    ],
)
def test_a_manifest_that_is_of_something_else(out, changes, wanted):
    say(out, **changes)

    assert any(wanted in line for line in told(audit(out))), told(audit(out))


@pytest.mark.parametrize("place", ["data/.hidden", "data/train-00003-of-00009.parquet", "attempts/notes.txt"])
def test_what_is_no_file_of_the_run_is_foreign(out, place):
    (out / place).write_bytes(b"PAR1")
    (line,) = told(audit(out))

    assert line.startswith(f"{place}: a file that is no ")
    assert audit(out).counts == {"foreign": 1}


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        (PART, f"{PART}: 1 of 1 parts are not there; all parts of a finished run"),
        (LEDGER, f"{LEDGER}: no such file; the ledger of train-00001-of-00002.parquet"),
        ("data/train-00000-of-00002.parquet", "data: no part 00000; the anchor, whose schema all parts have"),
        ("prices.json", "prices.json: no such file; the run's price list"),
        ("run.json", "run.json: no such file; the run's manifest"),
        (".state/index", ".state/index: no such file; the plan's index"),
    ],
)
def test_what_is_gone_is_missing(out, place, wanted):
    (out / place).unlink()
    found = audit(out)

    assert wanted in told(found), told(found)
    assert found.exit_code is Exit.STORAGE


def test_without_its_state_a_finished_run_is_still_proved(out):
    shutil.rmtree(out / ".state")
    found = proved(out)

    assert found.notes == (f"{out}/.state has no journal to look at: only what is in parts can be told",)
    assert found.proved.tasks == TASKS


def test_a_run_without_success_says_how_to_get_it(out):
    (out / "_SUCCESS").unlink()
    found = proved(out)

    assert found.verdict == f"unfinished; what is there is proved: {TASKS} of {TASKS} tasks in 1 part"
    assert found.notes == ("every task has its outcome; `_SUCCESS` is put there by the same command, once more",)


def test_a_disk_that_rots_everywhere_is_told_in_a_few_lines(out):
    forge(out / LEDGER, lambda table: table.slice(0, 0))
    forge(out / PART, lambda table: table.slice(0, 0))
    for number in range(20):
        (out / "data" / f"{number}").touch()
    found = audit(out)

    assert sum(each.kind == "foreign" for each in found.findings) == MOST_OF_A_KIND
    assert found.counts["foreign"] == 20


def test_after_a_retry_both_generations_are_held_against_the_part(good, tmp_path):
    rows = good.parent / "rows.jsonl"
    with Emulator(emulator_settings()).in_thread() as emulator:
        run(a_job(emulator.url, rows), tmp_path / "out")
        retry(tmp_path / "out")
    found = proved(tmp_path / "out")
    assert found.proved.ledgers == 2
    forge(tmp_path / "out" / LEDGER, without_row(0))

    assert any("in the ledger 0" in line for line in told(audit(tmp_path / "out")))


@pytest.mark.parametrize("make", [lambda _: None, lambda path: (path / "data").mkdir()])
def test_what_is_no_run_directory_is_refused(tmp_path, make):
    make(tmp_path)
    with pytest.raises(UserError) as refused:
        audit(tmp_path)

    assert refused.value.message == f"{tmp_path}: not a run directory (it has no run.json)"
    assert refused.value.exit_code is Exit.USAGE
