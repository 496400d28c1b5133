"""The ready jobs as the tests look at them: their files, the table, the queries of jobs/README.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import duckdb

from batcher.job.spec import Job

JOBS = Path(__file__).parents[2] / "jobs"
NAMES = sorted(path.parent.name for path in JOBS.glob("*/job.toml"))
README = (JOBS / "README.md").read_text("utf-8")


def job_file(name: str) -> str:
    return str(JOBS / name / "job.toml")


def job(name: str) -> Job:
    return Job.model_validate(tomllib.loads((JOBS / name / "job.toml").read_text("utf-8")))


def table() -> dict[str, list[str]]:
    """The cells of the table behind the name, by job."""
    lines = re.findall(r"^\| \[(\w+)\]\(\1/job\.toml\) \| (.+?) ?\|$", README, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in lines}


def blocks(name: str, language: str) -> list[str]:
    """The blocks of a language beneath a job's own heading."""
    _, _, rest = README.partition(f"\n## {name}: ")
    section = rest.partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def asked(query: str) -> list[dict[str, Any]]:
    """The rows that DuckDB gives, where the command runs."""
    answer = duckdb.sql(query)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
