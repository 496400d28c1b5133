import importlib.metadata
from decimal import Decimal

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.card import COLUMNS, card
from batcher.money.totals import Tokens, Totals
from batcher.records import Status
from batcher.store.schemas import data_schema

TOTALS = Totals(by_status={Status.OK: 164}, tokens=Tokens(input=48_211, output=12_004))


def manifest(**given):
    defaults = {
        "run_id": "20260101T000000Z-0123abcd",
        "created_at": "2026-01-01T00:00:00+00:00",
        "versions": {"batcher": importlib.metadata.version("batcher-gemini")},
        "job": {"name": "he", "model": "models/gemini-2.5-flash"},
        "inputs": [{"name": "human-eval.jsonl"}],
        "rows": 164,
        "samples": 1,
        "tasks": 164,
    }
    return defaults | given


def names(user=(), *, raw=False, parsed=False):
    return data_schema([pa.field(name, pa.string()) for name in user], raw=raw, parsed=parsed).names


def written(of=None, columns=None, totals=TOTALS, verdict="done: 164 of 164 ok"):
    return card(of or manifest(), names() if columns is None else columns, totals, verdict)


def front(text):
    _, matter, rest = text.split("---\n", 2)
    return yaml.safe_load(matter), rest


def cells(text):
    """The cells of every table row, split as Markdown splits them."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row.replace("\\|", "").strip("|").split("|") for row in rows]


def test_the_front_matter_says_where_the_rows_are_and_no_licence():
    matter, _ = front(written())
    assert matter == {
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]},
        ],
        "size_categories": ["n<1K"],
        "tags": ["synthetic"],
    }


@pytest.mark.parametrize(
    ("tasks", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (5_000_000, "1M<n<10M"), (100_000_000, "100M<n<1B")],
)
def test_how_big_it_is(tasks, size):
    assert front(written(manifest(tasks=tasks)))[0]["size_categories"] == [size]


@pytest.mark.parametrize("parsed", [False, True])
@pytest.mark.parametrize("raw", [False, True])
def test_every_column_of_ours_is_explained_once_and_in_its_order(raw, parsed):
    columns = names(raw=raw, parsed=parsed)
    explained = [name for row in COLUMNS for name in row.split(", ")]
    assert set(columns) <= set(explained)
    assert len(explained) == len(set(explained))
    missing = (set() if raw else {"raw"}) | (set() if parsed else {"parsed", "schema_valid"})
    assert set(explained) - set(columns) == missing
    assert ("`raw`" in written(columns=columns)) is raw
    assert ("`parsed`, `schema_valid`" in written(columns=columns)) is parsed


def test_the_columns_of_the_input_are_named():
    assert "| `question`, `expected` | of the input, as given |" in written(columns=names(["question", "expected"]))
    assert "of the input, as given" not in written()


def test_a_run_under_way_says_so_and_names_no_cost():
    text = written(totals=None, verdict=None)
    assert "| state | under way; finished parts are in `data/` |" in text
    assert "cost |" not in text


def test_a_finished_one_says_what_it_took():
    text = written()
    for line in (
        "| model | `gemini-2.5-flash` |",
        "| rows | 164 |",
        "| input | `human-eval.jsonl` |",
        "| state | done: 164 of 164 ok |",
        "| tokens | 48,211 in, 12,004 out |",
    ):
        assert line in text.splitlines()
    assert "| rows | 164, 3 answers each |" in written(manifest(samples=3))
    assert "| cost | at least $0 |" in written(totals=TOTALS + Totals(unpriced=1))
    assert "| cost | $10.025 |" in written(totals=Totals(cost_usd=Decimal("10.025000000000000")))
    assert "| cost | $10 |" in written(totals=Totals(cost_usd=Decimal("10.000")))


@given(name=st.text(min_size=1, max_size=30), model=st.text(min_size=1, max_size=30), verdict=st.text(max_size=50))
def test_no_name_breaks_a_table_or_the_front_matter(name, model, verdict):
    """A column, a model and a server's message are others' words."""
    of = manifest(job={"name": "x", "model": model}, inputs=[{"name": name}])
    text = written(of, [*names(), name], verdict=verdict)
    matter, rest = front(text)
    assert matter["tags"] == ["synthetic"]
    assert {len(row) for row in cells(rest)} == {2}
