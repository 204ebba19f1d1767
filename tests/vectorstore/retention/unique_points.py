"""Points with the only copy of a vector, as another program writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient, models

from tests.factories import UserFactory, unit_vector
from vectorstore.consistency.versions import last_allocated
from vectorstore.models import QueueEntry, VectorCollection
from vectorstore.qdrant.connection import collection_name, qdrant

VECTORS = models.VectorParams(size=512, distance=models.Distance.COSINE)


def users_without_embedding(count: int, **fields: Any) -> list[UUID]:
    """Create users without an embedding."""
    return sorted(user.pk for user in UserFactory.create_batch(count, **fields))


def point(point_id: UUID | int, **payload: Any) -> models.PointStruct:
    """Return a point without a version, as the program of the guide writes it."""
    return models.PointStruct(id=point_id if isinstance(point_id, int) else str(point_id), vector=unit_vector(11), payload=payload)


def write(points: Iterable[models.PointStruct], collection: str = "") -> None:
    with qdrant() as client:
        client.upsert(collection or collection_name(), list(points), wait=True)


def create_guide_collection(points: Iterable[models.PointStruct]) -> None:
    """Create a real collection with the alias's name, without metadata."""
    with qdrant() as client:
        client.create_collection(collection_name(), vectors_config=VECTORS)
    write(points)


def point_ids(collection: str = "") -> set[str]:
    """Return the ids of the points."""
    with qdrant() as client:
        return {str(record.id) for record in client.scroll(collection or collection_name(), limit=10_000, with_payload=False)[0]}


def as_strings(ids: Iterable[UUID | int]) -> set[str]:
    return set(map(str, ids))


def all_state() -> list[Any]:
    """Return all that a refused command must not change: points with vectors, settings, aliases, rows, the queue, the version."""
    with qdrant() as client:
        found = sorted(one.name for one in client.get_collections().collections if one.name.startswith(collection_name()))
        aliases = sorted((one.alias_name, one.collection_name) for one in client.get_aliases().aliases if one.collection_name in found)
        content = [
            (name, _config(client, name), client.scroll(name, limit=10_000, with_vectors=True, with_payload=True)[0]) for name in found
        ]
    rows = [list(VectorCollection.objects.order_by("name").values()), list(QueueEntry.objects.order_by("pk").values())]
    return [aliases, content, rows, last_allocated()]


def _config(client: QdrantClient, name: str) -> models.CollectionConfig:
    """Return the settings. A strict mode that is off has no effect, and cannot be unset."""
    config = client.get_collection(name).config
    is_on = config.strict_mode_config is not None and config.strict_mode_config.enabled
    return config if is_on else config.model_copy(update={"strict_mode_config": None})


def refusal(count: int, limit: int = 0, *, what: str = "nothing was changed") -> str:
    points = "1 point holds" if count == 1 else f"{count} points hold"
    return (
        f"{points} the only copy of a user's vector and the limit is {limit}: {what}. Import them first (manage.py import_embeddings), or rerun with"
        f" --discard-vectors {count}."
    )
