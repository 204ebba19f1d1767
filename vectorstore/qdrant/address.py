"""The address of the Qdrant server, from settings that are validated before the first request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from findme.core.errors import StoreUnusable

REST_PORT = 6333
"""Qdrant's default port, used for a URL without a port."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the operator sets to change an address: settings, or options of a command."""

    url: str = "QDRANT_URL"
    api_key: str = "QDRANT_API_KEY"
    grpc_port: str = "QDRANT_GRPC_PORT"


SETTINGS = Names()


@dataclass(frozen=True, slots=True)
class Address:
    """A Qdrant server. ``grpc_port`` 0 means REST, and ``timeout`` is in whole seconds per request. The key is never printed.

    ``names`` are for error messages. A client of a ``read_only`` address sends no request that changes anything, not even for its first checks.
    """

    url: str
    api_key: str = field(repr=False)
    grpc_port: int
    timeout: int
    names: Names = SETTINGS
    read_only: bool = False

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        return self.parts.port or REST_PORT

    @property
    def tls(self) -> bool:
        return self.parts.scheme == "https"

    @property
    def loopback(self) -> bool:
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def __str__(self) -> str:
        return repr(self.url)


def server_address() -> Address:
    """Return the server from the settings. Raise StoreUnusable, in one line without the key, for invalid settings."""
    return checked_address(settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT, SETTINGS)


def checked_address(url: str, api_key: str, grpc_port: int, names: Names) -> Address:
    """Return the server with this address. Raise StoreUnusable, in one line without the key, for invalid values."""
    _check_url(url, names)
    _check_key(api_key, names)
    if not 0 <= grpc_port <= 65535:
        raise StoreUnusable(f"{names.grpc_port} is {grpc_port!r}: set a port up to 65535, or 0 for REST.")
    return Address(url, api_key, grpc_port, whole_timeout_seconds(), names)


def for_reading(address: Address) -> Address:
    """Return the same address for a client that changes nothing."""
    return replace(address, read_only=True)


def whole_timeout_seconds() -> int:
    """Return the timeout rounded up to whole seconds, as Qdrant expects it. Raise as ``timeout_seconds`` does."""
    return math.ceil(timeout_seconds())


def timeout_seconds() -> float:
    """Return how long to wait for a request or for the embedded folder. Raise StoreUnusable for an invalid number."""
    if not 0 < settings.QDRANT_TIMEOUT <= 86_400:
        raise StoreUnusable(f"QDRANT_TIMEOUT is {settings.QDRANT_TIMEOUT!r}: set a number of seconds above 0 and at most 86400 (one day).")
    return float(settings.QDRANT_TIMEOUT)


def _check_url(url: str, names: Names) -> None:
    if "@" in url:
        raise StoreUnusable(f"{names.url} contains a user name or a password: remove it, and put the key into {names.api_key}.")
    if "://" not in url:
        raise StoreUnusable(f"{names.url} is {url!r}, without a scheme: write 'http://{url}', or https:// where the server speaks TLS.")
    if not _is_http_url(url):
        raise StoreUnusable(f"{names.url} is {url!r}: write http://HOST:PORT or https://HOST:PORT.")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_server = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_server and not parts.query and not parts.fragment and url.isprintable() and " " not in url


def _check_key(key: str, names: Names) -> None:
    """Raise StoreUnusable for a key that no HTTP header can carry: only visible ASCII is allowed.

    Without this check, httpx would put the whole key into its error message.
    """
    if not all("!" <= character <= "~" for character in key):
        raise StoreUnusable(f"{names.api_key} contains a space, a line break or a character beyond ASCII: remove it.")
