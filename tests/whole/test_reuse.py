"""What another run paid for is not paid again: whole runs, their ledgers, and what the endpoint saw."""

from __future__ import annotations

import shlex
from decimal import Decimal
from itertools import pairwise

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.emulator.server import Emulator
from batcher.errors import Exit, JobError, PlanChanged, RunLocked
from batcher.records import Status
from batcher.store.rundir import Lock
from tests.engine.sessions import NOW
from tests.whole.runs import (
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
    sums,
    total,
    write_lines,
)

KILLED = -9
OWN = {
    *("task", "ordinal", "id", "input_tokens", "output_tokens", "cost_usd", "wasted_usd", "attempts"),
    *("paid_by_run", "paid_by_task"),
}


@pytest.fixture(scope="module")
def shared():
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


def rows_of(tmp_path, name, rows):
    return write_lines(tmp_path / f"{name}.jsonl", rows)


def answers(out):
    """The rows by what they asked, without what each has of its own."""
    return [{name: value for name, value in row.items() if name not in OWN} for row in data(out).to_pylist()]


def test_an_older_runs_answers_cost_nothing_and_say_who_paid(emulator, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run(a_job(emulator.url, rows_of(tmp_path, "a", sums(20))), old)
    job = a_job(emulator.url, rows_of(tmp_path, "b", [*sums(3, start=100), *sums(17, start=3)]), reuse=[str(old)])
    watched = Watched()

    summary = run(job, new, watched)

    assert (summary.sent, summary.totals.spared, summary.totals.done) == (3, 17, 20)
    assert answers(new)[3:] == answers(old)[3:]
    before, after = data(old), data(new)
    assert column(new, "paid_by_run") == [None] * 3 + [manifest(old)["run_id"]] * 17
    assert column(new, "paid_by_task") == [None] * 3 + list(range(3, 20))
    assert column(new, "cost_usd")[3:] == [Decimal(0)] * 17
    assert column(new, "usage_metadata")[3:] == column(old, "usage_metadata")[3:]
    assert summary.totals.cost_usd == total(after, "cost_usd") == total(ledger(new), "cost_usd")
    assert ledger(new).num_rows == 3
    saved = total(before.slice(3), "cost_usd")
    assert watched.logged == [
        "input: prompt, jsonl, 20 rows",
        f"reuse: 17 of 20 answers are those of {old}; they had cost ${saved.normalize():f}",
    ]
    assert run(job, new).sent == 0


def test_the_ledger_of_the_run_that_paid_has_the_request(emulator, tmp_path):
    """The two columns are a ledger's key, through however many runs an answer was handed on."""
    outs = [tmp_path / name for name in "abc"]
    rows = rows_of(tmp_path, "a", sums(5))
    run(a_job(emulator.url, rows), outs[0])
    for before, out in pairwise(outs):
        rows = rows_of(tmp_path, out.name, [*sums(1, start=50), *sums(5)])
        run(a_job(emulator.url, rows, reuse=[str(before)]), out)
    assert column(outs[2], "paid_by_run") == [manifest(outs[1])["run_id"], *[manifest(outs[0])["run_id"]] * 5]
    assert column(outs[2], "paid_by_task") == [0, *range(5)]
    keys = {(row["run_id"], row["task"]) for out in outs for row in ledger(out).to_pylist()}
    assert set(zip(column(outs[2], "paid_by_run"), column(outs[2], "paid_by_task"), strict=True)) <= keys
    assert emulator.totals().requests == 6


def test_what_ended_badly_is_asked_again(emulator, tmp_path):
    rows = [
        {"id": "good", "prompt": "What is 2 * 7?"},
        {"id": "bad", "prompt": "[400] no"},
        {"id": "blocked", "prompt": "[blocked] no"},
        {"id": "cut", "prompt": "[maxtokens] long"},
        {"id": "none"},
    ]
    path = rows_of(tmp_path, "a", rows)
    run(a_job(emulator.url, path), tmp_path / "old")
    summary = run(a_job(emulator.url, path, reuse=[str(tmp_path / "old")]), tmp_path / "new")
    assert column(tmp_path / "new", "status") == ["ok", "failed", "blocked", "truncated", "failed"]
    assert [bool(payer) for payer in column(tmp_path / "new", "paid_by_run")] == [True, False, True, True, False]
    assert (summary.sent, summary.exit_code) == (1, Exit.ROWS_FAILED)


def test_samples_take_over_samples(emulator, tmp_path):
    path = rows_of(tmp_path, "a", sums(4))
    run(a_job(emulator.url, path, samples=2), tmp_path / "old")
    summary = run(a_job(emulator.url, path, samples=3, reuse=[str(tmp_path / "old")]), tmp_path / "new")
    assert summary.sent == 4
    kept = [task for task, payer in enumerate(column(tmp_path / "new", "paid_by_run")) if payer]
    assert kept == [task for task in range(12) if task % 3 < 2]
    old = data(tmp_path / "old").select(["ordinal", "sample", "response_id"]).to_pylist()
    new = data(tmp_path / "new").select(["ordinal", "sample", "response_id"]).to_pylist()
    assert [row for row in new if row["sample"] < 2] == old


def test_another_question_takes_over_nothing(emulator, tmp_path):
    path = rows_of(tmp_path, "a", sums(3))
    run(a_job(emulator.url, path), tmp_path / "old")
    reuse = [str(tmp_path / "old")]
    changes = [
        {"generation__temperature": 0.5},
        {"prompt__system": "Be brief."},
        {"prompt__template": "{{ prompt }}!"},
        {"model": "gemini-2.5-pro"},
        {"request__tools": [{"google_search": {}}]},
        {"request__service_tier": "flex"},
    ]
    for number, change in enumerate(changes):
        assert run(a_job(emulator.url, path, reuse=reuse, **change), tmp_path / f"new-{number}").sent == 3, change


def test_the_dialect_and_the_way_of_asking_are_no_part_of_the_question(emulator, tmp_path):
    path = rows_of(tmp_path, "a", sums(3))
    run(a_job(emulator.url, path), tmp_path / "old")
    changes = {"endpoint__dialect": "flat", "endpoint__stream": "sse", "limits__concurrency": 2, "labels__team": "x"}
    out = tmp_path / "new"
    assert run(a_job(emulator.url, path, reuse=[str(tmp_path / "old")], **changes), out).sent == 0
    assert column(out, "labels") == [[{"key": "team", "value": "x"}]] * 3


def test_a_run_that_does_not_fit_is_refused(emulator, tmp_path):
    path = rows_of(tmp_path, "a", sums(2))
    old = tmp_path / "old"
    run(a_job(emulator.url, path), old)

    def refused(out="new", **settings):
        with pytest.raises(JobError) as error:
            run(a_job(settings.pop("url", emulator.url), path, **settings), tmp_path / out)
        assert not (tmp_path / "new").exists()
        return error.value.message

    assert refused(reuse=[str(tmp_path)]) == f"reuse: {tmp_path}: not a run directory (it has no run.json)"
    assert refused(url="https://example.org", reuse=[str(old)]) == (
        f"reuse: {old}: it asked http://localhost/v1beta, this job asks https://example.org/v1beta"
    )
    schema = {"output__schema": {"type": "object"}, "output__schema_field": "none"}
    assert refused(reuse=[str(old)], **schema) == f"reuse: {old}: it held its answers to another [output] schema"
    other = tmp_path / "other"
    run(a_job(emulator.url, path), other)
    with pytest.raises(PlanChanged) as changed:
        run(a_job(emulator.url, path, reuse=[str(old)]), other)
    assert changed.value.differences == (f"reuse: none → {old}",)


def test_a_run_cannot_reuse_itself(emulator, tmp_path):
    (tmp_path / "out").mkdir()
    path = rows_of(tmp_path, "a", sums(2))
    with pytest.raises(JobError, match="a run cannot reuse itself"):
        run(a_job(emulator.url, path, reuse=[str(tmp_path / "out")]), tmp_path / "out")


def test_a_run_that_was_killed_is_continued_without_its_old_one_being_named_again(emulator, tmp_path):
    path, old, new = rows_of(tmp_path, "a", sums(30)), tmp_path / "old", tmp_path / "new"
    run(a_job(emulator.url, path), old)
    more = rows_of(tmp_path, "b", [*sums(10, start=100), *sums(30)])
    for point in ("before-commit:2", "part-built", "part-published"):
        out = new / point.partition(":")[0]
        emulator.reset()
        killed = call(*run_argv(more, out, emulator.url, "--reuse", str(old)), BATCHER_FAILPOINT=point)
        assert killed.returncode == KILLED, killed.stderr

        summary = run(a_job(emulator.url, more), out)

        assert column(out, "task") == list(range(40))
        assert answers(out)[10:] == answers(old), point
        assert summary.totals.spared == 30
        assert emulator.totals().requests <= 10 + 8
        assert total(data(out), "cost_usd") == total(ledger(out), "cost_usd") == summary.totals.cost_usd


def test_answers_that_are_in_no_part_yet_are_taken_over_too(emulator, tmp_path):
    """Killed, and the input changed: nobody will ever go on with that run, and its answers were paid for."""
    path, old, new = rows_of(tmp_path, "a", sums(40)), tmp_path / "old", tmp_path / "new"
    killed = call(*run_argv(path, old, emulator.url), BATCHER_FAILPOINT="after-commit:4")
    assert killed.returncode == KILLED, killed.stderr
    assert data(old).num_rows == 0
    asked = emulator.totals().requests

    summary = run(a_job(emulator.url, path, reuse=[str(old)]), new)

    assert 0 < summary.totals.spared < 40
    assert summary.sent == 40 - summary.totals.spared
    assert emulator.totals().requests - asked == summary.sent
    assert column(new, "task") == list(range(40))
    assert all(str(n * 7) in text for n, text in enumerate(column(new, "response")))
    assert {payer for payer in column(new, "paid_by_run") if payer} == {manifest(old)["run_id"]}
    again = run(a_job(emulator.url, path), old)  # and that run can still go on
    assert again.exit_code == Exit.DONE


def test_a_run_that_somebody_runs_is_not_read(emulator, tmp_path):
    path, old = rows_of(tmp_path, "a", sums(4)), tmp_path / "old"
    assert call(*run_argv(path, old, emulator.url), BATCHER_FAILPOINT="frozen").returncode == KILLED
    lock = Lock(old / ".state" / "lock", now=NOW)
    try:
        with pytest.raises(RunLocked):
            run(a_job(emulator.url, path, reuse=[str(old)]), tmp_path / "new")
    finally:
        lock.release()


def test_an_old_run_that_is_gone_meanwhile_is_missed(emulator, tmp_path):
    path, old, new = rows_of(tmp_path, "a", sums(4)), tmp_path / "old", tmp_path / "new"
    run(a_job(emulator.url, path), old)
    assert (
        call(*run_argv(path, new, emulator.url, "--reuse", str(old)), BATCHER_FAILPOINT="planned").returncode == KILLED
    )
    old.rename(tmp_path / "elsewhere")

    summary = run(a_job(emulator.url, path), new)

    assert summary.exit_code == Exit.STORAGE
    assert "its answers are to be used again, and it cannot be read" in summary.verdict
    assert summary.sent == 0
    (tmp_path / "elsewhere").rename(old)
    assert run(a_job(emulator.url, path), new).exit_code == Exit.DONE


def test_a_preview_is_taken_over_by_itself(emulator, tmp_path):
    path, out = rows_of(tmp_path, "a", sums(20)), tmp_path / "out"
    job = a_job(emulator.url, path)
    preview = run(job, out, limit=5)
    watched = Watched()

    summary = run(job, out, watched)

    assert (summary.sent, summary.totals.spared) == (15, 5)
    cost = f"${preview.totals.cost_usd.normalize():f}"
    assert watched.logged[-1] == f"reuse: 5 of 20 answers are those of {out}.preview; they had cost {cost}"
    assert answers(out)[:5] == answers(tmp_path / "out.preview")
    assert emulator.totals().requests == 20


def test_a_preview_has_a_state_folder_of_its_own(emulator, tmp_path):
    path, out = rows_of(tmp_path, "a", sums(20)), tmp_path / "out"
    job = a_job(emulator.url, path, output__state_dir=str(tmp_path / "state"))
    run(job, out, limit=5)
    assert run(job, out).sent == 15
    assert retry(tmp_path / "out.preview").sent == 0


def test_a_preview_of_another_question_leaves_no_trace(emulator, tmp_path):
    path, out = rows_of(tmp_path, "a", sums(20)), tmp_path / "out"
    run(a_job(emulator.url, path, generation__temperature=1.0), out, limit=5)
    watched = Watched()
    assert run(a_job(emulator.url, path), out, watched).sent == 20
    assert watched.logged == ["input: prompt, jsonl, 20 rows"]
    assert "paid_by_run" not in data(out).column_names
    assert not (out / ".state" / "spares").exists()


def test_a_preview_that_is_removed_meanwhile_is_not_missed(emulator, tmp_path):
    path, out = rows_of(tmp_path, "a", sums(20)), tmp_path / "out"
    run(a_job(emulator.url, path), out, limit=5)
    assert call(*run_argv(path, out, emulator.url), BATCHER_FAILPOINT="planned").returncode == KILLED
    (tmp_path / "out.preview").rename(tmp_path / "gone")
    summary = run(a_job(emulator.url, path), out)
    assert (summary.sent, summary.exit_code) == (20, Exit.DONE)


def test_a_retry_asks_what_had_been_taken_over(emulator, tmp_path):
    path = rows_of(tmp_path, "a", [*sums(3), {"id": "cut", "prompt": "[maxtokens] long"}])
    run(a_job(emulator.url, path), tmp_path / "old")
    new = tmp_path / "new"
    assert run(a_job(emulator.url, path, reuse=[str(tmp_path / "old")]), new).sent == 0
    summary = retry(new, Status.TRUNCATED)
    assert (summary.sent, summary.totals.spared) == (1, 3)
    assert column(new, "paid_by_task") == [0, 1, 2, None]
    assert total(data(new), "cost_usd") == total(ledger(new), "cost_usd") == summary.totals.cost_usd > 0


def test_a_refused_input_says_what_is_new_and_the_command_that_asks_it(emulator, tmp_path):
    path, out = rows_of(tmp_path, "p", sums(20)), tmp_path / "out"
    argv = run_argv(path, out, emulator.url)
    assert call(*argv).returncode == Exit.DONE
    rows_of(tmp_path, "p", [*sums(18), *sums(3, start=100)])

    refused = call(*argv)

    assert refused.returncode == Exit.USAGE
    way = refused.stderr.splitlines()[-2].strip()
    counts, _, pasted = way.partition(": ")
    assert counts == "3 rows are new, 2 are gone; to ask only those"
    assert pasted.endswith(f"-o {out}-2 --reuse {out}")
    assert f"-o {out} " not in pasted
    emulator.reset()
    done = call(*shlex.split(pasted)[1:])
    assert done.returncode == Exit.DONE, done.stderr
    assert emulator.totals().requests == 3
    assert column(tmp_path / "out-2", "task") == list(range(21))


def test_of_an_unfinished_run_it_says_no_numbers(emulator, tmp_path):
    path, out = rows_of(tmp_path, "p", sums(20)), tmp_path / "out"
    argv = run_argv(path, out, emulator.url)
    assert call(*argv, BATCHER_FAILPOINT="frozen").returncode == KILLED
    rows_of(tmp_path, "p", sums(21))
    refused = call(*argv)
    assert refused.returncode == Exit.USAGE
    way = refused.stderr.splitlines()[-2].strip()
    said, _, pasted = way.partition(": ")
    assert said == "to ask only what it has no answer for"
    assert call(*shlex.split(pasted)[1:]).returncode == Exit.DONE
    assert sum(1 for payer in column(tmp_path / "out-2", "paid_by_run") if payer) == 20


prompts = st.lists(st.sampled_from([f"What is {n} * 7?" for n in range(4)] + ["[maxtokens] x", "[400] y"]), max_size=12)


@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_taken_over_and_asked_are_the_input_and_only_what_was_asked_is_paid(shared, tmp_path_factory, examples):
    @settings(max_examples=examples)
    @given(old=prompts.filter(bool), new=prompts.filter(bool), dedup=st.booleans(), samples=st.integers(1, 2))
    def holds(old, new, dedup, samples):
        check_taken_over(shared, tmp_path_factory.mktemp("law"), old, new, dedup=dedup, samples=samples)

    holds()


def check_taken_over(shared, folder, old, new, *, dedup, samples):
    shared.reset()
    before = write_lines(folder / "old.jsonl", [{"prompt": prompt} for prompt in old])
    after = write_lines(folder / "new.jsonl", [{"prompt": prompt} for prompt in new])
    run(a_job(shared.url, before, samples=samples), folder / "old")
    sent = shared.totals().requests

    summary = run(a_job(shared.url, after, samples=samples, dedup=dedup, reuse=[str(folder / "old")]), folder / "new")

    rows = data(folder / "new")
    assert rows.column("task").to_pylist() == list(range(len(new) * samples))
    assert rows.column("prompt").to_pylist() == [prompt for prompt in new for _ in range(samples)]
    spared = rows.num_rows - rows.column("paid_by_run").null_count
    assert summary.totals.spared == spared
    assert shared.totals().requests - sent == summary.sent == total(rows, "attempts") == ledger(folder / "new").num_rows
    assert total(rows, "cost_usd") == total(ledger(folder / "new"), "cost_usd") == summary.totals.cost_usd
    free = rows.filter(pc.is_valid(rows.column("paid_by_run")))
    assert total(free, "cost_usd") == total(free, "input_tokens") == total(free, "attempts") == 0
    assert rows.filter(pc.is_null(rows.column("paid_by_run"))).num_rows + spared == len(new) * samples
