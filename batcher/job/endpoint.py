"""Whom does the job ask, in full? Presets of the providers, and one spelling for every base URL that people paste."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from batcher.job.spec import Auth, Dialect, Provider

API_VERSION = "v1beta"

_VERSION_AT_THE_END = re.compile(r"/v1(?:alpha|beta)?\d*(?:/models)?$")
_DEFAULT_PORTS = {"https": 443, "http": 80}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Beside 169.254.169.254, which is link-local: of AWS and Google Cloud over IPv6, and of Alibaba Cloud.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What a provider's name stands for."""

    base_url: str
    auth: Auth
    dialect: Dialect


PRESETS: Mapping[Provider, Preset] = {
    Provider.GOOGLE: Preset(
        base_url="https://generativelanguage.googleapis.com", auth=Auth.X_GOOG_API_KEY, dialect=Dialect.GOOGLE
    ),
    Provider.VISIONCODER: Preset(base_url="https://coder.api.visioncoder.cn", auth=Auth.BEARER, dialect=Dialect.FLAT),
}


def normalised(url: str) -> str:
    """Reduce a base URL to its origin and the path in front of the API version.

    Args:
        url: as pasted: with or without a trailing `/`, `/v1`, `/v1beta` or `/v1beta/models`.

    Returns:
        e.g. `https://host:8443/gateway`: lower-case origin, no default port, no trailing slash.

    Raises:
        ValueError: it is no place to send a key to; the text says what was wanted and never repeats user information.
    """
    parts = urlsplit(url.strip())
    _check(parts)
    host = (parts.hostname or "").lower()
    netloc = f"[{host}]" if ":" in host else host
    if parts.port not in (None, _DEFAULT_PORTS[parts.scheme]):
        netloc = f"{netloc}:{parts.port}"
    path = _VERSION_AT_THE_END.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{netloc}{path}"


def is_loopback(host: str) -> bool:
    """Say whether a host name or address can only be this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _check(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise ValueError("a base URL carries no user name or password; the key comes from the environment")
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"found {parts.geturl()!r}, wanted a URL such as https://generativelanguage.googleapis.com")
    if parts.query or parts.fragment:
        raise ValueError("a base URL has no `?` or `#` part; the key comes from the environment")
    if why := why_never_asked(parts.hostname):
        raise ValueError(f"{parts.hostname} is {why}; a key is never sent there")
    if parts.scheme == "http" and not is_loopback(parts.hostname.lower()):
        raise ValueError(
            f"http would show the key to everyone on the way to {parts.hostname}; use https (http is for localhost)"
        )


def why_never_asked(host: str) -> str:
    """Say what an address is that no key is sent to, empty for any other and for a name.

    Such an address answers on every machine of a network or of a cloud, and is no endpoint: whoever makes a name or a
    job lead there wants our key, or what that machine says to us.
    """
    address = _address(host)
    if address is None:
        return ""
    if address.is_link_local:
        return "a link-local address"
    return "a cloud's metadata address" if address in _METADATA else ""


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return address if isinstance(address, ipaddress.IPv4Address) else _inside(address)


def _inside(address: ipaddress.IPv6Address) -> _Address:
    """Take an IPv4 address out of the IPv6 address that leads to it, such as ::ffff:169.254.169.254."""
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):  # ::1 is no such address
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
