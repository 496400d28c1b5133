"""The benchmark's own parts tell the truth: the server counts what it saw, the floor asks for every row once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import orjson
import pytest

from batcher.gemini.reply import read
from tests.bench import floor
from tests.bench.children import Endpoint, Weighed, forget, seen, serving
from tests.bench.fast_server import ANSWER_CHARS, STREAM_CHUNKS, Behaviour, Server
from tests.bench.gate import table
from tests.bench.planning import WAYS, measure
from tests.bench.resume import measured
from tests.bench.throughput import Bench, summary_of


@asynccontextmanager
async def listening(behaviour: Behaviour):
    server = Server(behaviour)
    accepting = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    async with accepting:
        yield server, f"http://127.0.0.1:{accepting.sockets[0].getsockname()[1]}"


def request_bytes(body: bytes) -> bytes:
    return b"POST /v1beta/models/m:generateContent HTTP/1.1\r\ncontent-LENGTH: %d\r\n\r\n%b" % (len(body), body)


async def replies(url: str, chunks: list[bytes], count: int) -> list[dict]:
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    for chunk in chunks:
        writer.write(chunk)
        await asyncio.sleep(0.005)
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
        found.append(orjson.loads(await reader.readexactly(length)))
    writer.close()
    await writer.wait_closed()
    return found


@pytest.mark.parametrize("cut", [1, 40, 75, 80])
async def test_requests_may_come_in_pieces_and_together(cut):
    whole = request_bytes(b'{"a": 1}') + request_bytes(b'{"a": 2}')

    async with listening(Behaviour()) as (server, url):
        found = await replies(url, [whole[:cut], whole[cut:]], 2)

    assert [len(body["candidates"]) for body in found] == [1, 1]
    assert (server.stats.requests, len(server.stats.bodies), server.stats.in_flight) == (2, 2, 0)


async def test_an_answer_has_the_size_and_the_counts_it_should():
    async with listening(Behaviour()) as (_, url):
        (body,) = await replies(url, [request_bytes(b"{}")], 1)
    usage = body["usageMetadata"]

    assert ANSWER_CHARS <= len(body["candidates"][0]["content"]["parts"][0]["text"]) < ANSWER_CHARS + 20
    assert usage["totalTokenCount"] == sum(
        usage[name] for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )


async def test_a_stream_says_what_the_reply_says_each_bit_in_a_write_of_its_own():
    server = Server(Behaviour())
    (whole,), stream = server._replies[0], server._streams[0]
    frames = b"".join(stream).partition(b"\r\n\r\n")[2]
    events = []
    while (size := int(frames.partition(b"\r\n")[0], 16)) > 0:
        frames = frames.partition(b"\r\n")[2]
        events.append(frames[:size])
        frames = frames[size + 2 :]

    assert frames == b"0\r\n\r\n"
    assert len(events) == len(stream) == STREAM_CHUNKS
    assert read(b"".join(events), streamed=True) == read(whole.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "statuses", "counted"),
    [
        (Behaviour(), {"200": 40}, {"answered": 40, "distinct_answered": 40}),
        (Behaviour(p429=1), {"429": 40}, {"throttled": 40, "answered": 0}),
        (Behaviour(p503=1), {"503": 40}, {"overloaded": 40, "answered": 0}),
        (Behaviour(pdrop=1), {"0": 40}, {"answered": 0, "distinct_answered": 0}),
        (Behaviour(latency_s=0.01), {"200": 40}, {"answered": 40, "in_flight_max": 8, "in_flight": 0}),
    ],
)
async def test_the_floor_asks_once_for_every_row_and_the_server_counts_it(behaviour, statuses, counted, as_stream):
    rows = b"\n".join(orjson.dumps({"prompt": f"row {n}"}) for n in range(40))

    async with listening(behaviour) as (server, url):
        figures = await floor.run(rows, base_url=url, model="m", concurrency=8, as_stream=as_stream)
        counts = orjson.loads(server.stats.seen())

    assert (figures["requests"], figures["statuses"]) == (40, statuses)
    assert counts["distinct"] == 40
    assert counts | counted == counts


@pytest.mark.parametrize("tls", [False, True])
def test_a_measured_process_is_weighed_and_the_server_ends_with_its_block(tls, tmp_path):
    bench = Bench(tmp_path, as_stream=tls)

    with serving(tls=tls, latency_ms=1) as endpoint:
        done, rows_per_s = bench.floor(bench.rows(30), endpoint, 4)
        assert seen(endpoint)["distinct_answered"] == 30
        forget(endpoint)
        assert seen(endpoint)["requests"] == 0

    assert rows_per_s > 0
    assert done.cpu_s > 0
    assert done.rss_mb > 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(endpoint.base_url.rpartition(":")[2])))


def test_batcher_takes_the_certificate_that_the_environment_names_and_no_other(tmp_path):
    bench = Bench(tmp_path, as_stream=True)

    with serving(tls=True) as endpoint:
        _, rows_per_s = bench.ours(bench.rows(3), endpoint, 2)
        with pytest.raises(AssertionError, match="exit 5"):
            bench.ours(bench.rows(3), Endpoint(base_url=endpoint.base_url), 2)
        assert seen(endpoint)["answered"] == 3

    assert rows_per_s > 0
    assert b"certificate" in (tmp_path / "summary-2.json").read_bytes()


def test_what_fails_is_not_measured(tmp_path):
    with pytest.raises(AssertionError, match="exit 1"):
        Bench(tmp_path).floor(tmp_path / "missing.jsonl", Endpoint(base_url="http://127.0.0.1:1"), 1)

    assert b"FileNotFoundError" in (tmp_path / "floor.log").read_bytes()


@pytest.mark.parametrize("printed", [b'{"rows_per_s": 7.0}', b'{"summary": {"rows_per_s": 7.0}}'])
def test_a_summary_is_found_bare_or_inside_a_document(printed):
    done = Weighed(wall_s=1, cpu_s=1, rss_mb=1, code=0, stdout=printed)

    assert summary_of(done) == {"rows_per_s": 7.0}


@pytest.mark.parametrize("way", WAYS)
def test_the_cost_of_planning_is_taken_of_every_row_of_every_kind(way, tmp_path):
    found = measure(way, 300, tmp_path)

    assert (found["way"], found["rows"]) == (way, 300)
    assert found["progress_calls"] > 0
    assert found["together_us"] > 0


def test_a_permit_is_weighed_with_every_number_of_quotas_and_of_those_in_line():
    lines = table(30, (0, 3))

    assert [line.split()[0] for line in lines] == ["in", "0", "1", "2", "3"]
    assert all(line.count("x)") == 2 for line in lines[1:])


def test_a_run_of_which_most_is_sealed_goes_on_after_its_last_part():
    """The input's sealed rows are a hole: a resume that read them would find another file."""
    (figures,) = measured(rows=400, blocks=40, times=1)
    assert (figures["rows"], figures["blocks"]) == (400, 40)
    assert figures["peak_mb"] > 10
