from __future__ import annotations

import asyncio

import pytest

from batcher.records import NoReply, NoReplyKind, Reply, Request
from tests.fakes import SELECT_ADVANCES_S, FakeClock, ScriptedTransport, jitter, run_virtual, steady


def a_request(body: bytes = b"{}") -> Request:
    return Request(
        body=body,
        model="gemini",
        prompt=None,
        request_hash=b"",
        estimated_tokens=1,
        input_bound=1,
        output_bound=1,
    )


def a_reply(status: int = 200) -> Reply:
    return Reply(status=status, headers={}, body=b"")


def test_hours_pass_at_once_and_in_order():
    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        woke: list[tuple[str, float]] = []

        async def sleeper(name: str, wait_s: float) -> None:
            await asyncio.sleep(wait_s)
            woke.append((name, loop.time()))

        await asyncio.gather(sleeper("long", 7200), sleeper("short", 0.5), sleeper("none", 0))
        return woke

    woke = run_virtual(main())

    assert [name for name, _ in woke] == ["none", "short", "long"]
    assert [at for _, at in woke] == pytest.approx([0, 0.5, 7200], abs=1e-4)


def test_every_turn_of_the_loop_takes_time():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(100):
            await asyncio.sleep(0)
        return loop.time() - began

    assert run_virtual(main()) == pytest.approx(100 * SELECT_ADVANCES_S)


def test_a_deadlock_is_named():
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match=r"deadlock at 0\.0000\d+ s of virtual time"):
        run_virtual(main())


def test_another_thread_may_call_back():
    async def main() -> int:
        return await asyncio.to_thread(lambda: 7)

    assert run_virtual(main()) == 7


def test_the_clock_stands_until_told_or_follows():
    clock = FakeClock(1_000)
    assert (clock(), clock()) == (1_000, 1_000)
    clock.advance(1.5)
    assert clock() == 1_501_000

    async def main() -> int:
        loop = asyncio.get_running_loop()
        following = FakeClock(0, follow=loop.time)
        await asyncio.sleep(3600)
        return following()

    assert run_virtual(main()) == pytest.approx(3_600_000_000, abs=100)


def test_chance_is_the_tests():
    one, same, other = jitter(1), jitter(1), jitter(2)
    first = [one() for _ in range(5)]
    assert first == [same() for _ in range(5)]
    assert first != [other() for _ in range(5)]
    assert all(0 <= value < 1 for value in first)
    assert steady(0.9)() == 0.9


def test_a_script_is_answered_in_the_order_of_sending():
    lost = NoReply(kind=NoReplyKind.DISCONNECTED, sent=True, first_byte=False)
    latency = {b"slow": 5.0, b"fast": 1.0}
    door = ScriptedTransport([a_reply(503), lost], latency_s=lambda request: latency[request.body])

    async def main() -> list[Reply | NoReply]:
        return await asyncio.gather(door.post(a_request(b"slow")), door.post(a_request(b"fast")))

    assert run_virtual(main()) == [a_reply(503), lost]
    assert [request.body for request in door.sent] == [b"slow", b"fast"]
    assert door.sent_at_s == pytest.approx([0, 0], abs=1e-4)
    assert (door.in_flight, door.most_in_flight) == (0, 2)


def test_a_script_that_ends_says_so():
    door = ScriptedTransport([])

    with pytest.raises(AssertionError, match="the script has ended"):
        run_virtual(door.post(a_request()))
    assert door.in_flight == 0


def test_a_script_may_be_a_function_of_the_request():
    door = ScriptedTransport(lambda request: a_reply(len(request.body)))

    assert run_virtual(door.post(a_request(b"four"))) == a_reply(4)
