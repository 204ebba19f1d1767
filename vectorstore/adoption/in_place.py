"""Adopt a collection in place: its points stay until workers write them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

from qdrant_client import QdrantClient
from qdrant_client.models import ExtendedPointId, PointIdsList, Record

from findme.core.commands.progress import Report
from vectorstore.catalog.alias import point_alias
from vectorstore.catalog.ownership import ADOPTED_AT, ADOPTING, DATABASE, database_id
from vectorstore.consistency import checkpoint
from vectorstore.consistency.deletions import DELETED, note_deletion_time
from vectorstore.consistency.versions import last_allocated, raise_above, version_of
from vectorstore.models import ProfileEmbedding, QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.entries import enqueue
from vectorstore.retention.unique_vectors import FIELDS, DiscardLimit, UniqueVectors
from vectorstore.schema.apply import register_as_live
from vectorstore.schema.plan import Plan
from vectorstore.sync.inline import sync_users

PAGE_SIZE = 1000


def adopt_in_place(planned: Plan, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """Adopt the collection. Return how many points were removed, and how many hold a unique vector and stay.

    1. Mark the collection as being adopted, so that no other database's worker writes it.
    2. Raise the sequence above all versions in it, and enqueue all users.
    3. Remove the mark, so that workers write the collection.

    After a kill before step 3, the mark shows an unfinished adoption and no worker writes. After a kill later, the rest is on the queue.
    """
    collection = planned.collection
    with qdrant() as client:
        client.update_collection(collection, metadata={DATABASE: database_id(), ADOPTING: True, checkpoint.KEY: None, DELETED: None})
        raise_above(_remove_unbeatable_versions(client, collection, report))
        register_as_live(client, collection, new=False, is_adoption=True)
        client.update_collection(collection, metadata={ADOPTING: None, ADOPTED_AT: last_allocated()})
        if planned.differs("alias "):
            point_alias(client, collection)
        checkpoint.reset_checkpoint(client)
    return _remove_orphans(collection, limit, report)


def _remove_unbeatable_versions(client: QdrantClient, collection: str, report: Report) -> int:
    """Return the highest version, after removing versions that no worker can have written: no later write could exceed them."""
    highest = seen = 0
    for page in _pages(collection):
        seen += len(page)
        report(seen)
        highest = max([highest, *(version_of(record.payload) or 0 for record in page)])
        odd = [record.id for record in page if version_of(record.payload) is None and "version" in (record.payload or {})]
        if odd:
            client.delete_payload(collection, keys=["version"], points=odd, wait=True)
    return highest


def _remove_orphans(collection: str, limit: DiscardLimit, report: Report) -> tuple[int, int]:
    """Delete orphans: users' points through the queue, like every deletion, and points with a numeric id directly.

    Unique vectors are deleted up to the ``limit``. Return the numbers of deleted points and of unique vectors that stay.
    """
    removed = seen = arrived_later = 0
    allowed = limit.limit
    with qdrant() as client:
        judge = UniqueVectors.of(client, collection)
    for page in _pages(collection):
        unique = judge.among(page)
        discarded, spared = unique[:allowed], unique[allowed:]
        allowed -= len(discarded)
        arrived_later += len(spared)
        enqueue((UUID(one) for one in discarded if isinstance(one, str)), urgent=True, cause=QueueEntry.Cause.DELETION)
        orphans = _orphans(page, spared=spared)
        numbers: list[ExtendedPointId] = [one for one in orphans if not isinstance(one, UUID)]
        if numbers:
            with qdrant() as client:
                note_deletion_time()
                client.delete(collection, PointIdsList(points=numbers), wait=True)
        removed += sync_users(one for one in orphans if isinstance(one, UUID)).removed + len(numbers)
        seen += len(page)
        report(seen)
    return removed, arrived_later


def _pages(collection: str) -> Iterator[list[Record]]:
    """Read every point with its version."""
    return record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False)


def _orphans(page: list[Record], *, spared: Collection[ExtendedPointId]) -> list[UUID | int]:
    """Return the ids of points without a user who may have one, except the ``spared`` ones."""
    ids = [record.id for record in page if record.id not in spared]
    users = {UUID(one) for one in ids if isinstance(one, str)}
    known = set(ProfileEmbedding.objects.projectable().filter(pk__in=users).values_list("pk", flat=True))
    return [*sorted(users - known), *(one for one in ids if isinstance(one, int))]
