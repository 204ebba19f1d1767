"""The queue of users whose points may be out of date."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from findme.core.postgresql.arrays import uuid_array
from findme.core.postgresql.statement_limit import statement_limit
from privacy.audit import Action, record_each
from vectorstore.models import QueueEntry

ALL_USERS = UUID(int=0)
"""The user id in the lease of an entry without a user (after a TRUNCATE). No user with an embedding has this id.

An entry that names this id makes a worker compare the whole collection, as after a TRUNCATE.
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The remaining work: entries, and users who are leased or quarantined.

    ``oldest_seconds`` is the age of the oldest entry, None for an empty queue.
    """

    length: int = 0
    oldest_seconds: float | None = None
    leased: int = 0
    quarantined: int = 0


def enqueue(user_ids: Iterable[UUID], *, urgent: bool = False, cause: str = "") -> int:
    """Queue these users, each once, and return their number. See ``QueueEntry`` for ``urgent`` and ``cause``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vector_sync_queue (user_id, urgent, cause) SELECT DISTINCT unnest(%s::uuid[]), %s, %s",
            [uuid_array(user_ids), urgent, cause],
        )
        queued = int(cursor.rowcount)
        if queued:
            cursor.execute("SELECT vector_sync_notify()")
    return queued


def enqueue_everyone() -> int:
    """Queue every user who has an embedding, as for a new collection, and return their number."""
    with connection.cursor() as cursor, statement_limit(None):
        cursor.execute("INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings")
        queued = int(cursor.rowcount)
        if queued:
            cursor.execute("SELECT vector_sync_notify()")
    return queued


def enqueue_orphan_scan() -> None:
    """Queue a comparison of all points with PostgreSQL, as after a TRUNCATE.

    The worker that runs the scan queues each user whose point must not exist, unless the point holds the only copy of its vector.
    """
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO vector_sync_queue (urgent, cause) VALUES (true, %s)", [QueueEntry.Cause.SCAN])
        cursor.execute("SELECT vector_sync_notify()")


def backlog() -> Backlog:
    """Return the counts of the queue. This reads every entry: use it for a report, not for each batch."""
    with connection.cursor() as cursor, statement_limit(None):
        cursor.execute(
            """
            SELECT (SELECT count(*) FROM vector_sync_queue),
                   (SELECT extract(epoch FROM clock_timestamp() - min(queued_at))::float8 FROM vector_sync_queue WHERE isfinite(queued_at)),
                   (SELECT count(*) FROM vector_sync_leases WHERE expires_at > clock_timestamp()),
                   (SELECT count(*) FROM vector_sync_quarantine)
            """
        )
        return Backlog(*cursor.fetchone())


def is_empty() -> bool:
    """Return whether no user is queued and no lease has expired.

    The user of an expired lease is queued by the next worker.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT NOT EXISTS (SELECT FROM vector_sync_queue)
               AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE expires_at <= clock_timestamp())
            """
        )
        return bool(cursor.fetchone()[0])


LOCK_OF = "hashtextextended('findme point of ' || person, 0)"
"""SQL for the key of a user's advisory lock. It is held during a claim, and by a transaction that deletes the user's point for good."""


RETRY = """
    WITH freed AS (DELETE FROM vector_sync_quarantine WHERE %(all_users)s OR user_id = ANY(%(user_ids)s::uuid[]) RETURNING user_id)
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, true FROM freed RETURNING user_id
"""


def retry(user_ids: Iterable[UUID] | None, *, actor_id: UUID | None = None) -> int:
    """End the quarantine of these users (None: all), queue them as urgent and return their number.

    If Qdrant rejects a user's data again, the user is quarantined again. The audit log gets one entry for each user.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(RETRY, {"all_users": user_ids is None, "user_ids": [str(user_id) for user_id in user_ids or ()]})
        queued = [user_id for (user_id,) in cursor.fetchall()]
        record_each(Action.RETRY, queued, actor_id=actor_id)
        cursor.execute("SELECT vector_sync_notify()")
    return len(queued)
