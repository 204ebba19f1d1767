"""The one way to Qdrant, a server's or the embedded one: everything but the connection is the same code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from qdrant_client import QdrantClient

from findme.core.errors import StoreUnavailable, StoreUnusable
from vectorstore.qdrant.address import server_address, timeout_seconds
from vectorstore.qdrant.embedded import folder_at
from vectorstore.qdrant.errors import CollectionNotFound, translate_server_errors
from vectorstore.qdrant.server import client_of, forget

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def is_embedded() -> bool:
    """Whether Qdrant is the folder QDRANT_PATH, since no QDRANT_URL names a server."""
    return not settings.QDRANT_URL


def collection_name() -> str:
    """The alias that everyone reads and writes through. Raises StoreUnavailable for a name that does not fit into a URL and a path."""
    if not NAME.fullmatch(settings.QDRANT_COLLECTION):
        raise StoreUnusable(
            f"QDRANT_COLLECTION is {settings.QDRANT_COLLECTION!r}: it is made of letters, digits, '_', '-' and '.', begins with one of the first"
            " three, and has at most 200 characters."
        )
    return str(settings.QDRANT_COLLECTION)


@contextmanager
def qdrant() -> Iterator[QdrantClient]:
    """A client for the block. Errors of the driver leave it as StoreUnavailable or UserFacingError, in one line.

    A server's client is shared by the process. The embedded store is locked for as long as the block lasts, so hold it for one batch or one
    search, and take it before anything is locked in PostgreSQL; a thread that holds it may enter again.
    """
    with _held_folder() if is_embedded() else _reached_server() as client:
        yield client


@contextmanager
def _held_folder() -> Iterator[QdrantClient]:
    if not settings.QDRANT_PATH:
        raise StoreUnusable("Neither QDRANT_URL nor QDRANT_PATH is set: name a Qdrant server, or a folder for the embedded one.")
    with folder_at(settings.QDRANT_PATH).held(timeout_seconds()) as client:
        yield client


@contextmanager
def _reached_server() -> Iterator[QdrantClient]:
    address = server_address()
    client = client_of(address, collection_name())
    try:
        with translate_server_errors(address):
            yield client
    except CollectionNotFound:
        raise
    except StoreUnavailable:
        forget(address)
        raise
