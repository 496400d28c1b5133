import os
from pathlib import Path

import pyarrow as pa
import pytest

from batcher.datasets.checks import check_order
from batcher.datasets.order import CHOICES, Format, Order
from batcher.errors import UserError
from batcher.records import Status
from batcher.store.schemas import data_schema

SCHEMA = data_schema([pa.field("lang", pa.large_string())], raw=True)


def an_order(to=Format.CSV, target="rows.csv", **given):
    return Order(to=Format(to), target=None if target is None else Path(target), **given)


def refused(order, forbidden=()):
    with pytest.raises(UserError) as error:
        check_order(order, schema=SCHEMA, forbidden=forbidden)
    return error.value


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("trl-sft", "a.parquet"),
        ("trl-sft", "deep/a.JSONL"),
        ("openai-sft", "a.jsonl"),
        ("gemini-batch", "a.jsonl"),
        ("csv", "a.csv"),
        ("csv", None),
        ("csv", os.devnull),
    ],
)
def test_what_can_be_done(to, target):
    check_order(an_order(to, target), schema=SCHEMA, forbidden=(Path("out/data"),))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (an_order("trl-sft", "a.json"), "-o a.json: trl-sft is written as .parquet or .jsonl; found '.json'"),
        (an_order("csv", "a.csv.gz"), "-o a.csv.gz: csv is written as .csv; found '.gz'"),
        (an_order("openai-sft", "a"), "-o a: openai-sft is written as .jsonl; found no ending"),
        (an_order(statuses=frozenset({"open"})), "--status open: rows without an answer cannot be exported to csv"),
        (an_order(every_candidate=True), "--candidates all: wanted a format of conversations; found csv"),
        (an_order(columns=("id", "costusd")), "--columns: column 'costusd' not found; did you mean 'cost_usd'?"),
        (an_order(where={"long": "x"}), "--where: column 'long' not found; did you mean 'lang'?"),
        (
            an_order(where={"labels": "x"}),
            (
                "--where labels: found a column of list<element: struct<key: string, value: string>>;"
                " wanted one of texts, numbers or booleans"
            ),
        ),
        (
            an_order("openai-sft", "a.jsonl", columns=("id",)),
            "--columns: openai-sft takes no other columns; its readers refuse or ignore them",
        ),
        (
            an_order("trl-sft", "a.jsonl", columns=("id", "prompt", "labels")),
            "--columns: TRL would take labels, prompt for the example itself; messages has it",
        ),
    ],
)
def test_what_is_refused(order, said):
    assert refused(order).message.replace("item:", "element:") == said


def test_nothing_is_written_among_the_parts(tmp_path):
    (tmp_path / "out" / "data").mkdir(parents=True)
    target = tmp_path / "out" / "x" / ".." / "data" / "rows.csv"
    error = refused(an_order(target=target), forbidden=(tmp_path / "out" / "data",))
    assert error.message == f"-o {target}: this folder holds the run's own files and nothing else"


def test_which_rows_go_out_unless_told():
    every = set(map(str, Status))
    assert an_order("trl-sft").wanted == an_order("sharegpt").wanted == {"ok"}
    assert an_order("csv").wanted == every
    assert an_order("gemini-batch").wanted == {"failed", "open"}
    assert an_order(statuses=frozenset({"blocked"})).wanted == {"blocked"}
    assert set(CHOICES) == every | {"open"}
