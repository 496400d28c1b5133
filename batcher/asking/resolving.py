"""Which addresses may the endpoint's name lead to? Every one but those where a key would be somebody else's to take.

A name is checked again whenever it is looked up, and what was checked is what is connected to: the answer of a DNS
server can change between two looks (DNS rebinding), and a number such as `2852039166` is a name to a resolver.
"""

from __future__ import annotations

import errno
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from batcher.job.endpoint import is_loopback, why_never_asked


class ForbiddenAddress(OSError):  # noqa: N818  named for what was found
    """A name leads only to where a key is never sent; the text says where."""


class CheckedResolver(AbstractResolver):
    """Looks names up and leaves out the addresses that are never asked.

    Args:
        names: looks them up; the system's own unless given.
    """

    def __init__(self, names: AbstractResolver | None = None) -> None:
        self._names = names or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the addresses of a name.

        Raises:
            ForbiddenAddress: it has no other.
            OSError: it has none.
        """
        found = await self._names.resolve(host, port, family)
        refused = {each["host"]: _why_not(host, each["host"]) for each in found}
        kept = [each for each in found if not refused[each["host"]]]
        if found and not kept:
            address, why = next(iter(refused.items()))
            raise ForbiddenAddress(errno.EACCES, f"its name leads to {address}, {why}; a key is never sent there")
        return kept

    async def close(self) -> None:
        """Close what looks the names up."""
        await self._names.close()


def _why_not(host: str, address: str) -> str:
    # http is for this machine alone, and this is the one name that it is taken for.
    if host.rstrip(".").lower() == "localhost" and not is_loopback(address):
        return "which is not this machine"
    why = why_never_asked(address)
    return f"which is {why}" if why else ""
