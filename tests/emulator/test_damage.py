from __future__ import annotations

import zlib

import orjson
import pytest

from batcher.emulator.damage import damaged
from batcher.emulator.exchange import Ending, Reply
from batcher.emulator.faults import Fault, FaultKind

ANSWER = {"candidates": [{"content": {"parts": [{"text": "42"}]}}]}
WHOLE = Reply(status=200, body=orjson.dumps(ANSWER))


def let_out(kind: FaultKind, reply: Reply = WHOLE, **fields: float) -> Reply:
    return damaged(reply, Fault(kind=kind, **fields))


@pytest.mark.parametrize("kind", [FaultKind.SLOW, FaultKind.SAFETY, FaultKind.STREAM_CUT])
def test_what_is_made_elsewhere_is_let_out_as_it_is(kind: FaultKind) -> None:
    assert let_out(kind) is WHOLE


def test_a_trickle_is_the_whole_a_byte_at_a_time() -> None:
    assert b"".join(let_out(FaultKind.TRICKLE).writes) == WHOLE.body
    assert {len(piece) for piece in let_out(FaultKind.TRICKLE).writes} == {1}
    assert let_out(FaultKind.TRICKLE).every_s == 1
    assert let_out(FaultKind.TRICKLE, seconds=0.1).every_s == 0.1


@pytest.mark.parametrize(("size_mb", "wanted"), [(None, 100e6), (4, 4e6)])
def test_a_huge_reply_is_a_good_one_with_much_space_behind(size_mb: float, wanted: float) -> None:
    writes = let_out(FaultKind.HUGE, size_mb=size_mb).writes
    assert sum(map(len, writes)) == pytest.approx(wanted, rel=0.02)
    assert orjson.loads(b"".join(writes[:3])) == ANSWER


def test_a_bomb_is_small_and_unpacks_to_much() -> None:
    reply = let_out(FaultKind.GZIP_BOMB, size_mb=30)
    assert reply.headers == (("Content-Encoding", "gzip"),)
    assert len(reply.body) < 40_000
    assert len(zlib.decompress(reply.body, wbits=31)) == pytest.approx(30e6, rel=0.01)


def test_bad_utf8_is_one_byte_that_no_text_has() -> None:
    body = let_out(FaultKind.BAD_UTF8).body
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    assert body.replace(b"\xff", b"") == WHOLE.body


def test_of_a_stream_the_pieces_are_damaged_too() -> None:
    stream = Reply(status=200, body=b'data: {"text":"a"}\n\n' * 2, writes=(b'data: {"text":"a"}\n\n',) * 2)
    assert let_out(FaultKind.BAD_UTF8, stream).writes == (b'data: {"text":"\xffa"}\n\n',) * 2
    assert b"\n" not in b"".join(let_out(FaultKind.ENDLESS, stream).writes)
    assert let_out(FaultKind.ENDLESS, stream).writes[0].startswith(b"data: {")


def test_floods_of_headers_come_beside_those_that_are_there() -> None:
    there = Reply(status=200, body=b"", headers=(("a", "b"),))
    assert [name for name, _ in let_out(FaultKind.LONG_HEADER, there).headers] == ["a", "x-header"]
    assert len(let_out(FaultKind.LONG_HEADER, there).headers[1][1]) == 100_000
    assert len(let_out(FaultKind.MANY_HEADERS, there).headers) == 5_001


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (FaultKind.DROP, Ending.DROP),
        (FaultKind.DROP_PAID, Ending.DROP),
        (FaultKind.SILENCE, Ending.SILENCE),
        (FaultKind.ENDLESS, Ending.ENDLESS),
        (FaultKind.STALE, Ending.STALE),
        (FaultKind.LENGTH_SHORT, Ending.LENGTH_SHORT),
        (FaultKind.TWO_LENGTHS, Ending.TWO_LENGTHS),
    ],
)
def test_the_rest_is_for_whoever_writes(kind: FaultKind, ending: Ending) -> None:
    assert let_out(kind).ending is ending
