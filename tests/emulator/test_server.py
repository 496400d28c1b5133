from __future__ import annotations

import asyncio
import http.client
import io
import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator, serve
from batcher.emulator.settings import Latency, Settings
from batcher.emulator.streams import Form
from batcher.errors import UserError
from tests.emulator.builders import GENERATE, KEY, STREAM, nested


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def scripted(**kinds: FaultKind) -> Settings:
    """A prompt with that word meets that fault."""
    return Settings(
        faults=Faults(script=tuple(Rule(fault=Fault(kind=kind), contains=word) for word, kind in kinds.items()))
    )


async def post(
    session: aiohttp.ClientSession, emulator: Emulator, text: str = "hello", **options: Any
) -> tuple[int, bytes]:
    async with session.post(emulator.url + GENERATE, json=nested(text), headers=KEY, **options) as reply:
        return reply.status, await reply.read()


async def test_it_answers_over_http_and_remembers(session: aiohttp.ClientSession) -> None:
    async with Emulator() as emulator:
        status, body = await post(session, emulator, "What is 6 * 7?")
        assert status == 200
        assert orjson.loads(body)["candidates"][0]["content"]["parts"] == [{"text": "42"}]
        assert [each.prompt_text for each in emulator.journal] == ["What is 6 * 7?"]
        assert emulator.totals().by_status == {"200": 1}
    assert not emulator.url


async def test_the_tier_is_in_its_header(session: aiohttp.ClientSession) -> None:
    async with (
        Emulator() as emulator,
        session.post(emulator.url + GENERATE, json=nested(serviceTier="flex"), headers=KEY) as reply,
    ):
        assert reply.headers["x-gemini-service-tier"] == "flex"
        assert reply.content_type == "application/json"


async def test_many_at_once_are_all_counted(session: aiohttp.ClientSession) -> None:
    async with Emulator() as emulator:
        replies = await asyncio.gather(*(post(session, emulator, f"whale {n}") for n in range(200)))
        assert {status for status, _ in replies} == {200}
        usages = [orjson.loads(body)["usageMetadata"] for _, body in replies]
        totals = emulator.totals()
        assert totals.requests == totals.answered == 200
        assert totals.input_tokens == sum(each["promptTokenCount"] for each in usages)
        assert totals.output_tokens == sum(
            each["candidatesTokenCount"] + each.get("thoughtsTokenCount", 0) for each in usages
        )
        assert {each.prompt_text for each in emulator.journal} == {f"whale {n}" for n in range(200)}


async def test_a_quota_holds_over_http(session: aiohttp.ClientSession) -> None:
    async with Emulator(Settings(quotas=(Quota(requests_per_minute=5),))) as emulator:
        replies = await asyncio.gather(*(post(session, emulator, str(n)) for n in range(20)))
        assert sorted(status for status, _ in replies) == [200] * 5 + [429] * 15
        assert emulator.totals().by_fault == {"quota": 15}


async def test_a_dropped_connection_sends_no_byte(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(paid=FaultKind.DROP_PAID, drop=FaultKind.DROP)) as emulator:
        for word, billed in (("drop", 0), ("paid", 1)):
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await post(session, emulator, word)
            assert emulator.totals().answered == billed
        assert emulator.totals().by_status == {"none": 2}


async def test_a_cut_body_is_shorter_than_it_said(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(cut=FaultKind.CUT)) as emulator:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(session, emulator, "cut")
        assert emulator.totals().answered == 1


async def test_a_clean_cut_is_half_a_json_and_looks_whole(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(cut=FaultKind.CUT_CLEAN)) as emulator:
        status, body = await post(session, emulator, "cut")
        assert status == 200
        assert body.startswith(b'{"candidates"')
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(body)
        assert emulator.totals().answered == 1


async def raw(emulator: Emulator, text: str) -> tuple[bytes, bytes]:
    """One exchange, byte for byte, until the emulator closes; head and what follows."""
    reader, writer = await asyncio.open_connection(*emulator.url.removeprefix("http://").split(":"))
    body = json.dumps(nested(text)).encode()
    writer.write(
        f"POST {GENERATE} HTTP/1.1\r\nHost: x\r\nx-goog-api-key: k\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.lower(), rest


async def test_a_length_that_is_too_short_and_one_too_many() -> None:
    async with Emulator(scripted(short=FaultKind.LENGTH_SHORT, two=FaultKind.TWO_LENGTHS)) as emulator:
        head, body = await raw(emulator, "short")
        assert b"content-length: %d" % (len(body) // 2) in head
        assert orjson.loads(body)["candidates"]
        head, body = await raw(emulator, "two")
        assert b"content-length: " in head
        assert b"transfer-encoding: chunked" in head
        assert body.endswith(b"\r\n0\r\n\r\n")
        assert emulator.totals().answered == 2


async def test_silence_is_a_head_and_nothing_more_until_the_client_goes(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(hush=FaultKind.SILENCE)) as emulator:
        async with session.post(emulator.url + GENERATE, json=nested("hush"), headers=KEY) as reply:
            assert reply.status == 200
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reply.content.read(1), 0.05)
            reply.close()
        assert (await post(session, emulator))[0] == 200


async def test_an_endless_reply_goes_on_until_the_client_goes(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(more=FaultKind.ENDLESS)) as emulator:
        async with session.post(emulator.url + GENERATE, json=nested("more"), headers=KEY) as reply:
            seen = 0
            while seen < 3_000_000:
                seen += len(await reply.content.readany())
            reply.close()
        assert (await post(session, emulator))[0] == 200


async def test_a_trickle_sleeps_between_two_bytes(session: aiohttp.ClientSession) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Emulator(scripted(drip=FaultKind.TRICKLE), sleep=sleep) as emulator:
        _, body = await post(session, emulator, "drip")
    assert slept == [1.0] * (len(body) - 1)
    assert orjson.loads(body)["candidates"]


async def test_a_bomb_is_unpacked_by_whoever_reads_it(session: aiohttp.ClientSession) -> None:
    bomb = Rule(fault=Fault(kind=FaultKind.GZIP_BOMB, size_mb=3))
    async with Emulator(Settings(faults=Faults(script=(bomb,)))) as emulator:
        _, body = await post(session, emulator)
    assert len(body) == pytest.approx(3e6, rel=0.02)


async def test_a_stale_connection_answers_once_and_is_gone_when_it_is_used_again() -> None:
    async with Emulator(scripted(stale=FaultKind.STALE)) as emulator, aiohttp.ClientSession() as session:
        assert (await post(session, emulator, "stale"))[0] == 200
        with pytest.raises((aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError)):
            await post(session, emulator, "next", allow_redirects=False)
        assert (await post(session, emulator, "after"))[0] == 200
        assert [each.prompt_text for each in emulator.journal] == ["stale", "after"]


@pytest.mark.parametrize("kind", [FaultKind.LONG_HEADER, FaultKind.MANY_HEADERS])
async def test_a_flood_of_headers_is_too_much_for_a_usual_client(
    session: aiohttp.ClientSession, kind: FaultKind
) -> None:
    async with Emulator(scripted(flood=kind)) as emulator:
        with pytest.raises(aiohttp.ClientResponseError):
            await post(session, emulator, "flood")


async def test_a_redirect_points_elsewhere(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(moved=FaultKind.REDIRECT_POST)) as emulator:
        there = session.post(emulator.url + GENERATE, json=nested("moved"), headers=KEY, allow_redirects=False)
        async with there as reply:
            assert (reply.status, reply.headers["location"]) == (307, "https://elsewhere.invalid/v1beta")


def streaming(**kinds: FaultKind) -> Settings:
    return replace(scripted(**kinds), streams=Form.NDJSON)


async def test_a_stream_is_written_piece_by_piece_and_the_next_one_too(session: aiohttp.ClientSession) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Emulator(Settings(latency=Latency.fixed(30)), sleep=sleep) as emulator:
        for _ in range(2):
            async with session.post(emulator.url + STREAM + "?alt=sse", json=nested(), headers=KEY) as reply:
                pieces = [piece async for piece, ends in reply.content.iter_chunks() if ends]
                assert (reply.status, reply.content_type) == (200, "text/event-stream")
                assert reply.headers["x-gemini-service-tier"] == "standard"
            assert len(pieces) == len(slept) > 2
            assert all(piece.startswith(b"data: {") and piece.endswith(b"\r\n\r\n") for piece in pieces)
            assert sum(slept) == pytest.approx(30)
            slept.clear()


async def test_a_stream_is_cut_in_two_ways(session: aiohttp.ClientSession) -> None:
    async with Emulator(streaming(cut=FaultKind.CUT, clean=FaultKind.CUT_CLEAN)) as emulator:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.post(emulator.url + STREAM, json=nested("cut"), headers=KEY) as reply:
                await reply.read()
        async with session.post(emulator.url + STREAM, json=nested("clean"), headers=KEY) as reply:
            body = await reply.read()
        assert body.startswith(b'{"candidates"')
        assert b"finishReason" not in body or not body.endswith(b"\n")
        assert emulator.totals().answered == 2


async def test_a_client_that_leaves_a_stream_harms_nobody(session: aiohttp.ClientSession) -> None:
    async with Emulator(streaming(whale=FaultKind.STREAM_SPLIT)) as emulator:
        async with session.post(emulator.url + STREAM, json=nested("whale"), headers=KEY) as reply:
            await reply.content.readany()
            reply.close()
        assert (await post(session, emulator, "good"))[0] == 200


async def test_the_connection_is_usable_after_an_ordinary_refusal(session: aiohttp.ClientSession) -> None:
    async with Emulator(scripted(bad=FaultKind.INTERNAL, page=FaultKind.HTML)) as emulator:
        assert (await post(session, emulator, "bad"))[0] == 500
        status, body = await post(session, emulator, "page")
        assert (status, body[:9]) == (200, b"<!DOCTYPE")
        assert (await post(session, emulator, "good"))[0] == 200


async def test_latency_is_waited_for_by_the_sleep_it_was_given(session: aiohttp.ClientSession) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with Emulator(Settings(latency=Latency.fixed(30)), sleep=sleep) as emulator:
        assert (await post(session, emulator))[0] == 200
    assert slept == [30]


async def test_an_answer_is_billed_although_its_client_has_gone(session: aiohttp.ClientSession) -> None:
    computed = asyncio.Event()

    async def sleep(_: float) -> None:
        computed.set()
        await asyncio.sleep(0.05)

    async with Emulator(Settings(latency=Latency.fixed(30)), sleep=sleep) as emulator:
        asking = asyncio.create_task(post(session, emulator))
        await computed.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert emulator.totals().answered == 1
        assert emulator.totals().output_tokens > 0


async def test_the_day_of_a_quota_is_the_clocks_it_was_given(session: aiohttp.ClientSession) -> None:
    now_s = [1_750_000_000.0]
    async with Emulator(Settings(quotas=(Quota(requests_per_day=1),)), now_s=lambda: now_s[0]) as emulator:
        assert [(await post(session, emulator))[0] for _ in range(2)] == [200, 429]
        now_s[0] += 25 * 3600
        assert (await post(session, emulator))[0] == 200


async def test_a_large_body_is_read_and_a_too_large_one_refused(session: aiohttp.ClientSession) -> None:
    async with Emulator(Settings(max_body_bytes=3_000_000)) as emulator:
        for size, status in ((2_000_000, 200), (3_000_001, 400)):
            body = io.BytesIO(orjson.dumps(nested("x" * size)))
            async with session.post(emulator.url + GENERATE, data=body, headers=KEY) as reply:
                assert reply.status == status
                told = await reply.json()
        assert told["error"]["message"] == "Request payload size exceeds the limit: 3000000 bytes."


async def test_another_process_can_read_totals_and_journal(session: aiohttp.ClientSession) -> None:
    async with Emulator() as emulator:
        for n in range(3):
            await post(session, emulator, f"whale {n}")
        async with session.get(emulator.url + "/_emulator/totals") as reply:
            totals = await reply.json()
        assert (totals["requests"], totals["by_status"]) == (3, {"200": 3})
        async with session.get(emulator.url + "/_emulator/journal?after=1") as reply:
            lines = [json.loads(line) for line in (await reply.text()).splitlines()]
        assert [(each["number"], each["prompt_text"]) for each in lines] == [(2, "whale 1"), (3, "whale 2")]
        assert lines[0]["input_tokens"] == emulator.journal[1].input_tokens
        async with session.post(emulator.url + "/_emulator/reset") as reply:
            assert reply.status == 200
        assert emulator.totals().requests == 0
        async with session.get(emulator.url + "/_emulator/else") as reply:
            assert reply.status == 404


async def test_a_long_journal_is_told_whole(session: aiohttp.ClientSession) -> None:
    async with Emulator() as emulator:
        await post(session, emulator)
        for _ in range(2499):
            emulator.journal.add(emulator.journal[0], generates=True)
        async with session.get(emulator.url + "/_emulator/journal") as reply:
            assert len((await reply.text()).splitlines()) == 2500


async def test_a_taken_port_is_said_in_one_line() -> None:
    async with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with Emulator(port=port):
                pass


async def test_it_can_be_entered_again_and_begins_anew(session: aiohttp.ClientSession) -> None:
    emulator = Emulator()
    for _ in range(2):
        async with emulator:
            await post(session, emulator)
            assert emulator.totals().requests == 1


async def test_serving_goes_on_until_it_is_cancelled(session: aiohttp.ClientSession) -> None:
    ready: asyncio.Future[Emulator] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Settings(), on_ready=ready.set_result))
    emulator = await ready
    assert (await post(session, emulator))[0] == 200
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not emulator.url


def test_in_a_thread_it_serves_code_that_is_not_asynchronous() -> None:
    with Emulator().in_thread() as emulator:
        request = urllib.request.Request(emulator.url + GENERATE, data=orjson.dumps(nested("Echo: hi")), headers=KEY)
        with urllib.request.urlopen(request) as reply:
            assert b'"hi"' in reply.read()
        assert emulator.totals().requests == 1
    assert emulator.totals().requests == 1
    assert not emulator.url


def test_in_a_thread_a_taken_port_is_said_to_the_caller() -> None:
    with Emulator().in_thread() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(UserError, match="cannot listen"), Emulator(port=port).in_thread():
            pass


def test_a_connection_lives_for_many_requests() -> None:
    with Emulator().in_thread() as emulator:
        connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"))
        local = set()
        for n in range(5):
            connection.request(
                "POST", GENERATE, orjson.dumps(nested(str(n))), {**KEY, "content-type": "application/json"}
            )
            assert connection.getresponse().read()
            local.add(connection.sock.getsockname())
        connection.close()
        assert len(local) == 1
