from __future__ import annotations

import pydantic
import pytest
from google.genai import types

from batcher.emulator.messages import ANY, FIELDS, SCALARS


def test_every_field_has_both_spellings_of_one_canonical_name() -> None:
    for fields in FIELDS.values():
        for spelling, field in fields.items():
            assert field.name in fields
            assert fields[field.name] == field
            assert field.name == "".join(f"_{c.lower()}" if c.isupper() else c for c in spelling)


def test_every_kind_is_known() -> None:
    for fields in FIELDS.values():
        for field in fields.values():
            assert field.kind in (*SCALARS, ANY, *FIELDS)


@pytest.mark.parametrize(
    ("message", "sdk_type", "elsewhere"),
    [
        ("part", types.Part, set()),
        ("content", types.Content, set()),
        ("blob", types.Blob, set()),
        ("file", types.FileData, set()),
        ("safety", types.SafetySetting, {"method"}),  # of another product
        ("thinking", types.ThinkingConfig, set()),
        # of another product, by the notes of the kit itself
        (
            "generation",
            types.GenerationConfig,
            {"routing_config", "model_selection_config", "audio_timestamp", "model_armor_config"},
        ),
    ],
)
def test_what_googles_own_kit_can_send_is_known(
    message: str, sdk_type: type[pydantic.BaseModel], elsewhere: set[str]
) -> None:
    known = {field.name for field in FIELDS[message].values()}
    missing = set(sdk_type.model_fields) - known - elsewhere
    assert not missing
