from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from batcher.asking.transport import Door, Target
from batcher.job.spec import Auth, Stream, Timeouts
from batcher.records import NoReply, NoReplyKind, Reply
from tests.asking.servers import Handler, Heard, raw_server, read_request, reply, reset, sending, silence, until
from tests.builders import a_request

KEY = "AIzaCanaryCanaryCanaryCanaryCanaryCanar"
REQUEST = a_request()
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextlib.asynccontextmanager
async def a_door(where: Heard | str, **settings: Any) -> AsyncIterator[Door]:
    url = where if isinstance(where, str) else where.url
    target = {name: settings.pop(name) for name in ("auth", "verbless", "key", "stream") if name in settings}
    whom = Target(
        **(
            {"base_url": url, "api_version": "v1beta", "verbless": False, "auth": Auth.X_GOOG_API_KEY, "key": KEY}
            | target
        )
    )
    timeouts = Timeouts(**({"connect_s": 1, "first_byte_s": 5, "body_s": 5, "total_s": 5} | settings))
    async with Door(whom, timeouts, connections=4) as door:
        yield door


async def exchange(*answers: bytes | Handler | None, **settings: Any) -> Reply | NoReply:
    """One request to a server that answers like that."""
    async with raw_server(*answers) as server, a_door(server, **settings) as door:
        return await door.post(REQUEST)


def failure(outcome: Reply | NoReply) -> tuple[NoReplyKind, bool, bool]:
    assert isinstance(outcome, NoReply), outcome
    assert KEY not in repr(outcome)
    return outcome.kind, outcome.sent, outcome.first_byte


# --- what is sent


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [(Auth.X_GOOG_API_KEY, "x-goog-api-key", KEY), (Auth.BEARER, "Authorization", f"Bearer {KEY}")],
)
async def test_the_key_travels_as_the_header_asked_for(auth, header, value):
    async with raw_server(reply()) as server, a_door(server, auth=auth) as door:
        await door.post(REQUEST)

        head, body = server.requests[0].split(b"\r\n\r\n", 1)
        names = [line.split(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:]]
        assert server.header(header) == [value]
        assert server.header("Content-Type") == ["application/json"]
        assert sorted(names) == sorted(["host", "content-type", "content-length", "accept-encoding", header.lower()])
        assert body == REQUEST.body
        assert head.count(KEY.encode()) == 1


@pytest.mark.parametrize(
    ("verbless", "line"),
    [
        (False, b"POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1"),
        (True, b"POST /v1beta/models/gemini-2.5-flash HTTP/1.1"),
    ],
)
async def test_the_model_is_in_the_path_as_the_endpoint_wants_it(verbless, line):
    async with raw_server(reply()) as server, a_door(server, verbless=verbless) as door:
        await door.post(REQUEST)

        assert server.requests[0].split(b"\r\n")[0] == line


async def test_each_request_goes_to_its_own_model_under_the_prefix():
    async with raw_server(reply()) as server, a_door(f"{server.url}/proxy") as door:
        await door.post(REQUEST)
        await door.post(a_request(model="tunedModels/mine"))

        assert [request.split(b" ")[1] for request in server.requests] == [
            b"/proxy/v1beta/models/gemini-2.5-flash:generateContent",
            b"/proxy/v1beta/tunedModels/mine:generateContent",
        ]


async def test_no_cookie_is_kept():
    async with raw_server(reply(b"{}", "Set-Cookie: a=b; Path=/")) as server, a_door(server) as door:
        await door.post(REQUEST)
        await door.post(REQUEST)

        assert server.header("Cookie") == []
        assert server.connections == 1


async def test_another_key_is_sent_from_then_on():
    async with raw_server(reply()) as server, a_door(server) as door:
        assert not door.use_key(KEY)
        assert door.use_key("another-secret-key")
        await door.post(REQUEST)

        assert server.header("x-goog-api-key") == ["another-secret-key"]
        assert not door.use_key("another-secret-key")


# --- what comes back


async def test_a_reply_comes_back_whole():
    outcome = await exchange(reply(b'{"a": 1}', "X-Gemini-Service-Tier: flex", status="503 Busy"))

    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body) == (503, b'{"a": 1}')
    assert outcome.headers.get("x-gemini-service-tier") == "flex"
    assert 0 < outcome.first_byte_ms <= outcome.latency_ms


async def test_a_compressed_reply_is_read():
    body = b'{"text": "' + b"a" * 10_000 + b'"}'
    outcome = await exchange(reply(gzip.compress(body), "Content-Encoding: gzip"))

    assert isinstance(outcome, Reply)
    assert outcome.body == body


async def test_a_chunked_reply_is_read():
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=stream())

    async def stream() -> AsyncIterator[bytes]:
        for piece in (b'{"a"', b": ", b"1}"):
            yield piece

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with a_door(f"http://127.0.0.1:{port}") as door:
            outcome = await door.post(REQUEST)
    finally:
        await runner.cleanup()
    assert isinstance(outcome, Reply)
    assert outcome.body == b'{"a": 1}'


async def test_a_big_reply_comes_back_whole():
    body = bytes(range(256)) * 8_000
    outcome = await exchange(reply(body))

    assert isinstance(outcome, Reply)
    assert outcome.body == body


async def test_a_reply_without_a_length_ends_with_its_connection_and_may_be_cut():
    """Nobody can see that here; whoever reads the JSON will."""
    outcome = await exchange(sending(HEAD + b"\r\n", b'{"candidates": [{"con'))

    assert isinstance(outcome, Reply)
    assert outcome.body == b'{"candidates": [{"con'


async def test_the_key_in_an_echoed_header_dump_is_not_kept():
    outcome = await exchange(reply(b'{"error": "you sent %s, %s"}' % (KEY.encode(), KEY.encode())))

    assert isinstance(outcome, Reply)
    assert outcome.body == b'{"error": "you sent [secret], [secret]"}'


async def test_after_a_new_key_it_is_the_new_one_that_is_not_kept():
    async with raw_server(reply(b"another-secret-key")) as server, a_door(server) as door:
        door.use_key("another-secret-key")
        outcome = await door.post(REQUEST)

    assert isinstance(outcome, Reply)
    assert outcome.body == b"[secret]"


# --- streams


@pytest.mark.parametrize(
    ("stream", "line"),
    [
        (Stream.SSE, b"POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1"),
        (Stream.JSON, b"POST /v1beta/models/gemini-2.5-flash:streamGenerateContent HTTP/1.1"),
    ],
)
async def test_a_stream_is_asked_for_by_its_path(stream, line):
    async with raw_server(reply()) as server, a_door(server, stream=stream) as door:
        await door.post(REQUEST)

        assert server.requests[0].split(b"\r\n")[0] == line


STREAM = "".join(f'data: {{"candidates": [{{"content": {{"parts": [{{"text": "é{n}"}}]}}}}]}}\r\n\r\n' for n in "abc")
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def framed(*pieces: bytes) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


@pytest.mark.parametrize("every", [1, 7, 50, 10_000])
async def test_a_stream_is_the_same_however_it_is_cut_on_the_way(every):
    body = STREAM.encode()
    writes = b"".join([CHUNKED, *framed(*(body[at : at + every] for at in range(0, len(body), every))), END])

    for size in (every + 3, len(writes)):
        cut = [writes[at : at + size] for at in range(0, len(writes), size)]
        outcome = await exchange(sending(*cut), stream=Stream.SSE)
        assert isinstance(outcome, Reply)
        assert outcome.body == body


async def timed(stream: Stream, **settings: Any) -> tuple[Reply, list[float], list[float]]:
    """A head and then three words: the reply, how long ago each was sent, and the deadline that each had to meet."""
    sent_at, due_s, now = [], [], asyncio.get_running_loop().time

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (CHUNKED, *framed(b"one", b"two", b"six"), END):
            sent_at.append(now())
            writer.write(piece)
            await asyncio.sleep(0.005)
            for _ in range(20):  # the client is on the same loop: now it has seen the piece
                await asyncio.sleep(0)
            door._look(now())  # as it does every quarter of a second
            due_s.extend(flight.due_s for flight in door._flights.values())

    async with raw_server(talk) as server, a_door(server, stream=stream, **settings) as door:
        outcome = await door.post(REQUEST)
    assert isinstance(outcome, Reply)
    return outcome, [1000 * (now() - at) for at in sent_at], due_s


async def test_the_first_byte_of_a_stream_is_that_of_its_first_word_and_not_of_its_head():
    streamed, ago_ms, _ = await timed(Stream.SSE)
    assert streamed.latency_ms - streamed.first_byte_ms <= ago_ms[1]

    whole, ago_ms, _ = await timed(Stream.OFF)
    assert whole.latency_ms - whole.first_byte_ms >= ago_ms[1] - ago_ms[-1]


async def test_a_stream_has_time_until_its_first_word_and_then_for_each_silence():
    _, _, due_s = await timed(Stream.SSE, first_byte_s=5, body_s=1, total_s=60)
    assert due_s[0] > due_s[3] > due_s[2] > due_s[1]

    _, _, due_s = await timed(Stream.OFF, first_byte_s=5, body_s=1, total_s=60)
    assert len(set(due_s)) == 1


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        (silence(HEAD + b"\r\n"), {"first_byte_s": 0.05}),
        (silence(HEAD + b"\r\nword"), {"body_s": 0.05}),
        (sending(HEAD + b"\r\n", *[b"x"] * 100, every_s=0.005), {"total_s": 0.05}),
    ],
    ids=["no word", "no other word", "no end"],
)
async def test_a_stream_that_stalls_is_ended(server, settings):
    outcome = await exchange(server, stream=Stream.JSON, **settings)

    assert failure(outcome) == (NoReplyKind.BODY_DEADLINE, True, True)


@pytest.mark.parametrize("size", [1001, 200_000])
async def test_a_stream_is_bounded_too(size):
    outcome = await exchange(sending(CHUNKED, *framed(b"x" * size), END), stream=Stream.SSE, max_body_bytes=1000)

    assert failure(outcome) == (NoReplyKind.TOO_LARGE, True, True)


@pytest.mark.parametrize("pieces", [3, 40])
async def test_a_stream_that_outgrows_its_buffer_is_read_on(pieces):
    """Its end is all that wakes the task, until so much has come that aiohttp would stop reading."""
    body = b"".join(b"%d" % (n % 10) * 10_000 for n in range(pieces))
    sent = sending(
        CHUNKED, *framed(*(body[at : at + 10_000] for at in range(0, len(body), 10_000))), END, every_s=0.001
    )
    outcome = await exchange(sent, stream=Stream.SSE, body_s=0.4)  # looked after every 0.1 s

    assert isinstance(outcome, Reply)
    assert outcome.body == body


async def test_a_stream_that_waits_for_its_end_may_be_cancelled():
    async with raw_server(silence(CHUNKED + framed(b"word")[0])) as server, a_door(server, stream=Stream.SSE) as door:
        asking = asyncio.create_task(door.post(REQUEST))
        await until(lambda: any(flight.rest for flight in door._flights.values()))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_stream_whose_connection_is_cut_is_no_reply():
    outcome = await exchange(sending(CHUNKED, *framed(b"data: {}\n\n")), stream=Stream.SSE)

    assert failure(outcome) == (NoReplyKind.CUT, True, True)


# --- bounded


@pytest.mark.parametrize("size", [1001, 5000, 200_000])
async def test_more_bytes_than_we_accept_are_not_kept(size):
    outcome = await exchange(reply(b"x" * size), max_body_bytes=1000)

    assert failure(outcome) == (NoReplyKind.TOO_LARGE, True, True)


async def test_exactly_as_many_bytes_as_we_accept_are_fine():
    outcome = await exchange(reply(b"x" * 1000), max_body_bytes=1000)

    assert isinstance(outcome, Reply)
    assert len(outcome.body) == 1000


@pytest.mark.parametrize("size", [20_000, 20_000_000])
async def test_it_is_the_decompressed_bytes_that_are_counted(size):
    bomb = gzip.compress(b"\x00" * size)
    outcome = await exchange(reply(bomb, "Content-Encoding: gzip"), max_body_bytes=10_000)

    assert failure(outcome) == (NoReplyKind.TOO_LARGE, True, True)


async def test_an_endless_reply_is_cut_off():
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    assert failure(await exchange(endless, max_body_bytes=50_000)) == (NoReplyKind.TOO_LARGE, True, True)


async def test_the_door_stays_good_after_a_reply_that_was_cut_off():
    async with raw_server(reply(b"x" * 5000), reply()) as server, a_door(server, max_body_bytes=1000) as door:
        first, second = await door.post(REQUEST), await door.post(REQUEST)

    assert failure(first)[0] is NoReplyKind.TOO_LARGE
    assert isinstance(second, Reply)


@pytest.mark.parametrize("stream", [Stream.OFF, Stream.SSE])
async def test_a_big_reply_keeps_its_place_until_it_is_forgotten(stream):
    async with raw_server(reply(b"x" * 2_000_000), reply()) as server, a_door(server, stream=stream) as door:
        free = door._room._free
        assert isinstance(await door.post(REQUEST), Reply)
        assert door._room._free < free
        door.forget()
        assert (door._room._free, door._places) == (free, {})

        assert isinstance(await door.post(REQUEST), Reply)  # a small one takes none
        assert (door._room._free, door._places) == (free, {})


async def test_a_big_reply_that_is_cut_off_leaves_its_place():
    async with raw_server(reply(b"x" * 2_000_000)) as server, a_door(server, max_body_bytes=1_000_000) as door:
        free = door._room._free
        assert failure(await door.post(REQUEST)) == (NoReplyKind.TOO_LARGE, True, True)
        assert (door._room._free, door._places) == (free, {})


async def test_who_waits_for_room_is_not_late_by_the_deadline_of_the_body():
    async with (
        raw_server(reply(b"x" * 2_000_000)) as server,
        a_door(server, max_body_bytes=48 << 20, total_s=100) as door,  # nothing in common: one at a time
    ):
        assert isinstance(await door.post(REQUEST), Reply)
        second = asyncio.create_task(door.post(REQUEST))
        while not (second.done() or door._room._waiting):  # noqa: ASYNC110  the state itself is waited for
            await asyncio.sleep(0.001)
        (flight,) = door._flights.values()
        assert flight.due_s > asyncio.get_running_loop().time() + 50  # that of the whole exchange
        door.forget()
        assert isinstance(await second, Reply)


# --- redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_a_reply_and_the_other_host_never_hears_of_us(status):
    async with raw_server(reply()) as other:
        outcome = await exchange(reply(b"", f"Location: {other.url}/v1beta", status=status))

        assert other.connections == 0
    assert isinstance(outcome, Reply)
    assert outcome.status == int(status[:3])
    assert outcome.headers["location"] == f"{other.url}/v1beta"


# --- never sent


def a_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def test_nobody_listens():
    async with a_door(f"http://127.0.0.1:{a_free_port()}") as door:
        outcome = await door.post(REQUEST)

    assert failure(outcome) == (NoReplyKind.REFUSED, False, False)


async def test_the_name_is_unknown():
    async with a_door("http://nowhere.invalid") as door:
        outcome = await door.post(REQUEST)

    assert isinstance(outcome, NoReply)
    assert (outcome.kind, outcome.sent, outcome.first_byte) == (NoReplyKind.DNS, False, False)


async def test_nobody_picks_up():
    """A full backlog: the kernel lets the handshake hang."""
    with socket.socket() as listener, contextlib.ExitStack() as callers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            caller = callers.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex(listener.getsockname())
        await asyncio.sleep(0.02)
        async with a_door(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_s=0.05) as door:
            outcome = await door.post(REQUEST)

    assert failure(outcome) == (NoReplyKind.CONNECT_TIMEOUT, False, False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate that nobody has signed but itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the server's side of a refused handshake
async def test_a_certificate_that_nobody_signed(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    async with raw_server(reply(), tls=context) as server, a_door(f"https://127.0.0.1:{server.port}") as door:
        outcome = await door.post(REQUEST)

        assert server.requests == []
    assert failure(outcome) == (NoReplyKind.TLS_CERTIFICATE, False, False)


async def test_a_server_that_does_not_speak_tls():
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, a_door(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as door:
        outcome = await door.post(REQUEST)
    assert failure(outcome) == (NoReplyKind.TLS_HANDSHAKE, False, False)


# --- sent, and then


@pytest.mark.parametrize("goodbye", [None, reset], ids=["closed", "reset"])
async def test_a_fresh_connection_that_dies_may_have_been_heard(goodbye):
    assert failure(await exchange(goodbye)) == (NoReplyKind.DISCONNECTED, True, False)


@pytest.mark.parametrize("goodbye", [None, reset], ids=["closed", "reset"])
async def test_a_reused_connection_that_dies_was_stale(goodbye):
    async with raw_server(reply(), goodbye, reply()) as server, a_door(server) as door:
        first, second, third = [await door.post(REQUEST) for _ in range(3)]

        assert server.connections == 2
    assert isinstance(first, Reply)
    assert failure(second) == (NoReplyKind.STALE, True, False)
    assert isinstance(third, Reply)


async def test_which_connection_was_fresh_is_not_mixed_up_between_tasks():
    """Two at once: one reuses the idle connection, the other opens a new one; both die."""
    async with raw_server(reply(), None) as server, a_door(server) as door:
        await asyncio.create_task(door.post(REQUEST))
        outcomes = await asyncio.gather(door.post(REQUEST), door.post(REQUEST))

    kinds = sorted(failure(outcome)[0] for outcome in outcomes)
    assert kinds == [NoReplyKind.DISCONNECTED, NoReplyKind.STALE]


async def test_a_task_that_opened_a_connection_before_may_meet_a_stale_one_later():
    async with raw_server(reply(), reply(), None) as server, a_door(server) as door:
        outcomes = [await door.post(REQUEST) for _ in range(3)]

    assert failure(outcomes[-1])[0] is NoReplyKind.STALE


async def test_nothing_is_said():
    outcome = await exchange(silence(), first_byte_s=0.05)

    assert failure(outcome) == (NoReplyKind.READ_TIMEOUT, True, False)


async def test_half_a_head_is_no_reply_yet():
    assert failure(await exchange(silence(HEAD), first_byte_s=0.05)) == (NoReplyKind.READ_TIMEOUT, True, False)


async def test_a_head_and_then_nothing():
    outcome = await exchange(silence(HEAD + b"Content-Length: 10\r\n\r\n"), body_s=0.05)

    assert failure(outcome) == (NoReplyKind.BODY_DEADLINE, True, True)


async def test_a_body_that_trickles():
    drops = [HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 100]

    assert failure(await exchange(sending(*drops, every_s=0.005), body_s=0.05))[0] is NoReplyKind.BODY_DEADLINE


async def test_the_whole_exchange_has_a_deadline_too():
    outcome = await exchange(silence(HEAD + b"Content-Length: 10\r\n\r\n"), total_s=0.05)

    assert failure(outcome) == (NoReplyKind.BODY_DEADLINE, True, True)


async def test_only_the_late_ones_are_ended():
    async def later(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(reply())

    async with raw_server(silence(), silence(), later) as server, a_door(server, first_byte_s=0.4) as door:
        outcomes = await asyncio.gather(*(door.post(REQUEST) for _ in range(4)))

    kinds = [outcome.kind if isinstance(outcome, NoReply) else None for outcome in outcomes]
    assert sorted(kinds, key=str) == [None, None, NoReplyKind.READ_TIMEOUT, NoReplyKind.READ_TIMEOUT]


async def test_a_task_whose_request_was_late_goes_on_undisturbed():
    """Ending an exchange must not end the one who asked."""
    async with raw_server(silence(), reply()) as server, a_door(server, first_byte_s=0.05) as door:

        async def ask_twice() -> list[Reply | NoReply]:
            first = await door.post(REQUEST)
            await asyncio.sleep(0.03)
            return [first, await door.post(REQUEST)]

        asking = asyncio.create_task(ask_twice())
        first, second = await asking

    assert failure(first)[0] is NoReplyKind.READ_TIMEOUT
    assert isinstance(second, Reply)
    assert asking.cancelling() == 0


@pytest.mark.parametrize("after_s", [0.0, 0.04, 0.05, 0.06])
async def test_a_cancellation_from_outside_is_never_taken_for_lateness(after_s):
    async with raw_server(silence()) as server, a_door(server, first_byte_s=0.05) as door:
        asking = asyncio.create_task(door.post(REQUEST))
        await asyncio.sleep(after_s)
        still_asking = asking.cancel()
        await asyncio.wait([asking])

        assert asking.cancelled() is still_asking


async def test_a_door_that_closes_leaves_nothing_running():
    before = asyncio.all_tasks()
    async with raw_server(reply()) as server, a_door(server) as door:
        await door.post(REQUEST)
    await asyncio.sleep(0.01)

    assert asyncio.all_tasks() <= before


async def test_the_failure_says_how_long_it_took():
    outcome = await exchange(silence(), first_byte_s=0.05)

    assert outcome.latency_ms >= 50


@pytest.mark.parametrize(
    "cut",
    [
        HEAD + b'Content-Length: 100\r\n\r\n{"candidates"',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a"',
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot gzip....",
    ],
    ids=["length", "inside a chunk", "between chunks", "gzip"],
)
async def test_a_body_that_ends_early_or_is_damaged(cut):
    assert failure(await exchange(sending(cut))) == (NoReplyKind.CUT, True, True)


async def test_a_body_that_is_reset_halfway():
    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    assert failure(await exchange(drop)) == (NoReplyKind.CUT, True, True)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        HEAD + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["another protocol", "no status", "long header", "two lengths"],
)
async def test_what_is_not_http(garbage):
    assert failure(await exchange(sending(garbage)))[:2] == (NoReplyKind.BAD_HTTP, True)


# --- nothing tells the key


def test_a_target_does_not_show_its_key():
    target = Target(base_url="https://a", api_version="v1", verbless=False, auth=Auth.BEARER, key=KEY)

    assert repr(target) == "Target('https://a')"
    assert KEY not in f"{target!s}"


async def test_a_door_does_not_show_its_key():
    async with a_door("http://127.0.0.1:1") as door:
        assert KEY not in repr(door)


async def test_a_cancelled_request_tells_nothing_and_leaves_the_door_good():
    async with raw_server(silence(), reply()) as server, a_door(server) as door:
        asking = asyncio.create_task(door.post(REQUEST))
        await until(lambda: server.requests)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await asking

        assert KEY not in "".join(traceback.format_exception(cancelled.value))
        assert isinstance(await door.post(REQUEST), Reply)


async def test_many_at_once_share_the_connections():
    async with raw_server(reply()) as server, a_door(server) as door:
        outcomes = await asyncio.gather(*(door.post(REQUEST) for _ in range(40)))

        assert server.connections <= 4
        assert len(server.requests) == 40
    assert all(isinstance(outcome, Reply) for outcome in outcomes)


async def test_a_server_reads_what_was_sent_before_it_answers():
    """The helper that the tests above stand on."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcdef")
    reader.feed_eof()

    assert await read_request(reader) == b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
