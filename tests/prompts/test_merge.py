from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.prompts.merge import base_request, merge, own_request, own_settings
from tests.builders import a_job
from tests.examples import a_few

settings = st.fixed_dictionaries(
    {}, optional={"temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "seed": st.integers(0, 99)}
)
requests = st.fixed_dictionaries(
    {}, optional={"generation_config": settings, "tools": st.just([{}]), "x": st.integers()}
)


@given(requests, requests)
def test_the_rows_own_word_stands_and_the_jobs_fills_in(base: dict, own: dict) -> None:
    merged = merge(base, own)

    assert merged.keys() == base.keys() | own.keys()
    for name in merged.keys() - {"generation_config"}:
        assert merged[name] == own.get(name, base.get(name))
    assert merged.get("generation_config", {}) == {
        **base.get("generation_config", {}),
        **own.get("generation_config", {}),
    }


@a_few
@given(requests)
def test_nothing_changes_a_request_that_nobody_contradicts(base: dict) -> None:
    assert merge(base, {}) == base
    assert merge({}, base) == base
    assert merge(base, base) == base


def test_a_row_with_one_kind_of_schema_drops_the_jobs_other_kind() -> None:
    base = {"generation_config": {"response_json_schema": {}, "response_mime_type": "application/json"}}

    assert merge(base, {"generation_config": {"response_schema": {}}}) == {
        "generation_config": {"response_mime_type": "application/json", "response_schema": {}}
    }


def test_the_base_holds_what_the_job_says_and_no_contents() -> None:
    job = a_job(
        labels={"team": "x"},
        **{
            "generation.temperature": 0.5,
            "generation.stop_sequences": ("END",),
            "request.tools": ({"google_search": {}},),
            "request.send_labels": True,
            "request.service_tier": "flex",
        },
    )

    assert base_request(job, "Be brief.") == {
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"temperature": 0.5, "stop_sequences": ["END"]},
        "tools": [{"google_search": {}}],
        "labels": {"team": "x"},
        "service_tier": "flex",
    }
    assert base_request(a_job(labels={"team": "x"}), None) == {}


def test_request_fields_are_read_from_json_text_and_a_system_text() -> None:
    own = own_request(
        {
            "contents": '[{"parts": [{"text": "hi"}]}]',
            "systemInstruction": "Be brief.",
            "generationConfig": None,
            "model": "gemini-2.5-pro",
        }
    )

    assert own == {
        "contents": [{"parts": [{"text": "hi"}]}],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"contents": "[1"}, "contents: not JSON: unexpected end of data"),
        ({"contents": None}, "contents: expected a list, found nothing"),
        ({"contents": [1]}, "contents[0]: expected an object"),
    ],
)
def test_what_is_no_request_says_why(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match="contents") as caught:
        own_request(fields)
    assert str(caught.value).startswith(message)


def test_a_rows_settings_are_checked_like_the_jobs() -> None:
    overrides = {"temperature": "temp", "max_output_tokens": "most", "response_schema": "schema"}

    assert own_settings(overrides, {"temp": 1, "most": None, "schema": '{"type": "STRING"}'}) == {
        "temperature": 1.0,
        "response_schema": {"type": "STRING"},
    }
    assert own_settings(overrides, {"temp": "0.5", "most": "", "schema": ""}) == {"temperature": 0.5}
    with pytest.raises(ValueError, match=r"^column 'most' as max_output_tokens: input should be greater than or equal"):
        own_settings(overrides, {"most": 0})
