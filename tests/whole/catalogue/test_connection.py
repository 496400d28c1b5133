"""The fault catalogue, below the answer: lengths that lie, silence, floods, connections that die."""

from __future__ import annotations

import contextlib

import pytest

from batcher.emulator.faults import Fault, FaultKind, Rule
from tests.faultproxy import Toxic, fault_proxy_in_thread
from tests.whole.catalogue.endpoints import always, emulator_with, first, ran, rows_with

OK = ("ok", "ok", "yes")
SHORT_S = 0.4  # and yet long enough for an answer that comes on a busy machine
MIB = 1 << 20


def test_d07_a_body_shorter_than_its_length_is_cut(tmp_path):
    """The same class as cut JSON: maybe billed, asked again."""
    with emulator_with(first(1, FaultKind.CUT)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    assert out.tried(2) == [("retry", "cut_body", "maybe"), OK]
    assert out.others_are_ok(2)


def test_d07_a_body_longer_than_its_length_spoils_no_other_reply(tmp_path):
    """Half an answer is read; the other half is nobody's reply."""
    with emulator_with(first(1, FaultKind.LENGTH_SHORT)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2, of=12), **{"limits.concurrency": 1})
    (first_try, second) = out.tried(2)
    assert first_try in [("retry", "bad_body", "maybe"), ("retry", "bad_http", "maybe")]  # in two packets, or in one
    assert second == OK
    assert out.others_are_ok(2)


@pytest.mark.parametrize("kind", [FaultKind.TWO_LENGTHS, FaultKind.LONG_HEADER, FaultKind.MANY_HEADERS])
def test_d07_what_is_no_http_is_an_attempt_that_may_have_been_billed(tmp_path, kind):
    """Two lengths, a header of 100 KB, 5,000 headers: not read, asked again, the row fails if it stays so."""
    with emulator_with(always(kind)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2))
    assert (out.rows[2]["status"], out.rows[2]["error_kind"]) == ("failed", "bad_http")
    assert out.tried(2) == [("retry", "bad_http", "maybe")] * 5
    assert out.others_are_ok(2)


def test_d08_headers_then_silence_are_ended_and_the_slot_is_free(tmp_path):
    """The body's deadline ends it; maybe billed; with one slot the others are answered, and the job ends."""
    with emulator_with(always(FaultKind.SILENCE)) as emulator:
        settings = {"timeouts.body_s": SHORT_S, "retry.attempts": 2, "limits.concurrency": 1}
        out = ran(emulator, tmp_path, rows_with(0), **settings)
    assert (out.rows[0]["status"], out.rows[0]["error_kind"]) == ("failed", "body_deadline")
    assert out.tried(0) == [("retry", "body_deadline", "maybe")] * 2
    assert out.others_are_ok(0)


def test_d09_a_byte_now_and_then_is_ended_by_the_deadline_of_the_body(tmp_path):
    """Every read brings something, yet the whole takes too long; the next try is answered."""
    with emulator_with(first(1, FaultKind.TRICKLE, seconds=0.01)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2), **{"timeouts.body_s": SHORT_S})
    assert out.tried(2) == [("retry", "body_deadline", "maybe"), OK]
    assert out.others_are_ok(2)


@pytest.mark.parametrize(
    "rule",
    [always(FaultKind.HUGE, size_mb=4), always(FaultKind.ENDLESS)],
    ids=["d10-huge", "d10-endless"],
)
def test_d10_a_body_over_the_cap_is_cut_off_and_asked_once_more(tmp_path, rule):
    """Two tries of one cap each, then a failed row of kind too_large."""
    with emulator_with(rule) as emulator:
        out = ran(emulator, tmp_path, rows_with(2), **{"timeouts.max_body_bytes": MIB})
    too_large(out)


def test_d11_a_bomb_is_weighed_unpacked(tmp_path):
    """A few KB that unpack to more than the cap: as a body over the cap."""
    with emulator_with(always(FaultKind.GZIP_BOMB, size_mb=4)) as emulator:
        out = ran(emulator, tmp_path, rows_with(2), **{"timeouts.max_body_bytes": MIB})
    too_large(out)


def too_large(out):
    bad = out.rows[2]
    assert (bad["status"], bad["error_kind"], bad["attempts"]) == ("failed", "too_large", 2)
    assert out.tried(2) == [("retry", "too_large", "maybe")] * 2
    assert out.others_are_ok(2)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_d17_connections_that_die_idle_cost_no_attempt_and_no_word(tmp_path, capfd, concurrency):
    """Every connection is dead when it is used again: all rows are answered, each in its one attempt, in silence."""
    with emulator_with(Rule(fault=Fault(kind=FaultKind.STALE))) as emulator:
        out = ran(emulator, tmp_path, rows_with(of=40), **{"limits.concurrency": concurrency, "retry.attempts": 1})
        assert emulator.totals().requests == 40
    assert {row["status"] for row in out.rows} == {"ok"}
    assert {(a["verdict"], a["reason"]) for a in out.attempts} == {("ok", "ok"), ("retry", "stale_connection")}
    assert capfd.readouterr() == ("", "")


# --- below HTTP


@contextlib.contextmanager
def behind(*faults):
    """An emulator behind a proxy that does this to its first connections, one a fault."""
    with emulator_with() as emulator, fault_proxy_in_thread(emulator.url, *faults) as proxy:
        yield emulator, proxy


@pytest.mark.parametrize(
    ("toxic", "reasons"),
    [
        (Toxic(reset_after=0), {"disconnected"}),
        (Toxic(reset_after=60), {"disconnected"}),  # in the head
        (Toxic(reset_after=400), {"cut_body", "disconnected"}),  # a reset may overtake what was sent before it
        (Toxic(half_close_after=400), {"cut_body"}),
        (Toxic(close_after=400), {"cut_body"}),
    ],
    ids=["reset at once", "reset in the head", "reset in the body", "half-close", "close"],
)
def test_d07_a_connection_that_breaks_in_a_reply_is_asked_again(tmp_path, toxic, reasons):
    """Reset, half-closed or closed after so many bytes: maybe billed, an attempt, and then the answer."""
    with behind(toxic, Toxic()) as (emulator, proxy):
        out = ran(proxy.url, tmp_path, rows_with(of=6), **{"limits.concurrency": 1})
        assert emulator.totals().answered == 7  # one of them for nobody
    assert out.tried(0) in [[("retry", reason, "maybe"), OK] for reason in reasons]
    assert out.others_are_ok(0)


@pytest.mark.parametrize("toxic", [Toxic(slice_bytes=1), Toxic(slice_bytes=13, latency_s=0.001)])
@pytest.mark.parametrize("stream", ["off", "sse", "json"])
def test_d07_replies_in_slices_are_the_same_answers(tmp_path, toxic, stream):
    """However the network cuts what was sent, whole replies and streams are what they were."""
    tables = []
    with behind(toxic) as (emulator, proxy):
        for url in (emulator.url, proxy.url):
            emulator.reset()
            out = ran(url, tmp_path / url[-5:], rows_with(of=6), **{"endpoint.stream": stream})
            tables.append([(row["response"], row["usage_metadata"], row["attempts"]) for row in out.rows])
    assert tables[0] == tables[1]


def test_d08_a_connection_that_swallows_everything_is_given_up(tmp_path):
    """Not even a head: read_timeout, maybe billed, asked again on another connection."""
    with behind(Toxic(blackhole=True), Toxic()) as (_, proxy):
        settings = {"timeouts.first_byte_s": SHORT_S, "limits.concurrency": 1}
        out = ran(proxy.url, tmp_path, rows_with(of=6), **settings)
    assert out.tried(0) == [("retry", "read_timeout", "maybe"), OK]
    assert out.others_are_ok(0)
