from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from batcher.errors import JobError
from batcher.gemini.request import canonical, request_hash
from batcher.job.spec import InputShape
from batcher.prompts.build import Builder
from batcher.records import Problem, Request
from batcher.rows.carriers import REQUEST_FIELDS
from batcher.rows.shapes import Shape
from tests.builders import a_job, a_row
from tests.strategies import prompts

PROMPT = Shape(kind=InputShape.PROMPT, prompt_key="prompt")
TABLE = Shape(kind=InputShape.TABLE)
CONTENTS = Shape(kind=InputShape.CONTENTS, prompt_key="contents")
GEMINI_BATCH = Shape(kind=InputShape.GEMINI_BATCH, id_key="key", prompt_key="request")
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def a_builder(shape: Shape = PROMPT, columns: tuple[str, ...] = (), **settings: Any) -> Builder:
    return Builder(a_job(**settings), shape, columns, where="prompts.jsonl")


def built(builder: Builder, **values: Any) -> Request:
    request = builder.build(a_row(16, **values))
    assert isinstance(request, Request), request
    assert canonical(orjson.loads(request.body))
    return request


def problem(builder: Builder, **values: Any) -> tuple[str, str]:
    found = builder.build(a_row(16, **values))
    assert isinstance(found, Problem), found
    return found.kind, found.message


@given(prompts)
def test_a_plain_prompt_is_sent_as_it_is(prompt: str) -> None:
    request = built(a_builder(), prompt=prompt)
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}

    assert orjson.loads(request.body) == body
    assert (request.prompt, request.model) == (prompt, "gemini-2.5-flash")
    assert request.request_hash == request_hash(canonical(body), "gemini-2.5-flash")
    assert 0 < request.estimated_tokens <= request.input_bound
    assert request.output_bound == 65_536


@given(prompts)
def test_the_jobs_schema_is_in_the_body_and_in_the_hash_whatever_the_way(prompt: str) -> None:
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    plain = a_builder(output__schema=schema)

    request = built(plain, prompt=prompt)

    assert orjson.loads(request.body) == {**body, "generationConfig": config}
    assert request.request_hash == request_hash(canonical({**body, "generationConfig": config}), "gemini-2.5-flash")
    assert request.request_hash != built(a_builder(), prompt=prompt).request_hash
    assert request.input_bound > built(a_builder(), prompt=prompt).input_bound
    for way, row in [
        (a_builder(CONTENTS, ("contents",), output__schema=schema), body),
        (a_builder(GEMINI_BATCH, output__schema=schema), {"key": "k", "request": {**body, "generationConfig": config}}),
        (a_builder(output__schema=schema, **{"prompt.overrides": {"temperature": "t"}}), {"prompt": prompt, "t": None}),
    ]:
        assert built(way, **row).request_hash == request.request_hash
    assert plain.check is not None
    assert a_builder().check is None


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"responseSchema": {"type": "STRING"}}, "response_schema"),
        ({"responseJsonSchema": {"type": "string"}}, "response_json_schema"),
        ({"responseMimeType": "text/plain"}, "response_mime_type"),
    ],
)
def test_a_row_cannot_have_a_schema_beside_the_jobs(config: dict[str, Any], name: str) -> None:
    row = {"contents": HI, "generationConfig": config}
    message = f"prompts.jsonl:17: {name}: the row brings its own beside the job's [output] schema"

    for field in ("response_json_schema", "response_schema"):
        schema = {"type": "array", "items": {"type": "string", "default": None}}
        builder = a_builder(CONTENTS, tuple(row), output__schema=schema, output__schema_field=field)
        assert problem(builder, **row) == ("bad_input", message)
        assert built(builder, contents=HI, generationConfig={"temperature": 1})
    unsent = a_builder(CONTENTS, tuple(row), output__schema={"type": "array"}, output__schema_field="none")
    assert orjson.loads(built(unsent, **row).body)["generationConfig"] == config


@given(prompts)
def test_one_question_in_any_shape_is_one_question(prompt: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": {"temperature": 0.5}}
    job = {"generation.temperature": 0.5}
    ways = [
        built(a_builder(**job), prompt=prompt),
        built(a_builder(TABLE, ("q",), **{"prompt.template": "{{ q }}"}, **job), q=prompt),
        built(a_builder(PROMPT, ("prompt", "t"), **{"prompt.overrides": {"temperature": "t"}}), prompt=prompt, t=0.5),
        built(a_builder(CONTENTS, **job), contents=body["contents"]),
        built(a_builder(CONTENTS), **body),
        built(a_builder(GEMINI_BATCH), key="k", request=body),
        built(a_builder(GEMINI_BATCH), key="k", request=orjson.dumps(body).decode()),
    ]

    assert len({request.request_hash for request in ways}) == 1
    assert len({request.body for request in ways}) == 1
    assert {request.prompt for request in ways} == {prompt}
    assert len({request.estimated_tokens for request in ways}) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"function_declarations": [{"name": "weather", "description": "of a town"}]}]},
        {"generation_config": {"response_json_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        {"generation_config": {"response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}},
        {"contents": [*HI, {"role": "model", "parts": [{"function_call": {"name": "weather", "args": {"a": 1}}}]}]},
        {"contents": [*HI, {"role": "user", "parts": [{"text": "x" * 100}]}]},
        {"contents": [*HI, {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AA"}}]}]},
        {"system_instruction": {"parts": [{"text": "Be brief in all that you say."}]}},
    ],
)
def test_whatever_a_request_carries_has_its_tokens(more: dict[str, Any]) -> None:
    bare = built(a_builder(CONTENTS), contents=HI).estimated_tokens
    request = built(a_builder(CONTENTS), **{"contents": HI, **more})

    assert bare + 5 < request.estimated_tokens <= request.input_bound


def test_the_jobs_own_schema_and_tools_have_their_tokens() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    bare = built(a_builder(), prompt="hi").estimated_tokens

    assert built(a_builder(output__schema=schema), prompt="hi").estimated_tokens > bare + 10


def test_both_dialects_ask_the_same() -> None:
    google = built(a_builder(**{"generation.top_k": 3}), prompt="hi")
    flat = built(a_builder(**{"generation.top_k": 3, "endpoint.dialect": "flat"}), prompt="hi")

    assert google.request_hash == flat.request_hash
    assert orjson.loads(google.body) == {"contents": HI, "generationConfig": {"topK": 3}}
    streamed = built(a_builder(**{"endpoint.stream": "json", "endpoint.dialect": "flat"}), prompt="hi")
    assert streamed.request_hash == built(a_builder(), prompt="hi").request_hash
    assert orjson.loads(streamed.body)["stream"] is True
    assert orjson.loads(flat.body) == {"contents": HI, "top_k": 3, "stream": False, "model": "gemini-2.5-flash"}


def test_a_system_instruction_is_said_once_or_made_of_the_row() -> None:
    said = built(a_builder(**{"prompt.system": "Be {{ 'brief' }}."}), prompt="hi")
    made = built(a_builder(PROMPT, ("prompt", "how"), **{"prompt.system": "Be {{ how }}."}), prompt="hi", how="brief")

    assert orjson.loads(said.body)["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert (said.body, said.request_hash, said.estimated_tokens) == (
        made.body,
        made.request_hash,
        made.estimated_tokens,
    )


def test_the_rows_own_system_instruction_wins() -> None:
    builder = a_builder(CONTENTS, ("contents", "how"), **{"prompt.system": "Be {{ how }}."})
    own = {"parts": [{"text": "Be long."}]}

    assert b"Be brief." in built(builder, contents=HI, how="brief").body
    assert b"Be long." in built(builder, contents=HI, how="brief", system_instruction=own).body


def test_the_row_may_name_its_model() -> None:
    by_request = built(a_builder(GEMINI_BATCH), request={"contents": HI, "model": "models/gemini-2.0-flash"})
    by_column = built(
        a_builder(PROMPT, ("prompt", "m"), **{"prompt.overrides": {"model": "m"}}), prompt="hi", m="gemini-2.0-flash"
    )

    assert by_request.model == by_column.model == "gemini-2.0-flash"
    assert by_request.request_hash == by_column.request_hash
    assert by_request.output_bound == 8_192


@pytest.mark.parametrize("model", ["../files", 7, "a b"])
def test_a_model_that_would_bend_the_path_is_refused(model: Any) -> None:
    builder = a_builder(PROMPT, ("prompt", "m"), **{"prompt.overrides": {"model": "m"}})

    assert problem(builder, prompt="hi", m=model)[0] == "bad_input"


def test_an_override_changes_its_row_only() -> None:
    builder = a_builder(
        PROMPT, ("prompt", "t"), **{"prompt.overrides": {"temperature": "t"}, "generation.temperature": 1.0}
    )

    assert orjson.loads(built(builder, prompt="hi", t=0.2).body)["generationConfig"] == {"temperature": 0.2}
    assert orjson.loads(built(builder, prompt="hi", t=None).body)["generationConfig"] == {"temperature": 1.0}
    kind, message = problem(builder, prompt="hi", t="hot")
    assert kind == "bad_input"
    assert message.startswith("prompts.jsonl:17: column 't' as temperature: input should be a valid number")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": None}, "column 'prompt' is null"),
        ({"other": 1}, "column 'prompt' is missing"),
        ({"prompt": 3}, "column 'prompt': wanted text, found 3"),
        ({"prompt": ["a"]}, "prompt[0]: wanted a turn, found text"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"prompt": "a\ud800"}, "cannot be sent as JSON: str is not valid UTF-8: surrogates not allowed"),
    ],
)
def test_what_is_no_prompt_is_a_problem_of_its_row(values: dict[str, Any], message: str) -> None:
    assert problem(a_builder(), **values) == ("bad_input", f"prompts.jsonl:17: {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"request": None}, "request: expected an object, found null"),
        ({"request": {}}, "contents: expected a list, found nothing"),
        ({"request": {"contents": HI, "generationConfig": 3}}, "generation_config: expected an object, found a number"),
    ],
)
def test_what_is_no_request_is_a_problem_of_its_row(values: dict[str, Any], message: str) -> None:
    assert problem(a_builder(GEMINI_BATCH), **values) == ("bad_input", f"prompts.jsonl:17: {message}")


def test_a_row_that_could_not_be_read_keeps_its_problem() -> None:
    row = a_row()
    unread = Problem(kind="bad_input", message="prompts.jsonl:1: not JSON")
    assert a_builder().build(row._replace(values={}, problem=unread)) is unread


def test_a_request_that_the_api_would_not_take_is_too_large() -> None:
    most = 20_971_520
    kind, message = problem(a_builder(), prompt="x" * most)

    assert kind == "too_large"
    assert message.endswith("bytes; limits.max_request_bytes allows 20,971,520")
    assert problem(a_builder(CONTENTS), contents=[{"parts": [{"text": "x" * most}]}])[0] == "too_large"
    assert problem(a_builder(**{"limits.max_request_bytes": 100}), prompt="x" * 99)[0] == "too_large"


def test_the_prompt_of_a_conversation_is_its_last_user_turn() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    contents = [
        {"role": "user", "parts": [{"text": "one"}]},
        {"role": "model", "parts": [{"text": "two"}]},
        {"role": "user", "parts": [{"text": "three, "}, picture, {"text": "four"}]},
        {"role": "model", "parts": [{"text": "five"}]},
    ]  # fmt: skip
    request = built(a_builder(CONTENTS), contents=contents)

    assert request.prompt == "three, four"
    assert request.estimated_tokens > 258
    assert built(a_builder(CONTENTS), contents=[{"role": "model", "parts": [{"text": "x"}]}]).prompt is None


def test_a_builder_needs_what_it_reads_and_no_more() -> None:
    columns = ("id", "prompt", "question", "t", "how", "contents", "tools")

    assert a_builder(PROMPT, columns).needed == {"prompt"}
    assert a_builder(CONTENTS, columns).needed == {"contents", "tools"} == REQUEST_FIELDS & set(columns)
    assert a_builder(
        TABLE,
        columns,
        **{"prompt.template": "{{ question }}", "prompt.system": "{{ how }}", "prompt.overrides": {"temperature": "t"}},
    ).needed == {"question", "how", "t"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"temperatur": "t"},
            "[prompt] overrides: 'temperatur' is not a generation setting; did you mean 'temperature'?",
        ),
        ({"temperature": "tt"}, "[prompt] overrides.temperature: column 'tt' not found in prompts.jsonl"),
    ],
)
def test_a_wrong_override_is_refused_at_once(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(JobError) as caught:
        a_builder(PROMPT, ("prompt", "t"), **{"prompt.overrides": overrides})
    assert caught.value.message.startswith(message)


def test_a_template_has_no_place_beside_contents() -> None:
    with pytest.raises(JobError, match="no place in an input of the shape contents"):
        a_builder(CONTENTS, **{"prompt.template": "x"})


def test_an_input_without_rows_has_no_columns_to_miss() -> None:
    assert a_builder(TABLE, (), **{"prompt.template": "{{ q }}"}).needed == {"q"}
