"""Where the Qdrant server is: what the settings say, checked before anything is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from findme.core.errors import StoreUnusable

REST_PORT = 6333
"""Qdrant's own, for a URL without one."""


@dataclass(frozen=True, slots=True)
class Address:
    """A Qdrant server. ``grpc_port`` 0 means REST; ``timeout`` in whole seconds, of one request; the key is never printed."""

    url: str
    api_key: str = field(repr=False)
    grpc_port: int
    timeout: int

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
    """The server that the settings name. Raises StoreUnusable for settings that name none, in one line, without the key."""
    _check_url(settings.QDRANT_URL)
    _check_key(settings.QDRANT_API_KEY)
    if not 0 <= settings.QDRANT_GRPC_PORT <= 65535:
        raise StoreUnusable(f"QDRANT_GRPC_PORT is {settings.QDRANT_GRPC_PORT!r}: it is a port up to 65535, or 0 for REST.")
    return Address(settings.QDRANT_URL, settings.QDRANT_API_KEY, settings.QDRANT_GRPC_PORT, whole_timeout_seconds())


def whole_timeout_seconds() -> int:
    """Return the timeout as Qdrant takes it: rounded up to whole seconds. Raises as ``timeout_seconds`` does."""
    return math.ceil(timeout_seconds())


def timeout_seconds() -> float:
    """How long to wait for a request, or for the embedded folder. Raises StoreUnusable for a number that is no such time."""
    if not 0 < settings.QDRANT_TIMEOUT <= 86_400:
        raise StoreUnusable(f"QDRANT_TIMEOUT is {settings.QDRANT_TIMEOUT!r}: it is a number of seconds above 0, and at most a day.")
    return float(settings.QDRANT_TIMEOUT)


def _check_url(url: str) -> None:
    if "@" in url:
        raise StoreUnusable("QDRANT_URL holds a user name or a password: take it out, and put the key into QDRANT_API_KEY.")
    if "://" not in url:
        raise StoreUnusable(f"QDRANT_URL is {url!r}, without a scheme: write 'http://{url}', or https:// where the server speaks TLS.")
    if not _is_http_url(url):
        raise StoreUnusable(f"QDRANT_URL is {url!r}: write http://HOST:PORT or https://HOST:PORT.")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        names_a_server = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return names_a_server and not parts.query and not parts.fragment and url.isprintable() and " " not in url


def _check_key(key: str) -> None:
    """A header takes visible ASCII only; httpx would put the whole key into its error."""
    if not all("!" <= character <= "~" for character in key):
        raise StoreUnusable("QDRANT_API_KEY holds a blank, a line break or a character beyond ASCII: take it out.")
