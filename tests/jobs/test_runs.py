"""Each ready job runs on the emulator, and the queries of jobs/README.md say what is true of what it wrote."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import jsonschema_rs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from tests.jobs.ready import JOBS, asked, blocks, job, job_file
from tests.whole.console import KEY, Batcher, batcher_against

QUICKLY = ("--rpm", "1e6", "--tpm", "1e9", "--concurrency", "64")
Gold = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Emulator]:
    with Emulator(Settings(seed=7, keys=(KEY,), strict=True, keep_bodies=True)).in_thread() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path, endpoint) -> Path:
    """A directory without runs, and an environment with a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
    return tmp_path


@pytest.fixture
def batcher(endpoint, capfd) -> Batcher:
    return batcher_against(endpoint, capfd)


def ran(batcher: Batcher, name: str, *, requests: int) -> pa.Table:
    said = batcher("run", job_file(name), *QUICKLY)

    assert (said.exit_code, said.sent) == (0, requests), said.err
    assert said.verdict == f"done: {requests} of {requests} ok"
    return pq.read_table(f"out/{name}/data")


def last_bodies(endpoint: Emulator, count: int) -> list[str]:
    """What was sent last, as text: to see what was not."""
    bodies = [entry.body for entry in list(endpoint.journal)[-count:]]
    assert len(bodies) == count
    assert all(body and body["contents"] for body in bodies)
    return [json.dumps(body, ensure_ascii=False) for body in bodies]


def answered(name: str, column: str, answer: Gold) -> None:
    """Put other answers into the run's parts, as if a model had given them, so that the queries have something to find.

    An answer is a text, for `response` and its candidate, or an object, for `parsed`.
    """
    for part in Path(f"out/{name}/data").glob("*.parquet"):
        rows = pq.read_table(part)
        changed = rows.to_pylist()
        for row in changed:
            given = answer(row)
            row[column] = given if isinstance(given, str) else json.dumps(given)
            row["candidates"][0]["text"] = row[column]
        pq.write_table(pa.Table.from_pylist(changed, schema=rows.schema), part)


@pytest.mark.parametrize(("name", "rows"), [("structured_extract", 101), ("classify", 100), ("caption_images", 18)])
def test_every_answer_fits_the_schema_that_the_job_brings(batcher, name, rows):
    table = ran(batcher, name, requests=rows)
    schema = json.loads((JOBS / name / "schema.json").read_text("utf-8"))

    assert schema["type"] == "object"
    assert set(table["schema_valid"].to_pylist()) == {True}
    assert all(jsonschema_rs.is_valid(schema, json.loads(text)) for text in table["parsed"].to_pylist())


@pytest.mark.parametrize(("name", "problems"), [("hello", 20), ("humaneval", 164)])
def test_the_jobs_without_a_schema_run_as_well(batcher, name, problems):
    table = ran(batcher, name, requests=problems)

    assert table["id"].to_pylist()[0] == {"hello": "add", "humaneval": "HumanEval/0"}[name]
    assert all(table["response"].to_pylist())


def test_distilled_solutions_become_training_examples_of_the_right_ones(batcher, endpoint):
    """Of each problem the first try is right on even rows, the third one on all rows but those that divide by five."""

    def solution(row: dict[str, Any]) -> str:
        is_right = (row["sample"] == 0 and row["ordinal"] % 2 == 0) or (row["sample"] == 2 and row["ordinal"] % 5)
        number = int(row["expected"])
        return f"{'Long. ' * row['sample']}Sum: 3 + 4 = 7\nAnswer: {number if is_right else number + 1:,}\n"

    rows = ran(batcher, "sft_distill", requests=400)
    gold = rows["upstream_answer"].to_pylist()[0].splitlines()[0]
    assert not any(gold in body for body in last_bodies(endpoint, 400))
    count, choose = blocks("sft_distill", "sql")
    # The emulator's answers end as nobody told it to: none is right, and none is an error.
    assert asked(count) == [{"solutions": 400, "right_ones": 0, "problems": 100, "solved": 0}]

    (export,) = blocks("sft_distill", "bash")
    answered("sft_distill", "response", solution)
    assert asked(count) == [{"solutions": 400, "right_ones": 50 + 80, "problems": 100, "solved": 90}]
    assert batcher(*shlex.split(export)[1:]).exit_code == 0
    asked_of_all = pq.read_table("all.parquet")
    assert asked_of_all.column_names == ["messages", "id", "expected", "response"]
    assert asked_of_all.num_rows == 400

    duckdb.sql(choose)
    train = pq.read_table("train.parquet").to_pylist()
    assert len(train) == 90
    teacher = (JOBS / "sft_distill" / "teacher.md").read_text("utf-8")
    for example in train:
        system, user, assistant = example["messages"]
        assert (system["role"], user["role"], assistant["role"]) == ("system", "user", "assistant")
        assert system["content"].strip() == teacher.strip()
        number = assistant["content"].rpartition("Answer: ")[2].strip().replace(",", "")
        (problem,) = {row["expected"] for row in rows.to_pylist() if row["prompt"] == user["content"]}
        assert number == problem
        # The shortest of the right ones: the first try where that is right.
        ordinal = next(row["ordinal"] for row in rows.to_pylist() if row["prompt"] == user["content"])
        assert assistant["content"].startswith("Sum") == (ordinal % 2 == 0)


def test_extracted_quantities_are_compared_with_those_that_are_there(batcher, endpoint):
    """All quantities of a text are found but the last, with their units in capitals, and one is invented."""

    def said(quantity: dict[str, Any]) -> tuple[float, str] | None:
        return None if quantity["unit"] == "dimensionless" else (quantity["value"], quantity["unit"])

    def found(row: dict[str, Any]) -> dict[str, Any]:
        kept = json.loads(row["res"])[:-1]
        made = [{"value": each["value"], "unit": each["unit"].upper()} for each in kept]
        return {"quantities": [*made, {"value": 77.5, "unit": "furlong"}]}

    rows = ran(batcher, "structured_extract", requests=101)
    assert not any("electronvolt" in body for body in last_bodies(endpoint, 101))
    (compare,) = blocks("structured_extract", "sql")
    texts = rows["res"].to_pylist()
    with_unit = [each for text in texts for each in json.loads(text) if each["unit"] != "dimensionless"]
    recall, precision = asked(compare)
    assert (recall["measure"], recall["quantities"]) == ("recall", len(with_unit))
    assert recall["value_and_unit"] <= recall["value_alone"] < 0.1  # answers of the emulator, by chance

    answered("structured_extract", "parsed", found)
    recall, precision = asked(compare)
    kept = sum(each["unit"] != "dimensionless" for text in texts for each in json.loads(text)[:-1])
    # A text's last one may say what was found before it: "4km^3, 4 cubic kilometers and 4 km cubed".
    again = kept + sum(
        said(each[-1]) in map(said, each[:-1]) for each in map(json.loads, texts) if each and said(each[-1])
    )
    assert precision["quantities"] == kept + 101
    assert precision["value_and_unit"] == precision["value_alone"] == round(kept / (kept + 101), 3)
    assert recall["value_and_unit"] == recall["value_alone"] == round(again / len(with_unit), 3)

    answered("structured_extract", "parsed", lambda row: {"quantities": json.loads(row["res"])})
    assert asked(compare) == [
        {"measure": measure, "quantities": len(with_unit), "value_and_unit": 1.0, "value_alone": 1.0}
        for measure in ("recall", "precision")
    ]


def test_labels_are_compared_with_those_of_wikihow(batcher, endpoint):
    """A third of the answers is wrong, and says so."""

    def label(row: dict[str, Any]) -> dict[str, str]:
        is_wrong = row["ordinal"] % 3 == 0
        topic = "Other" if is_wrong else row["activity_label"]
        return {"evidence": "a word", "topic": topic, "confidence": "low" if is_wrong else "high"}

    rows = ran(batcher, "classify", requests=100)
    schema = json.loads((JOBS / "classify" / "schema.json").read_text("utf-8"))
    how_to = [row for row in rows.to_pylist() if row["ctx"].startswith("[header]")]
    labels = {row["activity_label"] for row in how_to}
    assert len(how_to) == 68
    assert labels == set(schema["properties"]["topic"]["enum"]) - {"Other"}
    described = (JOBS / "classify" / "system.md").read_text("utf-8")
    assert all(f"- {each}: " in described for each in schema["properties"]["topic"]["enum"])
    assert not any("activity_label" in body or "Powerbocking" in body for body in last_bodies(endpoint, 100))

    score, mistakes = blocks("classify", "sql")
    answered("classify", "parsed", label)
    wrong = sum(row["ordinal"] % 3 == 0 for row in how_to)
    assert asked(score) == [
        {"confidence": "high", "texts": 68 - wrong, "accuracy": 1.0},
        {"confidence": "low", "texts": wrong, "accuracy": 0.0},
        {"confidence": None, "texts": 68, "accuracy": round((68 - wrong) / 68, 3)},
    ]
    found = asked(mistakes)
    assert {each["answer"] for each in found} == {"Other"}
    missed = Counter(row["activity_label"] for row in how_to if row["ordinal"] % 3 == 0)
    assert {each["topic"]: each["texts"] for each in found[:3]} == dict(missed.most_common(3))


def test_pictures_of_an_installed_package_are_sent_as_they_are(batcher, endpoint):
    """Acceptance: real pictures, told by their bytes; the columns beside them are never sent."""
    rows = ran(batcher, "caption_images", requests=18)
    parts = [entry.body["contents"][0]["parts"] for entry in list(endpoint.journal)[-18:]]
    sent = [part[0]["inline_data"]["mime_type"] for part in parts]
    assert sorted(sent) == sorted(
        "image/jpeg" if row.endswith(".jpg") else "image/png" for row in rows["image"].to_pylist()
    )
    assert {part[1]["text"] for part in parts} == {"Describe this picture."}

    (agreement,) = blocks("caption_images", "sql")
    kinds = json.loads((JOBS / "caption_images" / "schema.json").read_text("utf-8"))["properties"]["kind"]["enum"]
    assert set(rows["expected_kind"].to_pylist()) == set(kinds)
    answered(
        "caption_images", "parsed", lambda row: {"kind": "photo" if row["id"] == "horse" else row["expected_kind"]}
    )
    found = asked(agreement)
    assert [each["expected_kind"] for each in found] == sorted(kinds)
    assert sum(each["pictures"] for each in found) == 18
    assert sum(each["agreed"] for each in found) == 17
    assert [each["taken_for_others"] for each in found if each["taken_for_others"]] == ["horse (photo)"]


def test_pictures_of_another_version_are_refused_before_anything_is_sent(batcher):
    elsewhere = ("--set", "input.media_root=pypi:scikit-image==0.0.1/skimage/data")

    said = batcher("run", job_file("caption_images"), *elsewhere)

    assert (said.exit_code, said.sent) == (2, 0)
    assert said.refusal == [
        "error: pypi:scikit-image==0.0.1/skimage/data: scikit-image 0.26.0 is installed, wanted 0.0.1",
        "  python -m pip install scikit-image==0.0.1",
    ]
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["sft_distill", "structured_extract", "classify", "caption_images"])
def test_a_copy_of_a_job_runs_at_once(batcher, name):
    assert batcher("init", "mine", "--from", name).exit_code == 0

    said = batcher("run", "mine/job.toml", "--limit", "2", *QUICKLY)

    assert said.exit_code == 0
    assert said.sent == 2 * job(name).samples
