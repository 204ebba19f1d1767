"""The only way to a Qdrant client, for a server or the embedded store. All other code is the same for both."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from qdrant_client import QdrantClient

from findme.core.errors import StoreUnavailable, StoreUnusable
from vectorstore.qdrant.address import Address, server_address, timeout_seconds
from vectorstore.qdrant.embedded import folder_at
from vectorstore.qdrant.errors import CollectionNotFound, translate_server_errors
from vectorstore.qdrant.server import client_of, forget

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")

_outage_numbers = itertools.count(1)
_last_outage = 0


def is_embedded() -> bool:
    """Return whether Qdrant is the folder QDRANT_PATH, because QDRANT_URL is not set."""
    return not settings.QDRANT_URL


def collection_name() -> str:
    """Return the alias that all readers use. Raise StoreUnusable for a name that cannot be part of a URL and a path."""
    if not NAME.fullmatch(settings.QDRANT_COLLECTION):
        raise StoreUnusable(
            f"QDRANT_COLLECTION is {settings.QDRANT_COLLECTION!r}: use at most 200 letters, digits, '_', '-' and '.', and begin with a letter, a digit"
            " or '_'."
        )
    return str(settings.QDRANT_COLLECTION)


@contextmanager
def qdrant() -> Iterator[QdrantClient]:
    """Yield a client, and translate the driver's errors to StoreUnavailable or UserFacingError, in one line.

    The client of a server is shared by the process. The embedded store is locked until the block ends: hold it for one batch or one search only,
    and enter the block before you lock anything in PostgreSQL. A thread that holds the store may enter again.
    """
    try:
        with _embedded_client() if is_embedded() else _server_client() as client:
            yield client
    except CollectionNotFound:
        # Qdrant has answered. Whether the collection must exist, only the caller knows.
        raise
    except StoreUnavailable:
        note_outage()
        raise


def note_outage() -> None:
    """Record that Qdrant was unavailable, or lacked the live collection. An older copy may answer afterwards."""
    global _last_outage
    _last_outage = next(_outage_numbers)


def last_outage() -> int:
    """Return the number of the last outage that any call in this process has met, 0 if none has."""
    return _last_outage


@contextmanager
def _embedded_client() -> Iterator[QdrantClient]:
    if not settings.QDRANT_PATH:
        raise StoreUnusable("QDRANT_URL and QDRANT_PATH are not set: set QDRANT_URL to a Qdrant server, or QDRANT_PATH to a folder.")
    with folder_at(settings.QDRANT_PATH).held(timeout_seconds()) as client:
        yield client


@contextmanager
def _server_client() -> Iterator[QdrantClient]:
    with _client_at(server_address(), collection_name()) as client:
        yield client


@contextmanager
def qdrant_at(address: Address | None, collection: str) -> Iterator[QdrantClient]:
    """Yield a client of the server at ``address``, or of the embedded store if that is None, as ``qdrant`` does.

    Its errors are not noted as an outage of the vector store.
    """
    with _embedded_client() if address is None else _client_at(address, collection) as client:
        yield client


@contextmanager
def _client_at(address: Address, collection: str) -> Iterator[QdrantClient]:
    client = client_of(address, collection)
    try:
        with translate_server_errors(address):
            yield client
    except CollectionNotFound:
        raise
    except StoreUnavailable:
        forget(address)
        raise
