"""A person's point, as it follows from the current rows: PostgreSQL is the truth, and Qdrant a projection of it.

A person has a point if and only if there is a row in ``profile_embeddings``, ``deleted_at`` is null, and they are not staff.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, PointStruct

from accounts.age import age_group
from accounts.models import User
from findme.console.errors import NotDone, StoreUnavailable
from vectorstore.collection import live_collection
from vectorstore.connection import qdrant
from vectorstore.models import ProfileEmbedding
from vectorstore.person_lock import lock_people
from vectorstore.vectors import unit, vector

BATCH_SIZE = 256
"""People of one transaction and one request: some 1.5 MB of JSON."""

PAYLOAD_COLUMNS = ("user__date_of_birth", "user__gender", "user__active", "user__verified", "user__created_at")


@dataclass(frozen=True, slots=True)
class Projected:
    """Points written, new or not, and points that were there and are gone."""

    written: int = 0
    removed: int = 0

    def __add__(self, other: Projected) -> Projected:
        return Projected(self.written + other.written, self.removed + other.removed)


def project(user_ids: Iterable[UUID]) -> Projected:
    """Write or delete the points of these people, from their current rows, batch by batch. Call it after the commit that changed them.

    Raises StoreUnavailable (CollectionMissing where ``init_qdrant`` has not been run): the batches before that are done, the rest is not.
    """
    projected = Projected()
    people = iter(user_ids)
    while batch := set(islice(people, BATCH_SIZE)):
        projected += _project_batch(batch)
    return projected


def _project_batch(user_ids: set[UUID]) -> Projected:
    """The store first, then the people's locks, then their rows: whoever holds a lock never waits for the store."""
    with qdrant() as client, transaction.atomic(durable=True):
        collection = live_collection(client)
        lock_people(user_ids)
        points = [point_from(embedding) for embedding in with_payload(entitled().filter(pk__in=user_ids))]
        gone = {str(user_id) for user_id in user_ids} - {str(point.id) for point in points}
        if points:
            _write(client, collection, points)
        return Projected(len(points), delete_points(client, collection, sorted(gone)) if gone else 0)


def entitled() -> QuerySet[ProfileEmbedding]:
    """The rows of those who have a point."""
    return ProfileEmbedding.objects.filter(user__deleted_at__isnull=True, user__is_staff=False)


def with_payload(rows: QuerySet[ProfileEmbedding]) -> QuerySet[ProfileEmbedding]:
    """ROWS with all that a point is made of, people included, in one statement."""
    return rows.select_related("user").only("vector", "location", "interests", "video_features", *PAYLOAD_COLUMNS)


def point_from(embedding: ProfileEmbedding) -> PointStruct:
    """The point of a row. Raises NotDone for a vector that no point can have; the constraints of the table let none in.

    Of length 1, as Qdrant makes them for the cosine: it would do so in 32 bits, where the squares of small numbers vanish.
    """
    try:
        direction = unit(vector(embedding.vector))
    except ValueError as error:
        raise NotDone(f"The vector of {str(embedding.pk)!r} {error}: correct its row in profile_embeddings.") from error
    return PointStruct(id=str(embedding.pk), vector=direction, payload=payload_of(embedding.user, embedding))


def payload_of(user: User, embedding: ProfileEmbedding) -> dict[str, Any]:
    """What a search filters by, and what other services read. What is NULL is left out: Qdrant's filters take both alike.

    ``age`` in whole years today (UTC), ``created_at`` the person's, by RFC 3339.
    """
    age = user.age
    payload = {
        "user_id": str(user.pk),
        "age": age,
        "age_group": age_group(age),
        "gender": user.gender,
        "active": user.active,
        "verified": user.verified,
        "created_at": user.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "location": embedding.location,
        "interests": embedding.interests,
        "video_features": embedding.video_features,
    }
    return {name: value for name, value in payload.items() if value is not None}


def remove_point(user_id: UUID) -> bool:
    """Delete the person's point inside the caller's transaction, which keeps others from writing it again; whether there was one.

    Raises StoreUnavailable, or NotDone if the point is still there.
    """
    with qdrant() as client:
        collection = live_collection(client)
        lock_people([user_id])
        return delete_points(client, collection, [str(user_id)]) > 0


def point_of(user_id: UUID) -> dict[str, Any] | None:
    """The person's point as it is in Qdrant: ``payload`` and ``vector`` (of length 1); None where there is none. Raises StoreUnavailable."""
    with qdrant() as client:
        found = client.retrieve(live_collection(client), [str(user_id)], with_payload=True, with_vectors=True)
    return {"payload": found[0].payload or {}, "vector": found[0].vector} if found else None


def _write(client: QdrantClient, collection: str, points: list[PointStruct]) -> None:
    """An answer is no proof: the points are looked for afterwards."""
    client.upsert(collection, points, wait=True)
    found = _how_many_of(client, collection, [point.id for point in points])
    if found != len(points):
        raise StoreUnavailable(
            f"Of {len(points)} points that Qdrant took for {collection!r}, it has {found}: look at its log, and run it again."
        )


def delete_points(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> int:
    """Delete points, wait, and read back; how many there were. Raises NotDone if one is still there.

    Deletes also what does not seem to be there: an upsert may still wait to be applied, and the deletion comes after it.
    """
    found = _how_many_of(client, collection, ids)
    client.delete(collection, PointIdsList(points=list(ids)), wait=True)
    left = _how_many_of(client, collection, ids)
    if left:
        raise NotDone(
            f"{left} of {len(ids)} points are still in {collection!r} after their deletion: look at Qdrant's log, and run it again."
        )
    return found


def _how_many_of(client: QdrantClient, collection: str, ids: Sequence[ExtendedPointId]) -> int:
    """By retrieving them: while a segment is being rewritten, an exact count with ``has_id`` goes on counting deleted points, up to its end."""
    return len(client.retrieve(collection, list(ids), with_payload=False, with_vectors=False))
