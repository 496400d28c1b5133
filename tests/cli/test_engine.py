"""The real engine behind the verbs: the emulator answers, files come out."""

import json

import pyarrow.parquet as pq
import pytest

from batcher.cli.app import call
from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.errors import Exit

CANARY = "AIzaCanary-0123456789a91f"
RUN = ["run", "-i", "rows.jsonl", "-m", "gemini-2.5-flash", "-o", "out/first"]
ROWS = [{"prompt": f"What is {n} + {n}?", "n": n} for n in range(12)]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_API_KEY", CANARY)
    for name in ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return tmp_path


@pytest.fixture
def endpoint(monkeypatch):
    """An endpoint that refuses the seventh prompt the first time it comes."""
    script = (Rule(fault=Fault(kind=FaultKind.BAD_REQUEST), contains="What is 7 + 7?", nth=tuple(range(1, 13))),)
    with Emulator(Settings(seed=7, faults=Faults(script=script))).in_thread() as emulator:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
        yield emulator


def as_json(capsys, *argv):
    exit_code = call([*argv, "--json"])
    return exit_code, json.loads(capsys.readouterr().out)


def test_from_run_to_retry(endpoint, here, capsys):
    exit_code, summary = as_json(capsys, *RUN)
    assert (exit_code, summary["exit_code"]) == (Exit.ROWS_FAILED, Exit.ROWS_FAILED)
    assert (summary["by_status"]["ok"], summary["by_status"]["failed"], summary["sent"]) == (11, 1, 12)
    assert summary["next_command"] == "batcher retry out/first"

    exit_code, status = as_json(capsys, "status", "out/first")
    assert (exit_code, status["done"], status["tasks"], status["phase"]) == (0, 12, 12, None)
    assert status["cost_usd"] == summary["cost_usd"]

    _, shown = as_json(capsys, "show", "out/first", "--failed")
    assert [row["prompt"] for row in shown["rows"]] == ["What is 7 + 7?"]

    exit_code, again = as_json(capsys, "retry", "out/first")
    assert (exit_code, again["by_status"]["ok"], again["sent"]) == (0, 12, 1)

    exit_code, finished = as_json(capsys, *RUN)
    assert (exit_code, finished["sent"], endpoint.totals().requests) == (0, 0, 13)
    table = pq.read_table(here / "out/first/data")
    assert table.column("response").to_pylist() == [str(2 * n) for n in range(12)]


def test_the_key_is_in_no_file_and_no_line(endpoint, here, capsys):
    call([*RUN, "-v"])

    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    for path in (here / "out").rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()


def test_another_job_in_the_same_place_is_refused_with_the_difference(endpoint, capsys):
    call(RUN)
    capsys.readouterr()

    assert call([*RUN, "--temperature", "0.7"]) == Exit.USAGE
    assert "  generation.temperature: default → 0.7" in capsys.readouterr().err.splitlines()


def test_the_demo_ends_well_twice(here, monkeypatch, capsys):
    monkeypatch.delenv("GEMINI_API_KEY")

    assert call(["demo"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("add  ok · ")
    assert said[1:3] == ["  > What is 17 + 25?", "    42"]
    assert said[-1] == "  next      batcher show out/demo"

    exit_code, again = as_json(capsys, "demo")
    assert (exit_code, again["sent"]) == (0, 0)


def test_a_copy_of_the_first_job_runs_at_once_on_the_emulator(here, monkeypatch, capsys):
    monkeypatch.delenv("GEMINI_API_KEY")

    assert call(["init", "mine", "--from", "hello"]) == 0
    assert "  try   batcher demo mine/job.toml  (on the emulator)" in capsys.readouterr().out.splitlines()
    exit_code, said = as_json(capsys, "demo", "mine/job.toml")

    assert (exit_code, said["sent"], said["run_dir"]) == (0, 20, "out/mine.demo")
    assert not (here / "out/mine").exists()


@pytest.mark.parametrize("verb", ["status", "show", "retry"])
def test_a_folder_that_is_no_run(verb, here, capsys):
    (here / "empty").mkdir()

    assert call([verb, "empty"]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: empty: not a run directory")
