"""The last deletion of points: its version, to detect a restored PostgreSQL (protocol rule 9), and its time, to find stale snapshots.

A deletion leaves no point, and a checkpoint is renewed only from time to time. So a process that deletes points allocates a version and records it in
the metadata of each collection. If PostgreSQL has allocated a lower version, it is older than the deletion.

The time is in PostgreSQL. A snapshot made before that time may still hold the point.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime

from django.db import connection
from qdrant_client import QdrantClient
from qdrant_client.models import CollectionInfo

from findme.core.errors import StoreUnavailable, UserFacingError, one_line
from vectorstore.catalog import registry
from vectorstore.catalog.secondary import tolerate_secondary_failure
from vectorstore.qdrant.connection import qdrant
from vectorstore.qdrant.errors import CollectionNotFound

logger = logging.getLogger(__name__)

DELETED = "findme_deleted_at_version"
"""Metadata key for a version that was allocated before points were deleted."""

ALLOCATE_FOR_DELETION = "SELECT max(nextval('vector_sync_version')) FROM generate_series(1, 33)"
"""PostgreSQL writes a sequence to disk 32 values ahead. With 33 values, an older copy of its files has certainly allocated fewer."""


def note_deletion(client: QdrantClient, version: int) -> None:
    """Record in every collection that points were deleted after ``version`` was allocated by a committed transaction.

    A collection that cannot be updated is skipped with a warning. The deletion is valid, and the next checkpoint shows the same.
    """
    live = registry.live()
    for name in registry.write_targets():
        try:
            with tolerate_secondary_failure(live, name, doing="checkpoint"):
                client.update_collection(name, metadata={DELETED: version})
        except StoreUnavailable as error:
            logger.warning("A restored PostgreSQL may go unnoticed until the next checkpoint: %s", one_line(error))


def allocate_for_deletion() -> int:
    """Return a version for ``note_deletion``. Call it outside a transaction, or over a connection of its own."""
    with connection.cursor() as cursor:
        cursor.execute(ALLOCATE_FOR_DELETION)
        return int(cursor.fetchone()[0])


def note_new_deletion() -> None:
    """Allocate a version and record it, after points were deleted.

    If Qdrant is unavailable, the next checkpoint shows the same.
    """
    with suppress(UserFacingError), qdrant() as client:
        note_deletion(client, allocate_for_deletion())


def last_deletion(client: QdrantClient) -> int | None:
    """Return the version of the last deletion from the metadata of the live collection."""
    live = registry.live()
    if live is None:
        return None
    with suppress(CollectionNotFound), qdrant():
        return deleted_at(client.get_collection(live)) or None
    return None


def deleted_at(found: CollectionInfo) -> int:
    """Return the version that the last deletion recorded, 0 if there was none."""
    version = (found.config.metadata or {}).get(DELETED)
    return version if isinstance(version, int) else 0


def note_deletion_time() -> None:
    """Record the current time as the time of the last deletion. Call this before an existing point is deleted.

    If the process is killed between the two steps, the next process finds the point and records its deletion again. The time is the value of
    a sequence: no transaction waits for another one, and a rollback keeps the value.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('vector_last_deletion_at', ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint)")


def last_deletion_time() -> datetime:
    """Return the time recorded before the last deletion, by the database's clock.

    Before the first deletion it is the time of the migration that created the sequence.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM vector_last_deletion_at")
        return datetime.fromtimestamp(cursor.fetchone()[0] / 1000, UTC)
