"""Stores with their collection."""

from __future__ import annotations

import pytest

from vectorstore.catalog import registry
from vectorstore.models import QueueEntry, VectorCollection
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import initialize


def _prepared(store: str) -> str:
    initialize()
    QueueEntry.objects.all().delete()
    return store


@pytest.fixture
def collection(store: str) -> str:
    """Each store in turn, with its collection and an empty queue."""
    return _prepared(store)


@pytest.fixture
def any_collection(every_store: str) -> str:
    """Like ``collection``, and the server by gRPC too."""
    return _prepared(every_store)


@pytest.fixture
def embedded_collection(embedded_qdrant: object) -> str:
    return _prepared("embedded")


@pytest.fixture
def server_collection(qdrant_server: object) -> str:
    return _prepared("server")


@pytest.fixture
def registered(db: object, embedded_qdrant: object) -> str:
    """Register a live collection in PostgreSQL only, and return its name. Qdrant is not used."""
    name = f"{collection_name()}_v1"
    registry.register(name, VectorCollection.State.LIVE, "")
    return name
