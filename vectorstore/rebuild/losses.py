"""Unique vectors that a new live collection would lose."""

from __future__ import annotations

from qdrant_client import QdrantClient

from vectorstore.catalog import registry
from vectorstore.retention.drop import count_losses
from vectorstore.retention.unique_vectors import DiscardLimit, UniqueVectors
from vectorstore.schema.live import read_live


def require_no_losses(client: QdrantClient, limit: DiscardLimit) -> None:
    """Raise UniqueVectorsFound if replacing the live collection would lose more unique vectors than the ``limit`` allows.

    Counts the live collection and the expired ones.
    """
    live = read_live(client)
    if live.found is not None and live.ownership_problem is None:
        limit.count(live.collection, UniqueVectors.of(client, live.collection))
    count_losses(client, registry.expired(), limit)
    limit.require()
