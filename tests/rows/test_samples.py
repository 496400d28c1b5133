"""Every shape of the README has a sample, is told by it, and asks and keeps what it should."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import InputError
from batcher.job.spec import InputShape
from batcher.prompts.build import Builder
from batcher.records import Request
from batcher.rows.index import Index, load_index, save_index
from tests.builders import a_job
from tests.rows.files import an_input, planned, read_back

DATA = Path(__file__).parent / "data"
SUM, PRODUCT, CITY = "What is 17 + 25?", "What is 12 * 12?", "What is the capital of Portugal?"
TEMPLATE = "Only the answer: {{ question }}"

SHAPES = {
    "01-gemini-batch": InputShape.GEMINI_BATCH,
    "02-vertex-batch": InputShape.VERTEX_BATCH,
    "03-contents": InputShape.CONTENTS,
    "04-gemini-tuning": InputShape.GEMINI_TUNING,
    "05-openai-batch": InputShape.OPENAI_BATCH,
    "06-messages": InputShape.MESSAGES,
    "07-sharegpt": InputShape.SHAREGPT,
    "08-prompt-completion": InputShape.PROMPT_COMPLETION,
    "08-prompt-only": InputShape.PROMPT,
    "09-preference": InputShape.PREFERENCE,
    "10-alpaca": InputShape.ALPACA,
    "12-openai-evals": InputShape.OPENAI_EVALS,
    "13-inspect": InputShape.INSPECT,
    "19-plain": InputShape.PROMPT,
    "19-text": InputShape.PROMPT,
    "19-table": InputShape.TABLE,
}
REFERENCES = {
    "04-gemini-tuning": ["42", "144", "Lisbon"],
    "06-messages": ["42", "144", None],
    "07-sharegpt": ["42", "144", "Lisbon"],
    "08-prompt-completion": [" 42", " 144", "Lisbon"],
    "10-alpaca": ["42", "144", "Lisbon"],
    "19-text": ["42", "144", "Lisbon"],
}
IDS = {
    "01-gemini-batch": ["request-1", "request-2", "request-3"],
    "05-openai-batch": ["request-1", "request-2", "request-3"],
    "07-sharegpt": ["abc_0", "abc_1", "abc_2"],
    "13-inspect": ["row-0", "q2", "row-2"],
    "19-plain": ["q1", "q2", "q3"],
}


def index_of(name: str, **settings: Any) -> Index:
    has_template = name == "19-table"
    return planned(an_input(DATA / f"{name}.jsonl", **settings), DATA, block_rows=2, has_template=has_template)


def asked(name: str) -> list[Request]:
    return asked_of(index_of(name), name)


def asked_of(index: Index, name: str) -> list[Request]:
    job = {"prompt.template": TEMPLATE} if name == "19-table" else {}
    builder = Builder(a_job(**job), index.shape, index.found, where=name)
    rows, _ = read_back(index, an_input(DATA), needed=builder.needed)
    made = [builder.build(row) for row in rows]
    assert all(isinstance(item, Request) for item in made), made
    return [item for item in made if isinstance(item, Request)]


def bodies(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(request.body) for request in asked(name)]


TEXTS_AND_TURNS = {"08-prompt-completion", "08-prompt-only", "12-openai-evals", "13-inspect"}
"""Samples with turns where others have texts; as a text a list of turns would be asked as it stands."""


def as_texts(name: str) -> dict[str, list[str | int | None]]:
    """A sample as a table of texts: objects and lists as JSON, null where a row has no such key."""
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
    keys = dict.fromkeys(key for row in rows for key in row)
    values = {key: [row.get(key) for row in rows] for key in keys}
    return {
        key: [json.dumps(value) if isinstance(value, list | dict) else value for value in column]
        for key, column in values.items()
    }


def as_parquet(name: str, path: Path) -> Path:
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
    keys = dict.fromkeys(key for row in rows for key in row)
    try:
        pq.write_table(pa.Table.from_pylist([{key: row.get(key) for key in keys} for row in rows]), path)
    except pa.ArrowInvalid:  # a text in one row and a list in another
        pq.write_table(pa.table(as_texts(name)), path)
    return path


def as_csv(name: str, path: Path) -> Path:
    columns = as_texts(name)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def text_turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def test_every_shape_has_a_sample() -> None:
    assert set(SHAPES.values()) == set(InputShape) - {InputShape.AUTO}
    apart = {"rivals", "vertex-output", "openai-output"}
    assert {path.stem for path in DATA.glob("*.jsonl")} == set(SHAPES) | apart
    assert all(len(path.read_bytes().splitlines()) == 3 for path in DATA.glob("*.jsonl"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_sample_tells_its_shape(name: str, tmp_path: Path) -> None:
    index = index_of(name)
    save_index(index, tmp_path / "index")

    assert index.shape.kind is SHAPES[name]
    assert load_index(tmp_path / "index") == index


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_asked_ends_with_the_question_and_holds_no_answer(name: str) -> None:
    requests = asked(name)

    assert [request.prompt and request.prompt.rstrip().endswith(("?", "17, 25")) for request in requests] == [True] * 3
    for body in (orjson.loads(request.body) for request in requests):
        assert body["contents"][-1].get("role", "user") == "user"


@pytest.mark.parametrize("name", SHAPES)
def test_known_answers_become_the_column_reference(name: str) -> None:
    spec = an_input(DATA / f"{name}.jsonl")
    index = index_of(name)
    rows, columns = read_back(index, spec)

    assert [row.get("reference") for row in columns] == REFERENCES.get(name, [None] * 3)
    assert [row.id for row in rows] == IDS.get(name, ["row-0", "row-1", "row-2"])


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_neither_sent_nor_known_rides_along(name: str) -> None:
    index = index_of(name)
    given = {key for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines() for key in json.loads(line)}
    kept = {column.source for column in index.columns if not column.is_reference}

    assert kept == given - index.shape.consumed
    assert index.shape.consumed <= given | {index.shape.prompt_key} | index.shape.consumed


@pytest.mark.parametrize("write", [as_parquet, as_csv])
@pytest.mark.parametrize("name", sorted(set(SHAPES) - TEXTS_AND_TURNS))
def test_a_table_of_the_same_rows_asks_and_keeps_the_same(
    name: str, write: Callable[[str, Path], Path], tmp_path: Path
) -> None:
    spec = an_input(write(name, tmp_path / f"rows.{write.__name__.removeprefix('as_')}"))
    index = planned(spec, tmp_path, block_rows=2, has_template=name == "19-table")
    rows, columns = read_back(index, spec)

    assert index.shape.kind is SHAPES[name]
    assert [request.body for request in asked_of(index, name)] == [request.body for request in asked(name)]
    assert [row.get("reference") for row in columns] == REFERENCES.get(name, [None] * 3)
    assert [row.id for row in rows] == IDS.get(name, ["row-0", "row-1", "row-2"])


def test_an_empty_name_is_none(tmp_path: Path) -> None:
    spec = an_input(as_csv("13-inspect", tmp_path / "rows.csv"))
    rows, _ = read_back(planned(spec, tmp_path), spec)

    assert [row.id for row in rows] == IDS["13-inspect"]


def test_a_body_is_sent_as_it_stands_in_either_spelling() -> None:
    first, second, third = bodies("03-contents")
    brief = {"parts": [{"text": "Be brief."}]}

    assert first["contents"] == [
        text_turn("user", "My name is Ana."),
        text_turn("model", "Hello Ana."),
        text_turn("user", SUM),
    ]
    assert first["systemInstruction"] == second["systemInstruction"] == brief
    assert second["generationConfig"] == third["generationConfig"] == {"temperature": 0}


def test_an_openai_batch_is_asked_in_geminis_words() -> None:
    first, second, third = bodies("05-openai-batch")
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

    assert first == {
        "contents": [text_turn("user", SUM)],
        "systemInstruction": {"parts": [{"text": "You are a calculator."}]},
        "generationConfig": {"maxOutputTokens": 64, "temperature": 0},
    }
    assert second["generationConfig"] == {
        "maxOutputTokens": 64,
        "candidateCount": 2,
        "seed": 7,
        "stopSequences": ["\n"],
    }
    assert third["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": city}
    assert {request.model for request in asked("05-openai-batch")} == {"gemini-2.5-flash"}


def test_what_gemini_has_no_word_for_is_said_once_or_refused() -> None:
    assert index_of("05-openai-batch").notes == ("ignored: body.logit_bias (1 row)",)
    with pytest.raises(InputError) as caught:
        index_of("05-openai-batch", strict=True)
    assert caught.value.message.endswith("05-openai-batch.jsonl: cannot be sent to Gemini: body.logit_bias (1 row)")
    assert caught.value.hint == "without --strict it is left out"


def test_few_shot_examples_are_turns() -> None:
    first = bodies("12-openai-evals")[0]

    assert first["systemInstruction"] == {"parts": [{"text": "Answer with the number alone."}]}
    assert first["contents"] == [text_turn("user", "What is 2 + 2?"), text_turn("model", "4"), text_turn("user", SUM)]


def test_an_instruction_is_asked_with_its_input() -> None:
    assert [request.prompt for request in asked("10-alpaca")] == ["Add the numbers.\n\n17, 25", PRODUCT, CITY]


def test_a_tuning_example_is_asked_without_its_answer() -> None:
    assert bodies("04-gemini-tuning")[0] == {
        "contents": [text_turn("user", SUM)],
        "systemInstruction": {"role": "system", "parts": [{"text": "You are a calculator."}]},
    }


def test_rivals_are_refused_with_both_flags() -> None:
    with pytest.raises(InputError) as caught:
        index_of("rivals")

    assert caught.value.message.endswith("rivals.jsonl: 'messages' and 'prompt' could each be what is asked; say which")
    assert caught.value.hint == "--shape messages or --shape prompt"


@pytest.mark.parametrize(
    ("shape", "reference"), [(InputShape.MESSAGES, ["42", "144", "Lisbon"]), (InputShape.PROMPT, [None] * 3)]
)
def test_either_flag_decides(shape: InputShape, reference: list[str | None]) -> None:
    spec = an_input(DATA / "rivals.jsonl", shape=shape)
    _, columns = read_back(planned(spec, DATA), spec)

    assert [row.get("reference") for row in columns] == reference


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vertex-output", "--shape vertex-batch asks its requests again"),
        ("openai-output", "give the file that was sent"),
    ],
)
def test_what_a_batch_job_wrote_is_refused(name: str, hint: str) -> None:
    with pytest.raises(InputError, match="is what a batch job wrote") as caught:
        index_of(name)
    assert caught.value.hint == hint


def test_the_requests_of_what_a_batch_job_wrote_can_be_asked_again() -> None:
    assert index_of("vertex-output", shape=InputShape.VERTEX_BATCH).schema.names == [
        *("input_status", "processed_time", "input_response"),
    ]
