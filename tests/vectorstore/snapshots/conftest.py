"""A real server with the collection of the test's own, and no snapshot left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.qdrant import QdrantServer
from vectorstore.schema.initialize import initialize
from vectorstore.snapshots.repository import delete, list_snapshots


@pytest.fixture
def any_collection(db: None, server: QdrantServer) -> Iterator[QdrantServer]:
    """By REST and by gRPC in turn."""
    yield from _initialized(server)


@pytest.fixture
def collection(db: None, qdrant_server: QdrantServer) -> Iterator[QdrantServer]:
    """By REST."""
    yield from _initialized(qdrant_server)


def _initialized(server: QdrantServer) -> Iterator[QdrantServer]:
    """Qdrant keeps the snapshots of a collection that is deleted, and shows them to nobody: so they go first."""
    initialize()
    yield server
    delete([one.name for one in list_snapshots().snapshots])
