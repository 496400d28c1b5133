from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.gemini.request import encode, request_hash
from batcher.gemini.tokens import CONTEXT_TOKENS, input_bound
from batcher.job.spec import Dialect, InputShape
from batcher.prompts.build import Builder
from batcher.prompts.media import MediaSource
from batcher.records import Problem, Request
from batcher.rows.shapes import Shape
from tests.builders import a_job, a_row
from tests.media import KINDS, a_document, a_picture, a_sound

PROMPT = Shape(kind=InputShape.PROMPT, prompt_key="prompt")
TABLE = Shape(kind=InputShape.TABLE)
CONTENTS = Shape(kind=InputShape.CONTENTS, prompt_key="contents")
RED, BLUE = a_picture(colour="red"), a_picture(colour="blue", kind="jpeg")
SOUND = a_sound()


def a_builder(
    *columns: str, shape: Shape = PROMPT, texts: tuple[str, ...] = (), root: Path | None = None, **job: Any
) -> Builder:
    shape = TABLE if "prompt.template" in job else shape
    source = MediaSource(texts=frozenset(texts), root=root)
    return Builder(a_job(**job), shape, ("prompt", *columns), where="rows.parquet", source=source)


def sent(builder: Builder, **values: Any) -> list[dict[str, Any]]:
    """The parts of the one turn, base64 decoded."""
    request = built(builder, **values)
    (turn,) = orjson.loads(request.body)["contents"]
    return [shown(part) for part in turn["parts"]]


def shown(part: dict[str, Any]) -> Any:
    held = part.get("inlineData") or part.get("inline_data")
    return part["text"] if held is None else base64.b64decode(held["data"])


def built(builder: Builder, **values: Any) -> Request:
    request = builder.build(a_row(16, **{"prompt": "What is it?", **values}))
    assert isinstance(request, Request), request
    return request


def problem(builder: Builder, **values: Any) -> tuple[str, str]:
    found = builder.build(a_row(16, **{"prompt": "What is it?", **values}))
    assert isinstance(found, Problem), found
    return found.kind, found.message.removeprefix("prompts.jsonl:17: ")


def data_url(data: bytes, declared: str = "application/octet-stream") -> str:
    return f"data:{declared};base64,{base64.b64encode(data).decode()}"


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=40), st.sampled_from(Dialect))
def test_every_way_to_carry_a_medium_sends_the_same_request(mime_type: str, rest: bytes, dialect: Dialect) -> None:
    data = KINDS[mime_type].ljust(64, b"\0") + rest
    text = base64.b64encode(data).decode()
    builder = a_builder("image", "images", **{"endpoint.dialect": dialect, "generation.top_k": 3})
    ways: list[dict[str, Any]] = [
        {"image": data},
        {"image": {"bytes": data, "path": "/nowhere/x.tiff"}},
        {"image": {"bytes": text, "path": None}},
        {"image": {"path": data_url(data)}},
        {"image": data_url(data)},
        {"image": text},
        {"images": [data]},
        {"images": [{"bytes": data, "path": None}], "image": None},
    ]
    requests = [built(builder, **way) for way in ways]
    whole = {
        "contents": [
            {
                "role": "user",
                "parts": [{"inline_data": {"mime_type": mime_type, "data": text}}, {"text": "What is it?"}],
            }
        ],
        "generation_config": {"top_k": 3.0},
    }

    assert len(set(requests)) == 1
    assert requests[0].body == encode(whole, dialect=dialect, model="gemini-2.5-flash")
    assert requests[0].request_hash == request_hash(whole, "gemini-2.5-flash")
    assert requests[0].prompt == "What is it?"
    assert requests[0].input_bound == input_bound(whole)
    assert 0 < requests[0].estimated_tokens <= requests[0].input_bound


def test_the_same_request_given_as_contents_is_the_same_request() -> None:
    by_column = built(a_builder("image"), image=RED)
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(RED).decode()}}
    by_contents = built(
        a_builder(shape=CONTENTS), contents=[{"role": "user", "parts": [part, {"text": "What is it?"}]}]
    )

    assert by_column == by_contents


def test_columns_that_are_called_so_are_media_in_the_order_of_the_input() -> None:
    builder = a_builder("pdf", "audio", "images", "image", "other")
    document = a_document()

    assert builder.media == ("pdf", "audio", "images", "image")
    assert builder.needed >= {"prompt", "pdf", "audio", "images", "image"}
    assert sent(builder, pdf=document, audio={"bytes": SOUND, "path": "a.mp3"}, images=[RED, BLUE], image=RED) == [
        document, SOUND, RED, BLUE, RED, "What is it?",
    ]  # fmt: skip


def test_the_job_says_which_columns_are_media() -> None:
    builder = a_builder("image", "photo", **{"prompt.media": ("photo",)})

    assert builder.media == ("photo",)
    assert sent(builder, photo=BLUE, image="not looked at") == [BLUE, "What is it?"]
    assert a_builder("image", **{"prompt.media": ()}).media == ()
    with pytest.raises(JobError, match=r"\[prompt\] media: column 'foto' not found; did you mean 'photo'"):
        a_builder("photo", **{"prompt.media": ("foto",)})


def test_media_stand_before_the_text_or_after_it() -> None:
    after = a_builder("images", **{"prompt.media_place": "after"})

    assert sent(a_builder("images"), images=[RED, BLUE]) == [RED, BLUE, "What is it?"]
    assert sent(after, images=[RED, BLUE]) == ["What is it?", RED, BLUE]


def test_a_medium_stands_where_the_template_prints_it() -> None:
    template = "Left: {{ left }} Right: {{ right | trim }}{% if pdf %} See the paper.{% endif %}"
    builder = a_builder(
        "left", "right", "pdf", **{"prompt.template": template, "prompt.media": ("left", "right", "pdf")}
    )
    document = a_document()

    assert sent(builder, left=[RED, BLUE], right=BLUE, pdf=document) == [
        document, "Left: ", RED, BLUE, " Right: ", BLUE, " See the paper.",
    ]  # fmt: skip
    assert sent(builder, left=RED, right=BLUE) == ["Left: ", RED, " Right: ", BLUE]
    assert built(builder, left=RED, right=BLUE).prompt == "Left:  Right: "
    assert problem(builder, left=None, right=BLUE) == ("bad_input", "columns 'left', 'pdf' is null")


def test_a_template_prints_a_list_of_media_one_by_one_or_in_part() -> None:
    each = "{% for image in images %}Picture {{ loop.index }} of {{ images | length }}: {{ image }} {% endfor %}Same?"
    one = a_builder("images", **{"prompt.template": "Only {{ images[1] }}", "prompt.media": ("images",)})

    assert sent(a_builder("images", **{"prompt.template": each}), images=[RED, None, BLUE]) == [
        "Picture 1 of 2: ", RED, " Picture 2 of 2: ", BLUE, " Same?",
    ]  # fmt: skip
    assert sent(one, images=[RED, BLUE]) == ["Only ", BLUE]
    assert problem(one, images=[RED])[0] == "bad_input"


@pytest.mark.parametrize("text", ["\udc010,7\udc02", "\udc017,0\udc02", "\udc01x"])
def test_no_text_of_a_row_is_taken_for_a_mark_of_ours(text: str) -> None:
    kind, said = problem(a_builder("image"), image=RED, prompt=text)

    assert (kind, "surrogates" in said) == ("bad_input", True)


def test_a_text_that_the_template_prints_is_text() -> None:
    template = {"prompt.template": "Describe the picture called {{ image }}."}

    assert a_builder("image", texts=("image",), **template).media == ()
    assert a_builder("image", **template).media == ("image",)
    assert a_builder("image", texts=("image",), **{"prompt.template": "{{ row['prompt'] }}"}).media == ("image",)


@pytest.mark.parametrize("dialect", Dialect)
def test_what_was_uploaded_is_sent_by_its_address_and_bounded_as_anything(dialect: Dialect) -> None:
    film, still = (
        {"file_uri": "files/film", "mime_type": "video/mp4"},
        {"fileUri": "files/still", "mimeType": "image/png"},
    )
    request = built(a_builder("images", **{"endpoint.dialect": dialect}), images=[film, RED, still])
    (turn,) = orjson.loads(request.body)["contents"]
    name, uri, kind = (
        ("fileData", "fileUri", "mimeType") if dialect is Dialect.GOOGLE else ("file_data", "file_uri", "mime_type")
    )

    assert [part.get(name) for part in turn["parts"]] == [
        {uri: "files/film", kind: "video/mp4"}, None, {uri: "files/still", kind: "image/png"}, None,
    ]  # fmt: skip
    assert shown(turn["parts"][1]) == RED
    assert request.input_bound > CONTEXT_TOKENS
    assert problem(a_builder("image"), image={"file_uri": ""})[1].startswith("column 'image': file_uri: wanted the")


def test_settings_system_and_model_of_the_row_go_with_media() -> None:
    overrides = {"prompt.overrides": {"temperature": "t", "model": "m"}, "prompt.system": "Speak {{ lang }}."}
    request = built(a_builder("image", "t", "m", "lang", **overrides), image=RED, t=0.5, m="gemini-3", lang="Thai")

    assert request.model == "gemini-3"
    body = orjson.loads(request.body)
    assert body["generationConfig"] == {"temperature": 0.5}
    assert body["systemInstruction"] == {"parts": [{"text": "Speak Thai."}]}


def test_a_path_is_read_beneath_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.txt").write_bytes(RED)
    (tmp_path / "letter.png").write_text("Dear")
    builder = a_builder("image", root=tmp_path)

    assert sent(builder, image="cats/1.txt") == sent(builder, image={"bytes": None, "path": "cats/1.txt"})
    assert sent(builder, image=str(tmp_path / "cats" / "1.txt")) == [RED, "What is it?"]
    unless_named = "input.media_root); prompt.media = [] if it is none"
    assert problem(builder, image="cats/2.png") == (
        "bad_input",
        f"column 'image': 'cats/2.png': no such file beneath {tmp_path} ({unless_named}",
    )
    named = a_builder("image", root=tmp_path, **{"prompt.media": ("image",)})
    assert problem(named, image="cats/2.png")[1].endswith(f"no such file beneath {tmp_path} (input.media_root)")
    assert problem(builder, image="../x")[1].startswith(f"column 'image': '../x': leads outside of {tmp_path}; wanted")
    assert problem(builder, image="letter.png")[1].startswith(
        "column 'image': 'letter.png': found bytes that begin with 44 65 61 72 ('Dear'), wanted PNG, JPEG"
    )
    assert problem(a_builder("image"), image="a.png")[1] == (
        "column 'image': 'a.png': the input files lie in several folders; say input.media_root"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("https://example.com/a.png", "found the address 'https://example.com/a.png'; nothing is fetched: wanted the"),
        ({"bytes": None, "path": "hf://datasets/x/a.png"}, "found the address 'hf://datasets/x/a.png'; nothing is"),
        (b"GARBAGE", "found bytes that begin with 47 41 52 42 41 47 45 ('GARBAGE'), wanted PNG"),
        (b"", "found nothing, wanted PNG"),
        ({"bytes": "%%%"}, "not base64"),
        ({"array": [0.1], "sampling_rate": 16_000}, "found a sound that was decoded already; wanted {bytes, path}"),
        ([[0, 1], [1, 0]], "found list of numbers, decoded already; wanted PNG"),
        ([1, 2], "found int; wanted PNG"),
        (3.5, "found float; wanted PNG"),
        ({}, "found an object of nothing; wanted PNG"),
        ({"url": "x"}, "found an object of 'url'; wanted PNG"),
        ({"bytes": 3}, "found int; wanted PNG"),
        ("data:image/png;base64,AAAA", "found bytes that begin with 00 00 00, wanted"),
    ],
)
def test_what_is_no_medium_is_a_problem_of_its_row(value: Any, message: str) -> None:
    kind, said = problem(a_builder("image"), image=value)

    assert kind == "bad_input"
    assert said.startswith(f"column 'image': {message}"), said


@pytest.mark.parametrize(
    "values",
    [{}, {"image": None}, {"image": None, "images": []}, {"images": [None]}, {"image": {"bytes": None, "path": None}}],
)
def test_a_row_without_a_medium_fails_unless_the_job_takes_it(values: dict[str, Any]) -> None:
    optional = a_builder("image", "images", **{"prompt.media_optional": True})

    assert problem(a_builder("image", "images"), **values) == (
        "bad_input", "no medium in 'image' and 'images' (prompt.media_optional = true asks without)",
    )  # fmt: skip
    assert sent(optional, **values) == ["What is it?"]


def test_what_is_too_much_for_a_request_is_known_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        file.write(RED)
        file.truncate(1 << 40)
    builder = a_builder("image", "images", root=tmp_path, **{"limits.max_request_bytes": 4_000})

    kind, said = problem(builder, image="long.png")
    assert kind == "too_large"
    assert said == (
        "column 'image': its media have 1,099,511,627,776 bytes and more; a request takes 4,000, base64 and all"
        " (limits.max_request_bytes)"
    )
    assert problem(builder, image=RED.ljust(3_001, b"\0"))[0] == "too_large"
    assert problem(builder, images=[RED.ljust(1_001, b"\0")] * 3)[0] == "too_large"
    assert problem(builder, image=RED.ljust(2_999, b"\0"))[1].endswith("limits.max_request_bytes allows 4,000")
    assert built(builder, image=RED.ljust(2_700, b"\0"))


def test_contents_are_whole_unless_the_job_names_a_column() -> None:
    contents = [{"role": "model", "parts": [{"text": "Hello"}]}, {"parts": [{"text": "and this?"}]}]
    named = a_builder("image", shape=CONTENTS, **{"prompt.media": ("image",)})
    request = built(named, contents=contents, image=RED)

    assert a_builder("image", shape=CONTENTS).media == ()
    first, second = orjson.loads(request.body)["contents"]
    assert first == contents[0]
    assert [shown(part) for part in second["parts"]] == [RED, "and this?"]


def test_media_go_into_the_places_that_wait_for_them() -> None:
    place = {"inline_data": {}}
    contents = [{"parts": [{"text": "a"}, place, {"text": "b"}]}, {"role": "user", "parts": [place]}]
    builder = a_builder("images", shape=CONTENTS, **{"prompt.media": ("images",)})
    request = built(builder, contents=contents, images=[RED, BLUE])

    assert [[shown(part) for part in turn["parts"]] for turn in orjson.loads(request.body)["contents"]] == [
        ["a", RED, "b"],
        [BLUE],
    ]
    assert problem(builder, contents=contents, images=[RED])[1] == (
        "2 places for media in the contents, and 1 media in 'images'"
    )


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "and"}, {"type": "image", "text": None}]},
]


@pytest.mark.parametrize(
    ("shape", "key"), [(Shape(kind=InputShape.MESSAGES, prompt_key="messages"), "messages"), (PROMPT, "prompt")]
)
def test_a_chat_with_places_takes_the_media_of_its_column(shape: Shape, key: str) -> None:
    builder = a_builder("messages", "images", shape=shape)
    values = {key: CHAT, "images": [RED, BLUE]}

    assert sent(builder, **values) == [RED, "and", BLUE]
    assert built(builder, **values).prompt == "and"
    assert problem(builder, **{**values, "images": [RED]})[1] == (
        "2 places for media in the contents, and 1 media in 'images'"
    )
    assert problem(a_builder("messages", shape=shape), **{key: CHAT})[1] == (
        f"{key}[1]: a place for a medium, and no column of media; prompt.media names one"
    )


def test_a_chat_may_bring_its_media_in_its_turns() -> None:
    shape = Shape(kind=InputShape.MESSAGES, prompt_key="messages")
    items = [
        {"type": "image_url", "image_url": {"url": data_url(RED)}},
        {"type": "image", "image": {"bytes": BLUE, "path": None}},
        {"type": "text", "text": "Which is red?"},
    ]
    builder = a_builder("messages", shape=shape)

    assert sent(builder, messages=[{"role": "user", "content": items}]) == [RED, BLUE, "Which is red?"]
    remote = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    assert problem(builder, messages=[{"role": "user", "content": remote}])[1].startswith(
        "messages[0]: found the address 'https://example.com/a.png'; nothing is fetched"
    )


def test_sound_and_documents_are_bounded() -> None:
    document = built(a_builder("pdf"), pdf=a_document(2))
    sound = built(a_builder("audio"), audio=SOUND)

    assert document.input_bound > CONTEXT_TOKENS > document.estimated_tokens > 2 * 258
    assert sound.input_bound < 200
