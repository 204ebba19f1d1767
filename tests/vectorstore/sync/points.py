"""Read and write points, run plain SQL, and count queue entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from qdrant_client import models

from tests.factories import unit_vector
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import collection_name, qdrant
from vectorstore.sync.claims import Claim, claim_due
from vectorstore.sync.inline import point_of


def points(collection: str = "") -> set[models.ExtendedPointId]:
    with qdrant() as client:
        return {record.id for record in client.scroll(collection or collection_name(), limit=10_000)[0]}


def ids(user_ids: Iterable[UUID]) -> set[models.ExtendedPointId]:
    return {str(user_id) for user_id in user_ids}


def point(user_id: UUID) -> dict[str, Any]:
    result = point_of(user_id)
    assert result is not None
    return result


def version_of(user_id: UUID) -> int:
    version: int = point(user_id)["payload"]["version"]
    return version


def a_point(user_id: UUID, **payload: object) -> models.PointStruct:
    """Return a point with another vector than the user's, as another program would write it."""
    return models.PointStruct(id=str(user_id), vector=unit_vector(4711), payload={"user_id": str(user_id), **payload})


def write(*points_to_write: models.PointStruct) -> None:
    with qdrant() as client:
        client.upsert(collection_name(), list(points_to_write), wait=True)


def one(statement: str, *parameters: Any) -> Any:
    """Return the first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


def queued(*user_ids: UUID) -> int:
    """Return the number of queue entries of these users, or of all users."""
    result = QueueEntry.objects.filter(user_id__in=user_ids) if user_ids else QueueEntry.objects.all()
    return result.count()


def claimed(limit: int = 100) -> Claim:
    """Claim users that are due. There must be some."""
    claim = claim_due(uuid4(), limit)
    assert claim is not None
    return claim
