"""Delete vectors that exist only in Qdrant, up to the number that the operator allowed."""

from __future__ import annotations

from uuid import UUID

from qdrant_client.models import ExtendedPointId, PointIdsList, WriteOrdering

from vectorstore.catalog import registry
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.models import QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.queue.entries import enqueue
from vectorstore.retention.unique_vectors import UniqueVectors, UniqueVectorsFound, unique_in


def enqueue_discards(limit: int) -> int:
    """Enqueue the deletion of every unique vector in all collections that receive deletions. Return
    their number.

    Points with a numeric id are deleted at once, because no worker leases them. Raises UniqueVectorsFound, with nothing changed, if
    there are more than ``limit``.
    """
    found: dict[str, list[ExtendedPointId]] = {}
    count = 0
    for collection in registry.deletion_targets():
        with qdrant() as client:
            judge = UniqueVectors.of(client, collection)
        found[collection] = []
        for page in unique_in(collection, judge):
            count += len(page)
            if count <= limit:
                found[collection] += page
    if count > limit:
        raise UniqueVectorsFound(count, limit)
    for collection, ids in found.items():
        enqueue((UUID(one) for one in ids if isinstance(one, str)), urgent=True, cause=QueueEntry.Cause.DELETION)
        _delete_numbers(collection, [one for one in ids if isinstance(one, int)])
    return count


def _delete_numbers(collection: str, numbers: list[ExtendedPointId]) -> None:
    if numbers:
        with qdrant() as client:
            note_deletion_time()
            client.delete(collection, PointIdsList(points=numbers), wait=True, ordering=WriteOrdering.MEDIUM)
