"""Secondary collections, and another process that changes collections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from qdrant_client import models

from tests.support.threads import in_thread
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


@contextmanager
def collections_locked() -> Iterator[None]:
    """Hold the lock on collections in another session during the block."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with collection_lock():
            held.set()
            over.wait(60)

    holder = in_thread(hold)
    try:
        assert held.wait(60)
        yield
    finally:
        over.set()
        holder.result()
