"""After a TRUNCATE nobody knows whom it took: every point is asked for its person (protocol, rule 1)."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import connection
from qdrant_client.models import PointIdsList, WriteOrdering

from vectorstore.catalog.secondary import fail_secondary_on_error
from vectorstore.models import ProfileEmbedding, QuarantinedUser, QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.deletions import note_removal
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.queue.shutdown import no_statement_deadline
from vectorstore.retention.unique_vectors import FIELDS, UniqueVectors, points_hold
from vectorstore.sync.claims import Claim
from vectorstore.sync.leases import renew

Cause = QueueEntry.Cause
log = logging.getLogger(__name__)

PAGE_SIZE = 1000
"""Ids of points that are read at a time."""


def scan_for_orphans(claim: Claim) -> int:
    """Queue, urgently, everybody who has a point and is to have none. Return how many points hold a unique vector and stay.

    And everybody who is leased: their holder may have read their rows before they were taken, and write after their page was read here. And
    a quarantined user, for nothing any more: no change of theirs is to come. After a TRUNCATE no vector is spared: it may have been in the table.

    Raises StoreUnavailable, and LeaseLost.
    """
    live, *others = claim.collections
    cause = Cause.DELETION if ALL_USERS in claim.deletions else Cause.SCAN
    quarantined = QuarantinedUser.objects.exclude(pk__in=ProfileEmbedding.objects.projectable().values("pk")).values_list("pk", flat=True)
    with no_statement_deadline():
        enqueue(_leased(claim), urgent=True, cause=cause)
        enqueue(quarantined, urgent=True, cause=cause)
    unique = _look_through(claim, live, cause)
    for collection in others:
        with fail_secondary_on_error(collection):
            unique += _look_through(claim, collection, cause)
    return unique


def _look_through(claim: Claim, collection: str, cause: Cause) -> int:
    with qdrant() as client:
        judge = UniqueVectors.of(client, collection)
    left = 0
    for page in record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False):
        renew(claim)
        kept = set() if cause is Cause.DELETION else set(judge.among(page))
        left += len(kept)
        users = {UUID(record.id) for record in page if isinstance(record.id, str) and record.id not in kept}
        if ALL_USERS in users:
            _delete_nobodys(collection)
            users.remove(ALL_USERS)
        orphans = users - set(ProfileEmbedding.objects.projectable().filter(pk__in=users).values_list("pk", flat=True))
        enqueue(sorted(orphans), urgent=True, cause=cause)
    if left:
        log.warning("%s the only copy of a user's vector in %s and were not deleted.", points_hold(left), collection)
    return left


def _delete_nobodys(collection: str) -> None:
    """The point of an id that stands for everybody on the queue: no worker comes to it as to a person's."""
    with qdrant() as client:
        note_removal()
        client.delete(collection, PointIdsList(points=[str(ALL_USERS)]), wait=True, ordering=WriteOrdering.MEDIUM)


def _leased(claim: Claim) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM vector_sync_leases WHERE worker_id <> %s", [claim.worker])
        return [row[0] for row in cursor.fetchall()]
