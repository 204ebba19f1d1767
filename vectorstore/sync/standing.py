"""Whether the collections are this database's, and no store has gone back in time: asked at the start, and whenever a store was away."""

from __future__ import annotations

from qdrant_client import QdrantClient


def prove(client: QdrantClient) -> None:
    """Raises NotDone for another database's collection, and StoreUnavailable where a store went back in time."""


def doubt() -> None:
    """Ask again before the next batch."""
