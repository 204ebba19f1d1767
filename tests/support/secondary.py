"""Secondary collections, and another session that changes collections."""

from __future__ import annotations

from contextlib import AbstractContextManager

from qdrant_client import models

from tests.support.threads import held_in_thread
from vectorstore.catalog import registry
from vectorstore.catalog.lock import collection_lock
from vectorstore.catalog.ownership import DATABASE, database_id
from vectorstore.models import VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant


def secondary(state: VectorCollection.State = VectorCollection.State.BUILDING, *, made: bool = True) -> str:
    """Register a secondary collection and return its name. It exists in Qdrant if ``made``."""
    name = f"{collection_name()}_v2"
    if made:
        with qdrant() as client:
            vectors = models.VectorParams(size=512, distance=models.Distance.COSINE)
            client.create_collection(name, vectors_config=vectors, metadata={DATABASE: database_id()})
    registry.register(name, state, "")
    return name


def state_of(name: str) -> tuple[str, str]:
    """Return the state of the collection and why it failed."""
    row = VectorCollection.objects.get(pk=name)
    return row.state, row.failure_reason


def collections_locked() -> AbstractContextManager[None]:
    """Hold the lock on collections in another session during the block."""
    return held_in_thread(collection_lock())
