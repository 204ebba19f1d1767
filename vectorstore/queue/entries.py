"""The queue of people whose points may have to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from findme.core.postgresql.arrays import uuid_array
from privacy.audit import Action, record_each
from vectorstore.models import QueueEntry
from vectorstore.queue.shutdown import no_statement_deadline

ALL_USERS = UUID(int=0)
"""Stands for the person of an entry without one (after a TRUNCATE), where a person is needed: in a lease. Nobody who has an embedding has this id;
whoever queues it all the same has everybody looked at."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is left to do. ``oldest_seconds`` is the age of the oldest entry, None where there is none; ``leased`` and ``quarantined`` are people."""

    length: int = 0
    oldest_seconds: float | None = None
    leased: int = 0
    quarantined: int = 0


def enqueue(user_ids: Iterable[UUID], *, urgent: bool = False, cause: str = "") -> int:
    """Have the points of these people looked at; how many they are. URGENT ones overtake the others. ``cause`` as ``QueueEntry`` has it."""
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
    """Have everybody's point looked at, as for a collection that is new; how many people that are."""
    with no_statement_deadline(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO vector_sync_queue (user_id) SELECT user_id FROM profile_embeddings")
        queued = int(cursor.rowcount)
        if queued:
            cursor.execute("SELECT vector_sync_notify()")
    return queued


def enqueue_orphan_scan() -> None:
    """Have every point asked for its person, as after a TRUNCATE: whoever has one and is to have none is queued then, unless its vector is unique."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO vector_sync_queue (urgent, cause) VALUES (true, %s)", [QueueEntry.Cause.SCAN])
        cursor.execute("SELECT vector_sync_notify()")


def backlog() -> Backlog:
    """Counts every entry: for a report, not for each batch of a long queue."""
    with no_statement_deadline(), connection.cursor() as cursor:
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
    """Whether nobody is queued, and no lease of a dead worker is left, whose people are still to be queued."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT NOT EXISTS (SELECT FROM vector_sync_queue)
               AND NOT EXISTS (SELECT FROM vector_sync_leases WHERE expires_at <= clock_timestamp())
            """
        )
        return bool(cursor.fetchone()[0])


LOCK_OF = "hashtextextended('findme point of ' || person, 0)"
"""The advisory lock of a person: held while they are claimed, and by whoever removes them for good."""


RETRY = """
    WITH freed AS (DELETE FROM vector_sync_quarantine WHERE %(all_users)s OR user_id = ANY(%(people)s::uuid[]) RETURNING user_id)
    INSERT INTO vector_sync_queue (user_id, urgent) SELECT user_id, true FROM freed RETURNING user_id
"""


def retry(user_ids: Iterable[UUID] | None, *, actor_id: UUID | None = None) -> int:
    """Put those of the people (None: all) who are quarantined on the queue, before others; how many they are. Whoever is refused again is quarantined
    again. The audit log has an entry for each."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(RETRY, {"all_users": user_ids is None, "people": [str(user_id) for user_id in user_ids or ()]})
        queued = [user_id for (user_id,) in cursor.fetchall()]
        record_each(Action.RETRY, queued, actor_id=actor_id)
        cursor.execute("SELECT vector_sync_notify()")
    return len(queued)
