"""Which store of ``FILE_STORES`` has the file of an address, and under which path."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import unquote

WEB = ("http", "https")


class Elsewhere(StrEnum):
    """Why no store has the file of an address. FindMe cannot read or delete such a file, so it is kept."""

    NO_STORE = "no entry of FILE_STORES has this address"
    UNSAFE = "the address does not name one file below its prefix"


def split_address(address: str, stores: Mapping[str, str]) -> tuple[str, str] | Elsewhere:
    """Return the URL of the store, and the path of the file below it. The longest prefix counts.

    In an address of the web, the query and the fragment are no part of the path, and ``%20`` is a space. A path with an empty part, ``.``, ``..``,
    a backslash or a control character is unsafe, also if it is encoded, and however often.
    """
    prefix = prefix_of(address, stores)
    if not prefix:
        return Elsewhere.NO_STORE
    path = _with_small_host(address)[len(prefix) :]
    if prefix.partition("://")[0].lower() in WEB:
        path = unquote(path.partition("#")[0].partition("?")[0], errors="strict") if _is_text(path) else ""
        if any(f"{prefix}{path}".startswith(other) for other in stores if len(other) > len(prefix)):
            return Elsewhere.UNSAFE  # such as "%76ideos/a" next to a prefix for "videos/": the web server has the file in the other store
    return (stores[prefix], path) if _is_safe(path) else Elsewhere.UNSAFE


def prefix_of(address: str, stores: Mapping[str, str]) -> str:
    """Return the longest prefix of the address that a store has, or an empty text."""
    normal = _with_small_host(address)
    return max((prefix for prefix in stores if normal.startswith(_with_small_host(prefix))), key=len, default="")


def _with_small_host(address: str) -> str:
    """Return the address with its scheme and host in small letters, which have the same meaning."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}"


def _is_text(path: str) -> bool:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _is_safe(path: str) -> bool:
    while True:
        if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or not path.isprintable():
            return False
        decoded = unquote(path)
        if decoded == path:
            return True
        path = decoded
