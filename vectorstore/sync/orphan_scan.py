"""Scan all points for orphans after a TRUNCATE, which does not say which users it removed (protocol rule 1)."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import connection
from qdrant_client.models import PointIdsList, WriteOrdering

from findme.core.postgresql.statement_limit import statement_limit
from vectorstore.catalog.secondary import fail_secondary_on_error
from vectorstore.consistency.deletions import note_deletion_time
from vectorstore.models import ProfileEmbedding, QuarantinedUser, QueueEntry
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.scroll import record_pages
from vectorstore.queue.entries import ALL_USERS, enqueue
from vectorstore.retention.unique_vectors import FIELDS, UniqueVectors, points_hold
from vectorstore.sync.claims import Claim
from vectorstore.sync.leases import renew

Cause = QueueEntry.Cause
log = logging.getLogger(__name__)

PAGE_SIZE = 1000
"""Points read in one page."""


def scan_for_orphans(claim: Claim) -> int:
    """Enqueue, urgently, all users that have a point and must not have one. Return how many points hold a unique vector and stay.

    Leased users are enqueued too: their worker may have read their rows before the TRUNCATE and write after the scan passed. So are
    quarantined users without a projectable row: no later change would end their quarantine. After a TRUNCATE every vector is deleted,
    unique or not: it may have been in the table.

    Raises StoreUnavailable and LeaseLost.
    """
    live, *others = (*claim.collections, *claim.copies)
    cause = Cause.DELETION if ALL_USERS in claim.deletions else Cause.SCAN
    quarantined = QuarantinedUser.objects.exclude(pk__in=ProfileEmbedding.objects.projectable().values("pk")).values_list("pk", flat=True)
    with statement_limit(None):
        enqueue(_leased(claim), urgent=True, cause=cause)
        enqueue(quarantined, urgent=True, cause=cause)
    unique = _scan(claim, live, cause)
    for collection in others:
        with fail_secondary_on_error(collection):
            unique += _scan(claim, collection, cause)
    return unique


def _scan(claim: Claim, collection: str, cause: Cause) -> int:
    with qdrant() as client:
        judge = UniqueVectors.of(client, collection)
    unique = 0
    for page in record_pages(collection, PAGE_SIZE, with_payload=FIELDS, with_vectors=False):
        renew(claim)
        spared = set() if cause is Cause.DELETION else set(judge.among(page))
        unique += len(spared)
        users = {UUID(record.id) for record in page if isinstance(record.id, str) and record.id not in spared}
        if ALL_USERS in users:
            _delete_nil_point(collection)
            users.remove(ALL_USERS)
        orphans = users - set(ProfileEmbedding.objects.projectable().filter(pk__in=users).values_list("pk", flat=True))
        enqueue(sorted(orphans), urgent=True, cause=cause)
    if unique:
        log.warning("%s the only copy of a user's vector in %s and were not deleted.", points_hold(unique), collection)
    return unique


def _delete_nil_point(collection: str) -> None:
    """Delete the point with the id ``ALL_USERS``. On the queue this id means all users, so no worker syncs it as a user."""
    with qdrant() as client:
        note_deletion_time()
        client.delete(collection, PointIdsList(points=[str(ALL_USERS)]), wait=True, ordering=WriteOrdering.MEDIUM)


def _leased(claim: Claim) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM vector_sync_leases WHERE worker_id <> %s", [claim.worker])
        return [row[0] for row in cursor.fetchall()]
