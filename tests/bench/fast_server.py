"""How fast could a Gemini endpoint possibly answer? A raw HTTP/1.1 server that is never the bottleneck.

`python -m tests.bench.fast_server --port 8900 --latency-ms 100` answers every POST with one of a few thousand replies
made beforehand (about 560 characters of text, full usage metadata), `:streamGenerateContent` with the same as events,
and `GET /stats` with what it has seen; `POST /reset` forgets. It speaks TLS when it is given a certificate. It checks
no key and no body: what an endpoint does is the emulator's business; this one only has to be fast.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import cast

import orjson
import uvloop

REPLIES_MADE = 2_048
ANSWER_CHARS = 560
STREAM_CHUNKS = 6
TEXT = """
    able about above across after again against almost along already always among answer around because become before
    begin behind between bottom bridge bring build carry catch change choose clear close common count course cover cross
    during early earth enough every example family field figure final follow forest gather general give ground happen
    harbour history island kitchen language leave letter light machine market measure middle morning mountain nature
"""

THROTTLED = {
    "error": {
        "code": 429,
        "message": "Resource has been exhausted (e.g. check quota).",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}],
    }
}
OVERLOADED = {
    "error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the server answers. `p*` are shares of all requests, from 0 to 1; a stream's latency is that of its end."""

    latency_s: float = 0.0
    p429: float = 0.0
    p503: float = 0.0
    pdrop: float = 0.0


@dataclass(slots=True, kw_only=True)
class Stats:
    """What the server has seen since it started or was last told to forget."""

    requests: int = 0
    answered: int = 0
    throttled: int = 0
    overloaded: int = 0
    dropped: int = 0
    connections: int = 0
    in_flight: int = 0
    in_flight_max: int = 0
    bodies: set[int] = field(default_factory=set)
    bodies_answered: set[int] = field(default_factory=set)

    def seen(self) -> bytes:
        """As JSON; of the sets only how many there are."""
        # Field by field: `asdict` copies the sets, and a million of bodies at each look is all that a core can do.
        counts = {each.name: getattr(self, each.name) for each in fields(self) if each.type == "int"}
        return orjson.dumps(counts | {"distinct": len(self.bodies), "distinct_answered": len(self.bodies_answered)})


class Server:
    """Replies made beforehand, and the choice among them."""

    def __init__(self, behaviour: Behaviour, *, seed: int = 0) -> None:
        self.behaviour = behaviour
        self.stats = Stats()
        chance = random.Random(seed)
        self._chance = chance.random
        answers = [answer(chance) for _ in range(REPLIES_MADE)]
        self._replies = [(http(200, each),) for each in answers]
        self._streams = [streamed(each) for each in answers]
        self._throttled = (http(429, THROTTLED),)
        self._overloaded = (http(503, OVERLOADED),)
        self._no_drop = 1 - behaviour.pdrop

    def reply_to(self, body: bytes, *, as_stream: bool) -> tuple[bytes, ...]:
        """The writes of one whole HTTP reply; none for a connection that is to be closed without a byte."""
        stats, behaviour, drawn = self.stats, self.behaviour, self._chance()
        stats.requests += 1
        identity = hash(body)
        stats.bodies.add(identity)
        if drawn < behaviour.p429:
            stats.throttled += 1
            return self._throttled
        if drawn < behaviour.p429 + behaviour.p503:
            stats.overloaded += 1
            return self._overloaded
        if drawn >= self._no_drop:
            stats.dropped += 1
            return ()
        stats.answered += 1
        stats.bodies_answered.add(identity)
        return (self._streams if as_stream else self._replies)[int(drawn * 1e9) % REPLIES_MADE]

    def connection(self) -> Connection:
        """A protocol for one new connection."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as our clients speak: requests with Content-Length, no chunks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pending = b""
        self._loop = asyncio.get_running_loop()
        self._latency_s = server.behaviour.latency_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods but not the base class
        self._server.stats.connections += 1

    def data_received(self, data: bytes) -> None:
        self._pending = self._pending + data if self._pending else data
        while (request := self._next_request()) is not None:
            self._take(*request)

    def _next_request(self) -> tuple[bytes, bytes] | None:
        """Cut one whole request off what has come: its first line and its body."""
        pending = self._pending
        end = pending.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = pending[:end]
        at = head.lower().find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        whole = end + 4 + length
        if len(pending) < whole:
            return None
        self._pending = pending[whole:]
        return head[: head.find(b"\r\n")], pending[end + 4 : whole]

    def _take(self, line: bytes, body: bytes) -> None:
        stats = self._server.stats
        as_stream = b":streamGenerateContent" in line
        if not as_stream and b":generateContent" not in line:
            self._transport.write(self._own(line))
            return
        reply = self._server.reply_to(body, as_stream=as_stream)
        stats.in_flight += 1
        stats.in_flight_max = max(stats.in_flight_max, stats.in_flight)
        every_s = self._latency_s / max(1, len(reply))
        if every_s:
            self._loop.call_later(every_s, self._answer, reply, every_s)
        else:
            self._answer(reply, 0.0)

    def _answer(self, reply: tuple[bytes, ...], every_s: float) -> None:
        """Write the first of these, and later the others: each in a packet of its own, as a stream's come."""
        if reply and not self._transport.is_closing():
            self._transport.write(reply[0])
        if len(reply) > 1:
            self._loop.call_later(every_s, self._answer, reply[1:], every_s)
            return
        self._server.stats.in_flight -= 1
        if not reply:
            self._transport.abort()

    def _own(self, line: bytes) -> bytes:
        if line.startswith(b"POST /reset "):
            self._server.stats = Stats(in_flight=self._server.stats.in_flight)
        elif not line.startswith(b"GET /stats "):
            return http(404, {"error": {"code": 404, "message": "not here", "status": "NOT_FOUND"}})
        return http(200, self._server.stats.seen())


def answer(chance: random.Random) -> dict[str, object]:
    """A reply body of random words, with counts that fit it roughly."""
    words, text = TEXT.split(), ""
    while len(text) < ANSWER_CHARS:
        text += chance.choice(words) + " "
    prompt, candidates, thoughts = chance.randint(60, 90), len(text) // 4, chance.randint(0, 200)
    return {
        "candidates": [
            {"content": {"parts": [{"text": text.rstrip() + "."}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates + thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            "thoughtsTokenCount": thoughts,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": f"{chance.getrandbits(96):024x}",
    }


def streamed(reply: Mapping[str, object]) -> tuple[bytes, ...]:
    """The same reply as events, the usage on each as Google has it, the reason on the last: one write for each."""
    (candidate,) = cast("list[dict[str, object]]", reply["candidates"])
    text = cast("dict[str, list[dict[str, str]]]", candidate["content"])["parts"][0]["text"]
    size = -(-len(text) // STREAM_CHUNKS)
    writes = []
    for at in range(0, len(text), size):
        told: dict[str, object] = {"content": {"parts": [{"text": text[at : at + size]}], "role": "model"}, "index": 0}
        if at + size >= len(text):
            told["finishReason"] = candidate["finishReason"]
        event = b"data: %b\r\n\r\n" % orjson.dumps({**reply, "candidates": [told]})
        writes.append(b"%x\r\n%b\r\n" % (len(event), event))
    head = (_HEAD % ("200 OK", "text/event-stream", "Transfer-Encoding: chunked")).encode()
    return (head + writes[0], *writes[1:-1], writes[-1] + b"0\r\n\r\n")


_HEAD = (
    "HTTP/1.1 %s\r\nContent-Type: %s\r\nVary: Origin, X-Origin, Referer\r\nServer: scaffolding on HTTPServer2\r\n"
    "X-Gemini-Service-Tier: standard\r\n%s\r\n\r\n"
)


def http(status: int, body: Mapping[str, object] | bytes) -> bytes:
    """A whole HTTP/1.1 reply, with the headers that Google sends on every one."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    reason = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}[status]
    head = _HEAD % (f"{status} {reason}", "application/json; charset=UTF-8", f"Content-Length: {len(content)}")
    return head.encode() + content


async def serve(server: Server, port: int, tls: ssl.SSLContext | None = None) -> None:
    """Serve on loopback until told to stop; print the port once it listens (0 takes a free one)."""
    listening = await asyncio.get_running_loop().create_server(
        server.connection, "127.0.0.1", port, backlog=4096, reuse_address=True, ssl=tls
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A fake Gemini endpoint that is never the bottleneck.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--p429", type=float, default=0.0, help="share answered 429, naming no quota, hint 1 s")
    parser.add_argument("--p503", type=float, default=0.0)
    parser.add_argument("--pdrop", type=float, default=0.0, help="share of connections closed without a byte")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--certificate", metavar="PEM", help="speak TLS")
    parser.add_argument("--certificate-key", metavar="PEM")
    given = parser.parse_args()
    behaviour = Behaviour(latency_s=given.latency_ms / 1000, p429=given.p429, p503=given.p503, pdrop=given.pdrop)
    tls = None
    if given.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.certificate, given.certificate_key)
    uvloop.run(serve(Server(behaviour, seed=given.seed), given.port, tls))


if __name__ == "__main__":
    main()
