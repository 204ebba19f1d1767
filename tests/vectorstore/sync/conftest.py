"""Stores with their collection."""

from __future__ import annotations

import pytest

from vectorstore.catalog import registry
from vectorstore.models import QueueEntry, VectorCollection
from vectorstore.qdrant.connection import collection_name
from vectorstore.schema.initialize import initialize


def _made(store: str) -> str:
    initialize()
    QueueEntry.objects.all().delete()
    return store


@pytest.fixture
def collection(store: str) -> str:
    """Each store in turn, with its collection and nobody queued."""
    return _made(store)


@pytest.fixture
def any_collection(every_store: str) -> str:
    """As ``collection``, and by gRPC too."""
    return _made(every_store)


@pytest.fixture
def embedded_collection(embedded_qdrant: object) -> str:
    return _made("embedded")


@pytest.fixture
def server_collection(qdrant_server: object) -> str:
    return _made("server")


@pytest.fixture
def registered(db: object, embedded_qdrant: object) -> str:
    """The name of a live collection, as PostgreSQL has it: there is no Qdrant."""
    name = f"{collection_name()}_v1"
    registry.register(name, VectorCollection.State.LIVE, "")
    return name
