"""A real server with the collection of this test, without snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.qdrant import QdrantServer
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.repository import delete, list_snapshots


@pytest.fixture
def any_collection(db: None, server: QdrantServer) -> Iterator[QdrantServer]:
    """Initialize the collection on a server, once by REST and once by gRPC."""
    yield from _initialized(server)


@pytest.fixture
def collection(db: None, qdrant_server: QdrantServer) -> Iterator[QdrantServer]:
    """Initialize the collection on a server, by REST."""
    yield from _initialized(qdrant_server)


def _initialized(server: QdrantServer) -> Iterator[QdrantServer]:
    """Initialize the collection, and delete its snapshots after the test.

    Qdrant keeps the snapshots of a deleted collection and does not list them, so they must be deleted first.
    """
    initialize()
    yield server
    delete([one.name for one in list_snapshots().snapshots])
