"""Identical requests are asked once: in a block, across blocks, across kills and retries."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batcher
from batcher.emulator.server import Emulator
from batcher.errors import Exit
from tests.whole.runs import (
    KEY,
    MODEL,
    Watched,
    a_job,
    call,
    column,
    data,
    emulator_settings,
    ledger,
    manifest,
    retry,
    run,
    run_argv,
    total,
    write_lines,
)

KILLED = -9
IN_A_BLOCK = 256  # the least that a block has


@pytest.fixture(scope="module")
def shared():
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


def prompts(*texts):
    return [{"id": f"q{number}", "prompt": text} for number, text in enumerate(texts)]


def job_of(emulator, path, **settings):
    return a_job(emulator.url, path, **{"dedup": True, "limits__concurrency": 8} | settings)


def test_without_it_each_row_has_an_answer_of_its_own(emulator, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", prompts(*["What is 2 * 7?"] * 5))
    out = tmp_path / "out"
    assert run(job_of(emulator, path, dedup=False), out).sent == 5
    assert len(set(column(out, "response_id"))) == 5
    assert "paid_by_run" not in data(out).column_names


def test_rows_that_repeat_a_request_share_its_answer_and_cost_nothing(emulator, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", prompts(*(f"What is {n} * 7?" for n in [0, 1, 0, 2, 1, 0])))
    out = tmp_path / "out"
    watched = Watched()

    summary = run(job_of(emulator, path), out, watched)

    run_id = manifest(out)["run_id"]
    assert (summary.sent, summary.totals.done, summary.totals.spared) == (3, 6, 3)
    assert column(out, "id") == [f"q{number}" for number in range(6)]
    assert column(out, "paid_by_task") == [None, None, 0, None, 1, 0]
    assert column(out, "paid_by_run") == [None, None, run_id, None, run_id, run_id]
    assert column(out, "response_id") == [column(out, "response_id")[at] for at in (0, 1, 0, 3, 1, 0)]
    assert column(out, "usage_metadata")[2] == column(out, "usage_metadata")[0]
    assert [bool(cost) for cost in column(out, "cost_usd")] == [True, True, False, True, False, False]
    assert column(out, "attempts") == [1, 1, 0, 1, 0, 0]
    assert summary.totals.cost_usd == total(data(out), "cost_usd") == total(ledger(out), "cost_usd")
    assert ledger(out).column("task").to_pylist() == [0, 1, 3]
    assert watched.logged[1:] == [
        "dedup: 3 of 6 rows repeat an earlier request and share its answer",
        "note: temperature is not set: asked one by one, rows that repeat a request might have had other answers",
    ]
    assert run(job_of(emulator, path), out).sent == 0


def test_of_samples_none_is_shared_and_it_says_so(emulator, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", prompts(*["What is 2 * 7?"] * 2))
    watched = Watched()
    assert run(job_of(emulator, path, samples=2), tmp_path / "out", watched).sent == 4
    assert watched.logged[-1] == "note: dedup is off: the 2 samples of a row are meant to differ"


def test_at_temperature_0_nothing_has_to_be_said(emulator, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", prompts(*["What is 2 * 7?"] * 2))
    watched = Watched()
    run(job_of(emulator, path, generation__temperature=0.0), tmp_path / "out", watched)
    assert watched.logged[-1] == "dedup: 1 of 2 rows repeat an earlier request and share its answer"


def test_a_failure_is_shared_and_asked_again_once(emulator, tmp_path):
    path = write_lines(
        tmp_path / "a.jsonl", prompts("[5x503] 2 * 7", "What is 3 * 7?", "[5x503] 2 * 7", "[400] x", "[400] x")
    )
    out = tmp_path / "out"
    first = run(job_of(emulator, path), out)
    assert column(out, "status") == ["failed", "ok", "failed", "failed", "failed"]
    assert column(out, "error_kind")[0] == column(out, "error_kind")[2] is not None
    assert (first.exit_code, first.sent) == (Exit.ROWS_FAILED, 5 + 1 + 1)

    again = retry(out)

    assert column(out, "status") == ["ok", "ok", "ok", "failed", "failed"]
    assert again.sent == 2
    assert column(out, "response")[0] == column(out, "response")[2]
    assert column(out, "paid_by_task") == [None, None, 0, None, 3]
    assert again.totals.spared == 2
    assert again.totals.cost_usd == total(data(out), "cost_usd") == total(ledger(out), "cost_usd")


def across_blocks():
    """Three blocks; the rows of the second and third repeat those of the first, whose first row is slow to come."""
    texts = ["[5x503] 2 * 7", *(f"What is {n} * 7?" for n in range(1, IN_A_BLOCK))]
    return prompts(*texts, *texts[:100], *texts[:IN_A_BLOCK][::-1], *texts[:44])


def check_shared(out, rows):
    table = data(out)
    assert table.column("task").to_pylist() == list(range(len(rows)))
    assert table.column("id").to_pylist() == [row["id"] for row in rows]
    by_prompt = {}
    answers = table.select(["prompt", "status", "response", "response_id", "error_kind"]).to_pylist()
    for row, answer in zip(rows, answers, strict=True):
        assert answer["prompt"] == row["prompt"]
        assert by_prompt.setdefault(row["prompt"], answer) == answer
    own = [task for task, payer in enumerate(table.column("paid_by_task").to_pylist()) if payer is None]
    firsts = {}
    for number, row in enumerate(rows):
        firsts.setdefault(row["prompt"], number)
    assert own == sorted(firsts.values())
    assert table.column("paid_by_task").to_pylist() == [
        None if number == firsts[row["prompt"]] else firsts[row["prompt"]] for number, row in enumerate(rows)
    ]


def test_an_answer_is_shared_across_blocks(emulator, tmp_path):
    rows = across_blocks()
    path, out = write_lines(tmp_path / "a.jsonl", rows), tmp_path / "out"

    summary = run(job_of(emulator, path), out)

    assert manifest(out)["blocks"] == 3
    check_shared(out, rows)
    assert summary.totals.spared == len(rows) - IN_A_BLOCK
    assert summary.sent == IN_A_BLOCK - 1 + 5
    assert ledger(out).num_rows == summary.sent
    again = retry(out)
    assert (again.sent, again.exit_code) == (1, Exit.DONE)
    check_shared(out, rows)
    assert again.totals.spared == len(rows) - IN_A_BLOCK
    assert again.totals.cost_usd == total(data(out), "cost_usd") == total(ledger(out), "cost_usd")
    assert list((out / ".tmp").iterdir()) == []


@pytest.mark.parametrize("point", ["after-commit:5", "part-published", "sealed:2"])
def test_a_killed_run_goes_on_and_shares_as_before(emulator, tmp_path, point):
    rows = across_blocks()
    path, out = write_lines(tmp_path / "a.jsonl", rows), tmp_path / "out"
    killed = call(*run_argv(path, out, emulator.url, "--dedup"), BATCHER_FAILPOINT=point)
    assert killed.returncode == KILLED, killed.stderr

    summary = run(job_of(emulator, path), out)

    check_shared(out, rows)
    assert summary.totals.spared == len(rows) - IN_A_BLOCK
    assert total(data(out), "cost_usd") == total(ledger(out), "cost_usd") == summary.totals.cost_usd
    assert emulator.totals().requests <= IN_A_BLOCK - 1 + 5 + 8


def test_a_stream_tells_of_every_row_once(emulator, tmp_path):
    rows = across_blocks()
    path = write_lines(tmp_path / "a.jsonl", rows)
    settings = {"model": MODEL, "base_url": emulator.url, "key": KEY, "concurrency": 8}
    settings |= {"set": {"retry.max_backoff_s": 0.01}}

    async def told():
        return [outcome async for outcome in batcher.stream(path, out=tmp_path / "out", dedup=True, **settings)]

    outcomes = asyncio.run(told())
    assert Counter(outcome.task for outcome in outcomes) == dict.fromkeys(range(len(rows)), 1)
    by_task = {outcome.task: outcome for outcome in outcomes}
    assert [by_task[task].id for task in range(len(rows))] == [row["id"] for row in rows]
    assert by_task[IN_A_BLOCK + 1].response == by_task[1].response == "7"


texts = st.lists(
    st.sampled_from(["What is 1 * 7?", "What is 2 * 7?", "[400] x", "[blocked] y"]), min_size=1, max_size=15
)


@pytest.mark.parametrize("examples", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_as_many_are_asked_as_there_are_different_ones(shared, tmp_path_factory, examples):
    @settings(max_examples=examples)
    @given(texts=texts)
    def holds(texts):
        check_asked_once(shared, tmp_path_factory, texts)

    holds()


def check_asked_once(shared, tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("law")
    rows = prompts(*texts)
    out = folder / "out"
    summary = run(job_of(shared, write_lines(folder / "a.jsonl", rows)), out)
    assert summary.sent == len(set(texts)) == ledger(out).num_rows
    assert summary.totals.spared == len(texts) - len(set(texts))
    check_shared(out, rows)
    assert dict(Counter(column(out, "status"))) == {str(s): n for s, n in summary.totals.by_status.items()}
