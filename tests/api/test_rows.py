"""Rows in memory become a file that says the same, whatever they come as."""

import datetime as dt
import io
from decimal import Decimal
from pathlib import Path

import datasets
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batcher.api.rows import check_rows, spool_rows
from batcher.errors import InputError, RunStopped, StorageError
from tests.examples import a_few

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def spool(rows, folder) -> Path:
    return spool_rows(rows, folder, check=lambda: None)


def refused(rows, folder) -> InputError:
    with pytest.raises(InputError) as caught:
        spool(rows, folder)
    assert list(folder.iterdir()) == []
    return caught.value


@a_few
@given(rows=st.lists(st.dictionaries(st.text(), JSON, max_size=4)))
def test_dicts_come_back_as_they_were(rows, tmp_path_factory):
    path = spool(iter(rows), tmp_path_factory.mktemp("spool"))

    assert path.suffix == ".jsonl"
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == rows


def test_the_same_rows_are_the_same_file_and_it_is_left_alone(tmp_path):
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    first = spool(rows, tmp_path)
    before = first.stat().st_mtime_ns

    assert spool(tuple(rows), tmp_path) == first
    assert first.stat().st_mtime_ns == before
    assert spool(rows[:1], tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 2


FRAME = {"q": ["a", "b", "c"], "n": [1, 2, 3]}


@pytest.mark.parametrize(
    "frame",
    [
        pa.table(FRAME),
        pa.table(FRAME).to_reader(),
        pd.DataFrame(FRAME),
        pd.DataFrame(FRAME, index=[7, 5, 3]),  # as a filter leaves it
        pd.DataFrame(FRAME | {"q": pd.Categorical(FRAME["q"])}),
        pl.DataFrame(FRAME),
        pl.DataFrame(FRAME, schema={"q": pl.Categorical, "n": pl.Int64}),
    ],
    ids=["table", "reader", "pandas", "filtered", "category", "polars", "polars-category"],
)
def test_a_table_of_any_kind_becomes_its_columns(frame, tmp_path):
    path = spool(frame, tmp_path)

    table = pq.read_table(path)
    assert path.suffix == ".parquet"
    assert table.to_pydict() == FRAME
    assert pa.types.is_string(table.schema.field("q").type) or pa.types.is_large_string(table.schema.field("q").type)


def test_a_pandas_index_with_a_name_is_a_column(tmp_path):
    frame = pd.DataFrame(FRAME).set_index("q")

    assert pq.read_table(spool(frame, tmp_path)).to_pydict() == FRAME


def test_dicts_with_bytes_become_columns_and_keep_them(tmp_path):
    rows = [{"id": str(n), "image": {"bytes": bytes([n % 256]), "path": None}} for n in range(3_000)]

    assert pq.read_table(spool(rows, tmp_path)).to_pylist() == rows


def test_pictures_of_pillow_become_what_datasets_stores(tmp_path):
    red = Image.new("RGB", (3, 2), "red")
    rows = [{"image": red, "images": [red, red]}, {"image": None, "images": []}]
    image, images = (pq.read_table(spool(rows, tmp_path)).column(name).to_pylist() for name in ("image", "images"))

    assert (image[1], images[1]) == (None, [])
    for held in (image[0], *images[0]):
        assert held["path"] is None
        seen = Image.open(io.BytesIO(held["bytes"]))
        assert (seen.format, seen.size, seen.getpixel((0, 0))) == ("PNG", (3, 2), (255, 0, 0))


A_DATASET = datasets.Dataset.from_dict(
    {"prompt": ["a", "b", "c"], "image": [{"bytes": bytes([n]), "path": f"{n}.png"} for n in range(3)]},
    features=datasets.Features({"prompt": datasets.Value("string"), "image": datasets.Image()}),
)


@pytest.mark.parametrize("rows", [A_DATASET, A_DATASET.to_iterable_dataset(), A_DATASET.with_format("numpy")])
def test_a_data_set_keeps_its_pictures_as_they_are_stored_and_what_it_says_of_them(rows, tmp_path):
    table = pq.read_table(spool(rows, tmp_path))

    assert table.column("image").to_pylist() == [{"bytes": bytes([n]), "path": f"{n}.png"} for n in range(3)]
    assert datasets.Features.from_arrow_schema(table.schema) == A_DATASET.features


def test_a_data_set_that_is_a_choice_of_another_is_that_choice(tmp_path):
    assert pq.read_table(spool(A_DATASET.select([2, 0]), tmp_path)).column("prompt").to_pylist() == ["c", "a"]
    assert pq.read_table(spool(A_DATASET.select([]), tmp_path)).num_rows == 0


@pytest.mark.parametrize("as_table", [False, True])
def test_big_rows_are_few_in_a_row_group(as_table, tmp_path):
    rows = [{"image": bytes(40 << 20)} for _ in range(4)]
    file = pq.ParquetFile(spool(pa.Table.from_pylist(rows) if as_table else rows, tmp_path))
    groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    file.close()

    assert sum(groups) == 4
    assert max(groups) <= 2


def test_dates_and_numpy_are_written_as_json_has_them(tmp_path):
    row = {"day": dt.date(2026, 11, 25), "score": pd.Series([1.5]).to_numpy()[0], "pair": (1, 2)}

    assert orjson.loads(spool([row], tmp_path).read_bytes()) == {"day": "2026-11-25", "score": 1.5, "pair": [1, 2]}


@pytest.mark.parametrize(
    ("rows", "said", "hint"),
    [
        (["a"], "rows: row 1 is str, wanted a dict", 'prompts: [{"prompt": text} for text in texts]; files: input=[…]'),
        ([{"a": 1}, None], "rows: row 2 is NoneType, wanted a dict", ""),
        (
            [{"a": 1}, {"a": Decimal(1)}],
            "rows: row 2 is no JSON: Type is not JSON serializable: decimal.Decimal",
            "give one pyarrow Table with the types that you want",
        ),
        (
            [{"a": 2**70}],
            "rows: row 1 is no JSON: Integer exceeds 64-bit range",
            "give one pyarrow Table with the types that you want",
        ),
        (
            [{"a": b"x"}] * 1024 + [{"b": 1}],
            'rows 1,025 to 1,025: "b" is no column of the first rows',
            "give one pyarrow Table with the types that you want",
        ),
    ],
)
def test_what_is_no_row_is_refused_with_its_number(rows, said, hint, tmp_path):
    error = refused(rows, tmp_path)

    assert (error.message, error.hint) == (said, hint)


def test_columns_of_two_types_are_refused_by_their_name(tmp_path):
    assert "column a with type object" in refused(pd.DataFrame({"a": [1, "x"]}, dtype=object), tmp_path).message
    assert refused([{"a": b"x"}, {"a": 1}], tmp_path).message.startswith("rows 1 to 2, a: ")


@pytest.mark.parametrize(
    ("rows", "said"), [("prompts", "str"), (7, "int"), ({"prompt": "a"}, "dict"), (object, "type")]
)
def test_what_holds_no_rows_is_refused(rows, said):
    with pytest.raises(InputError) as caught:
        check_rows(rows)
    wanted = "dicts, a pyarrow Table, a pandas or polars DataFrame, a datasets.Dataset"
    assert caught.value.message == f"rows: found {said}, wanted {wanted}"


def test_an_error_of_the_callers_own_rows_is_his_and_leaves_nothing(tmp_path):
    def rows():
        yield {"prompt": "a"}
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        spool(rows(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_stopped_between_two_rows(tmp_path):
    def check():
        raise RunStopped("enough")

    with pytest.raises(RunStopped):
        spool_rows(iter([{"prompt": "a"}]), tmp_path, check=check)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="the rows cannot be written: No such file or directory"):
        spool([{"prompt": "a"}], tmp_path / "nowhere")
