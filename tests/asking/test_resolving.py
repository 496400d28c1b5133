"""A name may lead anywhere but to where a key is somebody else's to take; what was checked is what is connected to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.probe import look
from batcher.asking.resolving import CheckedResolver, ForbiddenAddress
from batcher.asking.transport import Door, Target
from batcher.job.endpoint import why_never_asked
from batcher.job.spec import Auth, Timeouts
from batcher.records import NoReply, NoReplyKind, Reply
from tests.asking.servers import raw_server, reply
from tests.builders import a_request

METADATA = ["169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200"]


class Names(AbstractResolver):
    """Names as the test says; each look at one is counted."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.looks = 0
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.looks, len(self.answers) - 1)]
        self.looks += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        self.closed = True


def a_target(url: str) -> Target:
    return Target(base_url=url, api_version="v1beta", verbless=False, auth=Auth.X_GOOG_API_KEY, key="a-key-0123456789")


@contextlib.asynccontextmanager
async def a_door(url: str, names: Names) -> AsyncIterator[Door]:
    async with Door(a_target(url), Timeouts(), connections=2, names=names) as door:
        yield door


@pytest.mark.parametrize("address", METADATA)
async def test_a_name_that_leads_to_a_metadata_address_is_not_asked(address: str) -> None:
    async with a_door("https://endpoint.example", Names([address])) as door:
        outcome = await door.post(a_request())

    assert isinstance(outcome, NoReply)
    assert (outcome.kind, outcome.sent) == (NoReplyKind.FORBIDDEN_ADDRESS, False)
    assert f"its name leads to {address}, which is a" in outcome.detail


async def test_a_name_that_also_leads_elsewhere_is_asked_there() -> None:
    async with raw_server(reply(b'"yes"')) as server:
        names = Names(["169.254.169.254", "127.0.0.1", "fe80::1"])
        async with a_door(f"http://endpoint.example:{server.port}", names) as door:
            outcome = await door.post(a_request())
    assert names.closed

    assert isinstance(outcome, Reply)
    assert outcome.body == b'"yes"'


async def test_a_name_that_changes_its_mind_is_looked_at_again() -> None:
    checked = CheckedResolver(Names(["127.0.0.1"], ["169.254.169.254"]))

    assert [each["host"] for each in await checked.resolve("endpoint.example")] == ["127.0.0.1"]
    with pytest.raises(ForbiddenAddress):
        await checked.resolve("endpoint.example")


async def test_localhost_is_this_machine() -> None:
    with pytest.raises(ForbiddenAddress, match=r"its name leads to 10\.0\.0\.1, which is not this machine"):
        await CheckedResolver(Names(["10.0.0.1"])).resolve("localhost.")

    found = await CheckedResolver(Names(["10.0.0.1", "::1"])).resolve("LOCALHOST")
    assert [each["host"] for each in found] == ["::1"]


async def test_a_name_that_is_not_known_is_no_crime() -> None:
    assert await CheckedResolver(Names([])).resolve("endpoint.example") == []


@given(st.ip_addresses())
async def test_nothing_is_refused_without_a_reason(address: IPv4Address | IPv6Address) -> None:
    refused = why_never_asked(str(address))
    expected = pytest.raises(ForbiddenAddress, match=refused) if refused else contextlib.nullcontext()

    with expected:
        found = await CheckedResolver(Names([str(address)])).resolve("endpoint.example")
        assert [each["host"] for each in found] == [str(address)]


async def test_the_doctor_does_not_send_the_key_there_either() -> None:
    names = Names(["169.254.169.254"])

    looked = await look(a_target("https://endpoint.example"), "gemini-2.5-flash", names=names)

    assert looked.reply is None
    assert (
        looked.problem == "its name leads to 169.254.169.254, which is a link-local address; a key is never sent there"
    )
    assert names.closed
