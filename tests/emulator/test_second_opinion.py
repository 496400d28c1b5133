"""Google's own Python kit, pointed at the emulator: what it reads is what we meant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from batcher.emulator.streams import Form

MODEL = "gemini-2.5-flash"
VERSIONS = pytest.mark.parametrize("version", ["v1", "v1beta"])
# The kit derives from a class of aiohttp that does not want heirs; that is between the two of them.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


def client(emulator: Emulator, version: str = "v1beta", *, key: str = "k") -> genai.Client:
    return genai.Client(
        api_key=key, http_options=types.HttpOptions(base_url=emulator.url, api_version=version, timeout=10_000)
    )


def faulty(kind: FaultKind) -> Settings:
    return Settings(faults=Faults(script=(Rule(fault=Fault(kind=kind)),)))


@VERSIONS
async def test_it_generates_asynchronously(version: str) -> None:
    async with Emulator() as emulator:
        async with client(emulator, version).aio as kit:
            reply = await kit.models.generate_content(model=MODEL, contents="What is 17 * 23?")
        assert reply.text == "391"
        assert reply.candidates is not None
        assert reply.candidates[0].finish_reason is types.FinishReason.STOP
        assert (reply.model_version, reply.response_id) == (MODEL, emulator.journal[0].response_id)
        usage = reply.usage_metadata
        assert usage is not None
        assert usage.prompt_token_count == emulator.totals().input_tokens
        assert (usage.candidates_token_count or 0) + (
            usage.thoughts_token_count or 0
        ) == emulator.totals().output_tokens
        assert emulator.journal[0].path == f"/{version}/models/{MODEL}:generateContent"


@VERSIONS
async def test_it_generates_and_counts_synchronously(version: str) -> None:
    async with Emulator() as emulator:

        def talk() -> tuple[Any, Any]:
            with client(emulator, version) as kit:
                return (
                    kit.models.generate_content(model=MODEL, contents="Echo: hello world"),
                    kit.models.count_tokens(model=MODEL, contents="Echo: hello world"),
                )

        reply, count = await asyncio.to_thread(talk)
        assert reply.text == "hello world"
        assert count.total_tokens == reply.usage_metadata.prompt_token_count


@VERSIONS
async def test_it_counts_asynchronously(version: str) -> None:
    async with Emulator() as emulator, client(emulator, version).aio as kit:
        assert (await kit.models.count_tokens(model=MODEL, contents="abcdefgh")).total_tokens == 2


async def test_everything_it_can_say_is_understood_even_strictly() -> None:
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_k=40,
        max_output_tokens=200,
        candidate_count=2,
        stop_sequences=["END"],
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"answer": {"type": "INTEGER"}}, "required": ["answer"]},
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=10),
        safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
        tools=[types.Tool(google_search=types.GoogleSearch())],
    )
    contents = types.Content(
        role="user",
        parts=[
            types.Part(text="What is 6 * 7?"),
            types.Part(inline_data=types.Blob(data=b"png", mime_type="image/png")),
        ],
    )
    async with Emulator(Settings(strict=True, keep_bodies=True)) as emulator, client(emulator).aio as kit:
        reply = await kit.models.generate_content(model=MODEL, contents=contents, config=config)
        assert reply.text == '{"answer":42}'
        assert len(reply.candidates or []) == 2
        body = emulator.journal[0].body
        assert body is not None
        assert body["contents"][0]["parts"][1]["inline_data"]["mime_type"] == "image/png"
        assert body["generation_config"]["thinking_config"] == {"include_thoughts": True, "thinking_budget": 10}
        usage = reply.usage_metadata
        assert usage is not None
        assert {each.modality.value for each in usage.prompt_tokens_details or [] if each.modality} == {"TEXT", "IMAGE"}
        assert usage.tool_use_prompt_token_count


async def test_a_function_is_called() -> None:
    declaration = types.FunctionDeclaration(
        name="weather",
        parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
        ),
    )
    async with Emulator() as emulator, client(emulator).aio as kit:
        reply = await kit.models.generate_content(model=MODEL, contents="Weather in Oslo?", config=config)
    (call,) = reply.function_calls or []
    assert call.name == "weather"
    assert set(call.args or {}) == {"city"}


@VERSIONS
@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (FaultKind.MINUTE_REQUESTS, 429, "RESOURCE_EXHAUSTED"),
        (FaultKind.DAY, 429, "RESOURCE_EXHAUSTED"),
        (FaultKind.EXHAUSTED, 429, "RESOURCE_EXHAUSTED"),
        (FaultKind.BAD_REQUEST, 400, "INVALID_ARGUMENT"),
        (FaultKind.FORBIDDEN, 403, "PERMISSION_DENIED"),
        (FaultKind.INTERNAL, 500, "INTERNAL"),
        (FaultKind.UNAVAILABLE, 503, "UNAVAILABLE"),
        (FaultKind.DEADLINE, 504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_an_error_has_its_code_and_status(version: str, kind: FaultKind, code: int, status: str) -> None:
    async with Emulator(faulty(kind)) as emulator, client(emulator, version).aio as kit:
        with pytest.raises(errors.APIError) as caught:
            await kit.models.generate_content(model=MODEL, contents="hello")
    assert (caught.value.code, caught.value.status) == (code, status)


@VERSIONS
async def test_a_count_that_is_refused_is_an_error_in_both_ways(version: str) -> None:
    async with Emulator(Settings(keys=("right",))) as emulator:

        def talk() -> errors.ClientError:
            with client(emulator, version) as kit, pytest.raises(errors.ClientError) as caught:
                kit.models.count_tokens(model=MODEL, contents="hello")
            return caught.value

        async with client(emulator, version).aio as kit:
            with pytest.raises(errors.ClientError) as caught:
                await kit.models.count_tokens(model=MODEL, contents="hello")
        for error in (caught.value, await asyncio.to_thread(talk)):
            assert (error.code, error.status) == (400, "INVALID_ARGUMENT")


async def test_a_page_instead_of_json_is_an_error_of_502() -> None:
    async with Emulator(faulty(FaultKind.BAD_GATEWAY)) as emulator, client(emulator).aio as kit:
        with pytest.raises(errors.APIError) as caught:
            await kit.models.generate_content(model=MODEL, contents="hello")
    assert caught.value.code == 502


async def test_a_wrong_key_and_a_wrong_model_are_errors_too() -> None:
    async with Emulator(Settings(keys=("right",), models=(MODEL,))) as emulator:
        for key, model, code in (("wrong", MODEL, 400), ("right", "gemini-0", 404)):
            async with client(emulator, key=key).aio as kit:
                with pytest.raises(errors.ClientError) as caught:
                    await kit.models.generate_content(model=model, contents="hello")
            assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultKind.SAFETY, types.FinishReason.SAFETY),
        (FaultKind.RECITATION, types.FinishReason.RECITATION),
        (FaultKind.OTHER, types.FinishReason.OTHER),
        (FaultKind.MAX_TOKENS, types.FinishReason.MAX_TOKENS),
        (FaultKind.MAX_TOKENS_EMPTY, types.FinishReason.MAX_TOKENS),
    ],
)
async def test_a_withheld_answer_says_why(kind: FaultKind, reason: types.FinishReason) -> None:
    async with Emulator(faulty(kind)) as emulator, client(emulator).aio as kit:
        reply = await kit.models.generate_content(model=MODEL, contents="Tell me about whales")
    assert reply.candidates is not None
    assert reply.candidates[0].finish_reason is reason
    assert bool(reply.text) is (kind is FaultKind.MAX_TOKENS)


async def test_a_blocked_prompt_says_why() -> None:
    async with Emulator(faulty(FaultKind.BLOCKED)) as emulator, client(emulator).aio as kit:
        reply = await kit.models.generate_content(model=MODEL, contents="Tell me about whales")
    assert reply.prompt_feedback is not None
    assert reply.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    assert not reply.candidates


async def test_models_are_listed() -> None:
    async with Emulator(Settings(models=(MODEL,))) as emulator:

        def names() -> list[str | None]:
            with client(emulator) as kit:
                return [each.name for each in kit.models.list(config={"query_base": True})]

        assert await asyncio.to_thread(names) == [f"models/{MODEL}"]


# --- streams


ASKED = "Tell me about whales and ships and the sea."


def texts(chunks: list[Any]) -> list[str]:
    return [chunk.text or "" for chunk in chunks]


async def streamed(kit: Any, **options: Any) -> list[types.GenerateContentResponse]:
    return [each async for each in await kit.models.generate_content_stream(model=MODEL, contents=ASKED, **options)]


def assert_adds_up(chunks: list[Any], whole: types.GenerateContentResponse, emulator: Emulator) -> None:
    """The chunks say what the whole reply says; their last says how it ended and what it took."""
    last = chunks[-1]
    assert len(chunks) > 2
    assert "".join(texts(chunks)) == whole.text
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    assert last.usage_metadata == whole.usage_metadata
    assert {each.response_id for each in chunks} == {emulator.journal[-1].response_id}
    assert {each.usage_metadata.prompt_token_count for each in chunks} == {emulator.journal[-1].input_tokens}


@VERSIONS
async def test_it_streams_asynchronously(version: str) -> None:
    async with Emulator() as emulator, client(emulator, version).aio as kit:
        whole = await kit.models.generate_content(model=MODEL, contents=ASKED)
        assert_adds_up(await streamed(kit), whole, emulator)
        assert emulator.journal[-1].path == f"/{version}/models/{MODEL}:streamGenerateContent"


@VERSIONS
async def test_it_streams_synchronously(version: str) -> None:
    async with Emulator() as emulator:

        def talk() -> tuple[Any, list[Any]]:
            with client(emulator, version) as kit:
                return (
                    kit.models.generate_content(model=MODEL, contents=ASKED),
                    list(kit.models.generate_content_stream(model=MODEL, contents=ASKED)),
                )

        whole, chunks = await asyncio.to_thread(talk)
        assert_adds_up(chunks, whole, emulator)


@VERSIONS
async def test_it_counts_what_a_stream_then_takes(version: str) -> None:
    async with Emulator() as emulator, client(emulator, version).aio as kit:
        counted = await kit.models.count_tokens(model=MODEL, contents=ASKED)
        chunks = await streamed(kit)
        assert chunks[0].usage_metadata is not None
        assert counted.total_tokens == chunks[0].usage_metadata.prompt_token_count


async def test_it_streams_two_candidates_and_their_thoughts() -> None:
    config = types.GenerateContentConfig(
        candidate_count=2, thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=10)
    )
    async with Emulator(Settings(strict=True)) as emulator, client(emulator).aio as kit:
        whole = await kit.models.generate_content(model=MODEL, contents=ASKED, config=config)
        chunks = await streamed(kit, config=config)

    for index in (0, 1):
        told = [each for chunk in chunks for each in chunk.candidates or [] if (each.index or 0) == index]
        parts = [part for each in told for part in (each.content and each.content.parts) or []]
        for thought in (True, False):
            said = "".join(part.text or "" for part in parts if bool(part.thought) is thought)
            (own,) = [p for p in whole.candidates[index].content.parts if bool(p.thought) is thought]  # type: ignore[index,union-attr]
            assert said == own.text
        assert [each.finish_reason for each in told if each.finish_reason] == [types.FinishReason.STOP]


@VERSIONS
@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (FaultKind.MINUTE_TOKENS, 429, "RESOURCE_EXHAUSTED"),
        (FaultKind.BAD_REQUEST, 400, "INVALID_ARGUMENT"),
        (FaultKind.UNAVAILABLE, 503, "UNAVAILABLE"),
    ],
)
async def test_a_stream_that_is_refused_is_an_error(version: str, kind: FaultKind, code: int, status: str) -> None:
    async with Emulator(faulty(kind)) as emulator:

        def talk() -> errors.APIError:
            with client(emulator, version) as kit, pytest.raises(errors.APIError) as caught:
                list(kit.models.generate_content_stream(model=MODEL, contents=ASKED))
            return caught.value

        async with client(emulator, version).aio as kit:
            with pytest.raises(errors.APIError) as caught:
                await streamed(kit)
        for error in (caught.value, await asyncio.to_thread(talk)):
            assert (error.code, error.status) == (code, status)


async def test_an_error_in_the_middle_of_a_stream_is_raised_after_some_of_its_words() -> None:
    heard: list[Any] = []

    async def listen(kit: Any) -> None:
        async for each in await kit.models.generate_content_stream(model=MODEL, contents=ASKED):
            heard.append(each)  # noqa: PERF401  what came before the error is looked at

    async with Emulator(faulty(FaultKind.STREAM_ERROR)) as emulator, client(emulator).aio as kit:
        with pytest.raises(errors.ServerError) as caught:
            await listen(kit)
    assert "".join(texts(heard))
    assert caught.value.code == 503


@pytest.mark.parametrize("kind", [FaultKind.STREAM_SPLIT, FaultKind.STREAM_NO_INDEX, FaultKind.STREAM_USAGE_TAIL])
async def test_odd_streams_are_read(kind: FaultKind) -> None:
    async with Emulator() as plain, Emulator(faulty(kind)) as odd, client(plain).aio as kit, client(odd).aio as other:
        one, another = await streamed(kit), await streamed(other)
    assert "".join(texts(one)) == "".join(texts(another))
    assert another[-1].usage_metadata == one[-1].usage_metadata


async def test_a_stream_that_ends_early_is_no_error_to_it() -> None:
    """Which is why batcher looks for the end itself (`gemini/reply.py`)."""
    async with Emulator(faulty(FaultKind.STREAM_CUT)) as emulator, client(emulator).aio as kit:
        chunks = await streamed(kit)
    assert "".join(texts(chunks))
    assert not any(each.finish_reason for chunk in chunks for each in chunk.candidates or [])


async def test_lines_are_read_by_it_too() -> None:
    async with Emulator(Settings(streams=Form.NDJSON)) as emulator, client(emulator).aio as kit:
        assert (
            "".join(texts(await streamed(kit))) == (await kit.models.generate_content(model=MODEL, contents=ASKED)).text
        )
