"""Written around its media, a request is the same to the byte."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.gemini.request import encode, request_hash
from batcher.gemini.splice import spliced
from batcher.job.spec import Dialect

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(["#", "##", '"#"', "\\#", ""])
parts = st.one_of(
    st.builds(lambda text: {"text": text}, texts),
    st.builds(lambda data, mime: {"inline_data": {"mime_type": mime, "data": data}}, st.binary(max_size=9), texts),
)
contents = st.lists(
    st.builds(lambda role, held: {"role": role, "parts": held}, texts, st.lists(parts, max_size=4)), max_size=3
)
settings = st.dictionaries(st.sampled_from(["top_k", "seed"]), st.integers(0, 9)) | st.just({"stop_sequences": ["#"]})


def with_base64(part: dict[str, Any]) -> dict[str, Any]:
    if "inline_data" not in part:
        return part
    held = part["inline_data"]
    return {"inline_data": {**held, "data": base64.b64encode(held["data"]).decode()}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", Dialect)
@given(contents, settings, texts)
def test_body_and_hash_are_those_of_the_request_with_its_base64(
    dialect: Dialect, stream: bool, turns: list[dict[str, Any]], generation: dict[str, Any], system: str
) -> None:
    around = {"generation_config": generation, "system_instruction": {"parts": [{"text": system}]}}
    whole = {**around, "contents": [{**turn, "parts": [*map(with_base64, turn["parts"])]} for turn in turns]}

    asked = {**around, "contents": turns}
    body, digest = spliced(asked, dialect=dialect, model="models/gemini-2.5-flash", stream=stream)

    assert body == encode(whole, dialect=dialect, model="gemini-2.5-flash", stream=stream)
    assert digest == request_hash(whole, "gemini-2.5-flash")


def test_what_json_cannot_carry_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be sent as JSON"):
        spliced({"contents": [{"parts": [{"text": "\ud800"}]}]}, dialect=Dialect.GOOGLE, model="m")
    with pytest.raises(ValueError, match="cannot be sent as JSON"):
        spliced({"contents": [{"parts": [{"text": object()}]}]}, dialect=Dialect.GOOGLE, model="m")
