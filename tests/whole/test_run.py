"""Whole runs: what a user's file becomes, as every reader sees it."""

from decimal import Decimal

import duckdb
import orjson
import pandas as pd
import pyarrow.compute as pc
import pytest

from batcher.emulator.server import Emulator
from batcher.engine.progress import Phase
from batcher.errors import Exit, InputError, PlanChanged
from batcher.money.prices import RateCard
from tests.whole.runs import (
    KEY,
    Watched,
    a_job,
    column,
    data,
    emulator_settings,
    ledger,
    manifest,
    run,
    sums,
    total,
    write_lines,
)

VOLATILE = ["started_at", "finished_at", "latency_ms", "first_byte_ms", "response_id", "created"]
MIXED = [
    {"id": "a", "prompt": "What is 6 * 7?", "lang": "en"},
    {"id": "b", "prompt": "[blocked] one", "lang": "de"},
    {"id": "c", "prompt": "[safety] two", "lang": None},
    {"id": "d", "prompt": "[maxtokens] Tell me a long story about a ship and its crew.", "lang": "fr"},
    {"id": "e", "prompt": "[400] three", "lang": "en"},
    {"id": "f", "prompt": "[503] four", "lang": "en"},
    '{"id": "g", "prompt": "cut o',
    {"id": "h", "prompt": "[once-cut] What is 2 + 2?", "lang": "en"},
    {"id": "a", "prompt": "What is 6 * 7?", "lang": "en"},
]
STATUSES = ["ok", "blocked", "blocked", "truncated", "failed", "failed", "failed", "ok", "ok"]


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
    settings = {"labels": {"team": "red"}, "run.max_failed": 3}
    summary = run(a_job(shared.url, rows, **settings), folder / "out")
    return folder / "out", summary, shared.totals()


def test_every_row_ends_as_it_should_in_input_order(mixed):
    out, summary, _ = mixed
    rows = data(out).to_pylist()
    assert [row["status"] for row in rows] == STATUSES
    assert [row["id"] for row in rows] == ["a", "b", "c", "d", "e", "f", "row-6", "h", "a"]
    assert [row["attempts"] for row in rows] == [1, 1, 1, 1, 1, 5, 0, 2, 1]
    assert [row["error_kind"] for row in rows[4:7]] == ["bad_request", "http_503", "bad_input"]
    assert (rows[1]["finish_reason"], rows[2]["finish_reason"], rows[3]["finish_reason"]) == (
        "PROHIBITED_CONTENT",
        "SAFETY",
        "MAX_TOKENS",
    )
    assert rows[1]["prompt_feedback"]["block_reason"] == "PROHIBITED_CONTENT"
    assert "rows.jsonl:7" in rows[6]["error_message"]
    assert "42" in rows[0]["response"]
    assert rows[0]["response"] == rows[8]["response"]
    assert (summary.exit_code, summary.totals.done) == (Exit.DONE, 9)
    assert summary.verdict == "done: 3 of 9 ok, 2 blocked, 1 truncated, 3 failed"
    assert (out / "_SUCCESS").exists()


def test_usage_is_as_the_endpoint_gave_it(mixed):
    out, _, _ = mixed
    first = data(out).to_pylist()[0]
    usage = first["usage_metadata"]
    assert usage["prompt_token_count"] == first["input_tokens"] > 0
    assert usage["candidates_token_count"] + (usage["thoughts_token_count"] or 0) == first["output_tokens"]
    assert usage["prompt_tokens_details"] == [{"modality": "TEXT", "token_count": usage["prompt_token_count"]}]
    assert data(out).to_pylist()[5]["usage_metadata"] is None


def test_the_bill_is_the_same_from_four_sides(mixed):
    """The rows, the ledger, run.json, and the emulator's own count priced by the rate card."""
    out, summary, counted = mixed
    rows, attempts = data(out), ledger(out)
    cost = total(rows, "cost_usd")
    assert cost == total(attempts, "cost_usd") == summary.totals.cost_usd > 0
    assert Decimal(manifest(out)["summary"]["totals"]["cost_usd"]) == cost
    # The cut answer was paid, but nobody saw its usage: it is `maybe`, within its reserve.
    maybe = attempts.filter(pc.equal(attempts.column("billed"), "maybe"))
    unseen_in = counted.input_tokens - summary.totals.tokens.input
    unseen_out = counted.output_tokens - summary.totals.tokens.output
    assert maybe.num_rows == summary.totals.maybe_billed == 1
    assert 0 < unseen_in <= total(maybe, "reserve_input_tokens")
    assert 0 < unseen_out <= total(maybe, "reserve_output_tokens")
    assert total(maybe, "reserve_usd") > 0
    rates = RateCard.read(out / "prices.json").rates("gemini-2.5-flash", "standard", 1_800_000_000_000_000, 100)
    usd = rates.usd_per_million()
    seen = summary.totals.tokens
    fresh = seen.input - seen.cached
    by_hand = (fresh * usd["fresh_input"] + seen.cached * usd["cached_input"] + seen.output * usd["output"]) / 1_000_000
    assert cost == by_hand


def test_attempts_are_all_in_the_ledger(mixed):
    out, summary, counted = mixed
    attempts = ledger(out)
    assert attempts.num_rows == counted.requests == summary.sent == 13
    assert set(attempts.column("run_id").to_pylist()) == {manifest(out)["run_id"]}
    assert attempts.column("labels").to_pylist()[0] == [{"key": "team", "value": "red"}]
    numbers = {}
    for task, n in zip(attempts.column("task").to_pylist(), attempts.column("attempt").to_pylist(), strict=True):
        numbers.setdefault(task, []).append(n)
    assert numbers[5] == [1, 2, 3, 4, 5]
    assert 6 not in numbers


def test_every_reader_reads_both_tables(mixed):
    out, _, _ = mixed
    assert duckdb.sql(f"select status, count(*) from '{out}/data/*.parquet' group by 1 order by 1").fetchall() == [
        ("blocked", 2),
        ("failed", 3),
        ("ok", 3),
        ("truncated", 1),
    ]
    cost = duckdb.sql(f"select sum(cost_usd) from '{out}/data/*.parquet'").fetchall()
    assert cost == [(total(data(out), "cost_usd"),)]
    assert duckdb.sql(f"select count(*) from '{out}/attempts/*.parquet'").fetchall() == [(13,)]
    frame = pd.read_parquet(out / "data")
    assert list(frame["status"]) == STATUSES
    assert len(pd.read_parquet(out / "attempts")) == 13


def test_polars_reads_it(mixed):
    polars = pytest.importorskip("polars")
    out, _, _ = mixed
    for table, rows in (("data", 9), ("attempts", 13)):
        assert polars.read_parquet(out / table / "*.parquet").height == rows
    assert polars.read_parquet(out / "data" / "*.parquet")["status"].to_list() == STATUSES


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_loads_the_run_directory(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out, _, _ = mixed
    for where, rows in ((out, 9), (out / "attempts", 13)):
        loaded = datasets.load_dataset(str(where), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == rows
    whole = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))  # as the run's README.md tells it
    assert list(whole) == ["train"]
    assert whole["train"]["status"][:] == STATUSES


def test_the_same_job_gives_the_same_table(emulator, tmp_path):
    """Only stamps, latencies and the endpoint's own ids may differ."""
    rows = write_lines(tmp_path / "rows.jsonl", MIXED)
    tables = []
    for name in ("one", "two"):
        emulator.reset()
        run(a_job(emulator.url, rows), tmp_path / name)
        tables.append(data(tmp_path / name).drop_columns(VOLATILE))
    assert tables[0].equals(tables[1])


def test_candidates_and_thoughts(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(3))
    settings = {"generation.candidate_count": 3, "generation.thinking_config": {"include_thoughts": True}}
    run(a_job(emulator.url, rows, **settings), tmp_path / "out")
    for row in data(tmp_path / "out").to_pylist():
        assert [candidate["index"] for candidate in row["candidates"]] == [0, 1, 2]
        assert row["candidates"][0]["text"] == row["response"]
        assert all(candidate["thoughts"] for candidate in row["candidates"])
        assert row["usage_metadata"]["thoughts_token_count"] > 0


def test_samples_are_rows_of_their_own(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(40))
    summary = run(a_job(emulator.url, rows, samples=3), tmp_path / "out")
    out = tmp_path / "out"
    assert column(out, "task") == list(range(120))
    assert column(out, "sample") == [0, 1, 2] * 40
    assert column(out, "id") == [f"q{n}" for n in range(40) for _ in range(3)]
    assert (summary.rows, summary.samples, summary.tasks, emulator.totals().requests) == (40, 3, 120, 120)


def test_files_folders_and_globs_in_the_order_given(emulator, tmp_path):
    write_lines(tmp_path / "b.jsonl", sums(3))
    write_lines(tmp_path / "folder" / "part-10.jsonl", sums(1, start=20))
    write_lines(tmp_path / "folder" / "part-2.jsonl", sums(1, start=10))
    write_lines(tmp_path / "g1.jsonl", sums(1, start=30))
    write_lines(tmp_path / "g2.jsonl", sums(1, start=40))
    job = a_job(emulator.url, tmp_path / "b.jsonl", tmp_path / "folder", str(tmp_path / "g*.jsonl"))
    run(job, tmp_path / "out")
    assert column(tmp_path / "out", "id") == ["q0", "q1", "q2", "q10", "q20", "q30", "q40"]
    assert column(tmp_path / "out", "ordinal") == list(range(7))


def test_prompts_may_be_left_out_and_raw_replies_kept(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(3))
    run(a_job(emulator.url, rows, output__store_prompt=False, output__raw=True), tmp_path / "out")
    assert column(tmp_path / "out", "prompt") == [None] * 3
    for raw, response in zip(column(tmp_path / "out", "raw"), column(tmp_path / "out", "response"), strict=True):
        assert orjson.loads(raw)["candidates"][0]["content"]["parts"][0]["text"] == response


def test_a_users_column_never_hides_one_of_ours(emulator, tmp_path):
    rows = [{"prompt": "What is 1 + 2?", "status": "draft", "cost_usd": 3, "input_status": "x", "kind": "k"}]
    summary = run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows)), tmp_path / "out")
    (row,) = data(tmp_path / "out").to_pylist()
    assert (row["status"], row["kind"]) == ("ok", "k")
    assert row["input_cost_usd"] == 3
    assert {value for name, value in row.items() if name.startswith("input_") and "status" in name} == {"draft", "x"}
    assert any("status" in note for note in summary.notes)


CONTENTS = [{"role": "user", "parts": [{"text": "What is 5 + 5?"}]}]


@pytest.mark.parametrize(
    "row",
    [
        {"id": "x", "contents": CONTENTS, "generationConfig": {"temperature": 0.25, "maxOutputTokens": 50}},
        {"id": "x", "contents": CONTENTS, "generation_config": {"temperature": 0.25, "max_output_tokens": 50}},
        {
            "key": "x",
            "request": {"contents": CONTENTS, "generationConfig": {"temperature": 0.25, "maxOutputTokens": 50}},
        },
    ],
)
def test_rows_that_bring_their_own_request(emulator, tmp_path, row):
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", [row])), tmp_path / "out")
    assert column(tmp_path / "out", "id") == ["x"]
    assert column(tmp_path / "out", "prompt") == ["What is 5 + 5?"]
    assert "10" in column(tmp_path / "out", "response")[0]
    sent = emulator.journal[-1].body["generation_config"]
    assert (sent["temperature"], sent["max_output_tokens"]) == (0.25, 50)


def test_a_row_may_choose_its_temperature_and_model(emulator, tmp_path):
    rows = [
        {"prompt": "What is 1 + 1?", "temp": 0.1, "m": None},
        {"prompt": "What is 2 + 1?", "temp": None, "m": "gemini-2.5-pro"},
    ]
    settings = {"prompt.overrides": {"temperature": "temp", "model": "m"}, "generation.temperature": 0.9}
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", rows), **settings), tmp_path / "out")
    sent = sorted(
        (each.prompt_text, each.model, each.body["generation_config"]["temperature"]) for each in emulator.journal
    )
    assert sent == [("What is 1 + 1?", "gemini-2.5-flash", 0.1), ("What is 2 + 1?", "gemini-2.5-pro", 0.9)]
    assert column(tmp_path / "out", "model") == ["gemini-2.5-flash", "gemini-2.5-pro"]
    costs = column(tmp_path / "out", "cost_usd")
    assert costs[0] < costs[1]


def test_the_path_without_a_verb(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(2))
    run(a_job(emulator.url, rows, endpoint__verbless=True, endpoint__dialect="flat"), tmp_path / "out")
    assert {each.path for each in emulator.journal} == {"/v1beta/models/gemini-2.5-flash"}
    assert column(tmp_path / "out", "status") == ["ok", "ok"]


def test_an_unknown_price_is_null(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(2))
    summary = run(a_job(emulator.url, rows, model="gemini-0-nobody"), tmp_path / "out")
    assert column(tmp_path / "out", "cost_usd") == [None, None]
    assert all(tokens > 0 for tokens in column(tmp_path / "out", "input_tokens"))
    assert summary.totals.unpriced == 2


def test_strict_refuses_before_anything_is_sent(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", MIXED)
    with pytest.raises(InputError, match=r"rows\.jsonl:7"):
        run(a_job(emulator.url, rows, input__strict=True), tmp_path / "out")
    assert emulator.totals().requests == 0


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_a_wrong_key_stops_the_run_within_its_slots(tmp_path, concurrency):
    with Emulator(emulator_settings(keys=("another-key",))).in_thread() as emulator:
        rows = write_lines(tmp_path / "rows.jsonl", sums(100))
        summary = run(a_job(emulator.url, rows, limits__concurrency=concurrency), tmp_path / "out")
        assert emulator.totals().requests <= concurrency
    assert summary.exit_code is Exit.REFUSED
    assert "API key not valid" in summary.verdict
    assert KEY not in summary.verdict + str(manifest(tmp_path / "out"))
    assert data(tmp_path / "out").num_rows == 0


def test_an_unknown_model_stops_the_run(emulator, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", sums(100))
    summary = run(a_job(emulator.url, rows, model="nobody-knows-it"), tmp_path / "out")
    assert summary.exit_code is Exit.REFUSED
    assert "nobody-knows-it" in summary.verdict
    assert emulator.totals().requests <= 64


def test_a_preview_has_a_folder_and_a_size_of_its_own(emulator, tmp_path):
    job = a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", sums(20)))
    assert run(job, tmp_path / "out", limit=5).tasks == 5
    assert column(tmp_path / "out.preview", "id") == [f"q{n}" for n in range(5)]
    with pytest.raises(PlanChanged) as refused:
        run(job, tmp_path / "out", limit=7)
    assert refused.value.differences == ("limit: 5 rows → 7 rows",)
    assert run(job, tmp_path / "out").tasks == 20


def test_it_shows_how_far_it_is(emulator, tmp_path):
    watched = Watched()
    run(a_job(emulator.url, write_lines(tmp_path / "rows.jsonl", sums(50))), tmp_path / "out", watched)
    asking = [snapshot for snapshot in watched.shown if snapshot.phase is not Phase.PLANNING]
    assert asking[0].totals.done == 0
    assert (asking[-1].totals.done, asking[-1].tasks, asking[-1].in_flight) == (50, 50, 0)
    done = [snapshot.totals.done for snapshot in asking]
    assert done == sorted(done)


def test_nothing_but_parts_is_ever_in_data(mixed):
    out, _, _ = mixed
    assert sorted(path.name for path in (out / "data").iterdir()) == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert [path.name for path in (out / "attempts").iterdir()] == ["attempts-00001-g1.parquet"]
    assert list((out / ".tmp").iterdir()) == []
    assert list((out / ".state" / "blocks").iterdir()) == []


def test_the_key_is_in_no_file(mixed):
    out, _, _ = mixed
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
