"""Runs leave their directory: what others read is what was asked and answered, and every row is accounted for."""

import datetime as dt
import io
import os
import shutil
from contextlib import contextmanager

import duckdb
import orjson
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import batcher
from batcher.cli.app import call as command
from batcher.datasets.order import Format, Order
from batcher.emulator.server import Emulator
from batcher.engine.batch import export_job, export_requests
from batcher.engine.export import export_rows
from batcher.errors import PlanChanged, RunLocked, StorageError, UserError
from batcher.records import Status
from batcher.store.rundir import Lock, RunDir
from tests.datasets.conversations import is_conversational, openai_faults, trl_template_keys
from tests.whole.runs import a_job, call, data, emulator_settings, retry, run, run_argv, sums, write_lines
from tests.whole.test_run import MIXED

TURNS = [
    {"role": "user", "parts": [{"text": "What is 1 + 1?"}]},
    {"role": "model", "parts": [{"text": "2"}]},
    {"role": "user", "parts": [{"text": "What is 2 + 2?"}]},
]
PICTURE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}


@pytest.fixture(scope="module")
def shared():
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def mixed(shared, tmp_path_factory):
    """One finished run in which rows end in every way."""
    shared.reset()
    folder = tmp_path_factory.mktemp("mixed")
    rows = write_lines(folder / "rows.jsonl", MIXED)
    run(a_job(shared.url, rows, **{"run.max_failed": 3, "prompt.system": "You are a calculator."}), folder / "out")
    return folder / "out"


def an_order(to, target, **given):
    statuses = frozenset(given.pop("statuses", ()))
    return Order(to=Format(to), target=target, statuses=statuses, **given)


def take(out, to, target, **given):
    """Export; gives the report."""
    write = export_requests if to == "gemini-batch" else export_rows
    return write(out, an_order(to, target, **given), stdout=io.BytesIO(), progress=lambda _seen, _tasks: None)


def lines(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def contents_of(line):
    return [(turn["role"], turn["content"]) for turn in line["messages"]]


# Conversations


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_trl_takes_the_good_rows(mixed, tmp_path, ending):
    done = take(mixed, "trl-sft", tmp_path / f"train.{ending}")
    assert (done.written, done.tasks, done.open) == (3, 9, 0)
    assert done.left_out == {"blocked": 2, "truncated": 1, "failed": 3}
    found = (
        lines(tmp_path / "train.jsonl") if ending == "jsonl" else pq.read_table(tmp_path / "train.parquet").to_pylist()
    )
    assert [line["id"] for line in found] == ["a", "h", "a"]
    assert all(is_conversational(line) and trl_template_keys(line) for line in found)
    answers = data(mixed).column("response").to_pylist()
    assert contents_of(found[0]) == [
        ("system", "You are a calculator."),
        ("user", "What is 6 * 7?"),
        ("assistant", answers[0]),
    ]


def test_other_columns_may_stand_beside(mixed, tmp_path):
    take(mixed, "trl-sft", tmp_path / "a.parquet", columns=("lang", "cost_usd", "usage_metadata"))
    take(mixed, "trl-sft", tmp_path / "a.jsonl", columns=("lang", "cost_usd", "usage_metadata"))
    found = pq.read_table(tmp_path / "a.parquet")
    assert found.column_names == ["messages", "lang", "cost_usd", "usage_metadata"]
    assert found.column("lang").to_pylist() == [line["lang"] for line in lines(tmp_path / "a.jsonl")] == ["en"] * 3


def test_openai_takes_the_good_rows_and_truncated_ones_if_told(mixed, tmp_path):
    done = take(mixed, "openai-sft", tmp_path / "a.jsonl", statuses=["ok", "truncated"])
    found = lines(tmp_path / "a.jsonl")
    assert [openai_faults(line) for line in found] == [[]] * 4
    assert done.written == 4
    assert done.notes == ("OpenAI asks for at least 10 examples",)


def test_rows_without_an_answer_are_no_examples(mixed, tmp_path):
    done = take(mixed, "openai-sft", tmp_path / "a.jsonl", statuses=["ok", "blocked", "failed"])
    assert (done.written, done.left_out) == (3, {"truncated": 1, "without text in the answer": 5})


@pytest.mark.parametrize("dialect", ["google", "flat"])
def test_rows_that_brought_their_turns_keep_them(emulator, tmp_path, dialect):
    rows = [
        {"id": "three", "contents": TURNS, "systemInstruction": {"parts": [{"text": "Be brief."}]}},
        {"id": "one", "contents": TURNS[:1]},
        {"id": "picture", "contents": [{"role": "user", "parts": [{"text": "What is 1 + 2?"}, PICTURE]}]},
    ]
    job = a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), endpoint__dialect=dialect, samples=2)
    run(job, tmp_path / "out")
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    found = lines(tmp_path / "a.jsonl")
    assert [line["id"] for line in found] == ["three", "three", "one", "one"]
    said = [("user", "What is 1 + 1?"), ("assistant", "2"), ("user", "What is 2 + 2?")]
    assert contents_of(found[1])[:-1] == [("system", "Be brief."), *said]
    assert contents_of(found[2])[:-1] == said[:1]
    assert done.left_out == {"with media or calls in the prompt": 2}
    assert done.notes == ()


def test_where_the_input_is_gone_what_is_lost_is_told(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": "three", "contents": TURNS}])
    run(a_job(emulator.url, rows), tmp_path / "out")
    rows.unlink()
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert contents_of(lines(tmp_path / "a.jsonl")[0])[:-1] == [("user", "What is 2 + 2?")]
    assert done.notes == (
        (
            f"1 row could not be made again as it was asked ({tmp_path}/out: the input has changed):"
            " what is left is `prompt` and the job's system instruction"
        ),
    )


def test_a_system_instruction_of_each_row_is_rendered_again(emulator, tmp_path):
    rows = write_lines(
        tmp_path / "rows.jsonl", [{"prompt": "What is 1 + 1?", "who": who} for who in ("a cat", "a dog")]
    )
    run(a_job(emulator.url, rows, **{"prompt.system": "You are {{ who }}."}), tmp_path / "out")
    take(tmp_path / "out", "openai-sft", tmp_path / "a.jsonl")
    assert [contents_of(line)[0] for line in lines(tmp_path / "a.jsonl")] == [
        ("system", "You are a cat."),
        ("system", "You are a dog."),
    ]


@pytest.mark.parametrize("setting", ["generation.max_output_tokens=99", "prompt.system=You are a poet."])
def test_a_retry_with_other_settings_is_told(emulator, tmp_path, setting):
    """run.json has the settings of the run, not of the retry."""
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": "a", "prompt": "[5x503] What is 1 + 1?"}, *sums(2)])
    run(a_job(emulator.url, rows, **{"run.max_failed": 1, "prompt.system": "You are a calculator."}), tmp_path / "out")
    for _ in range(2):  # to the emulator another instruction is another request, with five faults of its own
        assert call("retry", tmp_path / "out", "--set", setting).returncode == 0
    done = take(tmp_path / "out", "openai-sft", tmp_path / "a.jsonl")
    assert (done.written, contents_of(lines(tmp_path / "a.jsonl")[0])[0][1]) == (3, "You are a calculator.")
    assert done.notes[0] == "1 row was retried with other settings: its system instruction is the run's"


def test_settings_of_each_row_change_nothing_about_its_turns(emulator, tmp_path):
    rows = write_lines(
        tmp_path / "rows.jsonl", [{"prompt": f"What is {n} + 1?", "t": t} for n, t in [(1, 0.5), (2, None)]]
    )
    run(a_job(emulator.url, rows, **{"prompt.overrides": {"temperature": "t"}}), tmp_path / "out")
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert [contents_of(line)[0][1] for line in lines(tmp_path / "a.jsonl")] == ["What is 1 + 1?", "What is 2 + 1?"]
    assert done.notes == ()


def test_where_all_that_was_asked_is_stored_the_input_may_be_gone(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", [{"q": "1 + 1"}, {"q": "2 + 2"}])
    settings = {"prompt.template": "What is {{ q }}?", "prompt.system": "You are a calculator."}
    run(a_job(emulator.url, rows, **settings), tmp_path / "out")
    rows.unlink()
    shutil.rmtree(tmp_path / "out" / ".state")
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert [contents_of(line)[:2] for line in lines(tmp_path / "a.jsonl")] == [
        [("system", "You are a calculator."), ("user", f"What is {sum_}?")] for sum_ in ("1 + 1", "2 + 2")
    ]
    assert done.notes == ()


def test_prompts_that_were_not_stored_are_made_again(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(3))
    run(a_job(emulator.url, rows, output__store_prompt=False), tmp_path / "out")
    take(tmp_path / "out", "openai-sft", tmp_path / "a.jsonl")
    assert [contents_of(line)[0][1] for line in lines(tmp_path / "a.jsonl")] == [f"What is {n} * 7?" for n in range(3)]
    rows.unlink()
    done = take(tmp_path / "out", "openai-sft", tmp_path / "b.jsonl")
    assert (done.written, done.left_out) == (0, {"whose prompt was not stored": 3})


def test_several_samples_and_candidates_are_examples_of_their_own(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(2))
    run(a_job(emulator.url, rows, samples=2, generation__candidate_count=3), tmp_path / "out")
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert [line["id"] for line in lines(tmp_path / "a.jsonl")] == ["q0", "q0", "q1", "q1"]
    assert done.notes == (
        "4 rows have candidates after the first, which are left out: --candidates all takes them, too",
    )
    done = take(tmp_path / "out", "trl-sft", tmp_path / "b.parquet", every_candidate=True)
    found = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert (done.written, done.tasks, len(found)) == (4, 4, 12)
    assert done.notes == ("12 examples of 4 rows, one of each candidate",)
    said = [candidate["text"] for row in data(tmp_path / "out").column("candidates").to_pylist() for candidate in row]
    assert [contents_of(line)[-1] for line in found] == [("assistant", text) for text in said]
    assert [line["id"] for line in found] == ["q0"] * 6 + ["q1"] * 6
    done = take(tmp_path / "out", "openai-sft", tmp_path / "c.jsonl", every_candidate=True)
    assert done.notes == ("12 examples of 4 rows, one of each candidate",)  # enough for OpenAI


def test_an_answer_that_calls_a_function_is_no_text(emulator, tmp_path):
    add = {"functionDeclarations": [{"name": "add", "parameters": {"type": "OBJECT", "properties": {}}}]}
    must = {"functionCallingConfig": {"mode": "ANY"}}
    rows = [
        {"id": "call", "contents": TURNS[:1], "tools": [add], "toolConfig": must},
        {"id": "text", "contents": TURNS[:1]},
    ]
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows)), tmp_path / "out")
    assert data(tmp_path / "out").column("status").to_pylist() == ["ok", "ok"]
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert [line["id"] for line in lines(tmp_path / "a.jsonl")] == ["text"]
    assert done.left_out == {"with media or calls in the answer": 1}


@pytest.mark.parametrize("to", ["trl-sft", "openai-sft", "gemini-tuning", "sharegpt"])
def test_thoughts_are_no_part_of_an_example(emulator, tmp_path, to):
    turns = [TURNS[0], {"role": "model", "parts": [{"text": "So 1 more.", "thought": True}, {"text": "2"}]}, TURNS[2]]
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": "turns", "contents": turns}])
    job = a_job(emulator.url, rows, generation__thinking_config={"include_thoughts": True, "thinking_budget": 100})
    run(job, tmp_path / "out")
    (thoughts,) = [row[0]["thoughts"] for row in data(tmp_path / "out").column("candidates").to_pylist()]
    assert thoughts.startswith("Let me think")
    take(tmp_path / "out", to, tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text()
    assert "What is 2 + 2?" in text
    assert "So 1 more." not in text
    assert "Let me think" not in text


def test_answers_that_break_the_schema_are_no_examples(emulator, tmp_path):
    """Of a row the first candidate alone was held to it; what goes out is all held to it."""
    schema = {"type": "object", "properties": {"answer": {"type": "string", "pattern": "everyday"}}}
    (tmp_path / "schema.json").write_bytes(orjson.dumps(schema))
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": f"{n}", "prompt": f"Name a city of {n}."} for n in range(6)])
    settings = {"generation.candidate_count": 4, "generation.response_mime_type": "application/json"}
    settings |= {"output.schema": str(tmp_path / "schema.json"), "output.schema_field": "none"}
    run(a_job(emulator.url, rows, **settings, **{"run.max_failed": 6, "retry.invalid_attempts": 1}), tmp_path / "out")
    table = data(tmp_path / "out")
    statuses = table.column("status").to_pylist()
    assert set(statuses) == {"ok", "invalid"}
    done = take(tmp_path / "out", "openai-sft", tmp_path / "a.jsonl", every_candidate=True)
    assert done.left_out == {"invalid": statuses.count("invalid")}
    said = [
        [candidate["text"] for candidate in row]
        for row, status in zip(table.column("candidates").to_pylist(), statuses, strict=True)
        if status == "ok"
    ]
    fitting = [text for row in said for text in row if "everyday" in text]
    assert [contents_of(line)[-1] for line in lines(tmp_path / "a.jsonl")] == [("assistant", text) for text in fitting]
    passed_over = 4 * len(said) - len(fitting)
    assert passed_over > 0
    assert f"; {passed_over} that did not end well left out" in done.notes[0]


def test_rows_that_came_from_memory_keep_their_turns(emulator, tmp_path):
    batcher.run(
        [{"id": "three", "contents": TURNS}],
        model="gemini-2.5-flash",
        out=tmp_path / "out",
        key="k",
        base_url=emulator.url,
    )
    done = take(tmp_path / "out", "trl-sft", tmp_path / "a.jsonl")
    assert [role for role, _ in contents_of(lines(tmp_path / "a.jsonl")[0])] == ["user", "assistant"] * 2
    assert done.notes == ()


# CSV


def test_csv_has_every_row_and_column(mixed, tmp_path):
    done = take(mixed, "csv", tmp_path / "rows.csv")
    assert (done.written, done.tasks, done.left_out) == (9, 9, {})
    assert done.size_bytes == (tmp_path / "rows.csv").stat().st_size
    was = data(mixed)
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(tmp_path / "rows.csv", parse_options=options)
    assert found.column_names == was.column_names
    for name in ("task", "status", "id", "prompt", "attempts", "input_tokens"):
        read = [value for value in found.column(name).to_pylist() if value not in (None, "")]
        assert read == [value for value in was.column(name).to_pylist() if value is not None]


def test_the_bill_is_the_same_in_csv(mixed, tmp_path):
    take(mixed, "csv", tmp_path / "rows.csv")
    asked = "select sum(cost_usd::decimal(38, 15)) from read_csv('{}', all_varchar=true)"
    ((cost,),) = duckdb.sql(asked.format(tmp_path / "rows.csv")).fetchall()
    assert cost == sum(cost for cost in data(mixed).column("cost_usd").to_pylist() if cost is not None) > 0


def test_columns_rows_and_values_can_be_chosen(mixed, tmp_path):
    done = take(mixed, "csv", tmp_path / "a.csv", columns=("status", "id"), where={"lang": "en"}, statuses=["ok"])
    assert (tmp_path / "a.csv").read_text() == '"status","id"\n"ok","a"\n"ok","h"\n"ok","a"\n'
    assert done.left_out == {"blocked": 2, "truncated": 1, "failed": 3}
    done = take(mixed, "csv", tmp_path / "b.csv", columns=("id",), where={"lang": ""})
    assert (tmp_path / "b.csv").read_text() == '"id"\n"c"\n"row-6"\n'
    assert done.left_out == {"outside --where": 7}


def test_standard_output_gets_the_same_bytes(mixed, tmp_path):
    take(mixed, "csv", tmp_path / "rows.csv")
    stdout = io.BytesIO()
    done = export_rows(mixed, an_order("csv", None), stdout=stdout, progress=lambda _seen, _tasks: None)
    assert stdout.getvalue() == (tmp_path / "rows.csv").read_bytes()
    assert (done.target, done.size_bytes) == ("-", None)


def test_an_export_changes_nothing_in_the_run(mixed, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in mixed.rglob("*")}
    for to, name in (("csv", "a.csv"), ("trl-sft", "a.parquet"), ("openai-sft", "a.jsonl")):
        take(mixed, to, tmp_path / name)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in mixed.rglob("*")} == before


# Runs that are not done


@contextmanager
def owned(out):
    lock = Lock(RunDir.at(out).lock, now=dt.datetime.now(dt.UTC))
    try:
        yield
    finally:
        lock.release()


@pytest.fixture(scope="module")
def killed(shared, tmp_path_factory):
    """A run of 600 rows in blocks of 256, killed when the first part was published."""
    shared.reset()
    folder = tmp_path_factory.mktemp("killed")
    argv = run_argv(write_lines(folder / "rows.jsonl", sums(600)), folder / "out", shared.url, "--rpm", "15000")
    call(*argv, BATCHER_FAILPOINT="part-published")
    assert 256 <= data(folder / "out").num_rows < 600
    return folder


@pytest.fixture
def stopped(killed, emulator, tmp_path):
    return shutil.copytree(killed / "out", tmp_path / "out")


def test_a_run_under_way_gives_its_finished_parts(stopped, tmp_path):
    there = data(stopped).num_rows
    with owned(stopped):
        done = take(stopped, "csv", tmp_path / "a.csv", columns=("id",))
    assert (done.written, done.open, done.running) == (there, 600 - there, True)
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == [f'"q{n}"' for n in range(there)]


def test_what_a_stopped_run_has_not_answered_can_be_batched(stopped, killed, emulator, tmp_path):
    """Answers that are in the journal and in no part yet are not asked again."""
    done = take(stopped, "gemini-batch", tmp_path / "a.jsonl")
    keys = [line["key"] for line in lines(tmp_path / "a.jsonl")]
    assert keys == sorted(keys, key=lambda key: int(key[1:]))
    assert done.written == len(keys) == 600 - done.left_out["ok"]
    assert done.left_out["ok"] >= data(stopped).num_rows
    settings = {"limits.requests_per_minute": 15_000, "limits.concurrency": 8}
    summary = run(a_job(emulator.url, killed / "rows.jsonl", **settings), stopped)
    assert summary.sent == len(keys)


def test_rows_that_somebody_is_asking_are_not_given_away(stopped, tmp_path):
    with owned(stopped):
        with pytest.raises(RunLocked, match="a process is asking the rows that have no answer yet"):
            take(stopped, "gemini-batch", tmp_path / "a.jsonl")
        done = take(stopped, "gemini-batch", tmp_path / "b.jsonl", statuses=["failed"])
    assert done.written == 0
    assert not (tmp_path / "a.jsonl").exists()


# The Batch API


def test_failed_rows_go_through_the_batch_api_under_their_ids(mixed, emulator, tmp_path):
    done = take(mixed, "gemini-batch", tmp_path / "batch.jsonl")
    assert done.left_out == {"ok": 3, "blocked": 2, "truncated": 1, "that cannot be asked": 1}
    assert done.notes == ("for the model gemini-2.5-flash",)
    found = lines(tmp_path / "batch.jsonl")
    assert [line["key"] for line in found] == ["e", "f"]
    assert found[0]["request"]["systemInstruction"] == {"parts": [{"text": "You are a calculator."}]}
    # The file is itself an input, and its rows keep their names.
    run(a_job(emulator.url, tmp_path / "batch.jsonl", **{"run.max_failed": 2}), tmp_path / "again")
    again = data(tmp_path / "again")
    assert again.column("id").to_pylist() == ["e", "f"]
    assert again.column("prompt").to_pylist() == ["[400] three", "[503] four"]


@pytest.mark.parametrize("dialect", ["google", "flat"])
def test_all_rows_of_a_job_that_was_never_run(emulator, tmp_path, dialect):
    rows = write_lines(tmp_path / "rows.jsonl", [*sums(3), {"id": "q0", "prompt": "again"}])
    job = a_job(emulator.url, rows, samples=2, endpoint__dialect=dialect, generation__temperature=0.5)
    order = an_order("gemini-batch", tmp_path / "batch.jsonl")
    done = export_job(job, order, stdout=io.BytesIO(), progress=lambda _seen, _tasks: None)
    found = lines(tmp_path / "batch.jsonl")
    assert [line["key"] for line in found] == ["q0", "q0#1", "q1", "q1#3", "q2", "q2#5", "q0#6", "q0#7"]
    assert found[0]["request"] == {
        "contents": [{"role": "user", "parts": [{"text": "What is 0 * 7?"}]}],
        "generationConfig": {"temperature": 0.5},
    }
    assert done.written == done.tasks == 8
    assert done.notes[1] == "5 keys are an id with #task behind it: a batch wants keys that differ"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch.jsonl", "rows.jsonl"]
    assert emulator.totals().requests == 0


def test_a_batch_asks_one_model(emulator, tmp_path):
    rows = [{"id": f"{n}", "prompt": "x", "m": m} for n, m in enumerate(["gemini-2.5-pro", None, None])]
    job = a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), **{"prompt.overrides": {"model": "m"}})

    def export(name, **given):
        order = an_order("gemini-batch", tmp_path / name, **given)
        return export_job(job, order, stdout=io.BytesIO(), progress=lambda _seen, _tasks: None)

    with pytest.raises(UserError) as refused:
        export("a.jsonl")
    assert refused.value.message == (
        "a batch asks one model, and the rows name 2: gemini-2.5-flash (2 rows), gemini-2.5-pro (1 rows)"
    )
    assert refused.value.hint == "one file for each: --where model=gemini-2.5-flash"
    assert not (tmp_path / "a.jsonl").exists()
    assert export("b.jsonl", where={"model": "gemini-2.5-pro"}).written == 1
    assert [line["key"] for line in lines(tmp_path / "b.jsonl")] == ["0"]


def test_an_input_that_changed_gives_no_requests(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", [{"prompt": "[503] x"}])
    run(a_job(emulator.url, rows, **{"run.max_failed": 1}), tmp_path / "out")
    write_lines(rows, [{"prompt": "[503] y"}])
    with pytest.raises(PlanChanged, match="the input has changed") as refused:
        take(tmp_path / "out", "gemini-batch", tmp_path / "a.jsonl")
    assert refused.value.hint == "put it back as it was: without it the requests cannot be made again"
    assert len(refused.value.differences) == 1
    os.utime(rows, ns=(0, _mtime(tmp_path / "out")))
    with pytest.raises(PlanChanged, match="block 1 is not what it was"):
        take(tmp_path / "out", "gemini-batch", tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def _mtime(out):
    return orjson.loads((out / "run.json").read_bytes())["inputs"][0]["mtime_ns"]


def test_a_retry_is_seen(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", [{"id": "a", "prompt": "[5x503] What is 1 + 1?"}, *sums(2)])
    run(a_job(emulator.url, rows, **{"run.max_failed": 1}), tmp_path / "out")
    assert take(tmp_path / "out", "gemini-batch", tmp_path / "a.jsonl").written == 1
    retry(tmp_path / "out", Status.FAILED)
    assert take(tmp_path / "out", "gemini-batch", tmp_path / "b.jsonl").written == 0
    assert take(tmp_path / "out", "openai-sft", tmp_path / "c.jsonl").written == 3


# Through the front door


def test_the_command_says_what_it_did(mixed, tmp_path, capsys):
    argv = ["export", str(mixed), "--to", "trl-sft", "-o", str(tmp_path / "a.parquet")]
    assert command(argv) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0] == "exported 3 of 9: 2 blocked, 1 truncated, 3 failed left out"
    assert command(argv) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/a.parquet: is there already; nothing was written\n  --force replaces it\n"
    )
    assert command([*argv, "--force"]) == 0


def test_data_on_standard_output_and_words_beside_it(mixed):
    done = call("export", mixed, "--to", "openai-sft", "-o", "-")
    assert [len(orjson.loads(line)["messages"]) for line in done.stdout.splitlines()] == [3, 3, 3]
    assert done.stderr.splitlines()[0] == "exported 3 of 9: 2 blocked, 1 truncated, 3 failed left out"


def test_a_damaged_part_is_exit_6_and_leaves_no_file(emulator, tmp_path):
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", sums(3))), tmp_path / "out")
    part = RunDir.at(tmp_path / "out").part(1, 1)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"train-00001-of-00002\.parquet: not a whole part"):
        take(tmp_path / "out", "csv", tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.jsonl"]


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(PlanChanged, match="not a run directory"):
        take(tmp_path, "csv", tmp_path / "a.csv")
