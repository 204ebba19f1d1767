"""The collection that the guide's program makes and fills, with the name of the alias."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from qdrant_client import models

from tests.factories import ProfileEmbeddingFactory
from tests.vectorstore.retention.unique_points import VECTORS, create_guide_collection
from tests.vectorstore.retention.unique_points import write as fill
from vectorstore.models import ProfileEmbedding

__all__ = ["OTHER_VECTOR", "VECTORS", "create_guide_collection", "fill", "guide_collection_of", "point"]

OTHER_VECTOR = [0.5] * 512
"""A vector that no user of the factories has."""


def point(point_id: UUID | int, *, vector: list[float] | None = None, **payload: Any) -> models.PointStruct:
    """Return a point as another program writes it: by default with PostgreSQL's vector of the user, if there is one."""
    if isinstance(point_id, int):
        return models.PointStruct(id=point_id, vector=vector or OTHER_VECTOR, payload=payload)
    if vector is None:
        vector = ProfileEmbedding.objects.filter(pk=point_id).values_list("vector", flat=True).first() or OTHER_VECTOR
    return models.PointStruct(id=str(point_id), vector=vector, payload=payload)


def guide_collection_of(count: int) -> list[UUID]:
    """Create users with embeddings, and the guide's collection with their points. Return their ids in order."""
    users = sorted(embedding.pk for embedding in ProfileEmbeddingFactory.create_batch(count))
    create_guide_collection(point(user, gender="female", age=30) for user in users)
    return users
