"""Network of the client that sent a request.

``X-Forwarded-For`` is used only from a proxy in ``TRUSTED_PROXIES``. It is read from the right, because each trusted proxy appends the address of its
peer. The client can forge all entries further to the left.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

Address = IPv4Address | IPv6Address

UNKNOWN = "0.0.0.0"  # noqa: S104  # stored, never bound
"""The network of a client without a known address."""
UNIX_SOCKET = "unix"
"""Entry of ``TRUSTED_PROXIES`` for a proxy on a Unix socket, which has no address."""
MAX_HOPS = 32
IPV6_PREFIX = 64
"""A provider gives each customer at least a /64, so a client can choose any address in it."""


def client_network(request: HttpRequest) -> str:
    """Return the client's IPv4 address, or the first address of its IPv6 /64.

    An IPv4 address counts alone: unrelated customers share a /24, and one must not be able to lock out another.
    """
    address = client_address(request)
    return UNKNOWN if address is None else network_of(address)


def network_of(address: Address) -> str:
    """Return the key that counts the attempts from ``address``."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), IPV6_PREFIX), strict=False).network_address)


def client_address(request: HttpRequest) -> Address | None:
    """Return the address of the client or of the nearest untrusted proxy, or None if it is unknown."""
    peer = _parsed(str(request.META.get("REMOTE_ADDR") or ""))
    if not _is_trusted(peer):
        return peer
    nearest = peer
    for entry in _from_the_right(str(request.META.get("HTTP_X_FORWARDED_FOR") or "")):
        address = _parsed(entry)
        if address is None:
            return nearest
        nearest = address
        if not _is_trusted(address):
            return address
    return nearest


def _from_the_right(header: str) -> Iterator[str]:
    entries = header.rsplit(",", MAX_HOPS)[-MAX_HOPS:]
    return (entry.strip() for entry in reversed(entries) if entry.strip())


def _parsed(text: str) -> Address | None:
    """Parse an address. Some proxies append a port: ``192.0.2.1:443``, ``[2001:db8::1]:443``."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address | None) -> bool:
    trusted = tuple(settings.TRUSTED_PROXIES)
    if address is None:
        return UNIX_SOCKET in trusted
    return any(address in network for network in _networks(trusted))


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in trusted if text != UNIX_SOCKET)
