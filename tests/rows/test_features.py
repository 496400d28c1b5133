from __future__ import annotations

from typing import Any

import datasets
import orjson
import pyarrow as pa
import pytest

from batcher.rows.columns import Census, plain
from batcher.rows.features import IMAGES, KEY, MEDIUM, feature_of, features_in, metadata_of

HUB = datasets.Features(
    {
        "image": datasets.Image(),
        "photos": datasets.List(datasets.Image(decode=False)),
        "clip": datasets.Video(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "text": datasets.Value("string"),
        "both": {"image": datasets.Image()},
    }
)
KEPT = ("image", "photos", "clip", "label")
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]


def frozen(*schemas: pa.Schema, reserved: frozenset[str] = frozenset()) -> dict[str, Any]:
    census = Census()
    for schema in schemas:
        census.see_schema(schema)
    return {column.name: column.feature for column in census.freeze(consumed=(), reserved=reserved).columns}


def test_media_and_labels_of_a_hub_file_are_known() -> None:
    assert features_in(HUB.arrow_schema) == {name: HUB.to_dict()[name] for name in KEPT}


def test_what_is_carried_over_is_what_datasets_believes() -> None:
    schema = HUB.arrow_schema
    fields = [pa.field(field.name, plain(field.type)) for field in schema]
    back = datasets.Features.from_arrow_schema(pa.schema(fields, metadata=metadata_of(features_in(schema))))

    assert {name: back[name] for name in KEPT} == {name: HUB[name] for name in KEPT}


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"info": null}',
        b'{"info": {"features": null}}',
        b'{"info": {"features": []}}',
        b'{"info": {"features": {"a": {"_type": "Own"}, "b": 3, "c": [], "d": {"_type": "List"}, "e": {}}}}',
    ],
)
def test_what_nobody_can_read_is_left_out(told: bytes) -> None:
    assert features_in(pa.schema([], metadata={KEY: told})) == {}


def test_a_list_may_be_written_the_old_way() -> None:
    told = {"a": [{"_type": "Image"}], "b": {"feature": {"_type": "Audio"}, "_type": "Sequence"}}

    assert features_in(pa.schema([], metadata=metadata_of(told))) == told
    assert metadata_of({}) is None
    assert orjson.loads((metadata_of(told) or {})[KEY]) == {"info": {"features": told}}


@pytest.mark.parametrize("data", BYTES)
@pytest.mark.parametrize("path", TEXTS)
def test_a_medium_has_one_type_in_the_output(data: pa.DataType, path: pa.DataType) -> None:
    held = pa.struct([("bytes", data), ("path", path)])

    assert plain(held) == MEDIUM
    assert plain(pa.list_(held)) == IMAGES
    assert plain(pa.struct([("path", path), ("bytes", data)])) != MEDIUM
    assert plain(pa.struct([("bytes", data), ("path", pa.null())])) == MEDIUM
    assert plain(pa.struct([("bytes", pa.null()), ("path", path)])) == MEDIUM
    assert plain(pa.struct([("bytes", pa.null()), ("path", pa.null())])) != MEDIUM


def test_a_file_that_says_nothing_is_believed_by_its_names() -> None:
    assert frozen(pa.schema([("image", MEDIUM), ("images", IMAGES), ("photo", MEDIUM), ("audio", MEDIUM)])) == {
        "image": {"_type": "Image"},
        "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
        "photo": None,
        "audio": None,
    }
    assert feature_of("image", pa.large_string()) is None
    assert feature_of("images", pa.list_(pa.large_string())) is None


def test_files_that_do_not_agree_say_nothing() -> None:
    one, other = (
        datasets.Features({"label": datasets.ClassLabel(names=names), "image": datasets.Image()}).arrow_schema
        for names in (["a"], ["b"])
    )

    assert frozen(one, one)["label"] == {"names": ["a"], "_type": "ClassLabel"}
    assert frozen(one, other, one) == {"label": None, "image": {"_type": "Image"}}


def test_a_renamed_column_keeps_its_feature() -> None:
    schema = datasets.Features({"images": datasets.List(datasets.Image())}).arrow_schema

    assert list(frozen(schema, reserved=frozenset({"images"}))) == ["input_images"]
    assert frozen(schema, reserved=frozenset({"images"}))["input_images"]["_type"] == "List"
